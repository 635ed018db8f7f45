"""Real clients, a real Dovecot and a real Postfix: refused before the login, accepted after it, every octet in place.

All clients come from 127.0.0.1, so each test has a gate of its own.  promises 1, 2 and 5.
"""

from __future__ import annotations

import email
import itertools
from typing import TYPE_CHECKING

import pytest

from ..support import clients
from ..support.dialogue import pop_login, send
from ..support.ports import client_host

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.dovecot import Dovecot
    from ..support.popgate import Popgate
    from ..support.postfix import Postfix

_names = itertools.count(1)

BODY = b"\r\n".join(
    [
        b".",
        b"..",
        b".a line that starts with a dot",
        b"...three",
        b"8-bit: \xe4\xf6\xfc \xc3\xa4",
        b"tab and blanks at the end \t ",
        b"x" * 998,  # RFC 5321 4.5.3.1.6: the longest line, without its CRLF
        b"." + b"y" * 997,
        b"From here it is plain",
        b"",
        b".",
        b"",
        b"the end",
        b"",
    ]
)
HEADER = b"From: alice@example.com\r\nTo: friend@example.org\r\nSubject: byte for byte\r\n\r\n"
LARGE = BODY + (b"Large messages go the fast way through the gate, dots and all.\r\n.dots\r\n" * 300_000)


def recipient() -> str:
    """A foreign recipient of its own for each message, by which it is found at the far end."""
    return f"friend{next(_names)}@example.org"


def assert_refused(run: clients.Run) -> None:
    assert not run.content, run.said
    assert "554" in run.said, run.said


@pytest.mark.parametrize("send_by", clients.SENDERS, ids=lambda sender: sender.__name__)
def test_promise_1_and_5_refused_before_and_byte_for_byte_after(
    send_by: clients.Send, real_gate: Popgate, postfix: Postfix, tmp_path: Path
) -> None:
    early, late = recipient(), recipient()
    smtp = real_gate.address("smtp")
    assert_refused(send_by(smtp, tmp_path, early, HEADER + BODY))
    pop_login(real_gate.address("pop3"))
    run = send_by(smtp, tmp_path, late, HEADER + BODY)
    assert run.content, run.said
    assert postfix.sink.take(late).body == BODY
    assert not postfix.sink.has(early)


@pytest.mark.parametrize("send_by", clients.SENDERS, ids=lambda sender: sender.__name__)
def test_promise_5_twenty_megabytes_byte_for_byte(
    send_by: clients.Send, real_gate: Popgate, postfix: Postfix, tmp_path: Path
) -> None:
    assert len(LARGE) > 20_000_000
    to = recipient()
    pop_login(real_gate.address("pop3"))
    run = send_by(real_gate.address("smtp"), tmp_path, to, HEADER + LARGE)
    assert run.content, run.said[-2000:]
    assert postfix.sink.take(to).body == LARGE


@pytest.mark.parametrize("fetch", clients.FETCHERS, ids=lambda fetcher: fetcher.__name__)
def test_promise_2_fetching_opens_the_gate(
    fetch: clients.Fetch, real_gate: Popgate, dovecot: Dovecot, postfix: Postfix, tmp_path: Path
) -> None:
    smtp = real_gate.address("smtp")
    dovecot.deliver("alice", HEADER + b"welcome\r\n")
    early, late = recipient(), recipient()
    assert send(smtp, [early.encode()]).startswith(b"554 ")
    run = fetch(real_gate.address("pop3"), tmp_path)
    assert run.content, run.said
    assert send(smtp, [late.encode()]).startswith(b"250 ")
    assert postfix.sink.take(late).body == b"b\r\n"
    assert not postfix.sink.has(early)
    dovecot.empty("alice")


def test_promise_5_snail_both_ways(real_gate: Popgate, postfix: Postfix, tmp_path: Path) -> None:
    """s-nail encodes what it sends, so the text is compared as a reader sees it."""
    smtp, early, late = real_gate.address("smtp"), recipient(), recipient()
    run = clients.snail_send(smtp, tmp_path, early, HEADER + BODY)
    assert not run.content, run.said
    assert "554" in run.said, run.said
    assert clients.snail_fetch(real_gate.address("pop3"), tmp_path).content
    run = clients.snail_send(smtp, tmp_path, late, HEADER + BODY)
    assert run.content, run.said
    text = email.message_from_bytes(postfix.sink.take(late).octets).get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.replace(b"\r\n", b"\n") == BODY.replace(b"\r\n", b"\n")


def test_promise_5_a_fetched_message_is_byte_for_byte(real_gate: Popgate, dovecot: Dovecot, tmp_path: Path) -> None:
    dovecot.deliver("bob", HEADER + LARGE)
    host, port = real_gate.address("pop3")
    run = clients.curl_retrieve((host, port), tmp_path, "bob", 1)
    assert run.content, run.said
    assert (tmp_path / "fetched").read_bytes() == HEADER + LARGE
    dovecot.empty("bob")


def test_promise_1_a_failed_login_opens_nothing(real_gate: Popgate, tmp_path: Path) -> None:
    run = clients.curl_retrieve(real_gate.address("pop3"), tmp_path, "alice", 1, password="wrong")
    assert not run.content, run.said
    assert send(real_gate.address("smtp"), [b"friend@example.org"]).startswith(b"554 ")


def test_promise_1_the_gate_opens_for_that_address_alone(real_gate: Popgate, postfix: Postfix) -> None:
    inside, outside, to = client_host(), client_host(), recipient()
    pop_login(real_gate.address("pop3"), source=inside)
    assert send(real_gate.address("smtp"), [to.encode()], source=outside).startswith(b"554 ")
    assert send(real_gate.address("smtp"), [to.encode()], source=inside).startswith(b"250 ")


def test_promise_1_local_mail_needs_no_lease(real_gate: Popgate, postfix: Postfix) -> None:
    name = f"local{next(_names)}@example.com"
    assert send(real_gate.address("smtp"), [name.encode()]).startswith(b"250 ")
    assert postfix.sink.take(name).sender == b"sender@example.com"
