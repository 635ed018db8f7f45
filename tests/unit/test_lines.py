"""Command lines out of octets: only CRLF ends one, and a long one never leaves a tail (rule S1)."""

from __future__ import annotations

import re

import pytest

from proxy.wire.lines import BARE_LF, TOO_LONG, LineBuffer, is_clean


def lines(buffer: LineBuffer) -> list[bytes]:
    taken = []
    while (line := buffer.take()) is not None:
        taken.append(line)
    return taken


def test_S1_lines_in_one_piece_and_in_many() -> None:
    text = b"NOOP\r\n\r\nMAIL FROM:<a@b>\r\nRS"
    for size in range(1, len(text) + 1):
        buffer, taken = LineBuffer(100), []
        for at in range(0, len(text), size):
            buffer.feed(text[at : at + size])
            taken += lines(buffer)
        assert taken == [b"NOOP", b"", b"MAIL FROM:<a@b>"]
        assert len(buffer) == 2
        assert buffer.rest() == b"RS"
        assert len(buffer) == 0


@pytest.mark.parametrize("octets", [b"a\rb", b"a\0b", b"a\r\rb", b"a\r"])
def test_S1_other_newlines_stay_inside(octets: bytes) -> None:
    buffer = LineBuffer(100)
    buffer.feed(octets + b"\r\nNOOP\r\n")
    assert lines(buffer) == [octets, b"NOOP"]
    assert not is_clean(octets)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a\nb\r\nNOOP\r\n", [BARE_LF, b"NOOP"]),
        (b"\n\r\nNOOP\r\n", [BARE_LF, b"NOOP"]),
        (b"EHLO pc\nQUIT\n", [BARE_LF, BARE_LF]),
        (b"a\n\nb\nc\r\nNOOP\r\n", [BARE_LF, BARE_LF, BARE_LF, b"NOOP"]),
        (b"a\n\rb\r\r\nNOOP\r\n", [BARE_LF, b"NOOP"]),
        (b"x" * 200 + b"\nb\r\nNOOP\r\n", [TOO_LONG, b"NOOP"]),
        (b"NOOP\r\na\nRCPT TO:<v@far.test>\r\nRSET\r\n", [b"NOOP", BARE_LF, b"RSET"]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_S1_a_bare_lf_is_told_when_it_is_seen_and_nothing_around_it_is_a_line(
    text: bytes, told: list[bytes], size: int
) -> None:
    buffer, taken = LineBuffer(100), []
    for at in range(0, len(text), size):
        buffer.feed(text[at : at + size])
        taken += lines(buffer)
    assert taken == told


@pytest.mark.parametrize("octets", [b"", b"NOOP", b"\x0b\x0c\x1c\x85\xe2\x80\xa8\t\xff"])
def test_S1_what_is_no_newline_is_clean(octets: bytes) -> None:
    """`str.splitlines` would break here; a line is octets, and only CR, LF and NUL are known to be read differently."""
    buffer = LineBuffer(100)
    buffer.feed(octets + b"\r\n")
    assert lines(buffer) == [octets]
    assert is_clean(octets)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 12, 1000])
def test_S1_a_long_line_is_told_once_and_leaves_no_tail(size: int) -> None:
    text = b"NOOP xxxxRCPT TO:<v@far.test>\r\nNOOP\r\n"
    buffer, taken = LineBuffer(10), []
    for at in range(0, len(text), size):
        buffer.feed(text[at : at + size])
        taken += lines(buffer)
        assert len(buffer) <= 10 + size
    assert taken == [TOO_LONG, b"NOOP"]


@pytest.mark.parametrize("sizes", [[12], [10, 2], [11, 1], [10, 1, 1], [1] * 12])
def test_S1_the_limit_itself_is_allowed(sizes: list[int]) -> None:
    """However it comes: a CR at the end of a chunk is no octet of the line yet."""
    text = b"x" * 10 + b"\r\n"
    buffer, taken, at = LineBuffer(10), [], 0
    for size in sizes:
        buffer.feed(text[at : at + size])
        taken += lines(buffer)
        at += size
    assert taken == [b"x" * 10]


def test_S1_a_long_line_behind_a_short_one() -> None:
    buffer = LineBuffer(10)
    buffer.feed(b"NOOP\r\n" + b"x" * 20 + b"\r")
    assert lines(buffer) == [b"NOOP"]
    buffer.feed(b"\nRSET\r\n")
    assert lines(buffer) == [TOO_LONG, b"RSET"]


def test_a_swallowed_line_is_forgotten_with_the_rest() -> None:
    """`clear` and `rest` end a swallowing too: what follows them is not part of the old line."""
    for forget in (LineBuffer.clear, LineBuffer.rest):
        buffer = LineBuffer(4)
        buffer.feed(b"xxxxxxxx")
        assert buffer.take() is None
        forget(buffer)
        buffer.feed(b"NOOP\r\n")
        assert lines(buffer) == [b"NOOP"]


def test_no_line_can_be_taken_for_the_mark_of_a_long_one() -> None:
    buffer = LineBuffer(100)
    buffer.feed(b"\r\n\r\r\n\n\r\n")
    assert lines(buffer) == [b"", b"\r", b"\n"]


def test_usual_lines_are_matched_where_a_line_begins_and_nowhere_else() -> None:
    usual = re.compile(rb"(?:NOOP\r\n)+")
    buffer = LineBuffer(10)
    buffer.feed(b"QUIT\r\nNOOP\r\nNOOP\r\nNO")
    assert buffer.match(usual) is None
    assert buffer.take() == b"QUIT"
    match = buffer.match(usual)
    assert match is not None
    assert match[0] == b"NOOP\r\n" * 2
    buffer.used(6)
    assert buffer.match(usual) is not None  # the second one
    buffer.used(6)
    assert buffer.match(usual) is None
    buffer.feed(b"OP\r\n")
    assert buffer.match(usual) is not None
    buffer.used(6)
    assert (len(buffer), buffer.waiting) == (0, b"")


def test_S1_what_is_left_of_a_long_line_is_never_usual() -> None:
    buffer = LineBuffer(10)
    buffer.feed(b"x" * 20)
    assert buffer.take() is None
    buffer.feed(b"NOOP\r\nNOOP\r\n")
    assert buffer.match(re.compile(rb"NOOP\r\n")) is None
    assert buffer.take() is TOO_LONG
    assert buffer.match(re.compile(rb"NOOP\r\n")) is not None
