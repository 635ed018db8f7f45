"""The DATA body against an octet-by-octet reference, against chunking, and against lax readers (rule S8)."""

from __future__ import annotations

import re
from typing import Literal
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.wire import dots
from proxy.wire.dots import LINE_LIMIT, Body, _copied, _in_order

from ..support.dots import reference

END = b"\r\n.\r\n"
unhurried = settings(deadline=None)  # a body fed octet by octet, on a busy machine
Mode = Literal["normalize", "reject"]

octets = st.sampled_from([b"\r", b"\n", b".", b"\0", b"a"])
pieces = octets | st.sampled_from(
    [
        *[b"\r\n", b"\r\n.", b"\n.", b"\r.", b"..", b"\r\n.\r", b"\r\r\n", b".\n", b"\r\n..", END],
        *[b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\0.", b".\0", b"\0\0", b"\n\0"],
        *[b"a" * (LINE_LIMIT - 2), b"a" * (LINE_LIMIT - 1), b"a" * LINE_LIMIT, b"a" * 76 + b"\r\n"],
    ]
)
bodies = (st.lists(octets, max_size=24) | st.lists(pieces, max_size=16)).map(b"".join)


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    """The text in chunks of these sizes, over and over; whole if there are none."""
    chunks, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)] if sizes else len(text)
        chunks.append(text[at : at + size])
        at, turn = at + size, turn + 1
    return chunks


def play(mode: Mode, chunks: list[bytes]) -> tuple[bytes, int | None, Body]:
    """Feed the chunks until the end of data; what was forwarded, and how many octets were used in all."""
    body, out, before = Body(mode), b"", 0
    for chunk in chunks:
        forward, used = body.feed(chunk)
        assert all(forward), "an empty chunk is no chunk"
        out += b"".join(forward)
        assert body.octets == len(out)
        if used is not None:
            assert 0 < used <= len(chunk)
            return out, before + used, body
        before += len(chunk)
    return out, None, body


def even(text: bytes) -> bool:
    return dots._even(_copied(text), len(text))


cuts = st.lists(st.integers(1, 9), max_size=4) | st.lists(st.integers(1, 3000), max_size=3)


@unhurried
@given(bodies, bodies, cuts)
@example(b".", b"", [])
@example(b"\r", b"\n.\r\n", [1])
@example(b"\n." + b"a" * LINE_LIMIT, b"", [])
@example(b"." + b"a" * (LINE_LIMIT - 1) + b"\n", b"", [7])
@example(b"." + b"a" * LINE_LIMIT + b"\n", b"", [7])
@example(b"\0" * (LINE_LIMIT + 2) + b".\0", b"", [7])
@example(b"\r\n.\0" + b"a" * LINE_LIMIT, b"", [7])
def test_S8_the_octet_by_octet_reference_agrees(text: bytes, behind: bytes, sizes: list[int]) -> None:
    text += END + behind
    forwarded, end, stray = reference(text)
    assert play("normalize", [text])[:2] == (forwarded, end)
    out, used, body = play("normalize", cut(text, sizes))
    assert (out, used, body.stray, body.rejected) == (forwarded, end, stray, False)


@unhurried
@given(bodies, cuts, cuts)
def test_S8_chunking_changes_nothing(text: bytes, sizes: list[int], others: list[int]) -> None:
    out, used, body = play("normalize", cut(text, sizes))
    again, used_again, other = play("normalize", cut(text, others))
    assert (out, used, body.stray) == (again, used_again, other.stray)
    assert body.lookalike == other.lookalike or used is not None


@unhurried
@given(bodies, cuts)
def test_S8_nothing_ambiguous_is_forwarded(text: bytes, sizes: list[int]) -> None:
    for mode in ("normalize", "reject"):
        out, used, body = play(mode, cut(text, sizes))
        assert out.count(b"\r") == out.count(b"\n") == out.count(b"\r\n")
        ends = [found.end() for found in re.finditer(rb"(?=\r\n\.\r\n)", b"\r\n" + out)]
        assert ends == ([len(out) + 2 - len(END)] if used is not None and not body.rejected else [])


@unhurried
@given(bodies, cuts)
def test_S8_reject_forwards_a_prefix_and_finds_the_same_end(text: bytes, sizes: list[int]) -> None:
    text += END
    forwarded, end, stray = reference(text)
    out, used, body = play("reject", cut(text, sizes))
    assert (used, body.rejected, body.stray) == (end, stray, stray)
    assert forwarded.startswith(out)
    assert out == forwarded or stray
    assert not (stray and (b"\r\n" + out).endswith(END))


@unhurried
@given(
    st.lists(st.sampled_from([b"a", b"\0", b"..", b"..a", b"a.", b"", b"a" * 76, b"\xff\x85\x0b"]), max_size=300), cuts
)
def test_S8_a_correct_body_passes_octet_for_octet(lines: list[bytes], sizes: list[int]) -> None:
    text = b"".join(line + b"\r\n" for line in lines) + b".\r\n"
    out, used, body = play("normalize", cut(text, sizes))
    assert (out, used, body.stray) == (text, len(text), False)
    chunks, used = Body("normalize").feed(text)
    assert used == len(text)
    assert chunks[0] is text or b"\0" in text, "a correct chunk is handed on, not copied"


def seen(body: Body) -> tuple[object, ...]:
    return body.octets, body.stray, body.rejected, body._began, body._held, body._last


lines = st.integers(5, 12).flatmap(lambda size: st.lists(st.just(b"a" * size + b"\r\n"), min_size=2, max_size=20))


@unhurried
@given(
    st.lists(pieces | lines.map(b"".join), max_size=12).map(b"".join), cuts, st.sampled_from(["normalize", "reject"])
)
@example(b"a" * 6 + b"\r\n.\r\n" + (b"a" * 6 + b"\r\n") * 3, [], "normalize")
@example(b"a\r\n" + b"aaa\r\n.aa\r\n" * 4 + b".", [], "normalize")
@example(b"aaaa\r\n" * 9 + b"aaa\raa\r\n", [], "reject")
def test_S8_what_passes_at_once_is_what_would_be_forwarded(text: bytes, sizes: list[int], mode: Mode) -> None:
    """`passes` beside `feed` without it, on texts as short as they may be: the same octets, and the same goes on."""
    text += END
    forwarded, end, stray = reference(text)
    one, other, out, before = Body(mode), Body(mode), b"", 0
    for chunk in cut(text, sizes):
        with patch.multiple(dots, _EVEN_FROM=1, _EVEN_PERIOD=5):
            passed = one.passes(memoryview(chunk))
            chunks, used = ([chunk], None) if passed else one.feed(chunk)
        with patch.object(dots, "_EVEN_FROM", 1 << 30):
            assert other.feed(chunk) == (chunks, used)
        assert seen(one) == seen(other)
        out += b"".join(chunks)
        if used is not None:
            before += used
            break
        before += len(chunk)
    assert (before, one.stray) == (end, stray)
    assert out == forwarded or one.rejected


READERS = {
    "CR, LF or CRLF": lambda text: re.split(rb"\r\n|\r|\n", text),
    "every CR and every LF": lambda text: re.split(rb"[\r\n]", text),
    "LF, CRs dropped": lambda text: text.replace(b"\r", b"").split(b"\n"),
    "LF, CRs at the end dropped": lambda text: [line.rstrip(b"\r") for line in text.split(b"\n")],
    "CR, LFs dropped": lambda text: text.replace(b"\n", b"").split(b"\r"),
    "CRLF": lambda text: text.split(b"\r\n"),
    "any run of CRs and LFs": lambda text: re.split(rb"[\r\n]+", text),
    "LF, NULs dropped": lambda text: text.replace(b"\0", b"").replace(b"\r", b"").split(b"\n"),
    "LF, cut at the first NUL": lambda text: [line.partition(b"\0")[0].rstrip(b"\r") for line in text.split(b"\n")],
}


@unhurried
@given(bodies, bodies, cuts)
def test_S8_lax_readers_find_the_end_where_the_client_put_it(text: bytes, behind: bytes, sizes: list[int]) -> None:
    text += END + behind
    out, used, _ = play("normalize", cut(text, sizes))
    assert used is not None
    assert text[:used].endswith(b".\r\n")
    for name, lines in READERS.items():
        kept = [line for line in lines(out) if line]
        assert kept[-1] == b".", name
        assert b"." not in kept[:-1], name


@unhurried
@given(bodies, st.integers(1, 400))
def test_bounded_whatever_is_held_back(text: bytes, size: int) -> None:
    out, used, body = play("normalize", cut(text, [size]))
    if used is None:
        assert len(out) >= len(text) - LINE_LIMIT - 1  # normalizing never shortens
        assert len(body._held) <= LINE_LIMIT + 1


@unhurried
@given(
    st.integers(0, 90),
    st.integers(30, 90),
    st.integers(50, 200),
    st.lists(st.tuples(st.integers(0), st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n"])), max_size=2),
    st.integers(0, 90),
)
def test_S8_even_lines_with_a_flaw_are_seen(
    head: int, length: int, lines: int, flaws: list[tuple[int, bytes]], tail: int
) -> None:
    text = b"a" * head + b"\r\n" + (b"a" * length + b"\r\n") * lines + b"a" * tail
    for at, flaw in flaws:
        at %= len(text)
        text = text[:at] + flaw + text[at + len(flaw) :]
    order = text.count(b"\r") == text.count(b"\n") == text.count(b"\r\n")
    assert _in_order(text) == order
    assert order or not even(text)
    assert even(text) or flaws or head > length or tail > length
    if not text.endswith(b"\r"):
        out, _, body = play("normalize", [text + END])
        assert out == reference(text + END)[0]
        assert body.stray != order


@unhurried
@given(st.lists(pieces, max_size=40).map(b"".join))
def test_the_two_proofs_of_order_agree_with_counting(text: bytes) -> None:
    order = text.count(b"\r") == text.count(b"\n") == text.count(b"\r\n")
    assert _in_order(text) == order
    assert order or not even(text)
