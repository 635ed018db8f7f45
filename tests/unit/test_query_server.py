"""neighbours/query_server.py: the sockets where other servers ask, on both loops; what they mean is a fake's."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.neighbours import query_server as doors
from proxy.neighbours.query_server import Answer, query_server

from ..support.workshop import Peer, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy.neighbours.query_server import QueryServer


class Fake:
    """Says "LINES by PEER", `bye` last; `held` collects what is not answered at once."""

    name, limit, denial, overlong, marks = "fake", 64, b"go away\n", b"too long\n", b"+-"

    def __init__(self, welcome: bool = True) -> None:
        self.welcome = welcome
        self.hold = False
        self.held: list[Callable[[], None]] = []
        self.asked: list[list[bytes]] = []

    def allows(self, peer: bytes | None) -> bool:
        return self.welcome

    def answer(self, lines: Sequence[bytes], peer: bytes | None, then: Callable[[Answer], None]) -> None:
        self.asked.append(list(lines))
        who = "unix" if peer is None else socket.inet_ntoa(peer)
        answer = Answer(b"|".join(lines) + f" by {who}\n".encode(), last=lines[0] == b"bye")
        if self.hold:
            self.held.append(lambda: then(answer))
        else:
            then(answer)


class Bench:
    """A server on the workshop's loop, and its peers."""

    def __init__(self, workshop: Workshop, sock: socket.socket, handler: Fake) -> None:
        self.shop, self.sock, self.handler = workshop, workshop.keep(sock), handler
        sock.setblocking(False)
        self.server: QueryServer = workshop.run(lambda: query_server(sock, handler, workshop.poller, workshop.log))
        workshop.at_end.append(self.shut)

    def shut(self) -> None:
        self.shop.loop.run_until_complete(self.server.shut())
        self.shop.turns(3)

    def peer(self) -> Peer:
        sock = self.shop.keep(socket.socket(self.sock.family, socket.SOCK_STREAM))
        sock.connect(self.sock.getsockname())
        return Peer(sock)

    def reply(self, peer: Peer, expected: bytes) -> None:
        self.shop.until(lambda: len(peer.look()) >= len(expected) or peer.over)
        assert bytes(peer.got) == expected
        peer.got.clear()


@pytest.fixture
def tcp(workshop: Workshop) -> Bench:
    return Bench(workshop, socket.create_server(("127.0.0.1", 0)), Fake())


@pytest.fixture
def udp(workshop: Workshop) -> Bench:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return Bench(workshop, sock, Fake())


@pytest.fixture
def unix(workshop: Workshop, tmp_path: Path) -> Bench:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(tmp_path / "s"))
    sock.listen()
    return Bench(workshop, sock, Fake())


def test_many_requests_on_one_connection_in_order(tcp: Bench) -> None:
    peer = tcp.peer()
    peer.send(b"one\r\n\r\n")
    tcp.reply(peer, b"one by 127.0.0.1\n")
    peer.send(b"two\nmore\n\nthree\n\nfo")
    tcp.reply(peer, b"two|more by 127.0.0.1\nthree by 127.0.0.1\n")
    peer.send(b"ur\n\n")
    tcp.reply(peer, b"four by 127.0.0.1\n")


def test_a_unix_socket_s_peer_has_no_address(unix: Bench) -> None:
    peer = unix.peer()
    peer.send(b"one\n\n")
    unix.reply(peer, b"one by unix\n")


def test_the_second_answer_waits_for_the_first(tcp: Bench) -> None:
    tcp.handler.hold = True
    peer = tcp.peer()
    peer.send(b"one\n\ntwo\n\n")
    tcp.shop.until(lambda: tcp.handler.held)
    assert tcp.handler.asked == [[b"one"]]
    tcp.handler.hold = False
    tcp.shop.run(tcp.handler.held.pop())
    tcp.reply(peer, b"one by 127.0.0.1\ntwo by 127.0.0.1\n")


def test_an_answer_that_is_the_last_ends_the_connection(tcp: Bench) -> None:
    peer = tcp.peer()
    peer.send(b"bye\n\nnever\n\n")
    tcp.shop.until(peer.ended)
    assert bytes(peer.got) == b"bye by 127.0.0.1\n"
    assert tcp.handler.asked == [[b"bye"]]


def test_who_half_closes_behind_the_question_gets_the_answer_and_the_end(tcp: Bench) -> None:
    """Exim's readsocket does."""
    peer = tcp.peer()
    peer.send(b"one\r\n\r\n")
    peer.half_close()
    tcp.shop.until(peer.ended)
    assert bytes(peer.got) == b"one by 127.0.0.1\n"


def test_an_unfinished_request_is_not_answered(tcp: Bench) -> None:
    peer = tcp.peer()
    peer.send(b"one\r\n")
    peer.half_close()
    tcp.shop.until(peer.ended)
    assert peer.got == b""
    assert tcp.handler.asked == []


def test_a_request_over_the_limit_ends_the_connection_and_is_said_once_an_hour(tcp: Bench) -> None:
    for _ in range(2):
        peer = tcp.peer()
        peer.send(b"x" * 65)
        tcp.shop.until(peer.ended)
        assert peer.got == b"too long\n"
    (words,) = tcp.shop.log.of("turned-away")
    assert words == {"client": "127.0.0.1", "why": "a request of more than 64 octets", "count": 1}


def test_who_is_not_welcome_is_told_so_and_closed_unread(tcp: Bench) -> None:
    tcp.handler.welcome = False
    for _ in range(3):
        peer = tcp.peer()
        tcp.shop.until(peer.ended)
        assert peer.got == b"go away\n"
    assert tcp.handler.asked == []
    assert tcp.shop.log.of("turned-away") == [{"client": "127.0.0.1", "why": "not allowed", "count": 1}]


def test_no_more_connections_than_the_bound(tcp: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "CONNECTIONS", 2)
    first, second = tcp.peer(), tcp.peer()
    for peer in (first, second):
        peer.send(b"one\n\n")
        tcp.reply(peer, b"one by 127.0.0.1\n")
    third = tcp.peer()
    tcp.shop.until(third.ended)
    assert third.got == b""
    first.close()
    tcp.shop.turns(5)
    fourth = tcp.peer()
    fourth.send(b"four\n\n")
    tcp.reply(fourth, b"four by 127.0.0.1\n")


@pytest.mark.parametrize("said", [b"", b"half a requ"])
def test_who_says_nothing_or_never_ends_is_closed_in_time(
    tcp: Bench, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "IDLE", 0.05)
    peer = tcp.peer()
    peer.send(said)
    tcp.shop.until(peer.ended)
    assert peer.got == b""


def test_who_never_reads_is_closed_in_time(tcp: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "IDLE", 0.2)
    peer = tcp.peer()
    request = b"x" * 50 + b"\n\n"

    def stuffed() -> bool:
        try:
            while True:
                peer.sock.send(request * 1000)
        except BlockingIOError:
            return False
        except OSError:
            return True

    tcp.shop.until(stuffed)  # the door gives up, and the kernel answers with a reset


def test_a_reset_is_no_trouble(tcp: Bench) -> None:
    tcp.handler.hold = True
    peer = tcp.peer()
    peer.send(b"one\n\n")
    tcp.shop.until(lambda: tcp.handler.held)
    peer.abort()
    tcp.shop.turns(5)
    tcp.shop.run(tcp.handler.held.pop())
    tcp.shop.turns(5)
    tcp.handler.hold = False
    other = tcp.peer()
    other.send(b"two\n\n")
    tcp.reply(other, b"two by 127.0.0.1\n")


def test_a_reload_answers_anew_also_on_connections_that_are_there(tcp: Bench) -> None:
    peer = tcp.peer()
    peer.send(b"one\n\n")
    tcp.reply(peer, b"one by 127.0.0.1\n")
    new = Fake()
    tcp.shop.run(lambda: tcp.server.adopt(new))
    peer.send(b"two\n\n")
    tcp.reply(peer, b"two by 127.0.0.1\n")
    assert new.asked == [[b"two"]]


def test_a_closed_door_takes_nobody_and_finishes_with_who_is_there(tcp: Bench) -> None:
    peer = tcp.peer()
    peer.send(b"one\n\n")
    tcp.reply(peer, b"one by 127.0.0.1\n")
    tcp.shop.run(tcp.server.close)
    tcp.shop.run(tcp.server.close)
    late = tcp.peer()  # the kernel's queue takes it, another worker would
    late.send(b"late\n\n")
    peer.send(b"two\n\n")
    tcp.reply(peer, b"two by 127.0.0.1\n")
    assert late.look() == b""


def test_shutting_ends_everybody(tcp: Bench) -> None:
    tcp.handler.hold = True
    peer = tcp.peer()
    peer.send(b"one\n\n")
    tcp.shop.until(lambda: tcp.handler.held)
    tcp.shut()
    tcp.shop.until(peer.ended)
    tcp.shop.run(tcp.handler.held.pop())  # an answer that comes too late falls on nothing


def test_without_descriptors_it_pauses_and_goes_on(tcp: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        def fileno(self) -> int:
            return real.fileno()

    real = tcp.sock
    monkeypatch.setattr(doors, "_PAUSE", 0.01)
    monkeypatch.setattr(tcp.server, "_sock", Exhausted())
    peer = tcp.peer()
    peer.send(b"one\n\n")
    tcp.shop.until(lambda: tcp.shop.log.of("turned-away"))
    monkeypatch.setattr(tcp.server, "_sock", real)
    tcp.reply(peer, b"one by 127.0.0.1\n")
    assert tcp.shop.log.of("turned-away")[0]["why"] == "Too many open files"


def ask(bench: Bench, data: bytes) -> Peer:
    sock = bench.shop.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.connect(bench.sock.getsockname())
    sock.send(data)
    return Peer(sock)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"one", b"one by 127.0.0.1\n"),
        (b"one\r\n\r\n", b"one|| by 127.0.0.1\n"),
        (b"one\nextension\n\n", b"one|extension|| by 127.0.0.1\n"),
        (b"", b" by 127.0.0.1\n"),
    ],
)
def test_every_datagram_is_answered(udp: Bench, data: bytes, answer: bytes) -> None:
    udp.reply(ask(udp, data), answer)


def test_datagrams_of_strangers_are_denied_unread_and_counted(udp: Bench) -> None:
    udp.handler.welcome = False
    for _ in range(20):
        udp.reply(ask(udp, b"one"), b"go away\n")
    assert udp.shop.log.of("turned-away") == [{"client": "127.0.0.1", "why": "not allowed", "count": 1}]
    assert udp.handler.asked == []


@pytest.mark.parametrize("welcome", [True, False])
def test_two_servers_never_answer_each_other(udp: Bench, welcome: bool) -> None:
    """One forged datagram would keep both busy for ever."""
    udp.handler.welcome = welcome
    peers = [ask(udp, mark + b"go away\n") for mark in (b"+", b"-")]
    udp.shop.until(lambda: udp.shop.log.of("turned-away"))
    udp.shop.turns(10)
    assert [peer.look() for peer in peers] == [b"", b""]
    assert udp.shop.log.of("turned-away")[0]["why"] == "an answer to nothing that was asked"
    assert udp.handler.asked == []


def test_a_datagram_that_is_too_long_is_no_request(udp: Bench) -> None:
    """Its first octets could be one, for another address: LOGIN ... 192.0.2.1|23."""
    udp.reply(ask(udp, b"x" * 65), b"too long\n")
    assert udp.shop.log.of("turned-away")[0]["why"] == "a request of more than 64 octets"
    udp.reply(ask(udp, b"y" * 64), b"y" * 64 + b" by 127.0.0.1\n")
    assert len(udp.handler.asked) == 1


def test_a_closed_datagram_door_is_silent(udp: Bench) -> None:
    udp.shop.run(udp.server.close)
    peer = ask(udp, b"one")
    udp.shop.turns(10)
    assert peer.look() == b""


def test_a_late_answer_to_a_datagram_goes_where_it_belongs(udp: Bench) -> None:
    udp.handler.hold = True
    first, second = ask(udp, b"one"), ask(udp, b"two")
    udp.shop.until(lambda: len(udp.handler.held) == 2)
    for answer in reversed(udp.handler.held):
        udp.shop.run(answer)
    udp.reply(first, b"one by 127.0.0.1\n")
    udp.reply(second, b"two by 127.0.0.1\n")
