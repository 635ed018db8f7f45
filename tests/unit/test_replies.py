"""Replies out of what an upstream sends: strict, whole, bounded (rule S6)."""

from __future__ import annotations

import pytest

from proxy.errors import ProtocolError
from proxy.wire.replies import MAX_LINES, MAX_OCTETS, Reply, ReplyBuffer, fold


def taken(buffer: ReplyBuffer) -> list[Reply]:
    replies = []
    while (reply := buffer.take()) is not None:
        replies.append(reply)
    return replies


def test_S6_replies_in_one_piece_and_in_many() -> None:
    text = b"220 old\r\n250-a\r\n250-b\r\n250 c\r\n354\r\n250-\r\n250 \r\n42"
    expected = [
        Reply(220, b"220 old\r\n"),
        Reply(250, b"250-a\r\n250-b\r\n250 c\r\n"),
        Reply(354, b"354\r\n"),
        Reply(250, b"250-\r\n250 \r\n"),
    ]
    for size in range(1, len(text) + 1):
        buffer, replies = ReplyBuffer(), []
        for at in range(0, len(text), size):
            buffer.feed(text[at : at + size])
            replies += taken(buffer)
        assert replies == expected
        assert len(buffer) == 2


@pytest.mark.parametrize(
    "octets",
    [
        b"250-a\r\n550 b\r\n",
        b"250-a\r\n251 b\r\n",
        b"250ok\r\n",
        b"25\r\n",
        b"2500\r\n",
        b"\r\n",
        b"hello\r\n",
        b" 250 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"050 ok\r\n",
        b"250 ok\n",
        b"250 o\nk\r\n",
        b"250 o\rk\r\n",
        b"250 o\0k\r\n",
        b"250 ok\r\r\n",
        b"250\tok\r\n",
        b"2\xd9\xa050 ok\r\n",
        b"250-a\r\n\r\n",
        b"250-a\r\nb\r\n",
        b"250_a\r\n",
        b"-ERR\r\n",
    ],
)
def test_S6_what_is_no_reply(octets: bytes) -> None:
    for size in (1, len(octets)):
        buffer = ReplyBuffer()
        with pytest.raises(ProtocolError):
            for at in range(0, len(octets), size):
                buffer.feed(octets[at : at + size])
                taken(buffer)


def test_S6_bounds() -> None:
    buffer = ReplyBuffer()
    longest = b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n"
    buffer.feed(longest)
    assert taken(buffer) == [Reply(250, longest)]
    buffer.feed(b"250-x\r\n" * MAX_LINES)
    with pytest.raises(ProtocolError):
        buffer.take()
    buffer.clear()
    line = b"250-" + b"x" * 1000 + b"\r\n"
    buffer.feed(line * (MAX_OCTETS // len(line) + 1))
    with pytest.raises(ProtocolError):
        buffer.take()
    buffer.clear()
    buffer.feed(b"250 " + b"x" * MAX_OCTETS)
    with pytest.raises(ProtocolError):
        buffer.take()


def test_S6_one_line_over_the_bound_though_complete() -> None:
    """A reply of one line is bounded as a reply of many is."""
    buffer = ReplyBuffer()
    buffer.feed(b"250 " + b"x" * (MAX_OCTETS + 100) + b"\r\n")
    with pytest.raises(ProtocolError):
        buffer.take()


def test_texts() -> None:
    assert Reply(250, b"250-a b\r\n250\r\n").texts() == [b"a b", b""]


@pytest.mark.parametrize(
    ("greeting", "folded"),
    [
        (b"220 old\r\n", b"220 old\r\n"),
        (b"220-old\r\n220-b\r\n220 c\r\n", b"220 old\r\n"),
        (b"220\r\n", b"220 \r\n"),
    ],
)
def test_S6_a_greeting_is_folded_to_one_line(greeting: bytes, folded: bytes) -> None:
    assert fold(Reply(220, greeting)) == folded


def test_positive_replies_are_taken_many_at_a_time() -> None:
    buffer = ReplyBuffer()
    run = b"250 a\r\n251 \r\n250 b c\r\n"
    buffer.feed(run + b"250-x\r\n250 y\r\n250 z\r\n")
    assert buffer.take_positive(2) == (run[:13], 2)
    assert buffer.take_positive(2) == (run[13:], 1)
    assert buffer.take_positive(2) == (b"", 0)
    assert buffer.take() == Reply(250, b"250-x\r\n250 y\r\n")
    assert buffer.take_positive(1) == (b"250 z\r\n", 1)
    assert len(buffer) == 0


@pytest.mark.parametrize(
    "first",
    [b"550 no\r\n", b"354 go\r\n", b"250-a\r\n", b"250", b"250 a\rb\r\n", b"25x\r\n", b"250 a\0\r\n", b"2505\r\n"],
)
def test_S6_what_is_no_positive_reply_of_one_line_is_left(first: bytes) -> None:
    buffer = ReplyBuffer()
    buffer.feed(first)
    assert buffer.take_positive(9) == (b"", 0)
    assert len(buffer) == len(first)
    buffer.clear()
    buffer.feed(b"250 " + b"x" * 2000 + b"\r\n")
    assert buffer.take_positive(9) == (b"", 0)


def test_a_run_of_one_known_reply_is_taken_whole_or_as_far_as_it_goes() -> None:
    for behind in (b"354 go\r\n", b"250 other\r\n", b"550 no\r\n", b"250 o", b"250 one", b"250 one\r\r\n", b""):
        buffer = ReplyBuffer()
        buffer.feed(b"250 one\r\n" * 5 + behind)
        assert buffer.take() == Reply(250, b"250 one\r\n")
        assert buffer.take_positive(3) == (b"250 one\r\n" * 3, 3)
        others = behind.startswith(b"250 other")
        assert buffer.take_positive(3) == (b"250 one\r\n" + others * behind, 1 + others)
        assert len(buffer) == len(behind) * (not others)


def test_replies_are_remembered_but_not_those_that_may_quote_a_password() -> None:
    for octets, remembered in ((b"250 m1\r\n", True), (b"250-m2\r\n250 x\r\n", True), (b"535 s3cret\r\n", False)):
        buffer = ReplyBuffer()
        buffer.feed(octets)
        reply = buffer.take()
        assert (ReplyBuffer().whole(octets) == reply) is remembered
    for number in range(1000):  # with a queue id
        buffer.feed(b"250 queued as %d\r\n" % number)
        buffer.take()
    assert ReplyBuffer().whole(b"250 queued as 999\r\n") is not None
    assert ReplyBuffer().whole(b"250 m1\r\n") is None
