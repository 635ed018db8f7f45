"""net/accept/listener.py: accepting, turning away, running out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.net.accept import listener as module
from proxy.net.accept.listener import ACCEPTS, Listener
from proxy.shared_memory.connections import ConnectionCounters
from proxy.wire.address import packed

from ..support.gate import Gate
from ..support.workshop import PATIENCE, Peer, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.net.service import Service
    from proxy.wire.proxyheader import ProxyHeader


class Scarce:
    """A listening socket whose `accept` fails as told before it does its work."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.failures: list[OSError] = []
        self.accepts = 0
        self.peer: Any = None

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.failures:
            raise self.failures.pop(0)
        sock, peer = self.sock.accept()
        return sock, self.peer or peer


class Bench:
    def __init__(
        self,
        workshop: Workshop,
        protocol: str = "pop3",
        *,
        connections: int = 100,
        each: int = 100,
        most: int | None = None,
    ) -> None:
        self.workshop = workshop
        self.sock = Scarce(workshop.server())
        self.counters = ConnectionCounters(1)
        self.welcomed: list[tuple[socket.socket, bytes, str]] = []
        self.headers: list[ProxyHeader | None] = []
        self.turns: list[int] = []
        self.gate = Gate(workshop, protocol)
        self.listener = Listener(
            self.sock,  # type: ignore[arg-type]
            self.gate.service(),
            shared=self.gate.shared(),
            loop=workshop.loop,
            counters=self.counters,
            worker=0,
            connections=connections,
            per_client=each,
            accepted=self.accepted,
            pause=0.05,
            most=most,
        )
        self.listener.start()

    def accepted(
        self, service: Service, sock: socket.socket, address: bytes, shown: str, header: ProxyHeader | None
    ) -> None:
        self.headers.append(header)
        assert sock.getblocking() is False
        self.workshop.keep(sock)
        self.welcomed.append((sock, address, shown))
        self.turns.append(self.workshop.poller.turns)

    def connect(self) -> Peer:
        return Peer(self.workshop.keep(socket.create_connection(self.sock.sock.getsockname())))

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return Bench(workshop)


def test_a_connection_is_welcomed_with_its_address(bench: Bench) -> None:
    bench.connect()
    bench.until(lambda: bench.welcomed)
    _, address, shown = bench.welcomed[0]
    assert (address, shown) == (packed("127.0.0.1"), "127.0.0.1")
    assert bench.counters.connections() == bench.counters.of(address) == 1


def test_N4_at_most_sixteen_accepts_a_turn(workshop: Workshop) -> None:
    bench = Bench(workshop)
    for _ in range(40):
        bench.connect()
    bench.until(lambda: len(bench.welcomed) == 40)
    assert ACCEPTS == 16
    assert max(bench.turns.count(turn) for turn in bench.turns) == ACCEPTS


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_N4_without_descriptors_it_pauses_and_goes_on(bench: Bench, code: int) -> None:
    bench.sock.failures = [OSError(code, "full")]
    bench.connect()
    bench.until(lambda: bench.workshop.log.of("accept-failed"))
    accepts, turns = bench.sock.accepts, bench.workshop.poller.turns
    assert accepts == 1
    bench.workshop.turns(20)
    assert bench.sock.accepts == accepts, "paused"
    assert bench.workshop.poller.turns <= turns + 1, "it does not spin"
    bench.until(lambda: bench.welcomed)
    assert bench.workshop.log.level_of("accept-failed") == "error"


def test_N4_with_real_exhaustion(workshop: Workshop) -> None:
    """The kernel itself says EMFILE: the soft limit of this process is lowered for a moment."""
    resource = pytest.importorskip("resource")
    bench = Bench(workshop)
    client = bench.connect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fill: list[socket.socket] = []

    async def exhausted() -> None:
        """Within one run of the loop: uvloop opens descriptors of its own at the begin of each."""
        used = max(client.sock.fileno(), *(sock.fileno() for sock in workshop._open))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
        try:
            with pytest.raises(OSError, match="Too many"):
                while True:
                    fill.append(socket.socket())
            end = time.monotonic() + PATIENCE
            while not workshop.log.of("accept-failed"):
                assert time.monotonic() < end
                await asyncio.sleep(0)
        finally:
            for sock in fill:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    workshop.loop.run_until_complete(exhausted())
    assert not bench.welcomed
    bench.until(lambda: bench.welcomed)


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH])
def test_an_error_of_one_connection_is_passed_over(bench: Bench, code: int) -> None:
    bench.sock.failures = [OSError(code, "gone")]
    bench.connect()
    bench.until(lambda: bench.welcomed)
    assert not bench.workshop.log.of("accept-failed")


@pytest.mark.parametrize(("protocol", "reply"), [("smtp", b"421 4.7.0 Too many "), ("pop3", b"-ERR [SYS/TEMP] Too m")])
@pytest.mark.parametrize(("limits", "why"), [((1, 9), "limits.connections"), ((9, 1), "limits.connections_per_client")])
def test_over_a_limit_one_line_and_the_door(
    workshop: Workshop, protocol: str, reply: bytes, limits: tuple[int, int], why: str
) -> None:
    bench = Bench(workshop, protocol, connections=limits[0], each=limits[1])
    bench.connect()
    bench.until(lambda: bench.welcomed)
    refused = bench.connect()
    bench.until(refused.ended)
    assert refused.got.startswith(reply)
    assert refused.got.endswith(b"\r\n")
    assert workshop.log.of("turned-away")[0]["why"] == why
    assert bench.counters.connections() == 1
    workshop.run(lambda: bench.counters.leave(0, packed("127.0.0.1")))
    bench.connect()
    bench.until(lambda: len(bench.welcomed) == 2)


def test_under_implicit_tls_no_line_in_the_clear(workshop: Workshop) -> None:
    bench = Bench(workshop, "smtp", connections=0)
    bench.gate.implicit = True
    bench.listener.adopt(bench.gate.service(), 0, 1)
    refused = bench.connect()
    bench.until(refused.ended)
    assert refused.got == b""


@pytest.mark.parametrize(("protocol", "reply"), [("smtp", b"421 4.3.2 "), ("pop3", b"-ERR [SYS/TEMP] Service is cl")])
def test_draining_tells_who_has_connected_and_stops(workshop: Workshop, protocol: str, reply: bytes) -> None:
    bench = Bench(workshop, protocol)
    waiting = [bench.connect() for _ in range(3 * ACCEPTS)]
    workshop.run(bench.listener.drain)
    for client in waiting:
        bench.until(client.ended)
        assert client.got.startswith(reply)
    late = bench.connect()
    workshop.rest(0.02)
    assert not late.ended(), "the queue is the other workers'"
    assert bench.welcomed == []


def test_closing_leaves_the_socket_to_the_other_workers(bench: Bench) -> None:
    bench.listener.close()
    bench.listener.close()
    bench.connect()
    bench.workshop.rest(0.01)
    assert bench.welcomed == []
    bench.workshop.keep(bench.sock.sock.accept()[0])


def test_N6_who_waits_in_the_queue_of_a_socket_that_stays_waits_for_the_successor(bench: Bench) -> None:
    client = bench.connect()
    bench.listener.drain(turn_away=False)
    assert bench.sock.accepts == 0
    successor, _ = bench.sock.sock.accept()
    with successor:
        successor.sendall(b"+OK\r\n")
        assert client.sock.recv(100) == b"+OK\r\n"


def test_a_drained_listener_does_not_come_back_from_its_pause(bench: Bench) -> None:
    bench.sock.failures = [OSError(errno.EMFILE, "full")]
    bench.connect()
    bench.until(lambda: bench.workshop.log.of("accept-failed"))
    bench.listener.drain()
    bench.workshop.rest(0.1)
    assert bench.welcomed == []


def test_G2_a_zone_id_is_served_and_not_part_of_the_address(bench: Bench) -> None:
    bench.sock.peer = ("fe80::1%eth0", 1, 0, 2)
    bench.connect()
    bench.until(lambda: bench.welcomed)
    assert bench.welcomed[0][2] == "fe80::1"


def test_a_worker_without_descriptors_turns_away_before_it_runs_out(workshop: Workshop) -> None:
    bench = Bench(workshop, "smtp", most=1)
    bench.connect()
    bench.until(lambda: bench.welcomed)
    client = bench.connect()
    bench.until(client.ended)
    assert client.got.startswith(b"421 4.7.0")
    assert bench.workshop.log.of("turned-away")[0]["why"] == "descriptors of this worker"


def test_capacity_is_two_descriptors_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (1064, 4096))
    assert module.capacity() == 500
    assert module.capacity(module.descriptors(500)) == 500
    assert module.capacity(module.descriptors(500) - 1) == 499


def test_G2_a_mapped_address_is_ipv4(bench: Bench) -> None:
    bench.sock.peer = ("::ffff:192.0.2.7", 1, 0, 0)
    bench.connect()
    bench.until(lambda: bench.welcomed)
    assert bench.welcomed[0][1:] == (packed("192.0.2.7"), "192.0.2.7")


def test_a_reload_counts_from_the_next_connection(bench: Bench) -> None:
    bench.listener.adopt(bench.gate.service(), 0, 1)
    client = bench.connect()
    bench.until(client.ended)
    assert bench.workshop.log.of("turned-away")
