"""No password stays with a session (DESIGN promise 7): not in what it says of itself, nor in anything that it holds.

Everything that can be reached from a session, or from a whole link, is walked through: attributes, slots, containers.
What the walk can't see: freed memory that was not overwritten, OpenSSL's own buffers, and the one receive buffer of
the process, which holds what was read last until the next read.
"""

from __future__ import annotations

import base64
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from proxy.net import leg
from proxy.session.events import LoginFailed
from proxy.session.pop3 import PopSession, PopSettings
from proxy.session.smtp import SmtpSession, SmtpSettings
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains

from ..support.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.workshop import Workshop

SECRET = b"sEcReT-0123456789"
PLAIN = base64.b64encode(b"\0anna\0" + SECRET)
CODED = base64.b64encode(SECRET)
FORMS = (SECRET, PLAIN, CODED, SECRET.hex().encode())


def reachable(start: object) -> Iterator[object]:
    """All that `start` holds on to: objects of proxy, containers, texts.  Not what tests and libraries own."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset | deque):
            waiting += one
        elif type(one).__module__.startswith("proxy."):
            names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
            waiting += list(getattr(one, "__dict__", {}).values())


def secrets_in(start: object) -> list[object]:
    found: list[object] = []
    for one in reachable(start):
        octets = one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one
        if isinstance(octets, bytes | bytearray | memoryview) and any(form in bytes(octets) for form in FORMS):
            found.append(one)
    return found


def spoken(session: Any, *steps: tuple[str, bytes]) -> None:
    """Octets of the client ("C") and the upstream ("U"), as a link carries them: what comes out is taken away."""
    for who, octets in steps:
        (session.client_bytes if who == "C" else session.upstream_bytes)(octets)
        if any(isinstance(event, LoginFailed) for event in session.events):
            session.failure_noted(False)
        session.to_client, session.to_upstream, session.events = [], [], []


POP_LOGINS = {
    "pass": [("C", b"USER anna\r\n"), ("U", b"+OK\r\n"), ("C", b"PASS %b\r\n" % SECRET)],
    "pass-pipelined": [("C", b"USER anna\r\nPASS %b\r\nSTAT\r\n" % SECRET), ("U", b"+OK\r\n")],
    "pass-odd": [("C", b"USER anna\r\n"), ("U", b"+OK\r\n"), ("C", b"PASS a b \xe9%%s {0} %b\xff\r\n" % SECRET)],
    "apop": [("C", b"APOP anna %b\r\n" % SECRET)],
    "plain": [("C", b"AUTH PLAIN %b\r\n" % PLAIN)],
    "plain-later": [("C", b"AUTH PLAIN\r\n"), ("U", b"+ \r\n"), ("C", PLAIN + b"\r\n")],
    "login": [
        ("C", b"AUTH LOGIN\r\n"), ("U", b"+ VXNlcm5hbWU6\r\n"), ("C", b"YW5uYQ==\r\n"),
        ("U", b"+ UGFzc3dvcmQ6\r\n"), ("C", CODED + b"\r\n"),
    ],
    "cram-md5": [
        ("C", b"AUTH CRAM-MD5\r\n"), ("U", b"+ PDFAdT4=\r\n"), ("C", base64.b64encode(b"anna " + SECRET) + b"\r\n"),
    ],
    "xoauth2": [("C", b"AUTH XOAUTH2 " + base64.b64encode(b"user=anna\1auth=Bearer " + SECRET + b"\1\1") + b"\r\n")],
    # Clients that got the form wrong: what can't be read as a name is not shown as one.
    "plain-under-login": [("C", b"AUTH LOGIN %b\r\n" % PLAIN)],
    "plain-under-cram": [("C", b"AUTH CRAM-MD5 " + base64.b64encode(b"\0anna\0%b x" % SECRET) + b"\r\n")],
    "xoauth2-without-its-separator": [
        ("C", b"AUTH XOAUTH2 " + base64.b64encode(b"user=anna auth=Bearer " + SECRET) + b"\r\n")
    ],
}  # fmt: skip


@pytest.mark.parametrize("reply", [b"+OK in\r\n", b"-ERR no\r\n"], ids=["accepted", "refused"])
@pytest.mark.parametrize("form", POP_LOGINS)
def test_promise_7_a_pop3_session_forgets_the_password(form: str, reply: bytes) -> None:
    session = PopSession(PopSettings())
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS[form])
    session.upstream_bytes(reply)
    assert secrets_in(session.events) == []
    assert not any(form in repr((session.events, session.facts(), session.doing)).encode() for form in FORMS)
    session.to_client, session.to_upstream, session.events = [], [], []
    if reply.startswith(b"+OK"):
        session.lease_settled()
        session.to_client, session.to_upstream = [], []
    if form != "pass-pipelined" or reply.startswith(b"+OK"):
        assert secrets_in(session) == []
    assert not any(form in repr(session).encode() for form in FORMS)


def test_promise_7_a_farewell_that_quotes_the_password_is_not_repeated_in_the_log() -> None:
    session = PopSession(PopSettings())
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS["pass"], ("U", b"-ERR no\r\n"))
    session.upstream_bytes(b"-ERR PASS %b indeed\r\n" % SECRET)
    assert b"".join(session.to_client) == b"-ERR PASS %b indeed\r\n" % SECRET
    assert secrets_in(session.events) == []


@pytest.mark.parametrize("reply", [b"235 in\r\n", b"535 no\r\n", b"421 go away, %b\r\n" % CODED])
@pytest.mark.parametrize("form", [form for form in POP_LOGINS if not form.startswith(("pass", "apop"))])
def test_promise_7_an_smtp_session_forgets_the_password(form: str, reply: bytes) -> None:
    settings = SmtpSettings(LocalDomains(["local.test"]), EhloEditor(True), "554 no", auth="upstream")
    session = SmtpSession(settings, "192.0.2.7", b"[192.0.2.7]")
    offer = b"250-u\r\n250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\r\n"
    spoken(session, ("U", b"220 u\r\n"), ("C", b"EHLO c\r\n"), ("U", offer))
    for who, octets in POP_LOGINS[form]:
        spoken(session, (who, octets.replace(b"+ ", b"334 ", 1) if who == "U" else octets))
    session.upstream_bytes(reply)
    assert secrets_in(session.events) == []
    session.to_client, session.to_upstream, session.events = [], [], []
    assert secrets_in(session) == []
    assert not any(form in repr((session, session.facts(), session.doing)).encode() for form in FORMS)


def test_promise_7_a_link_holds_no_password_when_its_login_is_over(workshop: Workshop) -> None:
    pop = Gate(workshop, "pop3")
    client, up = pop.greet()
    pop.talk(("C", b"USER anna\r\n"), (">U", b"USER anna\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    line = b"PASS %b\r\n" % SECRET
    pop.talk(("C", line), (">U", line), ("U", b"+OK in\r\n"), (">C", b"+OK in\r\n"))
    assert pop.leased == ["anna"]
    assert len(list(reachable(pop.link))) > 50, "the walk walks"
    assert secrets_in(pop.link) == []
    assert not any(form in repr((pop.link, pop.link.session)).encode() for form in FORMS)
    pop.talk(("C", b"STAT\r\n"), (">U", b"STAT\r\n"), ("U", b"+OK 0 0\r\n"), (">C", b"+OK 0 0\r\n"))
    assert not bytes(leg._BUFFER[: len(line)]).startswith(b"PASS"), "overwritten by what was read next"
    assert secrets_in(workshop.log.lines) == []
    assert client is not up
