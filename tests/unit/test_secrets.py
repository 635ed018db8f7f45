"""No password stays with a session (promise 7): not in what it says of itself, nor in anything that it holds.

Everything that can be reached from a session, or from a whole link, is walked through: attributes, slots, containers.
What the walk can't see: freed memory that was not overwritten, OpenSSL's own buffers, and the one receive buffer of
the process, which holds what was read last until the next read.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from proxy.gate.verdict import Password
from proxy.net.upstream.upstream import Server, Upstream
from proxy.session.events import LoggedIn, LoginFailed, PasswordGiven
from proxy.session.pop3.session import PopSession, PopSettings
from proxy.session.smtp.session import SmtpSession, SmtpSettings
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains
from proxy.wire.sasl import PasswordExchange

from ..support.gate import Gate
from ..support.reach import reachable

if TYPE_CHECKING:
    from proxy.session.events import Event

    from ..support.workshop import Workshop

SECRET = b"sEcReT-0123456789"
PLAIN = base64.b64encode(b"\0anna\0" + SECRET)
CODED = base64.b64encode(SECRET)
FORMS = (SECRET, PLAIN, CODED, SECRET.hex().encode())


def secrets_in(start: object) -> list[object]:
    found: list[object] = []
    for one in reachable(start):
        octets = one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one
        if isinstance(octets, bytes | bytearray | memoryview) and any(form in bytes(octets) for form in FORMS):
            found.append(one)
    return found


def taken(session: Any) -> list[Event]:
    """The session's output is taken away; its events."""
    session.output.take_to_client()
    session.output.take_to_upstream()
    events: list[Event] = session.output.take_events()
    return events


def spoken(session: Any, *steps: tuple[str, bytes]) -> None:
    """Octets of the client ("C") and the upstream ("U"), as a link carries them: what comes out is taken away."""
    for who, octets in steps:
        (session.client_bytes if who == "C" else session.upstream_bytes)(octets)
        if any(isinstance(event, LoginFailed) for event in session.output.events):
            session.answer(LoginFailed("anna"), False)
        taken(session)


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
    assert secrets_in(session.output.events) == []
    assert not any(form in repr((session.output.events, session.facts(), session.doing)).encode() for form in FORMS)
    taken(session)
    if reply.startswith(b"+OK"):
        session.answer(LoggedIn("anna"), None)
        taken(session)
    if form != "pass-pipelined" or reply.startswith(b"+OK"):
        assert secrets_in(session) == []
    assert not any(form in repr(session).encode() for form in FORMS)


def test_promise_7_a_farewell_that_quotes_the_password_is_not_repeated_in_the_log() -> None:
    session = PopSession(PopSettings())
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS["pass"], ("U", b"-ERR no\r\n"))
    session.upstream_bytes(b"-ERR PASS %b indeed\r\n" % SECRET)
    assert session.output.take_to_client() == b"-ERR PASS %b indeed\r\n" % SECRET
    assert secrets_in(session.output.events) == []


@pytest.mark.parametrize("reply", [b"235 in\r\n", b"535 no\r\n", b"421 go away, %b\r\n" % CODED])
@pytest.mark.parametrize("form", [form for form in POP_LOGINS if not form.startswith(("pass", "apop"))])
def test_promise_7_an_smtp_session_forgets_the_password(form: str, reply: bytes) -> None:
    settings = SmtpSettings(LocalDomains(["local.test"]), EhloEditor(True), "554 no", auth="upstream")
    session = SmtpSession(settings, "192.0.2.7")
    offer = b"250-u\r\n250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\r\n"
    spoken(session, ("U", b"220 u\r\n"), ("C", b"EHLO c\r\n"), ("U", offer))
    for who, octets in POP_LOGINS[form]:
        spoken(session, (who, octets.replace(b"+ ", b"334 ", 1) if who == "U" else octets))
    session.upstream_bytes(reply)
    assert secrets_in(session.output.events) == []
    taken(session)
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
    assert secrets_in(workshop.log.lines) == []
    assert client is not up


OWN_AUTHS = {
    "plain": [("C", b"AUTH PLAIN %b\r\n" % PLAIN)],
    "plain-later": [("C", b"AUTH PLAIN\r\n"), ("C", PLAIN + b"\r\n")],
    "login": [("C", b"AUTH LOGIN\r\n"), ("C", b"YW5uYQ==\r\n"), ("C", CODED + b"\r\n")],
    "login-with-name": [("C", b"AUTH LOGIN YW5uYQ==\r\n"), ("C", CODED + b"\r\n")],
    "implausible": [("C", b"AUTH PLAIN " + base64.b64encode(b"\0an\tna\0" + SECRET) + b"\r\n")],
    "another's": [("C", b"AUTH PLAIN " + base64.b64encode(b"bert\0anna\0" + SECRET) + b"\r\n")],
    "no-plain": [("C", b"AUTH PLAIN " + base64.b64encode(b"anna\0" + SECRET) + b"\r\n")],
    "cancelled": [("C", b"AUTH LOGIN YW5uYQ==\r\n"), ("C", b"*\r\n")],
}


def own_auth() -> SmtpSession:
    """A session under TLS that checks passwords itself, behind EHLO."""
    editor = EhloEditor(True, PasswordExchange.MECHANISMS)
    session = SmtpSession(
        SmtpSettings(LocalDomains(["local.test"]), editor, "554 no", auth="pop3"), "192.0.2.7", tls=True
    )
    spoken(session, ("U", b"220 u\r\n"), ("C", b"EHLO c\r\n"), ("U", b"250 u\r\n"))
    return session


@pytest.mark.parametrize("result", list(Password))
@pytest.mark.parametrize("form", OWN_AUTHS)
def test_promise_7_G15_a_password_that_popgate_checks_is_in_no_event_and_gone_once_it_is_taken(
    form: str, result: Password
) -> None:
    session = own_auth()
    events: list[Event] = []
    for _, octets in OWN_AUTHS[form]:
        session.client_bytes(octets)
        assert secrets_in(session.output) == []
        events += taken(session)
    if any(isinstance(event, PasswordGiven) for event in events):
        assert session.take_password() == (b"anna", SECRET)
        assert secrets_in(session) == []
        session.answer(PasswordGiven("anna"), result)
    events += session.output.events
    if any(isinstance(event, LoginFailed) for event in events):
        session.answer(LoginFailed("anna"), False)
    assert secrets_in(events) == []
    assert secrets_in(session) == []
    assert not any(form in repr((session, session.facts(), session.doing, events)).encode() for form in FORMS)


def test_promise_7_G15_half_an_exchange_shows_nothing() -> None:
    """While the client still speaks, and where it ends in the middle."""
    session = own_auth()
    session.client_bytes(b"AUTH LOGIN YW5uYQ==\r\n")
    session.client_bytes(CODED[:8])
    session.client_eof()
    assert not any(
        form in repr((session, session.facts(), session.doing, session.output.events)).encode() for form in FORMS
    )


def test_promise_7_G15_who_talks_on_behind_its_password_ends_with_it_held_by_nobody() -> None:
    session = own_auth()
    session.client_bytes(b"AUTH PLAIN %b\r\nNOOP\r\n" % PLAIN)
    assert [type(event).__name__ for event in session.output.events] == ["PasswordGiven", "Finished"]
    session.take_password()
    assert secrets_in(session) == []


@pytest.mark.parametrize(
    "reply", [b"+OK\r\n", b"-ERR PASS %b is wrong\r\n" % SECRET, b"-ERR\r\n", b"x%b\r\n" % SECRET, b""]
)
def test_promise_7_G15_a_link_holds_no_password_when_it_has_been_checked(workshop: Workshop, reply: bytes) -> None:
    """Whatever the server answers, quoting the password among it; not in the log either, nor in an exception."""
    gate, box = Gate(workshop, "smtp"), workshop.server()
    gate.auth = "pop3"
    gate.password_upstream = Upstream(
        "box", "pop3", [Server("127.0.0.1", box.getsockname()[1])], tls=None, implicit=False, connect_timeout=10.0,
        is_ours=lambda host, port: False,
    )  # fmt: skip
    gate.greet()
    gate.pretend_tls()
    gate.say_ehlo()
    gate.client.send(b"AUTH PLAIN %b\r\n" % PLAIN)
    up = workshop.accepted(box)
    up.send(b"+OK\r\n")
    gate.gets(up, b"USER anna\r\n")
    up.send(b"+OK\r\n")
    gate.gets(up, b"PASS %b\r\n" % SECRET)
    assert secrets_in(gate.link) == [], "not even while the answer is awaited: only the check has it"
    if reply:
        up.send(reply)
    else:
        up.abort()
    gate.until(lambda: gate.client.look()[gate.client.told :].endswith(b"\r\n"))
    gate.client.told = len(gate.client.got)
    assert gate.link.requests.call_off is None
    assert secrets_in(gate.link) == []
    assert secrets_in(workshop.log.lines) == []
    assert not any(form in repr((gate.link, gate.link.session, workshop.log.lines)).encode() for form in FORMS)
    gate.client.send(b"NOOP\r\n")
    gate.gets(gate.up, b"NOOP\r\n")


def test_promise_7_G15_a_bug_in_the_check_shows_no_password(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(workshop, "smtp")
    gate.auth = "pop3"
    gate.password_upstream = Upstream(
        "box", "pop3", [Server("127.0.0.1", 1)], tls=None, implicit=False, connect_timeout=10.0,
        is_ours=lambda host, port: False,
    )  # fmt: skip

    def broken(login: bytes, password: bytes, is_open: object) -> None:
        raise ValueError(password)

    monkeypatch.setattr("proxy.net.link.requests.PopLogin", broken)
    gate.greet()
    gate.pretend_tls()
    gate.say_ehlo()
    gate.client.send(b"AUTH PLAIN %b\r\n" % PLAIN)
    gate.until(gate.client.ended)
    [words] = workshop.log.of("bug")
    assert words["error"] == "ValueError"
    assert secrets_in(workshop.log.lines) == []
    assert secrets_in(gate.link) == []
