"""net/dialling.py by itself: time, look-ups that hang or come late, clients that go; the rest is in test_link*.py."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.net.dialling import Dialling
from proxy.net.tls import upstream_context
from proxy.net.upstream import Server, Upstream

from ..support.workshop import Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.net.leg import Leg
    from proxy.net.tls import UpstreamTls
    from proxy.net.upstream import Address


class Bench:
    """A search for an upstream, and what it came to."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.workshop = workshop
        self.folder = folder
        self.tls: UpstreamTls | None = None
        self.server = workshop.server()
        self.found: list[tuple[Leg, bytes]] = []
        self.said: list[tuple[str, str]] = []
        self.failed = 0
        self.dialling: Dialling

    def start(self, *servers: Server, addresses: Callable[..., None] | None = None, stop: bool = False) -> None:
        upstream = Upstream(
            "up",
            "smtp",
            servers or [Server("127.0.0.1", self.server.getsockname()[1])],
            tls=self.tls,
            implicit=self.tls is not None,
            connect_timeout=10.0,
            is_ours=lambda host, port: False,
        )
        if addresses is not None:
            upstream.addresses = addresses  # type: ignore[method-assign]

        def begin() -> None:
            self.dialling = Dialling(
                upstream,
                self.workshop.poller,
                self.workshop.deadlines,
                found=lambda leg, data: self.found.append((leg, data)),
                failed=self._fail,
                said=lambda server, why: self.said.append((server, why)),
            )
            if stop:
                self.dialling.stop()

        self.workshop.run(begin)
        self.workshop.at_end.append(lambda: [leg.close() for leg, _ in self.found])
        self.workshop.at_end.append(lambda: self.dialling.stop())

    def _fail(self) -> None:
        self.failed += 1


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path) -> Bench:
    return Bench(workshop, tmp_path)


def test_the_leg_is_handed_over_with_the_first_octets(bench: Bench) -> None:
    bench.start()
    up = bench.workshop.accepted(bench.server)
    bench.workshop.turns(5)
    assert bench.found == []
    up.send(b"22")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b"22"
    assert not bench.found[0][0].closed
    bench.workshop.advance(100.0)
    assert len(bench.found) == 1
    assert bench.failed == 0
    assert bench.said == []


def test_a_look_up_that_hangs_is_given_up(bench: Bench) -> None:
    asked: list[Any] = []
    bench.start(addresses=asked.append)
    bench.workshop.advance(9.9)
    assert bench.failed == 0
    bench.workshop.advance(0.2)
    assert bench.failed == 1
    assert "looked up" in bench.said[0][1]
    bench.workshop.run(lambda: asked[0](_here(bench)))  # too late
    with pytest.raises(BlockingIOError):
        bench.server.accept()


def _here(bench: Bench) -> list[Address]:
    answers: list[list[Address]] = []
    upstream = Upstream(
        "up", "smtp", [Server("127.0.0.1", bench.server.getsockname()[1])], tls=None, implicit=False,
        connect_timeout=10.0, is_ours=lambda host, port: False,
    )  # fmt: skip
    upstream.addresses(answers.append)
    return answers[0]


def test_a_look_up_that_answers_after_the_client_went_dials_nothing(bench: Bench) -> None:
    asked: list[Any] = []
    bench.start(addresses=asked.append)
    bench.dialling.stop()
    bench.workshop.run(lambda: asked[0](_here(bench)))
    bench.workshop.turns(5)
    with pytest.raises(BlockingIOError):
        bench.server.accept()
    assert (bench.failed, bench.said) == (0, [])


def test_a_client_that_goes_takes_its_connection_along(bench: Bench) -> None:
    bench.start()
    up = bench.workshop.accepted(bench.server)
    bench.dialling.stop()
    bench.dialling.stop()
    bench.workshop.until(up.ended)
    bench.workshop.advance(100.0)
    assert (bench.failed, bench.found, bench.said) == (0, [], [])


def test_each_server_has_its_own_time(bench: Bench) -> None:
    other = bench.workshop.server()
    bench.start(*[Server("127.0.0.1", sock.getsockname()[1]) for sock in (bench.server, other)])
    silent = bench.workshop.accepted(bench.server)
    bench.workshop.advance(10.0)
    bench.workshop.until(silent.ended)
    up = bench.workshop.accepted(other)
    bench.workshop.advance(9.0)
    up.send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert [why for _, why in bench.said] == ["no greeting in time"]


def test_all_servers_down_fails_once(bench: Bench) -> None:
    ports = [refused_port(), refused_port()]
    bench.start(*[Server("127.0.0.1", port) for port in ports])
    bench.workshop.until(lambda: bench.failed)
    bench.workshop.advance(100.0)
    assert bench.failed == 1
    assert [server for server, _ in bench.said] == [f"127.0.0.1:{port}" for port in ports]


def test_what_was_put_off_for_a_client_that_went_dials_nothing(bench: Bench, certificate: Path) -> None:
    """A unix socket has no name to check: it is given up at the end of the turn, when the client may have gone."""
    path = bench.folder / "up.sock"
    unix = bench.workshop.keep(socket.socket(socket.AF_UNIX))
    unix.bind(str(path))
    unix.listen()
    bench.tls = upstream_context(tls_ca=certificate)
    bench.start(Server("", 0, str(path)), Server("127.0.0.1", bench.server.getsockname()[1]), stop=True)
    bench.workshop.turns(10)
    with pytest.raises(BlockingIOError):
        bench.server.accept()
    assert (bench.failed, bench.said) == (0, [])


def test_no_server_at_all_fails_at_once(bench: Bench) -> None:
    bench.start(addresses=lambda then: then([]))
    assert bench.failed == 1
