"""auth = "pop3": AUTH for an appliance that has none, with clients that we did not write (rule G15).

In front of Dovecot, which checks the passwords, and Postfix, which knows no AUTH; two workers.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.legacy import Call, Legacy
from ..support.needs import need
from ..support.popgate import Popgate, config
from ..support.ports import client_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.dovecot import Dovecot
    from ..support.postfix import Postfix

Run = subprocess.CompletedProcess[str]
SENDER = "alice@example.com"
WRONG = b"535 5.7.8 "
UNKNOWN = b"454 4.7.0 "
SECRET = "sEcReT-of-nobody"


@pytest.fixture
def house(dovecot: Dovecot, postfix: Postfix, certificate: Path) -> Iterator[Popgate]:
    settings = config(dovecot.endpoint, postfix.endpoint, certificate, workers=2, gate={"auth": "pop3"})
    with Popgate(settings) as gate:
        yield gate
        assert " bug " not in gate.process.output
        assert SECRET not in gate.process.output


def run(*argv: str, given: str = "") -> Run:
    return subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60, check=False)


def swaks(address: tuple[str, int], certificate: Path, to: str, how: str, password: str) -> Run:
    program, _ = need("swaks", "ssleay")
    host, port = address
    argv = [program, "--server", host, "--port", str(port), "--tls", "--helo", "client.example.net", "--from", SENDER]
    return run(*argv, "--to", to, "--auth", how, "--auth-user", "alice", "--auth-password", password)


def curl(address: tuple[str, int], certificate: Path, to: str, how: str, password: str) -> Run:
    (program,) = need("curl")
    host, port = address
    argv = [program, "-sS", "--ssl-reqd", "--cacert", str(certificate), f"smtp://{host}:{port}/client"]
    argv += ["--user", f"alice:{password}", "--login-options", f"AUTH={how}", "--mail-from", SENDER, "--mail-rcpt", to]
    return run(*argv, "--upload-file", "-", given="Subject: a\r\n\r\nb\r\n")


def msmtp(address: tuple[str, int], certificate: Path, to: str, how: str, password: str) -> Run:
    (program,) = need("msmtp")
    host, port = address
    argv = [program, f"--host={host}", f"--port={port}", f"--from={SENDER}", "--tls=on", "--tls-starttls=on"]
    argv += [f"--tls-trust-file={certificate}", f"--auth={how.lower()}", "--user=alice"]
    return run(*argv, f"--passwordeval=echo {password}", to, given="Subject: a\n\nb\n")


@pytest.mark.parametrize("how", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("client", [swaks, curl, msmtp], ids=lambda client: client.__name__)
def test_G15_a_client_that_never_fetches_sends_by_its_password(
    house: Popgate,
    postfix: Postfix,
    certificate: Path,
    client: Callable[[tuple[str, int], Path, str, str, str], Run],
    how: str,
    request: pytest.FixtureRequest,
) -> None:
    loop = "a" if "asyncio" in request.node.name else "u"
    good, bad = (f"{client.__name__}.{how.lower()}.{loop}.{kind}@example.org" for kind in ("good", "bad"))
    refused = client(house.address("smtp"), certificate, bad, how, SECRET)
    assert refused.returncode != 0
    assert "535" in refused.stdout + refused.stderr or client is curl, refused
    done = client(house.address("smtp"), certificate, good, how, "secret")
    assert done.returncode == 0, done
    assert postfix.sink.take(good).sender == SENDER.encode()
    assert not postfix.sink.has(bad)
    assert send(house.address("smtp"), [b"friend@example.org"]).startswith(b"554 "), "the session, not the address"
    house.process.expect("INFO smtp login-failed .*login=alice")
    house.process.expect("INFO smtp authenticated .*login=alice")
    house.process.expect(f"relayed .*login=alice why=authenticated .*recipients={good}")


@contextlib.contextmanager
def tls_established(gate: Popgate, source: str = "") -> Iterator[Dialogue]:
    """An SMTP session under TLS, behind EHLO."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Dialogue(gate.address("smtps"), source, context) as smtp:
        smtp.expect(b"220")
        assert b"AUTH LOGIN PLAIN\r\n" in smtp.ask(b"EHLO client", b"250")
        yield smtp


def auth(smtp: Dialogue, password: str, start: bytes, login: str = "alice") -> bytes:
    response = base64.b64encode(f"\0{login}\0{password}".encode())
    return smtp.ask(b"AUTH PLAIN " + response, start)


def relays(smtp: Dialogue, start: bytes, sender: bytes = b"alice@example.com") -> None:
    smtp.ask(b"MAIL FROM:<" + sender + b">", b"250")
    smtp.ask(b"RCPT TO:<friend@example.org>", start)
    smtp.ask(b"RSET", b"250")


def test_G15_in_the_clear_it_is_neither_offered_nor_taken(house: Popgate) -> None:
    with Dialogue(house.address("smtp")) as smtp:
        smtp.expect(b"220")
        assert b"AUTH" not in smtp.ask(b"EHLO client", b"250")
        auth(smtp, "secret", b"538 ")
        relays(smtp, b"554 ")


def test_G15_a_wrong_password_opens_nothing_and_the_next_may_be_right(house: Popgate) -> None:
    with tls_established(house) as smtp:
        auth(smtp, SECRET, WRONG)
        relays(smtp, b"554 ")
        auth(smtp, "secret", WRONG, login="nobody")
        auth(smtp, "secret", b"235")
        relays(smtp, b"250")
    with tls_established(house) as smtp:
        relays(smtp, b"554 ")


def test_G15_the_mailbox_is_left_as_it_was(house: Popgate, dovecot: Dovecot) -> None:
    dovecot.deliver("alice", b"Subject: keep me\r\n\r\nb\r\n")
    with tls_established(house) as smtp:
        auth(smtp, "secret", b"235")
    with Dialogue(house.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS secret", b"+OK")
        pop.ask(b"STAT", b"+OK 1 ")
    dovecot.empty("alice")


@pytest.mark.parametrize("password", ["x\r\nDELE 1", "x\0y", "x" * 256, ""])
def test_G15_what_can_stand_in_no_pop3_command_is_tried_nowhere(certificate: Path, password: str) -> None:
    async def box(call: Call) -> None:
        await call.say(b"+OK\r\n")
        await call.to_the_end()

    async def mail(call: Call) -> None:
        await call.say(b"220 old\r\n")
        while line := await call.line():
            await call.say(b"250 ok\r\n" if line else b"")

    with (
        Legacy(box) as pop3,
        Legacy(mail) as smtp,
        Popgate(config(pop3.endpoint, smtp.endpoint, certificate, gate={"auth": "pop3"})) as gate,
        tls_established(gate) as client,
    ):
        auth(client, password, b"501 " if "\0" in password else WRONG)
        assert pop3.calls == []


class OneAtATime:
    """An old POP3 server without codes: a mailbox that is open is refused to everyone else, right or wrong."""

    def __init__(self) -> None:
        self.busy = False

    async def play(self, call: Call) -> None:
        await call.say(b"+OK old\r\n")
        mine = False
        try:
            while line := await call.line():
                if line.startswith(b"PASS"):
                    right = line == b"PASS secret\r\n" and not self.busy
                    mine = mine or right
                    self.busy = self.busy or right
                    await call.say(b"+OK\r\n" if right else b"-ERR\r\n")
                else:
                    await call.say(b"+OK\r\n")
                if line == b"QUIT\r\n":
                    return
        finally:
            if mine:
                self.busy = False


def test_G15_a_mailbox_in_use_by_its_own_user_is_454_in_any_worker(
    appliance: SampleAppliance, certificate: Path
) -> None:
    """The server says no and nothing else; popgate knows why, because the mailbox is open here."""
    with Legacy(OneAtATime().play) as old:
        settings = config(old.endpoint, appliance.smtp, certificate, workers=2, gate={"auth": "pop3"})
        with Popgate(settings) as gate, Dialogue(gate.address("pop3"), client_host()) as pop:
            with tls_established(gate) as smtp:
                auth(smtp, SECRET, WRONG)
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
            for _ in range(4):
                with tls_established(gate, client_host()) as smtp:
                    auth(smtp, "secret", UNKNOWN)
                    auth(smtp, "secret", WRONG, login="bob")
                    relays(smtp, b"554 ")
            pop.ask(b"QUIT", b"+OK")
            gate.process.expect("INFO pop3 end .*login=alice")
            with tls_established(gate) as smtp:
                auth(smtp, "secret", b"235")
                relays(smtp, b"250")


@pytest.mark.parametrize("code", [b"[IN-USE]", b"[LOGIN-DELAY]", b"[SYS/TEMP]"])
def test_G15_a_server_with_codes_is_believed(appliance: SampleAppliance, certificate: Path, code: bytes) -> None:
    async def play(call: Call) -> None:
        await call.ask(b"+OK new\r\n")
        await call.ask(b"+OK\r\n")
        await call.say(b"-ERR " + code + b" not now\r\n")
        await call.to_the_end()

    with Legacy(play) as box:
        settings = config(box.endpoint, appliance.smtp, certificate, gate={"auth": "pop3"})
        with Popgate(settings) as gate, tls_established(gate) as smtp:
            auth(smtp, "secret", UNKNOWN)
            assert "login-failed" not in gate.process.output


def test_G15_no_pop3_server_is_454_and_local_mail_goes_on(appliance: SampleAppliance, certificate: Path) -> None:
    settings = config("127.0.0.1:1", appliance.smtp, certificate, gate={"auth": "pop3"})
    with Popgate(settings) as gate, tls_established(gate) as smtp:
        auth(smtp, "secret", UNKNOWN)
        smtp.ask(b"MAIL FROM:<a@example.org>", b"250")
        smtp.ask(b"RCPT TO:<alice@example.com>", b"250")
        smtp.ask(b"DATA", b"354")
        smtp.say(stuffed(b"Subject: a\r\n\r\nb\r\n"))
        smtp.expect(b"250")
        gate.process.expect("WARNING smtp upstream-failed .*Connection refused")


def test_G13_guesses_are_slowed_for_the_address_then_closed(appliance: SampleAppliance, certificate: Path) -> None:
    source = client_host()
    rules = {"failed_logins_per_address": 2, "failed_logins": 50}
    settings = config(appliance.pop3, appliance.smtp, certificate, workers=2, gate={"auth": "pop3"}, limits=rules)
    with Popgate(settings) as gate:
        with tls_established(gate, source) as smtp:
            for _ in range(3):
                auth(smtp, SECRET, WRONG)
            assert smtp.rest() == b"421 4.7.0 Too many failed logins\r\n"
        with tls_established(gate, source) as smtp:
            auth(smtp, "secret", b"235")
        with tls_established(gate) as smtp:
            auth(smtp, SECRET, WRONG)
            auth(smtp, "secret", b"235")
        gate.process.expect("WARNING smtp slowed .*failures=3 ")
        assert SECRET not in gate.process.output


def test_G10_a_session_opened_by_a_password_sends_as_itself(appliance: SampleAppliance, certificate: Path) -> None:
    settings = config(appliance.pop3, appliance.smtp, certificate, workers=2, gate={"auth": "pop3", "sender": "match"})
    with Popgate(settings) as gate, tls_established(gate) as smtp:
        auth(smtp, "secret", b"235")
        relays(smtp, b"250")
        relays(smtp, b"554 5.7.1 <friend@example.org>: Relay access denied: sender does not match", b"bob@example.com")


def test_G14_a_lease_and_a_password_stand_side_by_side(appliance: SampleAppliance, certificate: Path) -> None:
    settings = config(appliance.pop3, appliance.smtp, certificate, workers=2, gate={"auth": "pop3"})
    fetched, never = client_host(), client_host()
    with Popgate(settings) as gate:
        pop_login(gate.address("pop3"), source=fetched)
        with tls_established(gate, fetched) as smtp:
            relays(smtp, b"250")
            auth(smtp, SECRET, WRONG)
            relays(smtp, b"250")
        with tls_established(gate, never) as smtp:
            relays(smtp, b"554 ")
            auth(smtp, "secret", b"235")
            relays(smtp, b"250")
