"""net/accept/balancer_check.py: a health check on its socket, in the clear and under TLS; no upstream, no line above
debug."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.net.accept.balancer_check import LASTS, BalancerCheck
from proxy.net.sockets.leg import LINGER
from proxy.net.tls.contexts import ServerTls
from proxy.net.upstream.upstream import Upstream
from proxy.wire.address import packed

from ..support.gate import Gate
from ..support.workshop import TlsPeer, Workshop
from .test_link_tls import trusting

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.workshop import Peer

BALANCER = "198.51.100.9"


@pytest.fixture
def gate(workshop: Workshop) -> Gate:
    return Gate(workshop, "smtp")


def probe(gate: Gate) -> tuple[BalancerCheck, Peer]:
    sock, peer = gate.workshop.pair()
    made = BalancerCheck(gate.shared(), gate.service(), sock, packed(BALANCER), BALANCER, "0-1")
    gate.workshop.run(made.start)
    gate.workshop.at_end.append(made.cut)
    return made, peer


def ended(gate: Gate) -> str:
    """Wait for its end; why, from its only line in the log."""
    gate.until(lambda: gate.closed)
    assert len(gate.closed) == 1
    ((level, subject, event, words),) = gate.workshop.log.lines
    assert (level, subject, event, words["balancer"]) == ("debug", gate.protocol, "probe", BALANCER)
    assert gate.workshop.deadlines._queues == {} or not any(gate.workshop.deadlines._queues.values())
    return str(words["why"])


def no_upstream(gate: Gate) -> None:
    with pytest.raises(BlockingIOError):
        gate.server.accept()


def test_N1_a_check_is_answered_without_an_upstream_connection(gate: Gate) -> None:
    _, peer = probe(gate)
    gate.gets(peer, b"220 popgate ESMTP\r\n")
    peer.send(b"HELO localhost\r\n")
    gate.gets(peer, b"250 popgate\r\n")
    peer.send(b"QUIT\r\n")
    gate.until(peer.ended)
    assert peer.got.endswith(b"221 2.0.0 Bye\r\n")
    assert not peer.reset
    peer.close()
    assert ended(gate) == "answered"
    no_upstream(gate)


def test_N1_pop3(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    _, peer = probe(gate)
    peer.send(b"QUIT\r\n")
    gate.until(peer.ended)
    assert peer.got == b"+OK popgate\r\n+OK Bye\r\n"
    peer.close()
    assert ended(gate) == "answered"


@pytest.mark.parametrize("how", ["close", "abort"])
def test_N1_a_tcp_check_that_leaves_without_reading(gate: Gate, how: str) -> None:
    _, peer = probe(gate)
    getattr(peer, how)()
    assert ended(gate).startswith("balancer l")


def test_N1_under_implicit_tls(gate: Gate, certificate: Path) -> None:
    gate.tls, gate.implicit = ServerTls("smtp", [certificate]), True
    _, peer = probe(gate)
    client = TlsPeer(peer, trusting())
    gate.until(client.shake)
    gate.until(lambda: client.look().endswith(b"\r\n"))
    client.send(b"QUIT\r\n")
    gate.until(lambda: client.look() and client.over)
    assert client.got == b"220 popgate ESMTP\r\n221 2.0.0 Bye\r\n"
    peer.close()
    assert ended(gate) == "answered"


def test_N1_no_tls_where_it_is_awaited(gate: Gate, certificate: Path) -> None:
    gate.tls, gate.implicit = ServerTls("smtp", [certificate]), True
    _, peer = probe(gate)
    peer.send(b"HELO localhost\r\n")
    assert ended(gate) == "TLS handshake failed"
    gate.until(peer.ended)
    assert not peer.got.startswith(b"220")


def test_N1_an_unhealthy_upstream_is_told_and_it_closes(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upstream, "healthy", False)
    _, peer = probe(gate)
    gate.until(peer.ended)
    assert peer.got.startswith(b"421 4.3.2 The mail server is not available")
    assert not gate.closed, "its end is waited for, so that no reset destroys the 421"
    gate.workshop.advance(LINGER + 0.1)
    assert ended(gate) == "answered"


def test_a_silent_one_does_not_stay(gate: Gate) -> None:
    probe(gate)
    gate.workshop.advance(LASTS - 1)
    assert not gate.closed
    gate.workshop.advance(1.1)
    assert ended(gate) == "too slow"


def test_one_that_never_reads_is_not_listened_to(gate: Gate) -> None:
    made, peer = probe(gate)
    sent = 0
    for _ in range(4000):
        try:
            sent += peer.sock.send(b"NOOP\r\n" * 200)
        except BlockingIOError:
            break
        gate.workshop.turns(1)
        if made._leg._held:
            break
    assert made._leg._held, sent
    assert len(made._leg.rest) < 1 << 17
    gate.until(lambda: peer.look() and not made._leg._held)
    gate.workshop.run(made.cut)
    assert ended(gate) == "cut by a drain"


@pytest.mark.parametrize("answered", [False, True])
def test_N6_a_drain_ends_it(gate: Gate, answered: bool) -> None:
    made, peer = probe(gate)
    gate.gets(peer, b"220 popgate ESMTP\r\n")
    if answered:
        peer.send(b"QUIT\r\n")
        gate.until(lambda: made.answered)
    gate.workshop.run(made.drain)
    gate.until(peer.ended)
    assert peer.got.count(b"\r\n") == 2
    assert (b"421 4.3.2" in peer.got) is not answered
    peer.close()
    assert ended(gate) == "answered"
