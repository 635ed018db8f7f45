"""session/pop3/session.py: what dialogues as text (tests/transcripts/pop3) can't say.

Moments between a question and its answer, holding, bounds, facts.
"""

from __future__ import annotations

import pytest

from proxy.session.contract import Wait
from proxy.session.events import (
    ClientDone,
    Event,
    Finished,
    LoggedIn,
    LoginFailed,
    TlsAsked,
)
from proxy.session.mailbox import MAX_HELD
from proxy.session.pop3.session import PopSession

from ..support.driver import Driver, new_session
from ..support.reach import octets_held


def driver(*words: str) -> Driver:
    return Driver(new_session("pop3", words))


def greeted(*words: str) -> Driver:
    found = driver(*words)
    found.upstream(b"+OK hi\r\n")
    return found


def held(*words: str, behind: bytes = b"") -> Driver:
    """A login whose +OK waits for its lease; `behind` came behind the password."""
    found = greeted(*words)
    found.client(b"USER anna\r\n")
    found.upstream(b"+OK\r\n")
    found.client(b"PASS secret\r\n" + behind)
    found.upstream(b"+OK in\r\n")
    assert taken(found) == [LoggedIn("anna")]
    found.to_client = found.to_upstream = b""
    return found


def taken(found: Driver) -> list[Event]:
    events, found.events = found.events, []
    return events


def pop(found: Driver) -> PopSession:
    assert isinstance(found.session, PopSession)
    return found.session


# The held +OK


def test_G5_the_ok_waits_for_the_lease_and_nothing_passes_it() -> None:
    found = held()
    found.client(b"STAT\r\n")
    found.upstream(b"* early\r\n")
    assert (found.to_client, found.to_upstream) == (b"", b"")
    assert not pop(found).streaming
    assert pop(found).doing == "waiting for the lease"
    found.lease()
    assert found.to_client == b"+OK in\r\n* early\r\n"
    assert found.to_upstream == b"STAT\r\n"
    assert pop(found).streaming


def test_G5_settling_twice_or_never_asked_does_nothing() -> None:
    found = greeted()
    found.to_client = b""
    found.lease()
    assert found.to_client == b""
    assert not pop(found).streaming
    found = held()
    found.lease()
    found.lease()
    assert found.to_client == b"+OK in\r\n"


def test_P4_the_upstream_s_end_behind_the_held_ok_comes_after_it() -> None:
    found = held()
    found.upstream(b"-ERR mailbox is broken\r\n")
    found.call(pop(found).upstream_eof)
    assert (found.to_client, taken(found)) == (b"", [])
    found.lease()
    assert found.to_client == b"+OK in\r\n-ERR mailbox is broken\r\n"
    (end,) = taken(found)
    assert isinstance(end, Finished)
    assert end.clean


def test_P5_the_client_s_end_while_the_ok_is_held() -> None:
    found = held()
    found.client_eof()
    assert taken(found) == []
    found.lease()
    assert taken(found) == [ClientDone()]
    assert pop(found).streaming


def test_P4_what_may_be_held_of_the_upstream_has_a_bound() -> None:
    found = held()
    for _ in range(MAX_HELD // 16384 + 2):
        found.upstream(b"x" * 16384)
    (end,) = taken(found)
    assert isinstance(end, Finished)
    assert not end.clean
    assert found.to_client == b"", "the +OK of an upstream that floods is not passed on either"


def test_P4_a_client_that_floods_behind_its_password_is_not_read() -> None:
    found = held(behind=b"x")
    assert pop(found).holding
    for _ in range(100):
        found.client(b"y" * 16384)
    assert octets_held(found.session) < 16384, "the driver, like the link, feeds nothing while it holds"
    found.lease()
    assert not pop(found).holding
    assert found.to_upstream == b"x" + b"y" * 1638400


@pytest.mark.parametrize(
    "behind", [b"PASS x\r\nSTAT\r\n", b"APOP anna c4c9\r\nSTAT\r\n", b"AUTH PLAIN AGEAYg==\r\nSTAT\r\n"]
)
def test_P4_holding_from_the_command_to_its_reply(behind: bytes) -> None:
    found = greeted()
    found.client(b"USER a\r\n")
    found.upstream(b"+OK\r\n")
    assert not pop(found).holding
    found.client(behind)
    assert pop(found).holding
    found.upstream(b"-ERR no\r\n")
    assert taken(found)[0] in (LoginFailed("a"), LoginFailed("anna"))
    assert found.to_client.endswith(b"-ERR Unknown command\r\n"), "STAT became a command"


# STLS


@pytest.mark.parametrize("behind", [b"USER anna\r\n", b"U", b"\x16\x03\x01"])
def test_P6_octets_in_the_clear_while_tls_is_awaited_end_it(behind: bytes) -> None:
    found = greeted("stls")
    found.client(b"STLS\r\n")
    found.to_client = b""
    found.client(behind)
    asked, end = taken(found)
    assert asked == TlsAsked()
    assert isinstance(end, Finished)
    assert (found.to_client, found.to_upstream) == (b"", b"")


def test_P6_time_over_in_the_handshake_is_no_line_in_the_clear() -> None:
    found = greeted("stls")
    found.client(b"STLS\r\n")
    found.to_client = b""
    found.call(pop(found).out_of_time)
    assert found.to_client == b""
    assert isinstance(taken(found)[-1], Finished)


@pytest.mark.parametrize("farewell", [b"", b"-ERR autologout\r\n"])
def test_P6_an_upstream_that_leaves_during_the_handshake(farewell: bytes) -> None:
    found = greeted("stls")
    """Nothing can be said while TLS starts: the client hears it behind."""
    found.client(b"STLS\r\n")
    assert found.to_client.endswith(b"+OK Begin TLS\r\n")
    said = len(found.to_client)
    if farewell:
        found.upstream(farewell)
    found.call(pop(found).upstream_eof)
    assert found.to_client[said:] == b""
    found.start_tls()
    assert found.to_client[said:] == (farewell or b"-ERR [SYS/TEMP] The connection to the mail server was lost\r\n")
    assert isinstance(taken(found)[-1], Finished)


# Waits, steps, facts


def test_waits_name_their_limits() -> None:
    found = driver()
    assert pop(found).wait is Wait.GREETING
    found.upstream(b"+OK\r\n")
    assert pop(found).wait is Wait.LOGIN
    found.client(b"USER a\r\n")
    assert pop(found).wait is Wait.COMMAND, "the upstream's turn"
    found.upstream(b"+OK\r\n")
    found = held()
    assert pop(found).wait is Wait.LOGIN
    found.lease()
    assert pop(found).wait is Wait.MAILBOX
    assert pop(found).streaming


def test_a_step_is_a_whole_line_not_an_octet() -> None:
    found = greeted()
    before = pop(found).step
    found.client(b"N", b"O", b"O", b"P")
    assert pop(found).step == before
    found.client(b"\r\n")
    assert pop(found).step == before + 1
    found.upstream(b"+O")
    assert pop(found).step == before + 1
    found.upstream(b"K\r\n")
    assert pop(found).step == before + 2
    found = held()
    found.lease()
    before = pop(found).step
    found.client(b"x")
    found.upstream(b"y")
    assert pop(found).step == before + 2


def test_facts_for_the_log() -> None:
    found = greeted()
    found.client(b"APOP anna digest\r\n")
    found.upstream(b"-ERR no\r\n")
    found.client(b"AUTH PLAIN AGJlcnQAc0VjUmVU\r\n")
    found.upstream(b"+OK\r\n")
    assert pop(found).facts() == [("login", "bert"), ("cmds", 2), ("failed", 1)]


SECRETS = [
    b"USER anna\r\nPASS sEcReT\r\n",
    b"APOP anna sEcReT\r\n",
    b"AUTH PLAIN AGFubmEAc0VjUmVU\r\n",
    b"AUTH LOGIN YW5uYQ==\r\nc0VjUmVU\r\n",
    b"AUTH XOAUTH2 dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHNFY1JlVAEB\r\n",
    b"AUTH PLAIN c0VjUmVU\r\n",
]


@pytest.mark.parametrize("login", SECRETS)
@pytest.mark.parametrize("end", [b"+OK\r\n", b"-ERR no\r\n", b"garbage\r\n", b""])
def test_no_secret_in_events_facts_or_phrases(login: bytes, end: bytes) -> None:
    found = greeted()
    first, _, second = login.partition(b"\r\n")
    found.client(first + b"\r\n")
    if second:
        found.upstream(b"+OK\r\n" if first.startswith(b"USER") else b"+ \r\n")
        found.client(second)
    assert b"sEcReT" in found.to_upstream or b"c0VjUmVU" in found.to_upstream or b"NFY1JlV" in found.to_upstream
    doing = pop(found).doing
    if end:
        found.upstream(end)
    else:
        found.call(pop(found).upstream_eof)
    words = repr((found.events, pop(found).facts(), doing, pop(found).doing))
    for secret in ("sEcReT", "c0VjUmVU", "NFY1JlV"):
        assert secret not in words


def test_a_finished_session_is_silent() -> None:
    found = greeted()
    found.client(b"QUIT\r\n")
    found.upstream(b"+OK bye\r\n")
    found.to_client = found.to_upstream = b""
    assert len(taken(found)) == 1
    session = pop(found)
    for action in (
        session.upstream_eof, session.client_eof, session.out_of_time, session.drain, found.lease,
        session.upstream_failed,
    ):  # fmt: skip
        found.call(action)
    found.client(b"NOOP\r\n")
    found.upstream(b"+OK\r\n")
    assert (found.to_client, found.to_upstream, taken(found)) == (b"", b"", [])


@pytest.mark.parametrize("number", [1, 3])
def test_failed_logins_have_a_limit(number: int) -> None:
    found = greeted(f"max_failed_logins={number}")
    for _ in range(number):
        found.client(b"APOP anna x\r\n")
        found.upstream(b"-ERR no\r\n")
    events = taken(found)
    assert events[:-1] == [LoginFailed("anna")] * number
    assert isinstance(events[-1], Finished)
