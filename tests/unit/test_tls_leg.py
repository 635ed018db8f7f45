"""net/sockets/tls_leg.py with real sockets: the switch to TLS, its handshake step by step, text inside, ends."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.net.sockets.leg import SESSION, SMALL
from proxy.net.sockets.poller import HANDSHAKES
from proxy.net.sockets.tls_leg import TlsLeg
from proxy.net.tls.contexts import ServerTls

from ..support.leg import Bench, still
from ..support.workshop import TlsPeer, Workshop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(workshop: Workshop) -> Bench[TlsLeg]:
    return Bench(workshop, TlsLeg)


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def tls_established(bench: Bench[TlsLeg], certificate: Path) -> TlsPeer:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    client = TlsPeer(bench.peer, trusting())
    bench.until(lambda: client.shake() and "tls_established" in bench.owner.said)
    return client


def test_in_mid_connection(bench: Bench[TlsLeg], certificate: Path) -> None:
    bench.leg.send(b"220 go\r\n")
    bench.until(lambda: bench.peer.look() == b"220 go\r\n")
    client = tls_established(bench, certificate)
    assert bench.owner.tls is not None
    client.send(b"inside")
    bench.until(lambda: bench.owner.text == b"inside")
    bench.leg.send(b"outside")
    bench.until(lambda: client.look() == b"outside")
    assert bench.leg.received == 6, "octets of text, not of records"


@pytest.mark.parametrize("held", [False, True])
def test_N2_text_in_the_segment_of_the_handshake_s_end_is_received(
    bench: Bench[TlsLeg], certificate: Path, held: bool
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
    assert bench.owner.said == ["tls_established"]


def test_bulk_both_ways_while_held_and_let_go(bench: Bench[TlsLeg], certificate: Path) -> None:
    client = tls_established(bench, certificate)
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


def test_streams_pass_whole_however_slow_the_reader(bench: Bench[TlsLeg], certificate: Path) -> None:
    """What is streamed to it, more than the kernel takes at once, with words in between; then what it streams."""
    client = tls_established(bench, certificate)
    block = bytes(range(256)) * 1000
    sent = b""
    while not bench.leg.rest:
        bench.workshop.run(lambda: bench.leg.stream(memoryview(block)))
        sent += block
    bench.leg.stream(memoryview(block))
    bench.leg.send(b"word")
    bench.leg.stream(memoryview(b"little"))
    sent += block + b"wordlittle"
    bench.until(lambda: client.look() == sent)
    assert bench.leg.sent == len(sent)
    streamed: list[bytes] = []
    bench.leg.stream_to(lambda _, text: streamed.append(bytes(text)))
    for at in range(0, len(block), 1 << 14):
        client.send(block[at : at + (1 << 14)])
        bench.workshop.turns(2)
    bench.until(lambda: b"".join(streamed) == block)
    assert bench.owner.text == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tickets_of_1_3_go_with_the_first_text_and_all_else_at_once(
    bench: Bench[TlsLeg], certificate: Path, version: ssl.TLSVersion
) -> None:
    context = trusting()
    context.minimum_version = context.maximum_version = version
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    client = TlsPeer(bench.peer, context)
    bench.until(lambda: client.shake() and "tls_established" in bench.owner.said)
    seen = len(bench.peer.look())
    bench.workshop.rest(0.02)
    assert len(bench.peer.look()) == seen, "nothing more before there is text"
    bench.workshop.run(lambda: bench.leg.send(b"220 hello\r\n"))
    bench.until(lambda: client.look() == b"220 hello\r\n")
    assert client.side.session is not None
    assert client.side.session.has_ticket


def test_tickets_go_also_where_no_text_is_ever_sent(bench: Bench[TlsLeg], certificate: Path) -> None:
    client = tls_established(bench, certificate)
    bench.leg.finish_sending()
    bench.until(bench.peer.ended)
    assert client.look() == b""
    assert client.over
    assert client.side.session is not None
    assert client.side.session.has_ticket


def test_close_notify_is_an_end(bench: Bench[TlsLeg], certificate: Path) -> None:
    client = tls_established(bench, certificate)
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


def test_goodbye_is_a_close_notify(bench: Bench[TlsLeg], certificate: Path) -> None:
    client = tls_established(bench, certificate)
    bench.leg.send(b"bye")
    bench.leg.send_close_notify()
    bench.leg.send_close_notify()  # nothing more
    bench.leg.close()
    bench.until(bench.peer.ended)
    assert client.look() == b"bye"
    assert client.over


def test_broken_record_is_a_loss(bench: Bench[TlsLeg], certificate: Path) -> None:
    tls_established(bench, certificate)
    bench.peer.send(b"\x17\x03\x03\x00\x05xxxxx")
    bench.until(lambda: len(bench.owner.said) == 2)
    assert bench.owner.said[1].startswith("lost: TLS")
    assert bench.owner.text == b""
    still(bench.workshop)


def test_garbage_instead_of_a_hello(bench: Bench[TlsLeg], certificate: Path) -> None:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    bench.peer.send(b"EHLO c.test\r\n" * 10)
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["tls_failed"]
    assert bench.owner.text == b"", "no octet in the clear is ever taken for text"


def test_left_in_the_handshake(bench: Bench[TlsLeg], certificate: Path) -> None:
    bench.workshop.run(lambda: bench.leg.start_tls(ServerTls("smtp", [certificate]).wrap))
    bench.peer.send(b"\x16\x03\x01")
    bench.peer.half_close()
    bench.until(lambda: bench.owner.said)
    assert bench.owner.said == ["lost: left in the TLS handshake"]
    still(bench.workshop)


def test_handshake_octet_by_octet_is_one_step_an_octet_at_most(bench: Bench[TlsLeg], certificate: Path) -> None:
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
    bench: Bench[TlsLeg], certificate: Path
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
    assert bench.owner.said[0] == "tls_failed"
