"""The SMTP session on its own: bounds, what the link sees, and what the log is told.

Dialogues are transcripts (tests/transcripts/smtp); addresses are in test_smtp_forms.py, ends of data in
test_smtp_ends.py.
"""

from __future__ import annotations

import tracemalloc

import pytest

from proxy.gate.verdict import Outcome, Reason, Verdict
from proxy.session.contract import Wait
from proxy.session.events import (
    LoginFailed,
    Refused,
    Relayed,
)

from ..support.driver import Driver, new_session
from ..support.smtp import ALLOW, REFUSE, asked, in_body, ready


def test_S1_a_flood_without_a_line_end_is_not_kept() -> None:
    """Memory: what a session holds of a line is bounded, whatever comes (promise 6)."""
    driver = ready()
    flood = b"x" * 10000
    tracemalloc.start()
    try:
        for _ in range(100):
            driver.client(flood)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    driver.client(b"\r\nNOOP\r\n")
    assert driver.to_client == b"500 5.5.6 Line too long\r\n"
    assert driver.to_upstream == b"NOOP\r\n"


def test_S6_a_reply_without_end_is_not_kept() -> None:
    driver = ready()
    driver.client(b"NOOP\r\n")
    for _ in range(70):
        driver.upstream(b"250-" + b"x" * 1000)
    assert driver.to_client == b"421 4.3.0 The mail server does not follow the protocol\r\n"
    assert driver.finished is not None


def test_S6_a_reply_of_many_lines() -> None:
    driver = ready()
    driver.client(b"NOOP\r\n")
    reply = b"250-x\r\n" * 499 + b"250 x\r\n"
    driver.upstream(reply)
    assert driver.to_client == reply
    driver.client(b"NOOP\r\n")
    driver.upstream(b"250-x\r\n" * 500)
    assert driver.to_client == reply + b"421 4.3.0 The mail server does not follow the protocol\r\n"


def test_the_ledger_bounds_what_is_owed() -> None:
    """A client that pipelines without end is not read any more until replies have gone out."""
    driver = ready()
    driver.client(b"NOOP\r\n" * 1500)
    assert driver.to_upstream == b"NOOP\r\n" * 1000
    assert driver.session.holding
    driver.upstream(b"250 ok\r\n" * 400)
    assert driver.to_upstream == b"NOOP\r\n" * 1400
    driver.upstream(b"250 ok\r\n" * 1000)
    assert driver.to_upstream == b"NOOP\r\n" * 1500
    driver.upstream(b"250 ok\r\n" * 100)
    assert not driver.session.holding
    assert driver.to_client == b"250 ok\r\n" * 1500


def test_holding_while_the_gate_is_asked() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\n", b"RCPT TO:<v@far.test>\r\n", b"RCPT TO:<user@local.test>\r\n")
    assert driver.session.holding
    assert driver.session.doing == "waiting for the gate"
    driver.answer(REFUSE)
    assert not driver.session.holding
    assert driver.to_upstream == b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\n"


def test_waits_and_phrases() -> None:
    driver = Driver(new_session("smtp"))
    session = driver.session
    assert (session.wait, session.doing) == (Wait.GREETING, "waiting for the greeting")
    driver.upstream(b"220 old\r\n")
    assert (session.wait, session.doing) == (Wait.COMMAND, "waiting for a command")
    driver.client(b"HELO c.test\r\n")
    assert (session.wait, session.doing) == (Wait.COMMAND, "waiting for the reply to HELO")
    driver = in_body()
    session = driver.session
    assert (session.wait, session.doing, session.streaming) == (Wait.MESSAGE, "receiving a message", True)
    driver.client(b"x\r\n.\r\n")
    assert (session.wait, session.streaming) == (Wait.MESSAGE_REPLY, False)
    assert session.doing == "waiting for the reply to the message"


def test_steps_count_what_was_done_and_not_octets() -> None:
    """The limit of a wait is a total: single octets of a command do not prolong it."""
    driver = ready()
    before = driver.session.step
    driver.client(b"N", b"O", b"O", b"P")
    assert driver.session.step == before
    driver.client(b"\r\n")
    assert driver.session.step == before + 1
    driver.upstream(b"25")
    assert driver.session.step == before + 1
    driver.upstream(b"0 ok\r\n")
    assert driver.session.step == before + 2


def test_facts() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n")
    driver.answer(REFUSE)
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"250 queued\r\n")
    assert dict(driver.session.facts()) == {
        "helo": "c.test",
        "login": "",
        "cmds": 5,
        "msgs": 1,
        "rcpts": 1,
        "refused": 1,
        "verdict": "refuse",
    }


@pytest.mark.parametrize(
    ("outcome", "word"),
    [(Outcome.ALLOW, "allow"), (Outcome.REFUSE, "refuse"), (Outcome.DEFER, "defer"), (Outcome.OVER_QUOTA, "spent")],
)
def test_N11_the_last_verdict_is_in_the_line_of_its_session(outcome: Outcome, word: str) -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\n")
    assert dict(driver.session.facts())["verdict"] == "", "nobody was asked"
    driver.client(b"RCPT TO:<v@far.test>\r\n")
    driver.answer(Verdict(outcome, Reason.BARRED))
    driver.client(b"RSET\r\n")
    assert dict(driver.session.facts())["verdict"] == word


def test_N11_the_verdict_of_an_authenticated_session() -> None:
    driver = ready()
    driver.client(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n")
    driver.upstream(b"235 ok\r\n")
    driver.client(b"MAIL FROM:<a@s.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    driver.client(b"RCPT TO:<v@far.test>\r\n")
    assert dict(driver.session.facts())["verdict"] == "allow"


def test_N11_a_refusal_is_told_with_all_that_the_log_needs() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\n")
    assert asked(driver) is not None
    driver.answer(REFUSE)
    reply = "554 5.7.1 <v@far.test>: Relay access denied"
    assert driver.events == [Refused("a@s.test", "v@far.test", reply, Reason.NO_LEASE, "no lease")]


def test_N11_the_audit_trail_of_a_relayed_message() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nRCPT TO:<w@far.test>\r\nDATA\r\n")
    assert asked(driver) is not None
    driver.answer(ALLOW)
    driver.upstream(b"250 a\r\n250 b\r\n550 c\r\n354 go\r\n")
    driver.client(b"x\r\n", b"y\n.\r\n.\r\n")
    driver.upstream(b"250 2.0.0 Ok: queued as 1A2B\r\n")
    sent = len(b"x\r\ny\r\n..\r\n.\r\n")
    trail = Relayed("a@s.test", ("v@far.test",), sent, "250 2.0.0 Ok: queued as 1A2B", ALLOW, 1)
    assert driver.events == [trail]


def test_N11_local_mail_leaves_no_trail() -> None:
    driver = in_body()
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"250 queued\r\n")
    assert not driver.events


def test_G14_the_trail_names_the_login() -> None:
    driver = ready()
    driver.client(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n")
    driver.upstream(b"235 ok\r\n")
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nDATA\r\n")
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"554 no\r\n")
    assert driver.events == [
        Relayed("a@s.test", ("v@far.test",), 6, "554 no", Verdict(Outcome.ALLOW, Reason.AUTHENTICATED, login="anna"), 1)
    ]


def test_S10_a_failed_login_is_told_without_its_password() -> None:
    driver = ready()
    driver.client(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n")
    driver.upstream(b"535 no\r\n")
    assert driver.events == [LoginFailed("anna")]


def test_the_refusal_shows_no_odd_octets_and_fits_a_reply_line() -> None:
    session = new_session("smtp")
    driver = Driver(session)
    driver.upstream(b"220 old\r\n")
    driver.client(b"HELO c.test\r\n")
    driver.upstream(b"250 old\r\n")
    driver.to_client = b""
    driver.client(b"MAIL FROM:<a@s.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    driver.client(b"RCPT TO:<" + b"a" * 64 + b"@" + b"b" * 200 + b"." + b"c" * 50 + b">\r\n")
    driver.answer(REFUSE)
    line = driver.to_client.partition(b"\r\n")[2]
    assert line.startswith(b"554 5.7.1 <aaaa")
    assert len(line) <= 512


@pytest.mark.parametrize("call", ["client_eof", "upstream_eof", "upstream_failed", "out_of_time", "drain", "start_tls"])
def test_a_finished_session_stays_finished(call: str) -> None:
    driver = ready()
    driver.client(b"GET / HTTP/1.1\r\n")
    assert driver.finished is not None
    driver.events.clear()
    driver.call(getattr(driver if call == "start_tls" else driver.session, call))
    driver.answer(ALLOW)
    driver.client(b"RCPT TO:<v@far.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    assert not driver.events
    assert driver.to_client == driver.to_upstream == b""
