"""The POP3 session against anything that client and upstream may send.

The model of a login, tests/support/popgame.py, is written apart from the session: an upstream that remembers which
command line it got last and has not answered, and that knows by itself which of its replies end a login.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.session.events import Finished, LoggedIn, TlsAsked
from proxy.session.mailbox import MAX_HELD
from proxy.session.pop3.session import PopSession
from proxy.wire.pop3 import MAX_REPLY_LINE
from proxy.wire.sasl import MAX_LINE

from ..support.driver import Driver, new_session
from ..support.popgame import Logins
from ..support.reach import octets_held

COMMANDS = [
    b"CAPA", b"STLS", b"USER anna", b"USER bert", b"USER", b"PASS sEcReT", b"PASS", b"APOP anna d1g", b"APOP x",
    b"AUTH", b"AUTH PLAIN", b"AUTH PLAIN AGFubmEAc0VjUmVU", b"AUTH LOGIN", b"AUTH LOGIN YW5uYQ==", b"AUTH ANONYMOUS",
    b"AUTH PLAIN =", b"YW5uYQ==", b"c0VjUmVU", b"*", b"=", b"UTF8", b"LANG", b"LANG de", b"NOOP", b"QUIT", b"RETR 1",
    b"LIST", b"XCLIENT A=B", b"", b"user anna", b"pass sEcReT", b"GET / HTTP/1.1", b"USER an\0na", b"PASS a\nQUIT",
    b"PASS \rx", b"STLS x",
]  # fmt: skip
REPLIES = [
    b"+OK", b"+OK logged in", b"+OK ", b"-ERR", b"-ERR [IN-USE] no", b"+", b"+ ", b"+ PDE4", b"+OKAY", b"+ok", b" +OK",
    b".", b"..", b"+OK\0", b"TOP", b"SASL PLAIN", b"220 hi", b"", b"-ERRx", b"UIDL", b"+OK\rx",
]  # fmt: skip
LINE = re.compile(
    rb"(?:(?:CAPA|UTF8|LANG|NOOP|QUIT)"
    rb"|(?:USER|PASS|APOP|AUTH|LANG) [\x20-\x7e\x80-\xff]+"
    rb"|AUTH [A-Z0-9-]+|PASS ?|\*|=|[A-Za-z0-9+/=]*)\r\n"
)

mutation = st.tuples(
    st.integers(0, 60), st.sampled_from([b"\r", b"\n", b"\0", b"\r\n", b" ", b"\xff", b"\t", b"+OK\r\n"])
)


def spoilt(line: bytes, where: tuple[int, bytes] | None) -> bytes:
    text = line + b"\r\n"
    if where is None:
        return text
    at = where[0] % (len(text) + 1)
    return text[:at] + where[1] + text[at:]


def words(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly lines as they should be, some spoilt, some noise."""
    good = st.sampled_from(lines).map(lambda line: line + b"\r\n")
    bad = st.builds(spoilt, st.sampled_from(lines), mutation)
    return st.one_of(good, good, good, bad, st.binary(max_size=20))


client = st.one_of(words(COMMANDS), st.lists(st.sampled_from(COMMANDS), min_size=2, max_size=5).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)))  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("C"), client),
        st.tuples(st.just("U"), words(REPLIES)),
        st.tuples(st.just("U"), st.sampled_from([b"+OK\r\n", b"-ERR no\r\n"])),
        st.tuples(st.sampled_from(["settle", "eof C", "eof U", "time", "drain", "tls", "failed"]), st.just(b"")),
    ),
    max_size=25,
)
option = st.sets(st.sampled_from(["stls", "tls", "tls_required"]))


class Play:
    """A session that is fed steps; what is asked is answered when a step says so."""

    def __init__(self, options: set[str]) -> None:
        self.driver = Driver(new_session("pop3", sorted(options)))
        session = self.driver.session
        assert isinstance(session, PopSession)
        self.session = session
        self.asked_tls = False

    def step(self, kind: str, data: bytes) -> None:
        driver, session = self.driver, self.session
        if kind == "C":
            driver.client(data)
        elif kind == "U":
            driver.upstream(data)
        elif kind == "settle":
            driver.lease()
        elif kind == "eof C":
            driver.client_eof()
        elif kind == "tls":
            if self.asked_tls:
                self.asked_tls = False
                driver.start_tls()
        else:
            driver.call({"eof U": session.upstream_eof, "time": session.out_of_time, "drain": session.drain,
                         "failed": session.upstream_failed}[kind])  # fmt: skip
        if TlsAsked() in driver.events:
            self.asked_tls = True
            driver.events.remove(TlsAsked())


@settings(max_examples=500)
@given(option, steps)
def test_no_exception_leaves_a_session_and_no_secret_its_events(
    options: set[str], script: list[tuple[str, bytes]]
) -> None:
    play = Play(options)
    for kind, data in script:
        play.step(kind, data)
        said = repr((play.driver.events, play.session.facts(), play.session.doing, play.session.wait))
        assert "sEcReT" not in said
        assert "c0VjUmVU" not in said
        assert isinstance(play.session.holding, bool)
        assert isinstance(play.session.streaming, bool)
    assert sum(isinstance(event, Finished) for event in play.driver.events) <= 1


@settings(max_examples=500)
@given(option, steps)
def test_P2_before_the_login_the_upstream_gets_lines_that_popgate_wrote(
    options: set[str], script: list[tuple[str, bytes]]
) -> None:
    play = Play(options)
    for kind, data in script:
        if play.session.streaming:
            break
        if kind == "settle":
            continue  # what waited behind the password passes on as it is
        play.step(kind, data)
        for line in play.driver.to_upstream.splitlines(keepends=True):
            assert LINE.fullmatch(line), line
        play.driver.to_upstream = b""


@settings(max_examples=800)
@given(option, st.lists(st.one_of(st.tuples(st.just("C"), client), st.tuples(st.just("U"), st.sampled_from(REPLIES)))))
@example(set(), [("U", b"+OK"), ("C", b"USER anna\r\nPASS x\r\n"), ("U", b"+OK"), ("U", b"+OK")])
@example(set(), [("U", b"+OK"), ("C", b"AUTH PLAIN\r\n"), ("U", b"+ "), ("C", b"AAAA\r\n"), ("U", b"+OK")])
@example(
    set(), [("U", b"+OK"), ("C", b"CAPA\r\nAPOP a b\r\n"), ("U", b"+OK"), ("U", b"+OK"), ("U", b"."), ("U", b"+OK")]
)
def test_P3_only_a_positive_reply_to_pass_apop_or_auth_is_a_login(
    options: set[str], script: list[tuple[str, bytes]]
) -> None:
    play, server = Play(options), Logins()
    for kind, data in script:
        if kind == "C":
            play.step("C", data)
            expected: bool | None = False
        else:
            expected = server.says(data)
            play.step("U", data + b"\r\n")
        logins = [event for event in play.driver.events if isinstance(event, LoggedIn)]
        assert bool(logins) == bool(expected and not play.driver.finished), (data, expected)
        if logins or expected is None or play.driver.finished:
            return
        if play.asked_tls:
            play.step("tls", b"")
        play.driver.events.clear()
        server.got(play.driver.to_upstream)
        play.driver.to_upstream = b""


def opened() -> Driver:
    driver = Driver(new_session("pop3"))
    driver.upstream(b"+OK\r\n")
    driver.client(b"APOP a b\r\n")
    driver.upstream(b"+OK\r\n")
    assert isinstance(driver.session, PopSession)
    driver.lease()
    driver.to_client = driver.to_upstream = b""
    return driver


octets = st.one_of(
    st.binary(min_size=1, max_size=50), st.sampled_from([b"STLS\r\n", b"+OK\r\n", b"\r\n.\r\n", b"QUIT"])
)


@given(st.lists(st.tuples(st.booleans(), octets)))
def test_P5_after_the_login_every_octet_passes_in_order_both_ways(script: list[tuple[bool, bytes]]) -> None:
    driver = opened()
    for from_client, data in script:
        (driver.client if from_client else driver.upstream)(data)
    assert driver.to_upstream == b"".join(data for from_client, data in script if from_client)
    assert driver.to_client == b"".join(data for from_client, data in script if not from_client)
    assert driver.events == [LoggedIn("a")]


@given(st.binary(max_size=60), st.lists(octets, max_size=5), st.booleans())
def test_P4_what_came_behind_password_and_ok_passes_in_order(
    behind: bytes, mail: list[bytes], client_leaves: bool
) -> None:
    driver = Driver(new_session("pop3"))
    driver.upstream(b"+OK\r\n")
    driver.client(b"APOP a b\r\n" + behind)
    driver.to_client = driver.to_upstream = b""
    if client_leaves:
        driver.client_eof()
    driver.upstream(b"+OK\r\n" + b"".join(mail[:1]))
    for part in mail[1:]:
        driver.upstream(part)
    assert driver.to_client == b""
    assert isinstance(driver.session, PopSession)
    driver.lease()
    assert driver.to_upstream == behind
    assert driver.to_client == b"+OK\r\n" + b"".join(mail)


class Reactive:
    """An upstream that answers each line with the next of its replies, in pieces, and lists with lists.

    Never with more than a reply: what is behind it in one segment answers nothing, what comes later answers the next
    command, and no proxy can tell.
    """

    def __init__(self, replies: list[bytes]) -> None:
        self.replies = replies

    def play(self, options: set[str], client: list[bytes], size: int) -> tuple[bytes, bytes, list[object]]:
        driver = Driver(new_session("pop3", sorted(options)))
        session = driver.session
        assert isinstance(session, PopSession)
        driver.upstream(b"+OK hi\r\n")
        answered, replies = 0, iter(self.replies)
        events: list[object] = []
        pending = list(client)
        while True:
            moved = False
            while driver.to_upstream.count(b"\r\n") > answered and not session.streaming:
                answered += 1
                reply = next(replies, b"-ERR no more\r\n")
                if reply.startswith(b"+OK") and driver.to_upstream.endswith((b"CAPA\r\n", b"LANG\r\n")):
                    reply += b"TOP\r\n.\r\n"
                driver.upstream(*[reply[at : at + size] for at in range(0, len(reply), size)])
                moved = True
                if any(isinstance(event, LoggedIn) for event in driver.events):
                    driver.lease()
                events += driver.events
                driver.events.clear()
            if not moved:
                if not pending:
                    break
                driver.client(pending.pop(0))
        driver.client_eof()
        return driver.to_client, driver.to_upstream, events + driver.events


single_replies = st.sampled_from([b"+OK\r\n", b"+OK logged in\r\n", b"-ERR no\r\n", b"+ \r\n", b"+ok\r\n"])


@settings(max_examples=300)
@given(st.lists(st.sampled_from(COMMANDS), max_size=12), st.lists(single_replies, max_size=12), st.data())
def test_chunking_changes_nothing(lines: list[bytes], replies: list[bytes], data: st.DataObject) -> None:
    """STLS is not offered here: what is behind it in one segment is another thing than what comes later."""
    text = b"".join(line + b"\r\n" for line in lines)
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    cut = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    size = data.draw(st.integers(1, 30))
    upstream = Reactive(replies)
    whole = upstream.play(set(), [text], 1 << 20)
    assert upstream.play(set(), cut, size) == whole
    assert upstream.play(set(), [text[at : at + 1] for at in range(len(text))], 1) == whole


@pytest.mark.parametrize("where", ["start", "commands", "pass", "sasl", "list", "held"])
@pytest.mark.parametrize("noise", [b"x" * 16384, b"x\r\n" * 5461, b"\r" * 16384, b"\0" * 16384, b"+OK\r\n" * 3276])
def test_memory_has_a_bound_whatever_comes(where: str, noise: bytes) -> None:
    driver = Driver(new_session("pop3"))
    for before in {
        "start": [], "commands": [b""], "pass": [b"APOP a b\r\n"], "sasl": [b"AUTH LOGIN\r\n", b"+ \r\n"],
        "list": [b"CAPA\r\n", b"+OK\r\n"], "held": [b"APOP a b\r\n", b"+OK\r\n"],
    }[where]:  # fmt: skip
        if not before:
            driver.upstream(b"+OK\r\n")
        elif before.startswith(b"+"):
            driver.upstream(before)
        else:
            driver.upstream(b"+OK\r\n")
            driver.client(before)
    session = driver.session
    assert isinstance(session, PopSession)
    for _ in range(30):
        if not session.holding:
            session.client_bytes(noise)
        session.upstream_bytes(noise)
        kept = octets_held(session)
        assert kept <= MAX_LINE + MAX_REPLY_LINE + MAX_HELD + 4 * 16384 + 4096
        session.output.take_to_client()
        session.output.take_to_upstream()
