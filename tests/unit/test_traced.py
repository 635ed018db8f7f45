"""session/transcript.py: what a trace shows, and that no password is in it (promise 7)."""

from __future__ import annotations

import base64

import pytest

from proxy.gate.verdict import Outcome, Password, Reason, RelayAsked, Verdict
from proxy.session.events import LoggedIn, LoginFailed, PasswordGiven
from proxy.session.pop3 import texts as pop3_texts
from proxy.session.pop3.session import PopSession, PopSettings
from proxy.session.smtp import texts as smtp_texts
from proxy.session.smtp.session import SmtpSession, SmtpSettings
from proxy.session.transcript import POP3_VERBS, SMTP_VERBS, Transcript
from proxy.wire.esmtp import EhloEditor
from proxy.wire.lines import TOO_LONG
from proxy.wire.recipients import LocalDomains
from proxy.wire.sasl import PasswordExchange

from .test_secrets import CODED, FORMS, PLAIN, POP_LOGINS, SECRET, spoken

LOCAL = LocalDomains(["local.test"])
OFFER = b"250-u\r\n250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\r\n"


class Seen(list[str]):
    """The lines of a transcript."""

    def __call__(self, who: str, text: str) -> None:
        assert "\r" not in text
        assert "\n" not in text
        self.append(f"{who} {text}")

    def is_clean(self) -> bool:
        whole = "\n".join(self)
        parts = [form.decode() for form in FORMS] + [SECRET.decode()[:8], CODED.decode()[:8], PLAIN.decode()[8:16]]
        return not any(part in whole for part in parts)


def pop(seen: Seen) -> PopSession:
    return PopSession(PopSettings(), observer=Transcript(seen, POP3_VERBS))


def smtp(seen: Seen, auth: str = "upstream") -> SmtpSession:
    mechanisms = PasswordExchange.MECHANISMS if auth == "pop3" else frozenset()
    settings = SmtpSettings(LOCAL, EhloEditor(True, mechanisms), "554 no", auth=auth)  # type: ignore[arg-type]
    transcript = Transcript(seen, SMTP_VERBS)
    session = SmtpSession(settings, "192.0.2.7", tls=True, observer=transcript)
    spoken(session, ("U", b"220 u\r\n"), ("C", b"EHLO c\r\n"), ("U", OFFER))
    return session


# --- secrets, by every form of a login


@pytest.mark.parametrize(
    "reply",
    [b"+OK in\r\n", b"-ERR no\r\n", b"-ERR PASS %b indeed\r\n" % SECRET, b"-ERR [%b] no\r\n" % CODED],
    ids=["accepted", "refused", "quoted", "quoted-as-a-code"],
)
@pytest.mark.parametrize("form", POP_LOGINS)
def test_promise_7_no_password_in_a_pop3_transcript(form: str, reply: bytes) -> None:
    seen = Seen()
    session = pop(seen)
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS[form], ("U", reply))
    session.answer(LoggedIn("anna"), None)
    spoken(session, ("C", b"PASS %b\r\nSTAT\r\n" % SECRET), ("U", b"-ERR what is PASS %b\r\n" % SECRET))
    session.cut()
    assert "C> EHLO" not in seen
    assert any(line.startswith("C> ") and "***" in line for line in seen)
    assert seen.is_clean(), seen


@pytest.mark.parametrize("reply", [b"235 in\r\n", b"535 %b is wrong\r\n" % PLAIN, b"421 go away, %b\r\n" % CODED])
@pytest.mark.parametrize("form", [form for form in POP_LOGINS if not form.startswith(("pass", "apop"))])
def test_promise_7_no_password_in_an_smtp_transcript(form: str, reply: bytes) -> None:
    seen = Seen()
    session = smtp(seen)
    for who, octets in POP_LOGINS[form]:
        spoken(session, (who, octets.replace(b"+ ", b"334 ", 1) if who == "U" else octets))
    spoken(session, ("U", reply), ("U", b"421 4.7.0 %b again and again\r\n" % CODED))
    assert any(line.startswith("C> AUTH ") for line in seen)
    assert seen.is_clean(), seen


@pytest.mark.parametrize("result", list(Password))
@pytest.mark.parametrize("form", ["plain", "plain-later", "login"])
def test_promise_7_no_password_where_popgate_checks_it_itself(form: str, result: Password) -> None:
    seen = Seen()
    session = smtp(seen, "pop3")
    for who, octets in POP_LOGINS[form]:
        if who == "C":
            session.client_bytes(octets)
    (asked,) = [event for event in session.output.events if isinstance(event, PasswordGiven)]
    assert session.take_password()[1] == SECRET
    session.answer(asked, result)
    if any(isinstance(event, LoginFailed) for event in session.output.events):
        session.answer(LoginFailed("anna"), False)
    said = {"right": "235 2.7.0", "wrong": "535 5.7.8", "unknown": "454 4.7.0", "in use": "454 4.7.0"}[result.value]
    assert seen[-1].startswith(f">C {said} "), "our own fixed texts are shown"
    assert not any(line.startswith(">U AUTH") for line in seen)
    assert seen.is_clean(), seen


def test_promise_7_a_client_that_goes_on_with_its_password_after_a_504() -> None:
    """What is no command is not shown: some clients do not read the reply to AUTH."""
    seen = Seen()
    session = smtp(seen)
    spoken(session, ("C", b"AUTH NTLM %b\r\n" % CODED), ("C", CODED + b"\r\n"), ("C", SECRET + b"\r\n"))
    assert seen[-6:] == [
        "C> AUTH ***", ">C 504 5.5.4 Unrecognized authentication mechanism",
        f"C> ({len(CODED)} octets that are no command)", ">C 502 5.5.1 Command not implemented",
        f"C> ({len(SECRET)} octets that are no command)", ">C 502 5.5.1 Command not implemented",
    ]  # fmt: skip
    assert seen.is_clean()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"PASS x", "PASS ***"),
        (b"pass x y", "PASS ***"),
        (b"PASS", "PASS ***"),
        (b"PASS\tx", "(6 octets that are no command)"),
        (b"APOP anna 0123", "APOP anna ***"),
        (b"APOP 0123", "APOP ***"),
        (b"APOP anna 0123 4567", "APOP ***"),
        (b"AUTH", "AUTH"),
        (b"AUTH PLAIN", "AUTH PLAIN"),
        (b"auth plain AGEAYg==", "AUTH PLAIN ***"),
        (b"AUTH AGEAYg==", "AUTH ***"),
        (b"XCLIENT LOGIN=x", "(15 octets that are no command)"),
        (b"", "(0 octets that are no command)"),
        (b"USER an\xe9na", "USER an\\xe9na"),
        (b"USER \x1b[2J\r", "USER \\x1b[2J\\x0d"),
        (TOO_LONG, "(a line that is too long)"),
    ],
)
def test_what_of_a_command_is_shown(line: bytes, shown: str) -> None:
    seen = Seen()
    Transcript(seen, POP3_VERBS).command(line, secret=False)
    assert seen == ["C> " + shown]


def test_no_verb_that_carries_a_password_is_on_a_list() -> None:
    assert not (POP3_VERBS | SMTP_VERBS) & {b"PASS", b"APOP", b"AUTH", b"XCLIENT"}


def test_what_of_a_reply_to_a_login_is_shown() -> None:
    seen = Seen()
    transcript = Transcript(seen, POP3_VERBS)
    transcript.command(b"PASS x", secret=False)
    seen.clear()
    for reply in (b"-ERR [AUTH] wrong: x\r\n", b"-ERR [x] no\r\n", b"-ERR\r\n", b"+OK x\r\n", b"535 5.7.8 x\r\n",
                  b"535 5.7.x\r\n", b"334 eA==\r\n", pop3_texts.TOO_MANY_LOGINS, smtp_texts.AUTH_BAD):  # fmt: skip
        transcript.client_reply(reply)
    assert [line.removeprefix(">C ") for line in seen] == [
        "-ERR [AUTH] (22 octets)", "-ERR (13 octets)", "-ERR (6 octets)", "+OK (7 octets)", "535 5.7.8 (13 octets)",
        "535 (11 octets)", "334 (10 octets)", "-ERR [AUTH] Too many failed logins",
        "535 5.7.8 Authentication credentials invalid",
    ]  # fmt: skip


# --- what it is for


def test_an_smtp_transcript_reads_as_the_dialogue_was() -> None:
    seen = Seen()
    session = smtp(seen)
    seen.clear()
    session.client_bytes(b"mail from: <a@s.test>\r\n")
    session.upstream_bytes(b"250 ok\r\n")
    session.client_bytes(b"RCPT TO:<b@far.test>\r\n")
    assert isinstance(session.output.events[-1], RelayAsked)
    session.answer(session.output.events[-1], Verdict(Outcome.REFUSE, Reason.NO_LEASE))
    session.client_bytes(b"RCPT TO:<c@local.test>\r\n")
    session.upstream_bytes(b"250 ok\r\n")
    session.client_bytes(b"DATA\r\n")
    session.upstream_bytes(b"354 go\r\n")
    session.client_bytes(b"Subject: hidden\r\n\r\n")
    session.client_bytes(b"body\r\n.\r\n")
    session.upstream_bytes(b"250 2.0.0 queued as 17\r\n")
    assert seen == [
        "C> mail from: <a@s.test>", ">U MAIL FROM:<a@s.test>", "U> 250 ok", ">C 250 ok",
        "C> RCPT TO:<b@far.test>", ">C 554 no",
        "C> RCPT TO:<c@local.test>", ">U RCPT TO:<c@local.test>", "U> 250 ok", ">C 250 ok",
        "C> DATA", ">U DATA", "U> 354 go", ">C 354 go",
        "C> (28 octets)", "U> 250 2.0.0 queued as 17", ">C 250 2.0.0 queued as 17",
    ]  # fmt: skip


def test_a_mailbox_is_counted() -> None:
    seen = Seen()
    session = pop(seen)
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS["pass-pipelined"])
    session.upstream_bytes(b"+OK in\r\n")
    session.answer(LoggedIn("anna"), None)
    seen.clear()
    spoken(session, ("U", b"+OK 1 5\r\n"), ("C", b"RE"), ("C", b"TR 1\r\n"), ("U", b"+OK mail\r\nSubject: hid"))
    spoken(session, ("U", b"den\r\n.\r\n"), ("C", b"QUIT\r\n"), ("U", b"+OK bye\r\n"))
    session.upstream_eof()
    assert seen == [
        "U> +OK ...", "U> (9 octets)", "C> RETR 1", "U> +OK ...", "U> (30 octets)",
        "C> QUIT", "U> +OK ...", "U> (9 octets)",
    ]  # fmt: skip


def test_commands_behind_the_password_are_seen_once_they_go_on() -> None:
    seen = Seen()
    session = pop(seen)
    spoken(session, ("U", b"+OK <1@u>\r\n"), *POP_LOGINS["pass-pipelined"])
    session.upstream_bytes(b"+OK in\r\n")
    session.answer(LoggedIn("anna"), None)
    assert seen[-4:] == [">U PASS ***", "U> +OK (8 octets)", ">C +OK (8 octets)", "C> STAT"]


def test_a_traced_session_puts_out_what_a_plain_one_does() -> None:
    seen = Seen()
    session = pop(seen)
    session.upstream_bytes(b"+OK <1@u>\r\n")
    assert session.output.take_to_client() == b"+OK <1@u>\r\n"
    assert session.output.to_client == b""
    session.client_bytes(b"USER anna\r\n")
    assert session.output.to_upstream == b"USER anna\r\n"


def test_long_lines_are_cut() -> None:
    seen = Seen()
    Transcript(seen, POP3_VERBS).command(b"USER " + b"x" * 5000, secret=False)
    assert len(seen[0]) == 3 + 512 + 3


def test_coded_secrets_are_what_the_tests_look_for() -> None:
    assert base64.b64decode(CODED) == SECRET
    assert not Seen([f"C> {CODED.decode()}"]).is_clean()
