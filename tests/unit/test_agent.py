"""agent.py: one line for whoever asks, and nobody holds it up."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.node.agent import MAX_ASKERS, PATIENCE, AgentServer, words
from proxy.node.sockets import ListeningSocket

from ..support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("draining", "ready", "healthy", "connections", "line"),
    [
        (False, True, True, 0, "ready up 100%"),
        (False, True, True, 1, "ready up 99%"),
        (False, True, True, 750, "ready up 25%"),
        (False, True, True, 999, "ready up 1%"),
        (False, True, True, 1000, "ready up 1%"),
        (False, True, True, 1001, "ready up 1%"),
        (False, True, False, 0, "down # no mail server answers"),
        (False, False, True, 0, "down # no worker is ready"),
        (True, True, True, 0, "drain"),
        (True, False, False, 0, "drain"),
    ],
)
def test_the_line_that_is_true(draining: bool, ready: bool, healthy: bool, connections: int, line: str) -> None:
    assert words(draining=draining, ready=ready, healthy=healthy, connections=connections, limit=1000) == line


class Desk:
    """An agent, and those who ask it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.selector = selectors.DefaultSelector()
        sock = socket.create_server(("127.0.0.1", 0), backlog=200)
        sock.setblocking(False)
        self.asked = 0
        self.server = AgentServer(ListeningSocket("admin.agent", sock), self.selector, self.words, self.clock.now)
        self.open: list[socket.socket] = []

    def words(self) -> str:
        self.asked += 1
        return f"ready up {self.asked}%"

    def turn(self) -> None:
        while ready := self.selector.select(0):
            for key, _ in ready:
                key.data(key.fileobj)

    def asker(self) -> socket.socket:
        sock = socket.create_connection(self.server.socket.address())
        sock.settimeout(5)
        self.open.append(sock)
        self.turn()
        return sock


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.close()
    made.selector.close()
    for sock in made.open:
        sock.close()


def read(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(100), b""))


def test_one_line_and_then_the_end(desk: Desk) -> None:
    assert read(desk.asker()) == b"ready up 1%\n"
    assert read(desk.asker()) == b"ready up 2%\n"


def test_what_the_asker_sends_does_not_destroy_the_answer(desk: Desk) -> None:
    """`agent-send` of HAProxy: closed with octets unread, the kernel would answer with a reset."""
    sock = desk.asker()
    sock.sendall(b"who are you\n" * 100)
    desk.turn()
    assert read(sock) == b"ready up 1%\n"


def test_who_does_not_hang_up_is_forgotten(desk: Desk) -> None:
    desk.asker()
    desk.clock.advance(PATIENCE - 0.1)
    desk.server.tick()
    assert len(desk.server.askers) == 1
    desk.clock.advance(0.2)
    desk.server.tick()
    assert len(desk.server.askers) == 0


def test_who_hangs_up_is_forgotten_at_once(desk: Desk) -> None:
    desk.asker().close()
    desk.turn()
    assert len(desk.server.askers) == 0


def test_who_leaves_by_a_reset_does_no_harm(desk: Desk) -> None:
    sock = socket.create_connection(desk.server.socket.address())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    desk.turn()
    assert read(desk.asker())


def test_askers_have_a_bound(desk: Desk) -> None:
    for _ in range(MAX_ASKERS):
        desk.asker()
    assert read(desk.asker()) == b""
    assert desk.asked == MAX_ASKERS
    desk.clock.advance(PATIENCE)
    desk.server.tick()
    assert read(desk.asker()).startswith(b"ready")
