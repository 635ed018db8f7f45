"""The SMTP session between a polite client and an echoing server: order, chunks, and whose a 250 is.

The client waits where it must; the server answers every line with an echo of it, so that a reply in the wrong place is
seen.  A session that nobody is polite to is in test_smtp_session.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.gate.verdict import RelayAsked
from proxy.session.events import Finished, TlsAsked

from ..support.echo import BODIES, LAST, PIPELINED, Echo, Watched
from ..support.play import pieces, single, whole
from ..support.smtp import ALLOW, DEFER, REFUSE, recipients

if TYPE_CHECKING:
    from proxy.gate.verdict import Verdict

REPLY = re.compile(rb"(?:([0-9]{3})-[^\r\n]*\r\n)*[0-9]{3}(?: [^\r\n]*)?\r\n")
often = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])

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
                    driver.start_tls()
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


RUDE = [
    b"EHLO c9.test",
    b"NOOP",
    b"MAIL FROM:<m9@s.test>",
    b"RCPT TO:<r9@far.test>",
    b"DATA",
    b"x",
    b"",
    b"BDAT 3 LAST",
]
RUDE += [b"STARTTLS", b"AUTH LOGIN", b"GET / HTTP/1.1", b"QUIT", b"\0", b"VRFY r9", b"RSET"]


@given(
    st.sampled_from(BODIES),
    st.lists(st.sampled_from(RUDE), max_size=60),
    st.sampled_from([250, 451, 550]),
    st.sampled_from([None, "a", "b", "c"]),
)
@often
def test_S9_the_reply_to_a_message_reaches_whoever_breaks_the_rules_behind_it(
    body: bytes, rude: list[bytes], code: int, seed: str | None
) -> None:
    play = Play([250, 250, 250, 250, code, 250], ALLOW, pipelining=True, cut=pieces(seed) if seed else whole)
    for line in (b"EHLO c0.test", b"MAIL FROM:<m1@s.test>", b"RCPT TO:<r1@local.test>", b"DATA"):
        play.packet([line])
    play.body(body + b"".join([line + b"\r\n" for line in rude]))
    assert play.driver.to_client.count(b"%d echo message\r\n" % code) == 1
