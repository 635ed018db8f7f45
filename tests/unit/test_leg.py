"""net/leg.py with real sockets: reading, holding, writing, ends, TLS."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.net.leg import LARGE, MORE, PEER_FULL, SESSION, SMALL, Leg
from proxy.net.poller import HANDSHAKES
from proxy.net.tls import ServerTls

from ..support.workshop import TlsPeer, Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Owner:
    """What a leg said, in order; `then` is called with every text."""

    def __init__(self) -> None:
        self.text = b""
        self.said: list[str] = []
        self.chunks: list[int] = []
        self.held = False
        self.then: Callable[[bytes], None] = lambda _: None
        self.hold_when_secured = False

    def received(self, leg: Leg, data: bytes) -> None:
        assert not self.held, "received while held"
        self.text += data
        self.chunks.append(len(data))
        self.then(data)

    def ended(self, leg: Leg) -> None:
        self.said.append("ended")

    def lost(self, leg: Leg, why: str) -> None:
        self.said.append("lost: " + why)

    def clogged(self, leg: Leg) -> None:
        assert leg.rest

    def drained(self, leg: Leg) -> None:
        self.said.append("drained")

    def secured(self, leg: Leg) -> None:
        self.said.append("secured")
        if self.hold_when_secured:
            self.held = True
            leg.hold(SESSION)

    def insecure(self, leg: Leg, error: ssl.SSLError) -> None:
        self.said.append("insecure")
        assert isinstance(error, ssl.SSLError)


class Bench:
    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        ours, self.peer = workshop.pair()
        self.owner = Owner()
        self.leg = Leg(workshop.poller, ours, self.owner)

    def hold(self, reasons: int) -> None:
        self.owner.held = bool(reasons)
        self.workshop.run(lambda: self.leg.hold(reasons))

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return Bench(workshop)


def still(workshop: Workshop) -> None:
    """The poller has nothing to do: it does not turn."""
    workshop.rest(0.02)
    before = workshop.poller.turns
    workshop.rest(0.05)
    assert workshop.poller.turns == before, "the poller spins"


# Reading


def test_text_and_end(bench: Bench) -> None:
    bench.peer.send(b"one")
    bench.until(lambda: bench.owner.text == b"one")
    bench.peer.send(b"two")
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    assert bench.owner.text == b"onetwo"
    assert bench.owner.said == ["ended"]
    assert bench.leg.received == 6
    still(bench.workshop)


def test_one_read_brings_at_most_a_chunk(bench: Bench) -> None:
    """DESIGN promise 6: what one peer can make us hold has a bound."""
    sent = bench.peer.flood(1 << 18)
    bench.until(lambda: len(bench.owner.text) == sent)
    assert max(bench.owner.chunks) <= SMALL


def test_message_text_is_read_in_larger_chunks(bench: Bench) -> None:
    bench.leg.streaming = lambda leg, text: bench.owner.received(leg, bytes(text))
    bench.hold(SESSION)
    sent = bench.peer.flood(1 << 22)
    bench.hold(0)
    bench.until(lambda: len(bench.owner.text) == sent)
    assert SMALL < max(bench.owner.chunks) <= LARGE
    assert bench.leg.received == sent


def test_nothing_is_received_while_held_and_all_after(bench: Bench) -> None:
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


def test_holding_within_received_stops_at_once(bench: Bench) -> None:
    def then(_: bytes) -> None:
        bench.owner.held = True
        bench.leg.hold(SESSION)

    bench.owner.then = then
    bench.peer.flood(1 << 18)
    bench.until(lambda: bench.owner.text)
    bench.workshop.rest(0.02)
    assert len(bench.owner.text) <= SMALL


def test_N2_a_held_peer_that_hangs_up_costs_no_turn_and_is_read_to_its_end_later(bench: Bench) -> None:
    bench.hold(SESSION)
    bench.peer.send(b"last words")
    bench.peer.close()
    bench.leg.send(b"x")  # provokes the reset: HUP and ERR
    bench.workshop.rest(0.02)
    bench.leg.send(b"y")
    still(bench.workshop)
    assert bench.owner.said == ["drained"]
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


def test_a_reset_is_a_loss_with_the_kernels_words(bench: Bench) -> None:
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


def test_the_end_is_told_once_and_the_other_direction_goes_on(bench: Bench) -> None:
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    bench.hold(SESSION)
    bench.hold(0)
    bench.leg.send(b"still here")
    bench.until(lambda: bench.peer.look() == b"still here")
    assert bench.owner.said == ["ended"]
    bench.peer.close()
    still(bench.workshop)


def test_after_close_nothing_is_told(bench: Bench) -> None:
    bench.peer.send(b"text")
    bench.leg.close()
    bench.leg.close()
    assert bench.leg.closed
    bench.workshop.rest(0.02)
    assert bench.owner.text == b""
    bench.until(bench.peer.ended)


def test_closing_within_received(bench: Bench) -> None:
    bench.owner.then = lambda _: bench.leg.close()
    bench.peer.send(b"text")
    bench.until(bench.peer.ended)
    assert bench.owner.said == []


# Writing


def test_what_the_socket_does_not_take_is_kept_in_order(bench: Bench) -> None:
    data = bytes(range(256)) * (1 << 15)
    bench.leg.send(data[: len(data) // 2])
    assert bench.leg.rest
    bench.leg.send(data[len(data) // 2 :])
    bench.until(lambda: len(bench.peer.look()) == len(data))
    bench.until(lambda: bench.owner.said)
    assert bench.peer.got == data
    assert bench.owner.said == ["drained"]
    assert not bench.leg.rest
    assert bench.leg.sent == len(data)


def test_last_words_go_in_one_packet_with_the_end(bench: Bench) -> None:
    def say() -> None:
        bench.leg.send(b"bye")  # in a turn it is put off
        bench.leg.flush(MORE)
        assert bench.peer.look() == b""
        bench.leg.close()

    bench.workshop.poller.soon(say)
    bench.until(bench.peer.ended)
    assert bench.peer.look() == b"bye"


def test_of_streamed_text_what_does_not_go_at_once_is_copied(bench: Bench) -> None:
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


def test_short_streamed_text_keeps_its_turn(bench: Bench) -> None:
    def both() -> None:
        bench.leg.send(b"a")
        bench.leg.stream(memoryview(b"b" * SMALL))
        bench.leg.stream(memoryview(b"c"))

    bench.workshop.run(both)
    bench.until(lambda: bench.peer.look() == b"a" + b"b" * SMALL + b"c")


def test_half_close_comes_behind_all_that_was_sent(bench: Bench) -> None:
    data = b"x" * (1 << 23)
    bench.leg.send(data)
    bench.leg.finish_sending()
    bench.until(bench.peer.ended)
    assert len(bench.peer.got) == len(data)
    bench.peer.send(b"and back")
    bench.until(lambda: bench.owner.text == b"and back")


def test_writing_to_a_peer_that_is_gone_never_raises_and_frees_what_waits(bench: Bench) -> None:
    bench.hold(SESSION)
    bench.leg.send(b"x" * (1 << 23))
    assert bench.leg.rest
    bench.peer.abort()
    bench.until(lambda: not bench.leg.rest)
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["drained"], "the other side may be read again"
    bench.leg.send(b"more")
    assert not bench.leg.rest
    still(bench.workshop)


def test_a_slow_reader_costs_no_turns(bench: Bench) -> None:
    bench.leg.send(b"x" * (1 << 23))
    bench.workshop.rest(0.02)
    still(bench.workshop)


# TLS


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def secured(bench: Bench, certificate: Path) -> TlsPeer:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    client = TlsPeer(bench.peer, trusting())
    bench.until(lambda: client.shake() and "secured" in bench.owner.said)
    return client


def test_tls_in_mid_connection(bench: Bench, certificate: Path) -> None:
    bench.leg.send(b"220 go\r\n")
    bench.until(lambda: bench.peer.look() == b"220 go\r\n")
    client = secured(bench, certificate)
    assert bench.leg.tls is not None
    client.send(b"inside")
    bench.until(lambda: bench.owner.text == b"inside")
    bench.leg.send(b"outside")
    bench.until(lambda: client.look() == b"outside")
    assert bench.leg.received == 6, "octets of text, not of records"


@pytest.mark.parametrize("held", [False, True])
def test_N2_tls_text_in_the_segment_of_the_handshake_s_end_is_received(
    bench: Bench, certificate: Path, held: bool
) -> None:
    """Also when reading is held as soon as TLS is up: it goes on from its BIO, no octet of the socket is needed."""
    bench.owner.hold_when_secured = held
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    client = TlsPeer(bench.peer, trusting())
    incoming, outgoing = client._in, client._out
    while not client.done:
        try:
            client.side.do_handshake()
            client.done = True
        except ssl.SSLWantReadError:
            bench.peer.send(outgoing.read())
            seen = len(bench.peer.got)
            bench.until(lambda seen=seen: len(bench.peer.look()) > seen)
            incoming.write(bytes(bench.peer.got[seen:]))
    client.side.write(b"early")
    bench.peer.send(outgoing.read())  # Finished and text at once
    if held:
        bench.until(lambda: bench.owner.said)
        bench.workshop.rest(0.01)
        assert bench.owner.text == b""
        bench.hold(0)
    bench.until(lambda: bench.owner.text == b"early")
    assert bench.owner.said == ["secured"]


def test_tls_bulk_both_ways_while_held_and_let_go(bench: Bench, certificate: Path) -> None:
    client = secured(bench, certificate)
    data = bytes(range(256)) * 4096
    bench.leg.send(data)
    bench.until(lambda: client.look() == data)
    bench.hold(SESSION)
    for at in range(0, 1 << 17, 1 << 14):
        client.send(data[at : at + (1 << 14)])
    bench.workshop.rest(0.02)
    assert bench.owner.text == b""
    bench.hold(0)
    bench.until(lambda: bench.owner.text == data[: 1 << 17])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_tickets_of_1_3_go_with_the_first_text_and_all_else_at_once(
    bench: Bench, certificate: Path, version: ssl.TLSVersion
) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    client = TlsPeer(bench.peer, context)
    bench.until(lambda: client.shake() and "secured" in bench.owner.said)
    seen = len(bench.peer.look())
    bench.workshop.rest(0.02)
    assert len(bench.peer.look()) == seen, "nothing more before there is text"
    bench.workshop.run(lambda: bench.leg.send(b"220 hello\r\n"))
    bench.until(lambda: client.look() == b"220 hello\r\n")
    assert client.side.session is not None
    assert client.side.session.has_ticket


def test_tls_tickets_go_also_where_no_text_is_ever_sent(bench: Bench, certificate: Path) -> None:
    client = secured(bench, certificate)
    bench.leg.finish_sending()
    bench.until(bench.peer.ended)
    assert client.look() == b""
    assert client.over
    assert client.side.session is not None
    assert client.side.session.has_ticket


def test_tls_close_notify_is_an_end(bench: Bench, certificate: Path) -> None:
    client = secured(bench, certificate)
    client.side.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        client.side.unwrap()
    bench.peer.send(client._out.read())
    bench.until(lambda: "ended" in bench.owner.said)
    assert bench.owner.text == b"last"
    bench.leg.send(b"answer")
    bench.until(lambda: client.look() == b"answer" or client.got == b"answer")
    bench.leg.finish_sending()
    bench.until(bench.peer.ended)


def test_tls_goodbye_is_a_close_notify(bench: Bench, certificate: Path) -> None:
    client = secured(bench, certificate)
    bench.leg.send(b"bye")
    bench.leg.say_goodbye()
    bench.leg.say_goodbye()  # nothing more
    bench.leg.close()
    bench.until(bench.peer.ended)
    assert client.look() == b"bye"
    assert client.over


def test_tls_broken_record_is_a_loss(bench: Bench, certificate: Path) -> None:
    secured(bench, certificate)
    bench.peer.send(b"\x17\x03\x03\x00\x05xxxxx")
    bench.until(lambda: len(bench.owner.said) == 2)
    assert bench.owner.said[1].startswith("lost: TLS")
    assert bench.owner.text == b""
    still(bench.workshop)


def test_tls_garbage_instead_of_a_hello(bench: Bench, certificate: Path) -> None:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    bench.peer.send(b"EHLO c.test\r\n" * 10)
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["insecure"]
    assert bench.owner.text == b"", "no octet in the clear is ever taken for text"


def test_tls_left_in_the_handshake(bench: Bench, certificate: Path) -> None:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    bench.peer.send(b"\x16\x03\x01")
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["lost: left in the TLS handshake"]
    still(bench.workshop)


def test_tls_handshake_octet_by_octet_is_one_step_an_octet_at_most(bench: Bench, certificate: Path) -> None:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    hello = TlsPeer(bench.peer, trusting())
    with pytest.raises(ssl.SSLWantReadError):
        hello.side.do_handshake()
    for octet in hello._out.read():
        bench.peer.send(bytes((octet,)))
        bench.workshop.turns(3)
    bench.until(lambda: bench.peer.look())
    assert bench.owner.said == []


def test_N2_a_flood_behind_a_client_hello_waits_in_the_kernel_until_its_step_is_made(
    bench: Bench, certificate: Path
) -> None:
    for _ in range(80 * HANDSHAKES):  # the steps of others: 80 turns of them
        bench.workshop.poller.handshake(lambda: None)
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    bench.peer.flood()
    most = 0
    for _ in range(40):
        bench.workshop.turns(1)
        assert bench.leg._tls is not None
        most = max(most, bench.leg._tls._incoming.pending)
    assert most <= SMALL
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said[0] == "insecure"
