"""net/sockets/leg.py with real sockets: reading, holding, writing, ends."""

from __future__ import annotations

import errno
import socket

import pytest

from proxy.net.sockets.leg import CORK, LARGE, PEER_FULL, SESSION, SMALL, Leg
from proxy.net.sockets.tls_leg import TlsLeg

from ..support.leg import Bench, Owner, still
from ..support.workshop import Workshop, refused_port


@pytest.fixture(params=[Leg, TlsLeg])
def bench(workshop: Workshop, request: pytest.FixtureRequest) -> Bench[Leg]:
    """One that never speaks TLS, and one that has not begun to."""
    return Bench(workshop, request.param)


# Reading


def test_text_and_end(bench: Bench[Leg]) -> None:
    bench.peer.send(b"one")
    bench.until(lambda: bench.owner.text == b"one")
    bench.peer.send(b"two")
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    assert bench.owner.text == b"onetwo"
    assert bench.owner.said == ["ended"]
    assert bench.leg.received == 6
    still(bench.workshop)


def test_one_read_brings_at_most_a_chunk(bench: Bench[Leg]) -> None:
    """promise 6: what one peer can make us hold has a bound."""
    sent = bench.peer.flood(1 << 18)
    bench.until(lambda: len(bench.owner.text) == sent)
    assert max(bench.owner.chunks) <= SMALL


def test_message_text_is_read_in_larger_chunks(bench: Bench[Leg]) -> None:
    bench.leg.stream_to(lambda leg, text: bench.owner.received(leg, bytes(text)))
    bench.hold(SESSION)
    sent = bench.peer.flood(1 << 22)
    bench.hold(0)
    bench.until(lambda: len(bench.owner.text) == sent)
    assert SMALL < max(bench.owner.chunks) <= LARGE
    assert bench.leg.received == sent


def test_nothing_is_received_while_held_and_all_after(bench: Bench[Leg]) -> None:
    bench.hold(SESSION)
    bench.peer.send(b"patience")
    bench.workshop.rest(0.02)
    assert bench.owner.text == b""
    still(bench.workshop)
    bench.hold(PEER_FULL)  # another reason, still held
    bench.workshop.turns(5)
    assert bench.owner.text == b""
    bench.hold(0)
    bench.until(lambda: bench.owner.text == b"patience")


def test_holding_within_received_stops_at_once(bench: Bench[Leg]) -> None:
    def then(_: bytes) -> None:
        bench.owner.held = True
        bench.leg.hold(SESSION)

    bench.owner.then = then
    bench.peer.flood(1 << 18)
    bench.until(lambda: bench.owner.text)
    bench.workshop.rest(0.02)
    assert len(bench.owner.text) <= SMALL


def test_N2_a_held_peer_that_hangs_up_costs_no_turn_and_is_read_to_its_end_later(bench: Bench[Leg]) -> None:
    bench.hold(SESSION)
    bench.peer.send(b"last words")
    bench.peer.close()
    bench.leg.send(b"x")  # provokes the reset: HUP and ERR
    bench.workshop.rest(0.02)
    bench.leg.send(b"y")
    still(bench.workshop)
    assert bench.owner.said == ["write_unblocked"]
    assert bench.leg.broken
    bench.hold(0)
    bench.until(lambda: bench.owner.said[1:])
    assert bench.owner.said[1].startswith(("ended", "lost"))
    still(bench.workshop)


def test_N2_half_closed_both_ways_while_held_is_read_to_its_end(workshop: Workshop) -> None:
    """A unix pair keeps the last words of a peer that is gone; 100 KiB of them, in chunks, outside the epoll."""
    ours, theirs = socket.socketpair()
    workshop.keep(ours)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    owner = Owner()
    leg = Leg(workshop.poller, ours, owner)
    owner.held = True
    leg.hold(PEER_FULL)
    words = bytes(range(256)) * 400
    theirs.sendall(words)
    theirs.close()
    still(workshop)
    assert owner.text == b""
    owner.held = False
    workshop.run(lambda: leg.hold(0))
    workshop.until(lambda: owner.said)
    assert owner.text == words
    assert owner.said == ["ended"]
    assert max(owner.chunks) <= SMALL
    still(workshop)
    leg.close()


def test_N2_a_hung_up_peer_held_again_while_it_is_read_out(workshop: Workshop) -> None:
    ours, theirs = socket.socketpair()
    workshop.keep(ours)
    ours.setblocking(False)
    owner = Owner()
    leg = Leg(workshop.poller, ours, owner)
    leg.hold(SESSION)
    theirs.sendall(b"x" * (3 * SMALL))
    theirs.close()
    workshop.turns(5)

    def then(_: bytes) -> None:
        owner.held = True
        leg.hold(SESSION)

    owner.then = then
    for part in (1, 2, 3):
        owner.held = False
        workshop.run(lambda: leg.hold(0))
        workshop.until(lambda part=part: len(owner.text) == part * SMALL)
        still(workshop)
    owner.held = False
    leg.hold(0)
    workshop.until(lambda: owner.said == ["ended"])


def test_a_reset_is_a_loss_with_the_kernels_words(bench: Bench[Leg]) -> None:
    bench.peer.abort()
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["lost: Connection reset by peer"]
    still(bench.workshop)


def test_a_connection_that_is_refused_is_a_loss(workshop: Workshop) -> None:
    sock = workshop.keep(socket.socket())
    sock.setblocking(False)
    owner = Owner()
    assert sock.connect_ex(("127.0.0.1", refused_port())) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    Leg(workshop.poller, sock, owner)
    workshop.until(lambda: owner.said)
    assert owner.said == ["lost: Connection refused"]


def test_the_end_is_told_once_and_the_other_direction_goes_on(bench: Bench[Leg]) -> None:
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    bench.hold(SESSION)
    bench.hold(0)
    bench.leg.send(b"still here")
    bench.until(lambda: bench.peer.look() == b"still here")
    assert bench.owner.said == ["ended"]
    bench.peer.close()
    still(bench.workshop)


def test_after_close_nothing_is_told(bench: Bench[Leg]) -> None:
    bench.peer.send(b"text")
    bench.leg.close()
    bench.leg.close()
    assert bench.leg.closed
    bench.workshop.rest(0.02)
    assert bench.owner.text == b""
    bench.until(bench.peer.ended)


def test_closing_within_received(bench: Bench[Leg]) -> None:
    bench.owner.then = lambda _: bench.leg.close()
    bench.peer.send(b"text")
    bench.until(bench.peer.ended)
    assert bench.owner.said == []


# Writing


def test_what_the_socket_does_not_take_is_kept_in_order(bench: Bench[Leg]) -> None:
    data = bytes(range(256)) * (1 << 15)
    bench.leg.send(data[: len(data) // 2])
    assert bench.leg.rest
    bench.leg.send(data[len(data) // 2 :])
    bench.until(lambda: len(bench.peer.look()) == len(data))
    bench.until(lambda: bench.owner.said)
    assert bench.peer.got == data
    assert bench.owner.said == ["write_unblocked"]
    assert not bench.leg.rest
    assert bench.leg.sent == len(data)


def test_last_words_go_in_one_packet_with_the_end(bench: Bench[Leg]) -> None:
    def say() -> None:
        bench.leg.send(b"bye")  # in a turn it is put off
        bench.leg.flush(CORK)
        assert bench.peer.look() == b""
        bench.leg.close()

    bench.workshop.poller.soon(say)
    bench.until(bench.peer.ended)
    assert bench.peer.look() == b"bye"


def test_of_streamed_text_what_does_not_go_at_once_is_copied(bench: Bench[Leg]) -> None:
    """The buffer that it stands in is used again as soon as `stream` has returned."""
    text, sent = bytearray(LARGE), b""
    for turn in range(200):
        text[:] = bytes([turn]) * LARGE
        sent += text
        bench.leg.stream(memoryview(text))
        if bench.leg.rest:
            break
    assert 0 < len(bench.leg.rest) <= LARGE
    for short in (b"short", b"x" * SMALL):
        text[: len(short)] = short
        bench.leg.stream(memoryview(text)[: len(short)])
        sent += short
    text[:] = bytes(LARGE)
    bench.until(lambda: len(bench.peer.look()) == len(sent))
    assert bench.peer.got == sent
    assert bench.leg.sent == len(sent)


def test_short_streamed_text_keeps_its_turn(bench: Bench[Leg]) -> None:
    def both() -> None:
        bench.leg.send(b"a")
        bench.leg.stream(memoryview(b"b" * SMALL))
        bench.leg.stream(memoryview(b"c"))

    bench.workshop.run(both)
    bench.until(lambda: bench.peer.look() == b"a" + b"b" * SMALL + b"c")


def test_half_close_comes_behind_all_that_was_sent(bench: Bench[Leg]) -> None:
    data = b"x" * (1 << 23)
    bench.leg.send(data)
    bench.leg.finish_sending()
    bench.until(bench.peer.ended)
    assert len(bench.peer.got) == len(data)
    bench.peer.send(b"and back")
    bench.until(lambda: bench.owner.text == b"and back")


def test_writing_to_a_peer_that_is_gone_never_raises_and_frees_what_waits(bench: Bench[Leg]) -> None:
    bench.hold(SESSION)
    bench.leg.send(b"x" * (1 << 23))
    assert bench.leg.rest
    bench.peer.abort()
    bench.until(lambda: not bench.leg.rest)
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["write_unblocked"], "the other side may be read again"
    bench.leg.send(b"more")
    assert not bench.leg.rest
    still(bench.workshop)


def test_a_slow_reader_costs_no_turns(bench: Bench[Leg]) -> None:
    bench.leg.send(b"x" * (1 << 23))
    bench.workshop.rest(0.02)
    still(bench.workshop)
