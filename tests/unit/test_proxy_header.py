"""net/accept/proxy_header.py: the header is read exactly, in any pieces and in time, and what it claims is not believed
blindly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.net.accept import proxy_header as module
from proxy.net.accept.proxy_header import AT_ONCE, FORGOTTEN, HeaderReader
from proxy.wire.address import packed
from proxy.wire.proxyheader import LOCAL_V1, LOCAL_V2, SIGNATURE, ProxyHeader, made_v1, made_v2

from ..support.gate import Gate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..support.workshop import Peer, Workshop

BALANCER = "198.51.100.9"
CLIENT, SERVER = (packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25)
HEADERS = [made_v1(CLIENT, SERVER), made_v2(CLIENT, SERVER), made_v2(CLIENT, SERVER, [(4, bytes(300))])]
HELLO = b"\x16\x03\x01\x02\x00\x01"


class Bench:
    """One connection from the balancer, and what came of it."""

    def __init__(self, workshop: Workshop, protocol: str = "smtp") -> None:
        self.workshop = workshop
        self.gate = Gate(workshop, protocol)
        self.came: list[ProxyHeader | None] = []
        self.sock: socket.socket
        self.peer: Peer
        self.arrival: HeaderReader

    def connect(self, first: bytes = b"") -> Peer:
        """The balancer connects; `first` is there before anything is read."""
        self.sock, self.peer = self.workshop.pair()
        if first:
            self.peer.send(first)
        service = self.gate.service()
        self.arrival = HeaderReader(self.gate.shared(), service, self.sock, packed(BALANCER), self._arrived)
        self.workshop.run(self.arrival.start)
        self.workshop.at_end.append(lambda: None if self.came else self.arrival.cut())
        return self.peer

    def _arrived(self, arrival: HeaderReader, header: ProxyHeader | None) -> None:
        assert arrival is self.arrival
        self.came.append(header)

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)

    def refused(self) -> str:
        """Wait until it is closed; what the log says of it."""
        self.until(lambda: self.came)
        assert self.came == [None]
        self.until(self.peer.ended)
        assert self.peer.got == b"", "nothing of ours before a header"
        (words,) = self.workshop.log.of("header-refused")
        assert (words["balancer"], words["listener"]) == (BALANCER, "door")
        return str(words["why"])

    def left(self) -> bytes:
        """What is still there to be read behind the header."""
        try:
            return self.sock.recv(65536)
        except BlockingIOError:
            return b""


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return Bench(workshop)


@pytest.mark.parametrize("header", HEADERS, ids=["v1", "v2", "tlvs"])
@pytest.mark.parametrize("behind", [b"", HELLO, b"\r\n", LOCAL_V2], ids=["alone", "tls", "crlf", "again"])
def test_N1_header_and_what_follows_in_one_segment(bench: Bench, header: bytes, behind: bytes) -> None:
    bench.connect(header + behind)
    (found,) = bench.came
    assert found is not None
    assert (found.source, found.destination, found.size) == (CLIENT, SERVER, len(header))
    assert bench.left() == behind


@pytest.mark.parametrize("header", HEADERS[:2], ids=["v1", "v2"])
def test_N1_header_octet_by_octet(bench: Bench, header: bytes) -> None:
    peer = bench.connect()
    for at in range(len(header) - 1):
        peer.send(header[at : at + 1])
        bench.workshop.turns(2)
        assert bench.came == []
    peer.send(header[-1:] + HELLO)
    bench.until(lambda: bench.came)
    assert bench.came[0] is not None
    assert bench.came[0].source == CLIENT
    assert bench.left() == HELLO


@pytest.mark.parametrize("cut", [1, 5, 12, 15, 16, 20, 27])
def test_N1_a_split_header_does_not_spin(bench: Bench, cut: int) -> None:
    peer = bench.connect(HEADERS[1][:cut])
    bench.workshop.turns(5)
    before = bench.workshop.poller.turns
    bench.workshop.rest(0.02)
    assert bench.workshop.poller.turns <= before + 1
    peer.send(HEADERS[1][cut:])
    bench.until(lambda: bench.came)
    assert bench.came[0] is not None
    assert bench.left() == b""


@pytest.mark.parametrize("first", [b"EHLO lb.example\r\n", HELLO, b"\0", b"proxy", b"PROXZ"])
def test_N1_without_a_header_closed_and_told_what_to_set(bench: Bench, first: bytes) -> None:
    bench.connect(first)
    assert bench.refused() == FORGOTTEN
    assert "check-send-proxy" in FORGOTTEN
    assert bench.workshop.log.level_of("header-refused") == "warning"


def test_N1_one_line_an_hour(bench: Bench) -> None:
    for _ in range(3):
        bench.connect(b"EHLO lb.example\r\n")
    assert [line[0] for line in bench.workshop.log.lines] == ["warning", "debug", "debug"]


@pytest.mark.parametrize(
    ("first", "why"), [(b"", FORGOTTEN), (b"PROXY TCP4", "the PROXY header was not complete in time")]
)
def test_N1_within_proxy_timeout_in_all(bench: Bench, first: bytes, why: str) -> None:
    peer = bench.connect(first)
    bench.workshop.advance(4.0)
    if first:
        peer.send(b" ")  # a trickle does not prolong it
        bench.workshop.turns(5)
    assert not bench.came
    bench.workshop.advance(1.1)
    assert bench.refused() == why


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 01 25\r\n",
        SIGNATURE + b"\x31\x11\x00\x00",
        SIGNATURE + b"\x21\x11\xff\xff",
        made_v2(CLIENT, SERVER, [(3, bytes(4))]),
    ],
)
def test_N1_a_malformed_header_is_refused(bench: Bench, header: bytes) -> None:
    bench.connect(header)
    assert bench.refused() != FORGOTTEN


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.9.9.9", "a loopback address"),
        ("::1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("::", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("192.0.2.200", "an address of this machine"),
        ("::ffff:127.0.0.1", "a loopback address"),
    ],
)
@pytest.mark.parametrize("make", [made_v1, made_v2])
def test_N1_an_address_from_which_nobody_comes_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, address: str, why: str, make: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(module, "is_own", lambda given: given == packed("192.0.2.200"))
    bench.connect(make((packed(address), 1), SERVER))
    assert bench.refused() == f"the PROXY header claims {why}"
    (words,) = bench.workshop.log.of("header-refused")
    assert words["claimed"] == address.removeprefix("::ffff:")


def test_N1_an_address_of_this_machine_is_known(bench: Bench) -> None:
    """The kernel's own answer, where this machine has an address beside loopback."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route and so no address")
        own = probe.getsockname()[0]
    bench.connect(made_v1((packed(own), 1), SERVER))
    assert bench.refused() == "the PROXY header claims an address of this machine"


PROBES = [LOCAL_V1, b"PROXY UNKNOWN ffff:: ::1 1 2\r\n", LOCAL_V2, SIGNATURE + b"\x21\0\0\0"]
PROBES += [SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), SIGNATURE + b"\x20\x11\0\x0c" + bytes(12)]
PROBES += [made_v1((packed(BALANCER), 40001), SERVER), made_v2((packed(BALANCER), 40001), SERVER)]


@pytest.mark.parametrize("header", PROBES)
def test_N1_a_probe_has_no_source(bench: Bench, header: bytes) -> None:
    bench.connect(header + b"HELO lb\r\n")
    (found,) = bench.came
    assert found is not None
    assert found.source is None
    assert found.destination is None
    assert bench.left() == b"HELO lb\r\n"
    assert bench.workshop.log.lines == []


def test_a_balancer_at_a_loopback_address_may_name_itself(workshop: Workshop) -> None:
    """HAProxy on the same machine, its checks in version 1."""
    bench = Bench(workshop)
    bench.sock, bench.peer = workshop.pair()
    bench.peer.send(made_v1((packed("127.0.0.1"), 40001), (packed("127.0.0.1"), 25)))
    bench.arrival = HeaderReader(
        bench.gate.shared(), bench.gate.service(), bench.sock, packed("127.0.0.1"), bench._arrived
    )
    workshop.run(bench.arrival.start)
    assert bench.came[0] is not None
    assert bench.came[0].source is None


@pytest.mark.parametrize("how", ["close", "abort"])
def test_N1_a_plain_tcp_check_is_no_fault(bench: Bench, how: str) -> None:
    peer = bench.connect()
    getattr(peer, how)()
    bench.until(lambda: bench.came)
    assert bench.came == [None]
    assert [(level, event) for level, _, event, _ in bench.workshop.log.lines] == [("debug", "probe")]


def test_N1_a_check_that_waited_for_a_greeting_was_not_told_to_send_a_header(bench: Bench) -> None:
    peer = bench.connect()
    bench.workshop.clock.advance(AT_ONCE + 0.1)
    peer.close()
    bench.until(lambda: bench.came)
    assert bench.workshop.log.of("header-refused")[0]["why"] == FORGOTTEN


@pytest.mark.parametrize("how", ["close", "abort"])
def test_left_in_the_header(bench: Bench, how: str) -> None:
    peer = bench.connect(b"PROXY TCP4 ")
    getattr(peer, how)()
    bench.until(lambda: bench.came)
    assert bench.workshop.log.of("header-refused")[0]["why"] == "left in the PROXY header"


def test_N6_cut_by_a_drain(bench: Bench) -> None:
    peer = bench.connect(b"PROXY")
    bench.workshop.run(bench.arrival.cut)
    assert bench.came == [None]
    bench.until(peer.ended)
    bench.workshop.advance(10.0)
    assert bench.came == [None], "once"


def test_N1_no_deadline_is_left_behind(bench: Bench) -> None:
    peer = bench.connect()
    peer.send(HEADERS[0])
    bench.until(lambda: bench.came)
    assert bench.arrival.queue is None
    bench.workshop.advance(10.0)
    assert len(bench.came) == 1
