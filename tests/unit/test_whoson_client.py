"""neighbours/whoson_client.py: asking and telling other servers, on both loops, against the C daemon's double."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from proxy.config.places import whoson_server
from proxy.errors import StoreUnavailable
from proxy.gate.policy import PeerLogin
from proxy.neighbours import whoson_client
from proxy.neighbours.whoson_client import WhosonClient
from proxy.wire.address import packed

from ..support.whoson import Whosond
from ..support.workshop import Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOME = packed("192.0.2.7")
Known = PeerLogin | StoreUnavailable | None


class Bench:
    def __init__(self, shop: Workshop) -> None:
        self.shop = shop

    def client(self, ask: list[str], tell: list[str] | None = None, timeout: float = 5.0) -> WhosonClient:
        servers = [whoson_server(text) for text in ask]
        return WhosonClient(servers, [whoson_server(text) for text in tell or []], timeout, self.shop.log)

    def ask(self, *servers: str, timeout: float = 5.0, address: bytes = HOME) -> Known:
        client = self.client(list(servers), timeout=timeout)
        answers: list[Known] = []
        self.shop.run(lambda: client.ask(address, answers.append))
        self.shop.until(lambda: answers)
        self.shop.turns(5)
        (answer,) = answers
        return answer


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return Bench(workshop)


@pytest.fixture
def whosond(tmp_path: Path) -> Iterator[Whosond]:
    with Whosond(str(tmp_path / "s")) as daemon:
        yield daemon
        assert daemon.crashes == []


def kinds(daemon: Whosond) -> list[str]:
    return [daemon.udp, daemon.tcp, daemon.unix]


def test_nobody_to_ask_is_no(bench: Bench) -> None:
    answers: list[Known] = []
    bench.client([]).ask(HOME, answers.append)
    assert answers == [None]


def test_yes_and_no_by_every_way(bench: Bench, whosond: Whosond) -> None:
    for server in kinds(whosond):
        assert bench.ask(server) is None
        whosond.records[b"192.0.2.7"] = b"alice"
        assert bench.ask(server) == PeerLogin(server, "alice")
        whosond.records[b"192.0.2.7"] = b""
        assert bench.ask(server) == PeerLogin(server, "")
        whosond.records.clear()
    assert set(whosond.requests) == {b"QUERY 192.0.2.7\r\n\r\n"}


def test_one_yes_is_enough_and_nobody_is_waited_for_then(bench: Bench, whosond: Whosond) -> None:
    whosond.records[b"192.0.2.7"] = b"alice"
    with Whosond() as silent, Whosond() as knows_not:
        silent.mute = True
        answer = bench.ask(silent.udp, knows_not.tcp, whosond.udp, timeout=60.0)
    assert answer == PeerLogin(whosond.udp, "alice")


def test_a_no_beside_silence_is_not_known(bench: Bench, whosond: Whosond) -> None:
    with Whosond() as silent:
        silent.mute = True
        answer = bench.ask(silent.udp, whosond.udp, timeout=1.0)
        assert isinstance(answer, StoreUnavailable)
        assert str(answer) == f"no answer from {silent.udp}"
        assert bench.shop.log.of("unanswered") == [{"server": silent.udp, "verb": "QUERY", "why": "no answer in time"}]


@pytest.mark.parametrize("reply", [b"*Access denied\r\n\r\n", b" 3 entries\r\n\r\n", b"\r\n\r\n", b"\xff"])
def test_what_is_neither_yes_nor_no_is_not_known(bench: Bench, whosond: Whosond, reply: bytes) -> None:
    whosond.answer = reply
    for server in (whosond.udp, whosond.unix):
        assert isinstance(bench.ask(server, timeout=0.5), StoreUnavailable)


def test_a_stream_that_ends_without_a_reply_or_never_does_is_not_known(bench: Bench) -> None:
    server = bench.shop.server()
    place = f"tcp:127.0.0.1:{server.getsockname()[1]}"
    client = bench.client([place], timeout=0.2)
    for end in (True, False):
        answers: list[Known] = []
        bench.shop.run(lambda answers=answers: client.ask(HOME, answers.append))
        peer = bench.shop.accepted(server)
        if end:
            peer.close()
        bench.shop.until(lambda answers=answers: answers)
        assert isinstance(answers[0], StoreUnavailable)


def test_a_reply_in_pieces_and_without_an_end(bench: Bench) -> None:
    server = bench.shop.server()
    client = bench.client([f"tcp:127.0.0.1:{server.getsockname()[1]}"])
    answers: list[Known] = []
    bench.shop.run(lambda: client.ask(HOME, answers.append))
    peer = bench.shop.accepted(server)
    bench.shop.until(lambda: b"\r\n\r\n" in peer.look())
    peer.send(b"+al")
    bench.shop.turns(5)
    assert answers == []
    peer.send(b"ice")
    peer.close()
    bench.shop.until(lambda: answers)
    assert answers[0] == PeerLogin(f"tcp:127.0.0.1:{server.getsockname()[1]}", "alice")


@pytest.mark.parametrize("kind", ["udp", "tcp", "unix"])
def test_who_is_not_there_is_not_waited_for(bench: Bench, tmp_path: Path, kind: str) -> None:
    place = f"unix:{tmp_path}/none" if kind == "unix" else f"{kind}:127.0.0.1:{refused_port()}"
    assert isinstance(bench.ask(place, timeout=60.0), StoreUnavailable)
    assert bench.shop.log.of("unanswered")[0]["why"] in ("Connection refused", "No such file or directory")


def test_a_datagram_is_sent_again(bench: Bench, whosond: Whosond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whoson_client, "FIRST_WAIT", 0.2)  # the last of five tries is 3 s away
    whosond.mute = True
    client = bench.client([whosond.udp])
    answers: list[Known] = []
    bench.shop.run(lambda: client.ask(HOME, answers.append))
    bench.shop.until(lambda: len(whosond.requests) == 2)
    whosond.records[b"192.0.2.7"] = b"alice"
    whosond.mute = False
    bench.shop.until(lambda: answers)
    assert answers == [PeerLogin(whosond.udp, "alice")]


def test_five_tries_and_no_more(bench: Bench, whosond: Whosond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whoson_client, "FIRST_WAIT", 0.005)
    whosond.mute = True
    assert isinstance(bench.ask(whosond.udp), StoreUnavailable)
    assert len(whosond.requests) == 5


def test_an_answer_from_elsewhere_is_not_heard(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not see the question can't answer it: the socket takes datagrams from that address and port alone."""
    server = bench.shop.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    other = bench.shop.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    other.bind(("127.0.0.1", 0))
    client = bench.client([f"udp:127.0.0.1:{server.getsockname()[1]}"])
    answers: list[Known] = []
    sources: list[tuple[str, int]] = []

    def asked() -> bool:
        try:
            sources.append(server.recvfrom(600)[1])
        except BlockingIOError:
            return False
        return True

    bench.shop.run(lambda: client.ask(HOME, answers.append))
    bench.shop.until(asked)
    other.sendto(b"+mallory\r\n\r\n", sources[0])
    bench.shop.turns(10)
    assert answers == []
    server.sendto(b"-Not logged in\r\n\r\n", sources[0])
    bench.shop.until(lambda: answers)
    assert answers == [None]


def test_every_question_has_a_port_of_its_own(bench: Bench) -> None:
    server = bench.shop.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    server.settimeout(5.0)
    client = bench.client([f"udp:127.0.0.1:{server.getsockname()[1]}"])
    answers: list[Known] = []
    for _ in range(2):
        bench.shop.run(lambda: client.ask(HOME, answers.append))
        bench.shop.turns(3)
    sources = {server.recvfrom(600)[1] for _ in range(2)}
    assert len(sources) == 2
    for source in sources:
        server.sendto(b"-\r\n\r\n", source)
    bench.shop.until(lambda: len(answers) == 2)


def test_too_many_under_way_is_not_known(bench: Bench, whosond: Whosond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whoson_client, "UNDER_WAY", 1)
    client = bench.client([whosond.udp], tell=[whosond.udp])
    answers: list[Known] = []

    def both() -> None:
        client.ask(HOME, answers.append)
        client.ask(HOME, answers.append)
        client.tell(HOME, "alice")

    bench.shop.run(both)
    assert [str(answer) for answer in answers] == ["too many whoson questions under way"]
    bench.shop.until(lambda: len(answers) == 2)
    assert answers[1] is None
    assert bench.shop.log.of("unanswered") == [{"server": whosond.udp, "verb": "LOGIN", "why": "too much under way"}]


def test_everybody_is_told_of_a_login(bench: Bench, whosond: Whosond) -> None:
    client = bench.client([], tell=kinds(whosond))
    for login in ("alice", "m\udcfcller " + "x" * 300, "a\r\n\r\nLOGOUT 192.0.2.7"):
        whosond.requests.clear()
        bench.shop.run(lambda login=login: client.tell(HOME, login))
        bench.shop.until(lambda: len(whosond.requests) == 3)
        assert len(set(whosond.requests)) == 1
        assert whosond.requests[0].startswith(b"LOGIN 192.0.2.7 ")
    bench.shop.until(lambda: not client.tasks)
    assert list(whosond.records) == [b"192.0.2.7"]
    assert bench.shop.log.lines == []


def test_who_could_not_be_told_is_in_the_log_once_an_hour(bench: Bench) -> None:
    place = f"tcp:127.0.0.1:{refused_port()}"
    client = bench.client([], tell=[place])
    for _ in range(2):
        bench.shop.run(lambda: client.tell(HOME, "alice"))
        bench.shop.until(lambda: not client.tasks)
    assert bench.shop.log.of("unanswered") == [{"server": place, "verb": "LOGIN", "why": "Connection refused"}]


def test_ipv6_in_its_one_form(bench: Bench, whosond: Whosond) -> None:
    whosond.records[b"2001:db8::7"] = b"alice"
    assert bench.ask(whosond.udp, address=packed("2001:DB8:0::7")) == PeerLogin(whosond.udp, "alice")
