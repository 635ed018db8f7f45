"""The short way of the usual commands (wire/bulk.py, session/smtp/bulk.py) and the full grammar are one.

What the patterns prove the grammar takes and would write in the same octets; and a session that takes the short way
and one that does not say the same and know the same, after every chunk of any dialogue.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.gate.local import is_local
from proxy.session.smtp.envelope import mail_command, rcpt_command
from proxy.session.smtp.pipeline import Pipeline
from proxy.session.transcript import SMTP_VERBS, Transcript
from proxy.wire import bulk as usual
from proxy.wire.recipients import LocalDomains, is_routing

from ..support.play import pieces, whole
from ..support.twins import HOW, OFFERS, Twins

OFFERED = frozenset({b"SIZE", b"8BITMIME", b"DSN", b"SMTPUTF8"})
DOMAINS = LocalDomains(["local.test", ".below.test"])
often = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Addresses at the edge of what is usual: too long, doubled and outer dots and hyphens, routing, quotes, case.
atoms = st.sampled_from(
    [b"a", b"A.b", b"a.b.c", b"a.b.c.d", b"x" * 20, b"x" * 21, b"-", b"_+=-", b"a..b", b".a", b"a."]
)
odd = st.sampled_from([b"a%b", b"a!b", b'"a"', b"a@b", b"|a", b"/a", b"a:b", b"", b"\xc3\xbc", b"a b", b"a\0", b"a,b"])
labels = st.sampled_from([b"a", b"A1", b"a-b", b"a--b", b"-a", b"a-", b"x" * 63, b"x" * 64, b"1", b"a_b", b"", b"\xff"])
known = st.sampled_from([b"local.test", b"LOCAL.test", b"far.test", b"a.below.test", b"local.test.", b"[127.0.0.1]"])
known |= st.sampled_from([b"a." * 125 + b"a.bcd", b"a." * 125 + b"a.test"])  # 255 octets, 256
domains = known | st.lists(labels, min_size=1, max_size=5).map(b".".join)
addresses = st.builds(
    lambda local, at, domain: local + at + domain, atoms | odd, st.sampled_from([b"@"] * 9 + [b""]), domains
)
WORDS = [b"", b"", b" SIZE=1", b" SIZE=" + b"9" * 20, b" SIZE=" + b"9" * 21, b" SIZE=", b" size=1", b" RET=FULL", b"X"]
WORDS += [b" BODY=8BITMIME", b" BODY=7BIT", b" SIZE=1 BODY=8BITMIME", b" BODY=8BITMIME SIZE=1", b" SIZE=1 SIZE=1", b" "]
ends = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\r\n", b"\0\r\n"])
octets = st.binary(max_size=3) | st.just(b"")


@given(addresses | st.just(b""), st.sampled_from(WORDS), ends, octets)
@often
def test_S2_a_usual_sender_is_one_for_the_grammar(path: bytes, parameters: bytes, end: bytes, behind: bytes) -> None:
    match = usual.SENDER.match(b"MAIL FROM:<" + path + b">" + parameters + end + behind)
    if match is None:
        return
    line, sender, smtputf8 = mail_command(match[0][len(b"MAIL ") : -2], OFFERED, False)
    assert b"MAIL FROM:<%b>%b\r\n" % (match["path"], match["parameters"]) == line == match[0]
    assert (match["path"], False) == (sender, smtputf8)
    assert (match["size"] or b"") + (match["body"] or b"") == match["parameters"]


@given(st.lists(addresses, min_size=1, max_size=4), st.lists(ends, min_size=4, max_size=4), octets)
@often
def test_S2_G16_a_usual_run_of_recipients_is_one_for_the_grammar(
    paths: list[bytes], ends_: list[bytes], behind: bytes
) -> None:
    lines = [b"RCPT TO:<" + path + b">" + end for path, end in zip(paths, ends_, strict=False)]
    run = usual.RECIPIENTS.match(b"".join(lines) + behind)
    if run is None:
        return
    found = usual.paths(run[0])
    assert usual.recipients(found) == run[0] == b"".join(lines[: len(found)])
    local = DOMAINS.covers(run["domain"], False)
    for path, line in zip(found, lines, strict=False):
        written, read = rcpt_command(line[len(b"RCPT ") : -2], frozenset(), False)
        assert (written, read.text) == (line, path)
        assert not is_routing(read.local)
        assert is_local(read, False, DOMAINS) is local


# Whole sessions

Action = tuple[str, bytes]
LINES = [
    b"MAIL FROM:<a@s.test>",
    b"MAIL FROM:<> SIZE=9",
    b"MAIL FROM:<a@s.test> BODY=8BITMIME",
    b"mail from:<a@s.test>",
]
LINES += [
    b"MAIL FROM:<a@s.test> SMTPUTF8",
    b"DATA",
    b"RSET",
    b"NOOP",
    b"VRFY x",
    b"RCPT TO:<a%b@local.test>",
    b"",
    b"X",
]
LINES += [b"rcpt to:<a@local.test>", b"RCPT TO:<postmaster>", b"RCPT TO:<a\0@local.test>", b"QUIT", b"EHLO x", b"."]
LINES += [b"x" * 600, b"STARTTLS", b"AUTH PLAIN AGEAYg=="]
RECIPIENTS = [b"RCPT TO:<u@local.test>", b"RCPT TO:<v@local.test>", b"RCPT TO:<w@LOCAL.test>", b"RCPT TO:<x@far.test>"]
REPLIES = [b"250 ok", b"250 other", b"250-a\r\n250 b", b"550 no", b"451 later", b"354 go", b"421 bye", b"251 x", b"250"]
REPLIES += [b"250 " + b"x" * 600, b"220 x", b"25", b"335 x", b"250-a\r\n251 b"]
FIRST = [LINES[0], *LINES[:5]]
group = st.lists(
    st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=4) | st.lists(st.sampled_from(LINES), max_size=1),
    max_size=4,
)
said = group.map(lambda parts: b"".join([line + b"\r\n" for part in parts for line in part]))
envelope = st.builds(lambda first, lines: first + b"\r\n" + lines, st.sampled_from(FIRST), said)
runs = st.tuples(st.integers(0, 6), st.lists(st.sampled_from(REPLIES), max_size=3), st.integers(0, 6)).map(
    lambda run: b"".join([line + b"\r\n" for line in [b"250 ok"] * run[0] + run[1] + [b"250 ok"] * run[2]])
)
answers = st.sampled_from(["allow", "allow", "two", "refuse", "defer", "lapse", "moved", "stays", "eof"])
actions = st.one_of(
    st.tuples(st.just("client"), envelope),
    st.tuples(st.just("client"), said),
    st.tuples(st.just("client"), st.just(b"x" * 13000)),
    st.tuples(st.just("upstream"), runs),
    st.tuples(st.just("serve"), st.just(b"")),
    st.tuples(st.just("serve"), st.just(b"")),
    st.tuples(answers, st.just(b"")),
    st.tuples(answers, st.just(b"")),
)


@given(st.lists(actions, max_size=12), st.sampled_from(HOW), st.sampled_from(OFFERS), st.none() | st.text(max_size=3))
@often
def test_the_short_way_and_the_long_one_say_and_know_the_same(
    script: list[Action], how: tuple[str, ...], offer: bytes, seed: str | None
) -> None:
    twins = Twins(*how, offer=offer)
    cut = pieces(seed) if seed is not None else whole
    for what, octets in script:
        for piece in cut(octets) or [b""]:
            twins.act(what, piece)
            assert not twins.differ()


@pytest.mark.parametrize("answered", [False, True])
def test_the_bounds_hold_on_the_short_way(answered: bool) -> None:
    """The ledger's, and that of recipients, which are met in mid-run."""
    twins = Twins()
    driver, session = twins.drivers[0], twins.drivers[0].smtp
    for what, octets in (("client", b"MAIL FROM:<a@s.test>\r\n"), ("serve", b""), ("client", b"NOOP\r\n")):
        twins.act(what, octets)
    for number in range(12):
        twins.act("client", b"".join([b"RCPT TO:<u%d@local.test>\r\n" % (100 * number + at) for at in range(100)]))
        assert session.holding is (not answered and number >= 9)
        if answered:
            twins.act("upstream", b"250 ok\r\n" * min(100, session.pipeline.ledger.awaited))
        assert not twins.differ()
    assert session.transaction is not None
    assert session.pipeline.ledger.full is not answered
    assert len(session.transaction.accepted) == (1000 if answered else 0)
    assert driver.to_client.count(b"452 4.5.3") == (200 if answered else 0)


def test_a_traced_session_takes_no_shortcut() -> None:
    """It tells each line and each reply by itself."""
    assert Pipeline().bulk
    assert not Pipeline(Transcript(lambda *words: None, SMTP_VERBS)).bulk
