"""Clients that behave badly, as printers, scanners and scripts do: they are served all the same.

rules P4, P5, S1, S5 and S9.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.legacy import Call, Legacy
from ..support.popgate import Popgate, config

if TYPE_CHECKING:
    from ..support.appliance import SampleAppliance
    from ..support.dovecot import Dovecot

_names = itertools.count(1)


def recipient() -> bytes:
    return f"rude{next(_names)}@example.org".encode()


@pytest.mark.parametrize("goodbye", [b"QUIT", b"QU", b"", b"QUIT\n", b"\r\n"])
def test_P5_hanging_up_after_the_login_is_a_login(real_gate: Popgate, dovecot: Dovecot, goodbye: bytes) -> None:
    with Dialogue(real_gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS secret", b"+OK")
        pop.say(goodbye)  # and hangs up, as PHPMailer's POP before SMTP does
    assert send(real_gate.address("smtp"), [recipient()]).startswith(b"250 ")


def test_P5_a_reset_after_the_login_is_a_login(real_gate: Popgate) -> None:
    pop = Dialogue(real_gate.address("pop3"))
    pop.expect(b"+OK")
    pop.ask(b"USER alice", b"+OK")
    pop.ask(b"PASS secret", b"+OK")
    pop.abort()
    assert send(real_gate.address("smtp"), [recipient()]).startswith(b"250 ")


def test_P4_everything_in_one_packet(real_gate: Popgate) -> None:
    with Dialogue(real_gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.say(b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        replies = pop.rest()
    assert replies.count(b"+OK") == 4, replies
    assert send(real_gate.address("smtp"), [recipient()]).startswith(b"250 ")


def test_P4_a_failed_login_and_the_next_one_in_one_packet(real_gate: Popgate) -> None:
    with Dialogue(real_gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.say(b"USER alice\r\nPASS wrong\r\nUSER bob\r\nPASS secret\r\nQUIT\r\n")
        replies = pop.rest().splitlines()
    assert [reply[:3] for reply in replies] == [b"+OK", b"-ER", b"+OK", b"+OK", b"+OK"]
    assert send(real_gate.address("smtp"), [recipient()]).startswith(b"250 ")


def test_S5_a_whole_message_in_one_packet_behind_ehlo(gate: Popgate, appliance: SampleAppliance) -> None:
    """RFC 2920: MAIL and the RCPTs may go together; DATA ends the group."""
    to = recipient()
    pop_login(gate.address("pop3"))
    with Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"EHLO scanner", b"250")
        smtp.say(b"MAIL FROM:<scan@example.com>\r\nRCPT TO:<" + to + b">\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
        for code in (b"250", b"250", b"250", b"354"):
            smtp.expect(code)
        smtp.say(stuffed(b"Subject: scan\r\n\r\n.\r\n") + b"QUIT\r\n")
        assert [line[:3] for line in smtp.rest().splitlines()] == [b"250", b"221"]
    assert [message.octets for message in appliance.relayed_to(to.decode())] == [b"Subject: scan\r\n\r\n.\r\n"]


def test_promise_5_one_octet_at_a_time(gate: Popgate, appliance: SampleAppliance) -> None:
    to = recipient()
    pop_login(gate.address("pop3"))
    body = b"Subject: slow\r\n\r\n..\r\n.\r\nend\r\n"
    with Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        for command, code in (
            (b"HELO printer\r\n", b"250"),
            (b"MAIL FROM:<p@example.com>\r\n", b"250"),
            (b"RCPT TO:<" + to + b">\r\n", b"250"),
            (b"DATA\r\n", b"354"),
            (stuffed(body), b"250"),
        ):
            for octet in command:
                smtp.say(bytes([octet]))
            smtp.expect(code)
    assert [message.octets for message in appliance.relayed_to(to.decode())] == [body]


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a@example.com>\n", b"MAIL FROM:<a\r@example.com>\r\n", b"MAIL\0FROM:<a@example.com>\r\n"]
)
def test_S1_a_stray_newline_or_nul_never_reaches_the_upstream(line: bytes) -> None:
    async def upstream(call: Call) -> None:
        await call.say(b"220 old\r\n")
        while await call.line():
            await call.say(b"250 ok\r\n")

    with Legacy(upstream) as old, Popgate(config(old.endpoint, old.endpoint)) as gate:
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"HELO x", b"250")
            smtp.say(line)
            if line.endswith(b"\r\n"):
                smtp.expect(b"500 5.5.2")
            else:
                smtp.say(b"NOOP\r\n")  # the bare LF is no line end: both are one command, and a bad one
                smtp.expect(b"500 5.5.2")
            smtp.ask(b"QUIT", b"2")
        call = old.call()
        assert call.ended.wait(10)
        assert bytes(call.received) == b"HELO x\r\nQUIT\r\n"


def test_S9_an_upstream_that_dies_in_mid_message_yields_no_250() -> None:
    async def upstream(call: Call) -> None:
        await call.say(b"220 old\r\n")
        while not (await call.line()).startswith(b"DATA"):
            await call.say(b"250 ok\r\n")
        await call.say(b"354 go\r\n")
        await call.until(b"first line")  # of the last CRLF the gate can't know yet whether it begins the end
        call.reset()

    with (
        Legacy(upstream) as old,
        Popgate(config(old.endpoint, old.endpoint)) as gate,
        Dialogue(gate.address("smtp")) as smtp,
    ):
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        smtp.ask(b"MAIL FROM:<a@example.com>", b"250")
        smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
        smtp.ask(b"DATA", b"354")
        smtp.say(b"first line\r\nsecond line\r\n")
        smtp.expect(b"451 4.4.2")
