"""net/sockets/splice.py: a mailbox that passes within the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from proxy.net.sockets import splice
from proxy.net.sockets.leg import LARGE, PEER_FULL, Leg, LegOwner
from proxy.net.sockets.splice import MOST
from proxy.wire.address import packed

from ..support.gate import CLIENT, Gate

if TYPE_CHECKING:
    from ..support.workshop import Peer, Workshop


class Way(LegOwner):
    """Two legs, and what the first reads goes to the second, as a link lets a mailbox pass."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        ours, self.here = workshop.pair()
        theirs, self.there = workshop.pair()
        self.said: list[str] = []
        self.source = Leg(workshop.poller, ours, self)
        self.target = Leg(workshop.poller, theirs, self)
        self.read = 0  # octets that came through this process
        self.source.stream_to(self.take)

    def take(self, leg: Leg, text: memoryview) -> None:
        self.read += len(text)
        self.target.stream(text)
        if len(text) == LARGE and self.target.ready:
            self.source.splice_to(self.target)

    def received(self, leg: Leg, data: bytes) -> None:
        raise AssertionError("it is streaming")

    def ended(self, leg: Leg) -> None:
        self.said.append("ended")

    def lost(self, leg: Leg, why: str) -> None:
        self.said.append(why)

    def write_blocked(self, leg: Leg) -> None:
        self.source.hold(PEER_FULL)

    def write_unblocked(self, leg: Leg) -> None:
        self.source.hold(0)

    def flood(self, octets: int) -> bytes:
        """Send this much, and read it all at the other end; what came there."""
        text = memoryview(bytes(range(256)) * (octets // 256))
        at, before = 0, len(self.there.got)
        while len(self.there.look()) < before + octets:
            with contextlib.suppress(BlockingIOError):
                at += self.here.sock.send(text[at : at + (1 << 20)])
            self.workshop.turns(1)
        assert self.there.got[before:] == text
        return bytes(self.there.got)


@pytest.fixture
def way(workshop: Workshop) -> Way:
    return Way(workshop)


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What os.splice has moved, call by call."""
    moved: list[int] = []
    real = os.splice

    def splice(*arguments: Any, **words: Any) -> int:
        count = real(*arguments, **words)
        moved.append(count)
        return count

    monkeypatch.setattr(os, "splice", splice)
    return moved


def test_P5_much_text_passes_within_the_kernel_and_is_counted(way: Way, spliced: list[int]) -> None:
    got = way.flood(1 << 24)
    assert way.source.received == way.target.sent == len(got)
    assert sum(spliced) == 2 * (len(got) - way.read), "into the pipe and out of it"
    assert way.read < len(got)
    assert max(spliced) <= MOST


def test_little_text_does_not(way: Way, spliced: list[int]) -> None:
    for _ in range(100):
        way.here.send(b"x" * 100)
        way.workshop.turns(2)
    way.workshop.until(lambda: len(way.there.look()) == 10000)
    assert spliced == []


def test_the_end_of_what_was_spliced_is_told_once(way: Way, spliced: list[int]) -> None:
    way.flood(1 << 24)
    way.here.half_close()
    way.workshop.until(lambda: way.said)
    way.workshop.turns(5)
    assert way.said == ["ended"]


def test_a_reset_in_the_midst_is_a_loss_with_the_kernels_words(way: Way, spliced: list[int]) -> None:
    way.flood(1 << 24)
    way.here.abort()
    way.workshop.until(lambda: way.said)
    assert way.said == ["Connection reset by peer"]


def test_what_a_slow_reader_does_not_take_is_kept_in_order_and_no_more_than_one_piece(
    way: Way, spliced: list[int]
) -> None:
    text = memoryview(bytes(range(256)) * (1 << 18))
    at = kept = 0
    while len(way.there.got) < len(text):
        with contextlib.suppress(BlockingIOError):
            at += way.here.sock.send(text[at : at + (1 << 20)])
        way.workshop.turns(3)
        kept = max(kept, len(way.target.rest))
        if way.target.rest or at == len(text):
            way.there.look()
    assert way.there.got == text
    assert spliced
    assert 0 < kept <= MOST
    assert way.source.received == way.target.sent == len(text)


def test_nothing_is_left_in_the_pipe_when_its_reader_is_gone(way: Way, spliced: list[int]) -> None:
    way.flood(1 << 24)
    way.there.abort()
    for _ in range(50):
        way.here.flood(1 << 20)
        way.workshop.turns(3)
    assert way.target.broken
    assert way.said.count("Connection reset by peer") <= 1
    other = Way(way.workshop)
    other.flood(1 << 24)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EINVAL])
def test_where_splice_is_refused_text_is_read(way: Way, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    asked = []

    def refused(*arguments: object, **words: object) -> int:
        asked.append(number)
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "splice", refused)
    got = way.flood(1 << 23)
    assert way.read == len(got)
    assert len(asked) == 1, "once, and never again"


def test_a_pipe_without_room_is_not_used(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, spliced: list[int]
) -> None:
    monkeypatch.setattr(splice, "_SIZE", 4096)  # what is left to who has too many of them
    small = splice.Pipe()
    monkeypatch.setattr(workshop.poller, "pipe", small)
    way = Way(workshop)
    assert len(way.flood(1 << 23)) == way.read
    assert spliced == []
    small.close()


# The link


def mailbox(gate: Gate) -> tuple[Peer, Peer]:
    client, up = gate.greet()
    gate.log_in()
    gate.gets(client, b"+OK logged in\r\n")
    return client, up


def pass_through(gate: Gate, client: Peer, up: Peer, octets: int) -> None:
    sent, before = 0, len(client.look())
    while len(client.look()) < before + octets:
        if sent < octets:
            sent += up.flood(min(1 << 20, octets - sent))
        gate.workshop.turns(1)


def test_P5_a_mailbox_is_spliced_and_its_line_counts_all(workshop: Workshop, spliced: list[int]) -> None:
    gate = Gate(workshop, "pop3")
    client, up = mailbox(gate)
    pass_through(gate, client, up, 1 << 24)
    assert sum(spliced) > 1 << 20
    out = len(client.got)
    up.close()
    gate.until(client.ended)
    assert gate.end()["out"] == out


def test_splicing_is_progress_for_the_idle_limit(workshop: Workshop, spliced: list[int]) -> None:
    gate = Gate(workshop, "pop3")
    client, up = mailbox(gate)
    for _ in range(5):
        pass_through(gate, client, up, 1 << 22)
        workshop.advance(400.0)
    assert spliced
    assert not gate.closed
    workshop.advance(602.0)
    gate.until(client.ended)


def test_a_traced_mailbox_is_read(workshop: Workshop, spliced: list[int]) -> None:
    gate = Gate(workshop, "pop3")
    shared = gate.shared()
    shared.traces.clients = frozenset([packed(CLIENT)])
    gate.shared = lambda: shared  # type: ignore[method-assign]
    client, up = mailbox(gate)
    pass_through(gate, client, up, 1 << 22)
    assert spliced == []


def test_S8_a_message_is_never_spliced(workshop: Workshop, spliced: list[int]) -> None:
    gate = Gate(workshop, "smtp")
    client, up = gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.start_text()
    pass_through(gate, up, client, 1 << 22)
    assert spliced == []
    assert len(up.got) > LARGE
