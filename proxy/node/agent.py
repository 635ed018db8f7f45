"""The HAProxy agent: tells a balancer whether this node wants work, and how much ([admin] agent).

A connection is answered at once with one line of HAProxy's agent-check (configuration manual 5.2) and closed; what
the asker says is not read but for its end.

    ready up N%          serving; N is the free share of limits.connections, at least 1
    drain                about to stop: no new sessions, those that are there go on
    down # REASON        no worker is ready, or no mail server answers

Both `ready` and `up` are said each time: a node that has been restarted would else stay in the state that it had last.
N counts by the server's own weight in HAProxy, which must be 100 to be divided: half of 1 is 0.

The supervisor's selector drives it; it never waits for an asker, and forgets those that stay longer than `PATIENCE`.
Not here: when a drain begins (supervisor.py), what is known of the servers (status.py).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sockets import ListeningSocket

PATIENCE: Final = 2.0
"""Seconds that an asker has to hang up: closed before it has, its own octets would destroy the answer (RFC 1122
4.2.2.13)."""
MAX_ASKERS: Final = 64
"""At a time; more are closed unanswered, which HAProxy does not count as an answer."""


def words(*, draining: bool, ready: bool, healthy: bool, connections: int, limit: int) -> str:
    """The line that is true now; `connections` of at most `limit`."""
    if draining:
        return "drain"
    if not ready:
        return "down # no worker is ready"
    if not healthy:
        return "down # no mail server answers"
    return f"ready up {min(100, max(1, 100 * (limit - connections) // limit))}%"


class AgentServer:
    """The listening end."""

    def __init__(
        self,
        listening: ListeningSocket,
        selector: selectors.BaseSelector,
        words: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`words()`: the line to answer."""
        self.socket = listening
        self._sock, self._selector, self._words, self._clock = listening.sock, selector, words, clock
        self.askers: dict[socket.socket, float] = {}
        """Answered, and until when they may stay."""
        selector.register(self._sock, selectors.EVENT_READ, self._accept)

    def tick(self) -> None:
        """Forget askers that stay too long; call about once a second."""
        now = self._clock()
        for sock in [sock for sock, until in self.askers.items() if until <= now]:
            self._drop(sock)

    def forget(self) -> None:
        """In a child: these are not its sockets."""
        self._sock.close()
        for sock in self.askers:
            sock.close()

    def close(self) -> None:
        for sock in list(self.askers):
            self._drop(sock)
        self._selector.unregister(self._sock)
        self._sock.close()

    def _accept(self, _: object) -> None:
        try:
            sock, _address = self._sock.accept()
        except OSError:
            return
        if len(self.askers) >= MAX_ASKERS:
            sock.close()
            return
        sock.setblocking(False)
        self.askers[sock] = self._clock() + PATIENCE
        self._selector.register(sock, selectors.EVENT_READ, self._read)
        with contextlib.suppress(OSError):  # a line fits into what a new socket takes
            sock.send(self._words().encode("ascii") + b"\n")
            sock.shutdown(socket.SHUT_WR)

    def _read(self, sock: socket.socket) -> None:
        try:
            over = not sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        del self.askers[sock]
        sock.close()
