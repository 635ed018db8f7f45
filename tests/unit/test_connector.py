"""net/upstream/connector.py by itself: time, look-ups that hang or come late, clients that go; the rest is in
test_link*.py."""

from __future__ import annotations

import re
import select
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.endpoint import CLIENT
from proxy.net.tls.contexts import upstream_context
from proxy.net.upstream.announcement import Announcement, Announcing
from proxy.net.upstream.connector import Connector
from proxy.net.upstream.pool import MAX_WAITING, Pools
from proxy.net.upstream.upstream import ORIGINAL, UNANNOUNCED, Address, Exhausted, Server, Upstream
from proxy.shared_memory.server_health import ServerHealth, keys_of
from proxy.wire.address import packed

from ..support.needs import need
from ..support.workshop import TlsPeer, Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy.net.sockets.leg import Leg
    from proxy.net.tls.contexts import UpstreamTls

    from ..support.workshop import Peer


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
        self.limit = 0
        self.max_waiting = MAX_WAITING
        self.upstream: Upstream
        self.connector: Connector

    def made(self, servers: Sequence[Server], announcing: Announcing) -> Upstream:
        """Its pool has the workshop's clock."""
        board = ServerHealth(1)
        own, keys = keys_of("up", servers)
        board.enlist([own, *keys])
        soon = self.workshop.loop.call_soon
        pools = Pools(board.row(0), self.workshop.clock.now, lambda action: soon(action), self.max_waiting)
        return Upstream(
            "up",
            "smtp",
            servers,
            tls=self.tls,
            implicit=self.tls is not None,
            connect_timeout=10.0,
            is_ours=lambda host, port: False,
            announcing=announcing,
            pool=pools.pool("up", servers, "first", self.limit),
        )

    def states(self) -> list[str]:
        """Of the servers, as the pool has seen them."""
        pool = self.upstream.pool
        return [pool.condition(number).state for number in range(len(self.upstream.servers))]

    def start(
        self,
        *servers: Server,
        addresses: Callable[..., None] | None = None,
        stop: bool = False,
        announcing: Announcing = UNANNOUNCED,
        announcement: Announcement | None = None,
        again: tuple[bytes, bytes] | None = None,
        more: bool = False,
        in_turn: bool = False,
    ) -> None:
        """`more`: another client of the upstream of before; `in_turn`: it begins in a turn of the poller."""
        if not more:
            self.upstream = self.made(servers or [Server("127.0.0.1", self.server.getsockname()[1])], announcing)
        upstream = self.upstream
        if addresses is not None:
            upstream.fixed_addresses = None
            upstream.addresses = addresses  # type: ignore[method-assign]

        def begin() -> None:
            self.connector = connector = Connector(
                upstream,
                self.workshop.poller,
                self.workshop.deadlines,
                found=lambda leg, data: self.found.append((leg, data)),
                failed=self.fail,
                server_failed=lambda server, why: self.said.append((server, why)),
                announcement=announcement,
                replay=again,
            )
            connector.start()
            if stop:
                self.connector.stop()
            self.workshop.at_end.append(connector.stop)

        self.workshop.run((lambda: self.workshop.poller.soon(begin)) if in_turn else begin)
        self.workshop.turns(3 if in_turn else 0)
        self.workshop.at_end.append(lambda: [leg.close() for leg, _ in self.found])

    def fail(self) -> None:
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


def test_names_without_an_address_are_said(bench: Bench) -> None:
    bench.start(Server("a.test", 25), Server("b.test", 25), addresses=lambda then: then([]))
    assert bench.failed == 1
    assert [server for server, _ in bench.said] == ["a.test:25", "b.test:25"]
    assert bench.said[0][1] == "a.test has no address, or only popgate's own"


def test_a_name_without_an_address_beside_others_costs_no_line_a_session(bench: Bench) -> None:
    here = _here(bench)
    bench.start(Server("127.0.0.1", here[0].target[1]), Server("b.test", 25), addresses=lambda then: then(here))  # type: ignore[misc]
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.said == []


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
    bench.connector.stop()
    bench.workshop.run(lambda: asked[0](_here(bench)))
    bench.workshop.turns(5)
    with pytest.raises(BlockingIOError):
        bench.server.accept()
    assert (bench.failed, bench.said) == (0, [])


def test_a_client_that_goes_takes_its_connection_along(bench: Bench) -> None:
    bench.start()
    up = bench.workshop.accepted(bench.server)
    bench.connector.stop()
    bench.connector.stop()
    bench.workshop.until(up.ended)
    bench.workshop.advance(100.0)
    assert (bench.failed, bench.found, bench.said) == (0, [], [])


def test_a_client_that_goes_in_the_turn_in_which_it_came_dials_nothing(bench: Bench) -> None:
    bench.start(stop=True, in_turn=True)
    with pytest.raises(BlockingIOError):
        bench.server.accept()
    assert (bench.failed, bench.said) == (0, [])
    assert bench.upstream.pool.condition(0).state == "unknown"


def test_servers_that_fail_at_once_at_the_end_of_a_turn_are_passed_over(bench: Bench) -> None:
    there = Server("127.0.0.1", bench.server.getsockname()[1])
    bench.start(Server("127.0.0.1", refused_port()), Server("", 0, "/nowhere"), there, in_turn=True)
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 up\r\n")
    bench.workshop.until(lambda: bench.found)
    assert len(bench.said) == 2
    assert bench.states() == ["down", "down", "up"]


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


# Announcing the client's address (rule S12)

ANNOUNCED = Announcement((packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25))
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"


def heard(bench: Bench, peer: Peer, end: bytes) -> bytes:
    bench.workshop.until(lambda: peer.look().endswith(end))
    got = bytes(peer.got)
    peer.got.clear()
    return got


def test_S12_the_header_comes_first_and_at_once(bench: Bench) -> None:
    bench.start(announcing=Announcing(proxy="v1"), announcement=ANNOUNCED)
    up = bench.workshop.accepted(bench.server)
    assert heard(bench, up, b"\n") == HEADER
    assert bench.found == []
    up.send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)


def test_S12_the_header_comes_before_implicit_tls(bench: Bench, certificate: Path) -> None:
    bench.tls = upstream_context(tls_ca=certificate, tls_name="mail.example.com")
    bench.start(announcing=Announcing(proxy="v1"), announcement=ANNOUNCED)
    up = bench.workshop.accepted(bench.server)
    bench.workshop.turns(5)
    bench.workshop.until(lambda: select.select([up.sock], [], [], 0)[0])
    assert up.sock.recv(len(HEADER)) == HEADER
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secure = TlsPeer(up, context, server=True)
    bench.workshop.until(secure.shake)
    secure.send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b"220 hi\r\n"


def test_a_refused_connection_says_so_with_a_header_on_its_way_too(bench: Bench) -> None:
    bench.start(Server("127.0.0.1", refused_port()), announcing=Announcing(proxy="v1"), announcement=ANNOUNCED)
    bench.workshop.until(lambda: bench.failed)
    assert [why for _, why in bench.said] == ["Connection refused"]


def test_S12_xclient_and_the_second_greeting(bench: Bench) -> None:
    bench.start(announcing=Announcing(xclient=True), announcement=ANNOUNCED)
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 one\r\n")
    assert heard(bench, up, b"\n").startswith(b"EHLO ")
    up.send(b"250-mail\r\n250 XCLIENT ADDR\r\n")
    assert heard(bench, up, b"\n") == b"XCLIENT ADDR=192.0.2.7\r\n"
    assert bench.found == []
    up.send(b"220 two\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b"220 two\r\n"


def test_S12_an_unannounced_connection_says_no_xclient(bench: Bench) -> None:
    bench.start(announcing=Announcing(xclient=True))
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 one\r\n")
    bench.workshop.until(lambda: bench.found)
    assert up.look() == b""


def test_S12_a_server_that_takes_no_xclient_is_passed_over(bench: Bench) -> None:
    other = bench.workshop.server()
    servers = [Server("127.0.0.1", sock.getsockname()[1]) for sock in (bench.server, other)]
    bench.start(*servers, announcing=Announcing(xclient=True), announcement=ANNOUNCED)
    for sock, offer in ((bench.server, b"250 mail\r\n"), (other, b"250-mail\r\n250 XCLIENT ADDR\r\n")):
        up = bench.workshop.accepted(sock)
        up.send(b"220 hi\r\n")
        heard(bench, up, b"\n")
        up.send(offer)
    assert heard(bench, up, b"\n").startswith(b"XCLIENT")
    assert len(bench.said) == 1
    assert "XCLIENT" in bench.said[0][1]


def test_S12_a_session_begun_anew(bench: Bench) -> None:
    bench.start(again=(b"HELO c.test\r\n", b"MAIL FROM:<>\r\n"))
    up = bench.workshop.accepted(bench.server)
    for words, answer in ((b"220 hi\r\n", b"HELO c.test\r\n"), (b"250 hi\r\n", b"MAIL FROM:<>\r\n")):
        up.send(words)
        assert heard(bench, up, b"\n") == answer
    up.send(b"250 ok\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b""


def test_a_fixed_source(bench: Bench) -> None:
    bench.start(announcing=Announcing(source="127.9.8.7"))
    up = bench.workshop.accepted(bench.server)
    assert up.sock.getpeername()[0] == "127.9.8.7"


def test_the_client_s_address_as_source(bench: Bench) -> None:
    need("root")
    announced = Announcement((packed("127.9.8.6"), 40000), (packed("127.0.0.1"), 25))
    bench.start(announcing=Announcing(source=CLIENT), announcement=announced)
    assert bench.workshop.accepted(bench.server).sock.getpeername()[0] == "127.9.8.6"


@pytest.mark.parametrize(
    ("address", "why"), [("2001:db8::7", "IPv4 and IPv6"), ("192.0.2.7", "Permission|permitted|assign")]
)
def test_S12_a_source_that_can_t_be_is_no_connection_never_an_unannounced_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, address: str, why: str
) -> None:
    def forbidden(self: socket.socket, *_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "bind", forbidden)
    announced = Announcement((packed(address), 40000), (packed("127.0.0.1"), 25))
    bench.start(announcing=Announcing(source=CLIENT), announcement=announced)
    bench.workshop.until(lambda: bench.failed)
    assert re.search(why, bench.said[0][1])
    with pytest.raises(BlockingIOError):
        bench.server.accept()


# --- several servers (net/upstream/pool.py): what a failure says of the server, and places


def two(bench: Bench) -> tuple[socket.socket, list[Server]]:
    other = bench.workshop.server()
    return other, [Server("127.0.0.1", sock.getsockname()[1]) for sock in (bench.server, other)]


@pytest.mark.parametrize("greeting", [b"421 4.3.2 too busy\r\n", b"554 go away\r\n", b"-ERR no\r\n"])
def test_a_refusal_is_not_the_client_s_while_there_are_others(bench: Bench, greeting: bytes) -> None:
    other, servers = two(bench)
    bench.start(*servers)
    first = bench.workshop.accepted(bench.server)
    first.send(greeting)
    second = bench.workshop.accepted(other)
    second.send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b"220 hi\r\n"
    assert [why for _, why in bench.said] == [f"greeting: {greeting.decode().strip()}"]
    assert bench.states() == ["unknown", "up"], "it may have been meant for this client alone"


def test_the_last_server_s_refusal_is_the_client_s(bench: Bench) -> None:
    other, servers = two(bench)
    bench.start(*servers)
    bench.workshop.accepted(bench.server).send(b"421 busy\r\n")
    bench.workshop.accepted(other).send(b"421 busy, too\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.found[0][1] == b"421 busy, too\r\n"
    assert bench.states() == ["unknown", "unknown"]


def test_who_can_t_be_reached_is_down_and_not_tried_by_the_next_client(bench: Bench) -> None:
    nobody = Server("127.0.0.1", refused_port())
    bench.start(nobody, Server("127.0.0.1", bench.server.getsockname()[1]))
    bench.workshop.accepted(bench.server).send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert bench.states() == ["down", "up"]
    bench.said.clear()
    bench.start(more=True)
    bench.workshop.accepted(bench.server).send(b"220 hi\r\n")
    bench.workshop.until(lambda: len(bench.found) == 2)
    assert bench.said == []


def test_who_is_silent_or_hangs_up_is_down(bench: Bench) -> None:
    other, servers = two(bench)
    bench.start(*servers)
    bench.workshop.accepted(bench.server)
    bench.workshop.advance(10.0)
    bench.workshop.accepted(other).close()
    bench.workshop.until(lambda: bench.failed)
    assert bench.states() == ["down", "down"]
    assert not bench.upstream.healthy


def test_a_server_that_was_shown_the_client_is_not_to_blame_for_hanging_up(bench: Bench) -> None:
    shown = Announcement((packed("192.0.2.7"), 1234), (packed("192.0.2.1"), 25))
    bench.start(announcing=Announcing(proxy="v1"), announcement=shown)
    up = bench.workshop.accepted(bench.server)
    bench.workshop.until(lambda: up.look())
    up.close()
    bench.workshop.until(lambda: bench.failed)
    assert bench.states() == ["unknown"]


@pytest.mark.parametrize("end", ["hangs up", "is silent"])
def test_what_a_client_says_again_takes_no_server_down(bench: Bench, end: str) -> None:
    """Its EHLO and MAIL, on the connection that it moves to (rule S12): a server may hang up on who says that."""
    bench.start(again=(b"EHLO x\r\n", b"MAIL FROM:<poison@s.test>\r\n"))
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 hi\r\n")
    bench.workshop.until(lambda: up.look() == b"EHLO x\r\n")
    up.send(b"250 hi\r\n")
    bench.workshop.until(lambda: b"poison" in up.look())
    if end == "hangs up":
        up.close()
    else:
        bench.workshop.advance(20.0)
    bench.workshop.until(lambda: bench.failed)
    assert bench.states() == ["unknown"]


def test_a_client_whose_address_can_t_be_a_source_takes_no_server_down(bench: Bench) -> None:
    """Of the other family, as here, or link-local."""
    shown = Announcement((packed("2001:db8::7"), 1234), (packed("2001:db8::1"), 25))
    bench.start(announcing=Announcing(source=CLIENT), announcement=shown)
    bench.workshop.until(lambda: bench.failed)
    assert bench.states() == ["unknown"]


def test_our_own_want_is_not_the_server_s_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise Exhausted("Too many open files")

    monkeypatch.setattr("proxy.net.upstream.connector.dial", full)
    bench.start()
    assert (bench.failed, bench.states()) == (1, ["unknown"])


def test_a_name_with_several_addresses_is_down_when_none_of_them_serves(bench: Bench) -> None:
    there = bench.server.getsockname()[1]
    found: list[Address] = []
    bench.start(Server("127.0.0.1", there), addresses=lambda then: then(found))
    [good] = _here(bench)
    bad = replace(good, target=("127.0.0.1", refused_port()))
    found[:] = [bad, good]
    bench.said.clear()
    bench.start(more=True)
    bench.workshop.accepted(bench.server).send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert len(bench.said) == 1
    assert bench.states() == ["up"]


def places(bench: Bench) -> int:
    return bench.upstream.pool.connections(0)


def test_a_place_is_held_until_the_connection_is_closed(bench: Bench) -> None:
    bench.start()
    assert places(bench) == 1
    bench.workshop.accepted(bench.server).send(b"220 hi\r\n")
    bench.workshop.until(lambda: bench.found)
    assert places(bench) == 1
    bench.found[0][0].close()
    bench.found[0][0].close()
    assert places(bench) == 0


def test_a_place_is_given_up_by_who_fails_and_by_who_goes(bench: Bench) -> None:
    bench.start()
    bench.connector.stop()
    assert places(bench) == 0
    bench.start(Server("127.0.0.1", refused_port()))
    bench.workshop.until(lambda: bench.failed)
    assert places(bench) == 0


def test_who_waits_for_a_place_gets_it_when_one_is_free(bench: Bench) -> None:
    bench.limit = 1
    bench.start()
    up = bench.workshop.accepted(bench.server)
    up.send(b"220 one\r\n")
    bench.workshop.until(lambda: bench.found)
    bench.start(more=True)
    bench.workshop.turns(10)
    with pytest.raises(BlockingIOError):
        bench.server.accept()
    bench.found[0][0].close()
    bench.workshop.accepted(bench.server).send(b"220 two\r\n")
    bench.workshop.until(lambda: len(bench.found) == 2)
    assert bench.found[1][1] == b"220 two\r\n"
    assert (bench.failed, bench.said) == (0, [])


def test_who_waits_in_vain_is_told_after_connect_timeout(bench: Bench) -> None:
    bench.limit = 1
    bench.start()
    bench.workshop.accepted(bench.server).send(b"220 one\r\n")
    bench.workshop.until(lambda: bench.found)
    bench.start(more=True)
    bench.workshop.advance(9.9)
    assert bench.failed == 0
    bench.workshop.advance(0.2)
    assert (bench.failed, bench.said) == (1, [("up", "no place became free in time")])
    assert len(bench.upstream.pool.queue) == 0
    bench.workshop.advance(100.0)
    assert bench.failed == 1


def test_who_goes_while_waiting_leaves_the_line(bench: Bench) -> None:
    bench.limit = 1
    bench.start()
    bench.start(more=True)
    assert len(bench.upstream.pool.queue) == 1
    bench.connector.stop()
    assert len(bench.upstream.pool.queue) == 0
    assert places(bench) == 1


def test_where_too_many_wait_one_more_is_told_at_once(bench: Bench) -> None:
    bench.limit, bench.max_waiting = 1, 0
    bench.start()
    bench.start(more=True)
    assert (bench.failed, bench.said) == (1, [("up", "max_connections: too many wait for a place")])


def test_a_server_that_one_client_named_is_no_trouble_of_the_others(bench: Bench) -> None:
    """Where listeners are transparent; whoever wants what does not exist must not take the node for down."""
    upstream = bench.upstream = bench.made([ORIGINAL], UNANNOUNCED)
    nowhere = Address(socket.AF_INET, ("127.0.0.1", refused_port()), "", "there")
    upstream.original = lambda client, wanted: [nowhere]  # type: ignore[method-assign]
    end = (packed("192.0.2.7"), 25)
    connector = Connector(
        upstream,
        bench.workshop.poller,
        bench.workshop.deadlines,
        found=lambda leg, data: None,
        failed=bench.fail,
        server_failed=lambda server, why: bench.said.append((server, why)),
        ends=(end, end),
    )
    bench.workshop.run(connector.start)
    bench.workshop.until(lambda: bench.failed)
    assert bench.said == [("there", "Connection refused")]
    assert bench.states() == ["unknown"]
    assert places(bench) == 0
