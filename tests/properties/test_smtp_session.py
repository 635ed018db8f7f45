"""The SMTP session against anybody: the shape of what goes up, secrets, bounds, and no exception ever.

Both sides, the gate and the clock do anything at any time.  Order and chunks are in test_smtp_dialogue.py.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.session.events import Finished

from ..support.echo import BODIES, LAST, PIPELINED, Echo, Watched
from ..support.smtp import ALLOW, DEFER, REFUSE

if TYPE_CHECKING:
    from collections.abc import Callable

SENTINEL = "s3ntinel-pa55word"
codes = st.lists(st.sampled_from([250, 250, 250, 250, 550, 451]), min_size=1, max_size=20)


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
    st.tuples(
        st.sampled_from(
            ["lapse", "moved", "stays", "time", "drain", "cut", "tls", "client_eof", "upstream_eof", "failed"]
        ),
        st.just(b""),
    ),
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
    [
        (),
        ("starttls",),
        ("starttls", "tls_required"),
        ("bare_newline=reject",),
        ("ask_local",),
        ("noauth",),
        ("announced",),
    ]
)


def wild(script: list[Action], how: list[int], given_words: tuple[str, ...]) -> tuple[Watched, list[object], int]:
    """Play; return the driver, all events, and the most octets that the session held."""
    driver = Watched(*given_words)
    server = Echo(how, pipelining=True)
    session, seen, most = driver.smtp, list[object](), 0
    calls: dict[str, Callable[[], None]] = {
        "lapse": session.verdict_lapsed,
        "moved": lambda: driver.move(b"250-new\r\n250 SIZE\r\n"),
        "stays": lambda: driver.move(None),
        "time": session.out_of_time,
        "drain": session.drain,
        "cut": session.cut,
        "tls": driver.start_tls,
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


def held(value: object, depth: int = 0, met: set[int] | None = None) -> int:
    """Octets and characters that an object keeps, through everything of ours that it is made of; each object once."""
    met = set() if met is None else met
    if id(value) in met:
        return 0
    met.add(id(value))
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(held(part, depth + 1, met) for part in value)
    kind = type(value)
    if depth > 6 or not kind.__module__.startswith("proxy") or kind.__name__ in ("SmtpSettings", "Offer"):
        return 0
    names = getattr(kind, "__slots__", None) or getattr(value, "__dict__", {})
    return sum(held(getattr(value, name, b""), depth + 1, met) for name in names)


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
