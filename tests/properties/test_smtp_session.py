"""The SMTP session against anybody: order, chunks, the shape of what goes up, secrets, bounds, and no exception ever.

Two kinds of play.  `polite`: a client that waits where it must, and a server that answers every line with an echo of
it, so that a reply in the wrong place is seen.  `wild`: both sides, the gate and the clock do anything at any time.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.session.events import Finished, RelayAsked, TlsAsked
from proxy.session.smtp import SmtpSession

from ..support.driver import Driver, new_session
from ..support.play import pieces, single, whole
from ..support.smtp import ALLOW, DEFER, REFUSE, recipients

if TYPE_CHECKING:
    from proxy.session.events import Verdict

COMMAND = re.compile(rb"[A-Z]{4,8}[ -~\x80-\xff]*\r\n")  # what popgate writes: no CR, LF or NUL but at the end
RESPONSE = re.compile(rb"(?:[A-Za-z0-9+/]*=*|\*)\r\n")
REPLY = re.compile(rb"(?:([0-9]{3})-[^\r\n]*\r\n)*[0-9]{3}(?: [^\r\n]*)?\r\n")
SENTINEL = "s3ntinel-pa55word"
OFFER = [b"PIPELINING", b"SIZE", b"8BITMIME", b"DSN", b"SMTPUTF8", b"AUTH PLAIN LOGIN"]
often = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Watched(Driver):
    """A driver that checks the shape of everything that goes up, and keeps all of it."""

    def __init__(self, *words: str) -> None:
        session = new_session("smtp", words)
        assert isinstance(session, SmtpSession)
        self.smtp = session
        self.commands = b""  # all command lines sent up
        self.bodies = 0  # ended ones
        self._before = (False, "")
        self._body = b""
        super().__init__(session)

    def _take(self) -> None:
        sent = b"".join(self.smtp.to_upstream)
        streaming, doing = self._before
        self._before = (self.smtp.streaming, self.smtp.doing)
        super()._take()
        if streaming:
            sent = self._take_body(sent)
        for line in re.findall(rb"[^\n]*\n|[^\n]+", sent):
            shape = RESPONSE if doing == "waiting for an AUTH response" else COMMAND
            assert shape.fullmatch(line), line
            assert len(line) <= 12290
            self.commands += line

    def _take_body(self, sent: bytes) -> bytes:
        """What goes up of a message has CRLF alone, and one end; return what is behind it."""
        text = (self._body or b"\r\n") + sent
        at = text.find(b"\r\n.\r\n")
        body, behind = (text, b"") if at < 0 else (text[: at + 5], text[at + 5 :])
        rest = body.replace(b"\r\n", b"")
        assert b"\r" not in rest
        assert b"\n" not in rest
        self._body = b"" if at >= 0 else body
        self.bodies += at >= 0
        return behind


class Echo:
    """A server that answers each line with it; `codes` says how, one after another."""

    def __init__(self, codes: list[int], *, pipelining: bool) -> None:
        self._codes = codes
        self._turn = 0
        self._offer = OFFER if pipelining else OFFER[1:]
        self._data = b""
        self._in_message = self._in_auth = False

    def feed(self, sent: bytes) -> bytes:
        self._data += sent
        replies = b""
        while True:
            end = b"\r\n.\r\n" if self._in_message else b"\r\n"
            line, found, rest = self._data.partition(end)
            if not found:
                return replies
            self._data = rest
            replies += self._reply(line)

    def _reply(self, line: bytes) -> bytes:
        code = self._codes[self._turn % len(self._codes)]
        self._turn += 1
        if self._in_message:
            self._in_message = False
            return b"%d echo message\r\n" % code
        verb = line[:4]
        if self._in_auth or verb == b"AUTH":
            self._in_auth = code == 451
            return b"334 AAAA\r\n" if self._in_auth else b"235 echo AUTH\r\n" if code == 250 else b"535 echo AUTH\r\n"
        if verb == b"EHLO" and code == 250:
            return b"".join([b"250-%b\r\n" % text for text in (b"echo " + line, *self._offer)]) + b"250 HELP\r\n"
        if verb == b"DATA" and code == 250:
            self._in_message = True
            self._data = b"\r\n" + self._data
            return b"354 echo DATA\r\n"
        return b"%d echo %b\r\n" % (221 if verb == b"QUIT" else code, line)


# Polite play: packets of numbered commands

PIPELINED = [
    "MAIL FROM:<m%d@s.test>",
    "RCPT TO:<r%d@local.test>",
    "RCPT TO:<r%d@far.test>",
    "RSET",
    "NOOP %d",
    "VRFY r%d",
]
PIPELINED += ["RCPT TO:<r%d@a%%b@local.test>", "HELP", "XYZZY %d", "MAIL FROM:<m%d@s.test> SMTPUTF8", "EXPN %d"]
LAST = ["DATA", "EHLO c%d.test", "HELO c%d.test", "QUIT", "AUTH PLAIN AGEAYg==", "STARTTLS", "AUTH LOGIN"]
LAST += ["NOOP %d\0", "RSET"]
BODIES = [b"x\r\n.\r\n", b".\r\n", b"x\n.\r\ny\r\n.\r\nMAIL FROM:<m0@s.test>\r\n", b"..\r\n" * 50 + b".\r\n"]
packets = st.lists(
    st.tuples(st.lists(st.sampled_from(PIPELINED), max_size=5), st.sampled_from(LAST), st.sampled_from(BODIES)),
    max_size=8,
)
codes = st.lists(st.sampled_from([250, 250, 250, 250, 550, 451]), min_size=1, max_size=20)
verdicts = st.sampled_from([ALLOW, REFUSE, DEFER])
Script = list[tuple[list[str], str, bytes]]
Cut = Callable[[bytes], list[bytes]]


class Play:
    """A polite client before a session before an echoing server, which answers behind a packet and not within it."""

    def __init__(self, how: list[int], verdict: Verdict, *, pipelining: bool, cut: Cut) -> None:
        self.driver = Watched("starttls", "max_errors=50", "max_refusals=50")
        self.asked: list[bytes] = []
        self.events: list[object] = []
        self._server, self._verdict, self._cut = Echo(how, pipelining=pipelining), verdict, cut
        self._said_up = 0
        self.driver.upstream(b"220 echo greeting\r\n")
        self.asked.append(b"greeting")

    def packet(self, lines: list[bytes]) -> None:
        in_exchange = self.driver.smtp.doing == "waiting for an AUTH response"
        self.asked += [b"AUTH"] if in_exchange else lines
        self._send(b"".join(line + b"\r\n" for line in lines))

    def body(self, text: bytes) -> None:
        if self.driver.smtp.streaming:
            self.asked += [b"message", *text.partition(b"y\r\n.\r\n")[2].split(b"\r\n")[:-1]]
            self._send(text)

    @property
    def finished(self) -> bool:
        return any(isinstance(event, Finished) for event in self.events)

    def _send(self, data: bytes) -> None:
        driver = self.driver
        driver.client(*self._cut(data))
        while True:
            events, driver.events[:] = list(driver.events), []
            self.events += events
            sent, driver.to_upstream = driver.to_upstream, b""
            for event in events:
                if isinstance(event, RelayAsked):
                    driver.answer(self._verdict)
                elif isinstance(event, TlsAsked):
                    driver.call(driver.smtp.tls_started)
            replies = self._server.feed(sent)
            if replies and not self.finished:
                driver.upstream(replies)
            if not (events or sent or replies):
                return


def played(
    script: Script,
    how: list[int],
    verdict: Verdict,
    *,
    pipelining: bool = True,
    cut: Cut = whole,
) -> Play:
    play, number = Play(how, verdict, pipelining=pipelining, cut=cut), 0
    play.packet([b"EHLO c0.test"])
    for group, last, body in script:
        lines = []
        for text in [*group, last]:
            number += 1
            lines.append((text % number if "%d" in text else text).encode())
        if last == "AUTH LOGIN" or play.driver.smtp.doing == "waiting for an AUTH response":
            lines = lines[-1:]  # what comes in an exchange is a response, one at a time
        play.packet(lines)
        if last == "DATA":
            play.body(body)
        if play.finished:
            break
    return play


def split_replies(said: bytes) -> list[bytes]:
    replies, at = [], 0
    while at < len(said):
        match = REPLY.match(said, at)
        assert match is not None, said[at:]
        replies.append(match[0])
        at = match.end()
    return replies


@given(packets, codes, verdicts, st.booleans())
@often
def test_S6_order_each_reply_answers_its_command(
    script: Script, how: list[int], verdict: Verdict, pipelining: bool
) -> None:
    play = played(script, how, verdict, pipelining=pipelining)
    replies = split_replies(play.driver.to_client)
    if not play.finished:
        assert len(replies) == len(play.asked)
    for asked, reply in zip(play.asked, replies, strict=False):
        numbers = re.findall(rb"[mrc]([0-9]+)@|c([0-9]+)\.test", reply)
        expected = re.findall(rb"[mrc]([0-9]+)@|c([0-9]+)\.test", asked)
        echo = re.search(rb"echo ([A-Za-z]+)", reply)
        assert not numbers or numbers[0] == expected[0], (asked, reply)
        assert echo is None or asked.upper().startswith(echo[1].upper()) or asked.startswith(b"EHLO"), (asked, reply)


@given(packets, codes, verdicts, st.booleans(), st.sampled_from([None, "a", "b", "c", "d"]))
@example([(["RCPT TO:<r%d@far.test>"], "STARTTLS", b"")], [250], REFUSE, True, None)
@often
def test_chunking_changes_nothing(
    script: Script, how: list[int], verdict: Verdict, pipelining: bool, seed: str | None
) -> None:
    cut = pieces(seed) if seed else single
    one = played(script, how, verdict, pipelining=pipelining)
    many = played(script, how, verdict, pipelining=pipelining, cut=cut)
    assert many.driver.to_client == one.driver.to_client
    assert many.driver.commands == one.driver.commands
    assert many.driver.bodies == one.driver.bodies
    assert many.events == one.events
    assert many.driver.smtp.facts() == one.driver.smtp.facts()


@given(packets, codes, st.sampled_from([REFUSE, DEFER]), st.booleans())
@often
def test_no_refused_recipient_reaches_the_upstream(
    script: Script, how: list[int], verdict: Verdict, pipelining: bool
) -> None:
    play = played(script, how, verdict, pipelining=pipelining)
    if not play.driver.smtp.authenticated:
        assert not [line for line in recipients(play.driver.commands) if "far.test" in line]


@given(packets, codes, st.booleans())
@often
def test_S9_a_positive_reply_to_a_message_is_the_upstreams(script: Script, how: list[int], pipelining: bool) -> None:
    play = played(script, how, ALLOW, pipelining=pipelining)
    ok = play.driver.to_client.count(b"250 echo message\r\n")
    assert ok == play.driver.smtp.messages <= play.driver.bodies


# Wild play

SECRET_LINE = base64.b64encode(SENTINEL.encode())
SECRET_PLAIN = base64.b64encode(b"\0anna\0" + SENTINEL.encode())
Action = tuple[str, bytes]
client_lines = st.sampled_from(
    [
        *[line.encode() for line in [*PIPELINED, *LAST]],
        *[
            b"",
            b" ",
            b"DATA x",
            b"BDAT 1",
            b"GET / HTTP/1.1",
            b"AUTH PLAIN " + SECRET_PLAIN,
            b"RCPT TO:<v@far.test>\nQUIT",
        ],
        *[b"MAIL FROM:<> SIZE=1 BODY=8BITMIME", b"RCPT TO:<postmaster>", b"MAIL FROM:<\xc3\xbc@s.test> SMTPUTF8", b"."],
        *[b"x" * 600, b"x" * 13000, b"AUTH XOAUTH2 AAAA", b"*", b"=", b"AAAA", b"EHLO \xff", b"MAIL FROM:<a@s.test>"],
    ]
)
upstream_lines = st.sampled_from(
    [
        *[
            b"220 x",
            b"250 ok",
            b"250-a\r\n250 PIPELINING",
            b"250-a\r\n250-AUTH LOGIN PLAIN\r\n250 SIZE",
            b"354 go",
            b"334 AAAA",
        ],
        *[
            b"235 ok",
            b"535 no",
            b"421 bye",
            b"550 no",
            b"451 later",
            b"221 bye",
            b"250-a\r\n550 b",
            b"25",
            b"250ok",
            b"\0",
            b"x\n",
        ],
        *[b"500 what", b"250 " + b"x" * 5000, b"250-x\r\n" * 120, b"250"],
    ]
)
joined = st.builds(
    lambda lines, end: b"\r\n".join(lines) + end,
    st.lists(client_lines, max_size=4),
    st.sampled_from([b"\r\n", b"\r\n", b"", b"\n"]),
)
actions = st.one_of(
    st.tuples(st.just("client"), joined),
    st.tuples(st.just("client"), joined),
    st.tuples(st.just("client"), st.binary(max_size=20)),
    st.tuples(st.just("client"), st.sampled_from([*BODIES, b"\r\n.\r\n", b".\r", b"\n"])),
    st.tuples(st.just("upstream"), upstream_lines.map(lambda line: line + b"\r\n")),
    st.tuples(st.just("upstream"), upstream_lines.map(lambda line: line + b"\r\n")),
    st.tuples(st.just("upstream"), st.binary(max_size=10)),
    st.tuples(st.sampled_from(["serve", "serve", "serve", "serve", "refuse", "allow", "defer"]), st.just(b"")),
    st.tuples(st.sampled_from(["lapse", "time", "drain", "tls", "client_eof", "upstream_eof", "failed"]), st.just(b"")),
)
login = [
    ("client", b"AUTH LOGIN\r\n"),
    ("serve", b""),
    ("client", b"YW5uYQ==\r\n"),
    ("serve", b""),
    ("client", SECRET_LINE + b"\r\n"),
]
begin: list[Action] = [("upstream", b"220 x\r\n"), ("client", b"EHLO x\r\n"), ("serve", b"")]
body: list[Action] = [
    ("client", b"MAIL FROM:<a@s.test>\r\nRCPT TO:<b@local.test>\r\nDATA\r\n"),
    ("upstream", b"250 a\r\n250 b\r\n354 c\r\n"),
]
plays = st.builds(
    lambda head, groups: head + [action for group in groups for action in group],
    st.sampled_from([begin, begin, begin + body, begin + login, []]),
    st.lists(st.lists(actions, min_size=1, max_size=3) | st.sampled_from([login, body]), max_size=12),
)
words = st.sampled_from(
    [(), ("starttls",), ("starttls", "tls_required"), ("bare_newline=reject",), ("ask_local",), ("noauth",)]
)


def wild(script: list[Action], how: list[int], given_words: tuple[str, ...]) -> tuple[Watched, list[object], int]:
    """Play; return the driver, all events, and the most octets that the session held."""
    driver = Watched(*given_words)
    server = Echo(how, pipelining=True)
    session, seen, most = driver.smtp, list[object](), 0
    calls: dict[str, Callable[[], None]] = {
        "lapse": session.verdict_lapsed,
        "time": session.out_of_time,
        "drain": session.drain,
        "tls": session.tls_started,
        "upstream_eof": session.upstream_eof,
        "failed": session.upstream_failed,
    }
    answers = {"refuse": REFUSE, "allow": ALLOW, "defer": DEFER}
    for what, octets in script:
        if what == "client":
            driver.client(octets)
        elif what == "upstream":
            driver.upstream(octets)
        elif what == "serve":
            sent, driver.to_upstream = driver.to_upstream, b""
            driver.upstream(server.feed(sent) or b"250 more\r\n")
        elif what == "client_eof":
            driver.client_eof()
        elif what in answers:
            driver.answer(answers[what])
        else:
            driver.call(calls[what])
        assert session.doing
        assert session.wait
        most = max(most, held(session))
        seen += driver.events
        driver.events.clear()
    return driver, seen, most


def held(value: object, depth: int = 0) -> int:
    """Octets and characters that an object keeps, through everything of ours that it is made of."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, list | tuple | deque | set | frozenset):
        return sum(held(part, depth + 1) for part in value)
    kind = type(value)
    if depth > 6 or not kind.__module__.startswith("proxy") or kind.__name__ in ("SmtpSettings", "Offer"):
        return 0
    names = getattr(kind, "__slots__", None) or getattr(value, "__dict__", {})
    return sum(held(getattr(value, name, b""), depth + 1) for name in names)


@given(plays, codes, words)
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_exception_leaves_a_session(script: list[Action], how: list[int], given_words: tuple[str, ...]) -> None:
    """Whatever comes; what goes up keeps its shape (Watched); nothing is said behind the end; nothing piles up."""
    driver, seen, most = wild(script, how, given_words)
    ends = [number for number, event in enumerate(seen) if isinstance(event, Finished)]
    assert len(ends) <= 1
    assert not ends or ends[0] == len(seen) - 1
    assert most < 12288 + 65536 + 16384 + 600 * len(script)
    assert not re.search(rb"(?<!\r)\n", driver.to_client)


@given(plays, codes, words)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([*begin, *login, ("upstream", b"535 no\r\n")], [451], ())
@example([*begin, ("client", b"AUTH PLAIN " + SECRET_PLAIN + b"\r\n"), ("upstream", b"535 no\r\n")], [250], ())
def test_no_secret_in_events_or_facts(script: list[Action], how: list[int], given_words: tuple[str, ...]) -> None:
    driver, seen, _ = wild(script, how, given_words)
    told = repr(seen) + repr(driver.smtp.facts()) + driver.smtp.doing
    for secret in (SENTINEL, SECRET_LINE.decode(), SECRET_PLAIN.decode()):
        assert secret not in told
    assert SENTINEL.encode() not in driver.to_client


def test_memory_is_bounded_under_floods() -> None:
    """Promise 6, each way in: lines without end, commands without replies, recipients, bad commands."""
    rcpt = b"RCPT TO:<" + b"a" * 64 + b"@" + b"d" * 100 + b".test>\r\n"
    floods = {
        "line": [b"x" * 4096] * 200,
        "commands": [b"NOOP\r\n" * 100] * 200,
        "recipients": [b"MAIL FROM:<a@s.test>\r\n", *[rcpt * 20] * 200],
        "errors": [b"NOOP\r\n", *[b"XYZZY\r\n" * 100] * 200],
    }
    for name, packets_ in floods.items():
        driver = Watched("standing=allow", "max_errors=1000000")
        driver.upstream(b"220 x\r\n")
        driver.client(b"EHLO x\r\n")
        driver.upstream(b"250-x\r\n250 PIPELINING\r\n")
        for packet in packets_:
            driver.client(packet)
            driver.to_client = driver.to_upstream = b""
            assert held(driver.smtp) < 1 << 20, name
        if name != "line":
            assert driver.smtp.holding, name  # the link stops reading
