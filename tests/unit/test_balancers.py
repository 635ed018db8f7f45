"""Behind a load balancer: listener, arrival, link and probe together (rule N1), and peers that are no balancer."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.net.accept.balancer_check import BalancerCheck
from proxy.net.accept.listener import Listener
from proxy.net.link.link import Link
from proxy.net.tls.contexts import ServerTls
from proxy.net.upstream.announcement import Announcing
from proxy.shared_memory.connections import ConnectionCounters
from proxy.wire.address import packed
from proxy.wire.proxyheader import LOCAL_V2, made_v1, made_v2

from ..support.gate import Gate, drop
from ..support.workshop import Peer, TlsPeer, Workshop
from .test_link_tls import start_tls, trusting
from .test_listener import Scarce

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.net.service import Connection, Service
    from proxy.wire.proxyheader import ProxyHeader

BALANCER = "127.0.0.1"
CLIENT, OTHER = (packed("192.0.2.7"), 40000), (packed("192.0.2.8"), 40000)
SERVER = (packed("198.51.100.1"), 25)
HEADER = made_v2(CLIENT, SERVER)


class Door:
    """A listener whose clients come through the balancer at 127.0.0.1; it makes links as a worker does."""

    def __init__(self, workshop: Workshop, protocol: str, *, each: int = 100) -> None:
        self.workshop = workshop
        self.gate = Gate(workshop, protocol)
        self.gate.balancers = [BALANCER]
        self.sock = Scarce(workshop.server())
        self.counters = ConnectionCounters(1)
        self.each = each
        self.links: list[Link | BalancerCheck] = []
        self.listener: Listener

    def open(self) -> None:
        self.shared = self.gate.shared()
        self.shared.closed = self._closed
        self.listener = Listener(
            self.sock,  # type: ignore[arg-type]
            self.gate.service(),
            shared=self.shared,
            loop=self.workshop.loop,
            counters=self.counters,
            worker=0,
            connections=100,
            per_client=self.each,
            accepted=self.accepted,
        )
        self.listener.start()
        self.workshop.at_end.append(self._drop)

    def accepted(
        self, service: Service, sock: socket.socket, address: bytes, shown: str, header: ProxyHeader | None
    ) -> None:
        self.workshop.keep(sock)
        if header is not None and header.source is None:
            check = BalancerCheck(self.shared, service, sock, address, shown, "0-1")
            self.links.append(check)
            check.start()
        else:
            self.gate.link = Link(self.shared, service, sock, address, shown, "0-1", header)
            self.links.append(self.gate.link)
            self.gate.link.begin()

    def _closed(self, link: Connection) -> None:
        self.gate.closed.append(link)
        self.counters.leave(0, link.address)

    def _drop(self) -> None:
        self.listener.cut()
        for link in self.links:
            if isinstance(link, BalancerCheck):
                link.cut()
            else:
                drop(link)

    def connect(self, first: bytes = b"") -> Peer:
        self.gate.client = Peer(self.workshop.keep(socket.create_connection(self.sock.sock.getsockname())))
        if first:
            self.gate.client.send(first)
        return self.gate.client

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)

    def greeted(self, first: bytes = HEADER) -> Peer:
        """A client behind the balancer, greeted by the upstream."""
        client = self.connect(first)
        self.gate.up = self.gate.accepted()
        greeting = b"+OK hi <1@u>\r\n" if self.gate.protocol == "pop3" else b"220 legacy\r\n"
        self.gate.talk(("U", greeting), (">C", greeting))
        return client


@pytest.fixture(params=["pop3", "smtp"])
def door(workshop: Workshop, request: pytest.FixtureRequest) -> Door:
    door = Door(workshop, request.param)
    door.open()
    return door


def test_N1_the_link_has_the_address_of_the_header(door: Door) -> None:
    door.greeted()
    (link,) = door.links
    assert isinstance(link, Link)
    assert (link.address, link.shown) == (CLIENT[0], "192.0.2.7")
    assert link.upstream.ends is None, "no upstream is told"


def test_N1_both_ends_of_the_client_s_connection_are_known_where_an_upstream_is_told(door: Door) -> None:
    door.gate.announcing = Announcing("v1")
    door.listener.adopt(door.gate.service(), 100, 100)
    door.connect(HEADER)
    door.until(lambda: door.links)
    (link,) = door.links
    assert isinstance(link, Link)
    assert link.upstream.ends == (CLIENT, SERVER)


def test_N1_nothing_is_said_before_the_header(door: Door) -> None:
    client = door.connect()
    door.until(lambda: door.listener.arriving)
    door.workshop.rest(0.02)
    assert not client.look()
    assert not door.links


def test_N1_the_lease_is_the_client_s_and_not_the_balancer_s(workshop: Workshop) -> None:
    door = Door(workshop, "pop3")
    door.open()
    door.greeted(made_v1(CLIENT, SERVER))
    door.gate.log_in()
    door.gate.gets(door.gate.client, b"+OK logged in\r\n")
    found: list[object] = []
    workshop.run(lambda: door.gate.store.find(CLIENT[0], found.append))
    workshop.run(lambda: door.gate.store.find(packed(BALANCER), found.append))
    assert found[0]
    assert not found[1]
    assert door.workshop.log.of("leased")[0]["client"] == "192.0.2.7"


def test_G3_a_login_from_a_balancer_s_own_address_makes_no_lease_and_a_loud_line(workshop: Workshop) -> None:
    """At a listener that reads no header: it is a client like any other, served, and never leased."""
    gate = Gate(workshop, "pop3")
    gate.balancers = ["192.0.2.7"]
    client, _ = gate.greet()
    gate.log_in()
    gate.gets(client, b"+OK logged in\r\n")
    assert gate.leased == []
    (words,) = workshop.log.of("no-lease")
    assert "load balancer" in words["why"]
    assert workshop.log.level_of("no-lease") == "warning"


def test_G3_nor_does_one_behind_the_header_of_another_balancer(workshop: Workshop) -> None:
    door = Door(workshop, "pop3")
    door.gate.balancers = [BALANCER, "192.0.2.7"]
    door.open()
    door.greeted()
    door.gate.log_in()
    door.gate.gets(door.gate.client, b"+OK logged in\r\n")
    assert door.gate.leased == []
    assert workshop.log.of("no-lease")


@pytest.mark.parametrize("make", [made_v1, made_v2])
@pytest.mark.parametrize("pieces", ["joined", "split"])
def test_N1_header_then_implicit_tls(door: Door, certificate: Path, make: Callable[..., bytes], pieces: str) -> None:
    door.gate.tls, door.gate.implicit = ServerTls(door.gate.protocol, [certificate]), True
    door.listener.adopt(door.gate.service(), 100, 100)
    peer = door.connect()
    client = TlsPeer(peer, trusting())
    hello = _hello(client)
    if pieces == "joined":
        peer.send(make(CLIENT, SERVER) + hello)
    else:
        for octet in make(CLIENT, SERVER) + hello[:20]:
            peer.send(bytes((octet,)))
            door.workshop.turns(1)
        peer.send(hello[20:])
    door.until(client.shake)
    up = door.gate.accepted()
    greeting = b"+OK hi\r\n" if door.gate.protocol == "pop3" else b"220 hi\r\n"
    up.send(greeting)
    door.until(lambda: client.look() == greeting)
    assert door.links[0].shown == "192.0.2.7"


def _hello(client: TlsPeer) -> bytes:
    """The ClientHello, not sent yet."""
    with pytest.raises(ssl.SSLWantReadError):
        client.side.do_handshake()
    return client._out.read()


def test_N1_header_then_starttls(workshop: Workshop, certificate: Path) -> None:
    for protocol in ("pop3", "smtp"):
        door = Door(workshop, protocol)
        door.gate.stls, door.gate.tls = True, ServerTls(protocol, [certificate])
        door.open()
        door.gate.greet = lambda greeting=b"", door=door: (door.greeted(), door.gate.up)  # type: ignore[method-assign]
        client = TlsPeer(start_tls(door.gate), trusting())
        door.until(client.shake)


def test_N1_a_second_header_is_no_header(door: Door) -> None:
    client = door.connect(HEADER + made_v1(OTHER, SERVER))
    door.gate.up = door.gate.accepted()
    door.gate.up.send(b"+OK hi <1@u>\r\n" if door.gate.protocol == "pop3" else b"220 legacy\r\n")
    door.until(lambda: b"-ERR" in client.look() or b"554" in client.got)
    assert door.links[0].shown == "192.0.2.7"


# Peers that are no balancer


@pytest.mark.parametrize("header", [made_v1(CLIENT, SERVER), HEADER, LOCAL_V2], ids=["v1", "v2", "local"])
def test_N1_from_anyone_else_a_header_is_a_bad_command(workshop: Workshop, header: bytes) -> None:
    for protocol, reply in (("smtp", b"554 5.5.0 "), ("pop3", b"-ERR ")):
        door = Door(workshop, protocol)
        door.gate.balancers = ["198.51.100.200"]
        door.open()
        client = door.connect(header)
        up = door.gate.accepted()
        up.send(b"+OK hi <1@u>\r\n" if protocol == "pop3" else b"220 legacy\r\n")
        door.until(lambda client=client, reply=reply: reply in client.look())  # type: ignore[misc]
        assert door.links[0].address == packed(BALANCER), "its own"
        up.look()
        assert b"PROXY" not in up.got
        assert b"QUIT\n" not in up.got


def test_N1_behind_the_greeting_too(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    client, up = gate.greet()
    client.send(made_v1(CLIENT, SERVER))
    gate.gets(client, b"502 5.5.1 Command not implemented\r\n")
    assert not up.look()
    gate = Gate(workshop, "pop3")
    client, _ = gate.greet()
    client.send(made_v1(CLIENT, SERVER))
    gate.gets(client, b"-ERR Unknown command\r\n")


def test_N1_under_implicit_tls_a_header_from_anyone_else_is_no_handshake(workshop: Workshop, certificate: Path) -> None:
    gate = Gate(workshop, "smtp")
    gate.tls, gate.implicit = ServerTls("smtp", [certificate]), True
    client = gate.open()
    client.send(HEADER)
    gate.until(client.ended)
    client.close()
    assert "TLS handshake failed" in gate.end()["why"]


# Counting


def test_N1_header_addresses_count_and_balancers_do_not(workshop: Workshop) -> None:
    door = Door(workshop, "smtp", each=2)
    door.open()
    for _ in range(2):
        door.greeted()
    assert (door.counters.of(CLIENT[0]), door.counters.of(packed(BALANCER)), door.counters.connections()) == (2, 0, 2)
    refused = door.connect(HEADER)
    door.until(refused.ended)
    assert refused.got.startswith(b"421 4.7.0 Too many connections")
    (words,) = workshop.log.of("turned-away")
    assert (words["client"], words["why"]) == ("192.0.2.7", "limits.connections_per_client")
    door.greeted(made_v1(OTHER, SERVER))
    for _ in range(3):
        door.connect(LOCAL_V2)
    door.until(lambda: len(door.links) == 6)
    assert door.counters.connections() == 6, "connections in all count everyone"


def test_N1_a_refused_or_silent_arrival_is_counted_out(door: Door) -> None:
    door.connect(b"EHLO x\r\n")
    door.until(lambda: door.workshop.log.of("header-refused"))
    silent = door.connect()
    door.until(lambda: door.listener.arriving)
    assert door.counters.connections() == 1
    silent.close()
    door.until(lambda: not door.listener.arriving)
    assert door.counters.connections() == 0
    door.connect(HEADER[:5])
    door.until(lambda: door.listener.arriving)
    door.workshop.advance(5.1)
    assert not door.listener.arriving
    assert door.counters.connections() == door.counters.of(packed(BALANCER)) == 0


def test_over_limits_connections_balancers_are_turned_away_with_one_line_an_hour(door: Door) -> None:
    door.listener.adopt(door.gate.service(), 0, 100)
    for _ in range(3):
        door.until(door.connect(HEADER).ended)
    assert [level for level, _, event, _ in door.workshop.log.lines if event == "turned-away"] == [
        "info",
        "debug",
        "debug",
    ]


# Draining


def test_N6_who_has_connected_through_a_balancer_is_told(door: Door) -> None:
    silent = door.connect()
    door.until(lambda: door.listener.arriving)
    early, probing = door.connect(HEADER), door.connect(LOCAL_V2)
    door.workshop.run(door.listener.drain)
    for client in (early, probing):
        door.until(client.ended)
        assert b"Service is closing" in client.got
    assert door.listener.arriving == 1, "its header is waited for"
    silent.send(HEADER)
    door.until(silent.ended)
    assert b"Service is closing" in silent.got
    assert door.counters.connections() == 0
    lines = [(level, words["client"]) for level, _, event, words in door.workshop.log.lines if event == "turned-away"]
    assert sorted(lines) == [("debug", BALANCER), ("info", "192.0.2.7"), ("info", "192.0.2.7")]


def test_N6_the_limit_of_a_drain_ends_what_has_not_arrived(door: Door) -> None:
    silent = door.connect()
    door.until(lambda: door.listener.arriving)
    door.workshop.run(door.listener.cut)
    door.until(silent.ended)
    assert not door.listener.arriving
    assert door.counters.connections() == 0


def test_N7_a_reload_changes_who_is_a_balancer(door: Door) -> None:
    door.gate.balancers = []
    door.listener.adopt(door.gate.service(), 100, 100)
    door.connect()
    door.until(lambda: door.links)
    assert door.links[0].shown == BALANCER
    door.gate.balancers = [BALANCER]
    door.listener.adopt(door.gate.service(), 100, 100)
    door.connect(HEADER)
    door.until(lambda: len(door.links) == 2)
    assert door.links[1].shown == "192.0.2.7"
