"""One epoll of our own inside the event loop: readiness of all client and upstream sockets.

The asyncio loop watches a single descriptor, the epoll's; `_turn` asks it which sockets are ready and calls their
handlers. That costs a tenth less per session than one `add_reader` a socket.  Under load asyncio's own loop is then as
good as uvloop, since a turn serves many sockets; a single round trip on an idle worker takes 8 µs longer
(docs/architecture.md, "Measured").

Promises (rule N2): a handler is called only for the socket that it was added for, because sockets are closed at the
end of a turn and no number is used again inside a batch; established connections are served before handshakes, of
which at most `HANDSHAKES` steps are made in a turn, so that a flood of handshakes can't starve mail.

Connections are begun, and what a turn has to send goes out, at its end, in one sweep (`connect`, `queued`): a packet
that wakes its receiver costs several times one that finds it awake, and packets that follow closely find it awake
(measured: a third of all CPU).

Level-triggered.  Not here: timers (net/timers.py), reading and writing (net/sockets/leg.py).
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from .splice import Pipe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
BROKEN: Final = select.EPOLLHUP | select.EPOLLERR  # reported whether asked for or not

HANDSHAKES: Final = 8  # steps a turn; one costs 0.1 to 1 ms, so a turn stays under 10 ms (rule N2)
_BATCH: Final = 256  # events a turn: bounds how long the loop's timers and signals wait


class Handler(Protocol):
    """What watches a socket.  An object and no function, because a bound method would cost memory for each socket."""

    def on_ready(self, events: int) -> None:
        """Some of the events that were asked for, or BROKEN, are true."""


class Flushable(Protocol):
    """Something that has octets to send at the end of a turn: a leg."""

    def flush(self) -> None: ...


class Poller:
    """The sockets of one worker."""

    __slots__ = (
        "_closing", "_connecting", "_epoll", "_handlers", "_handshakes", "_loop", "_parting", "_soon", "in_turn",
        "pipe", "queued",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self.pipe = Pipe()
        """For octets that go from one of the sockets to another."""
        self._handlers: dict[int, Handler] = {}
        """By the descriptor that is watched."""
        self._handshakes: deque[Callable[[], None]] = deque()
        """Steps of TLS handshakes that wait for their turn."""
        self._soon: list[Callable[[], None]] = []
        """What is done at the end of this turn."""
        self._connecting: deque[Callable[[], None]] = deque()
        """Connections to begin at the end of this turn."""
        self.queued: list[Flushable] = []
        """What has octets to send at the end of this turn; only for use in a turn."""
        self._closing: list[socket.socket] = []
        """Closed at the end of this turn."""
        self._parting: list[socket.socket] = []
        """Those of them that are shut down before."""
        self.in_turn = False
        """Whether handlers are being called now: what is sent may wait for the end of the turn."""
        loop.add_reader(self._epoll.fileno(), self._turn)

    def add(self, fd: int, events: int, handler: Handler) -> None:
        """Call `handler.on_ready` whenever one of `events`, or BROKEN, is true of `fd`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor that stays open."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def close(self, sock: socket.socket, *, with_fin: bool = False) -> None:
        """Close a socket, watched or not: its handler is never called again, its number not reused within this turn.

        `with_fin`: octets that wait for the end (net/sockets/leg.py, CORK) go out with it, even if the peer has sent
        something in the meantime: then a close alone would discard them, and send a reset.
        """
        self._handlers.pop(sock.fileno(), None)  # the kernel takes a closed descriptor out of the epoll by itself
        if with_fin:
            self._parting.append(sock)
        self._closing.append(sock)
        if not self.in_turn:
            self._close()

    def soon(self, action: Callable[[], None]) -> None:
        """Call `action` at the end of this turn, or at once in a turn of its own."""
        self._soon.append(action)
        if not self.in_turn:
            self._loop.call_soon(self._turn)

    def connect(self, begin: Callable[[], None]) -> None:
        """Call `begin`, which begins a connection, at the end of this turn, or at once where none is under way."""
        if self.in_turn:
            self._connecting.append(begin)
        else:
            begin()

    def handshake(self, step: Callable[[], None]) -> None:
        """Make a step of a TLS handshake when established connections have been served."""
        self._handshakes.append(step)
        if not self.in_turn:
            self._loop.call_soon(self._turn)

    def shut(self) -> None:
        """Stop for good; sockets that are still watched are their owners' to close."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.pipe.close()

    def _turn(self) -> None:
        if self._epoll.closed:
            return
        self.in_turn = True
        try:
            handlers = self._handlers
            for fd, events in self._epoll.poll(0, _BATCH):
                handler = handlers.get(fd)
                if handler is not None:
                    handler.on_ready(events)
            if self._soon:
                actions, self._soon = self._soon, []
                for action in actions:
                    action()
            for _ in range(min(HANDSHAKES, len(self._handshakes))):
                self._handshakes.popleft()()
        finally:
            self._sweep()

    def _close(self) -> None:
        """Close what is to be closed."""
        for sock in self._parting:
            with contextlib.suppress(OSError):  # the peer has gone
                sock.shutdown(socket.SHUT_WR)
        for sock in self._closing:
            sock.close()
        self._parting.clear()
        self._closing.clear()

    def _sweep(self) -> None:
        """The end of a turn.  When something has raised, the loop reports it, and the rest goes on."""
        try:
            while self._connecting:
                self._connecting.popleft()()
        finally:
            for one in self.queued:
                one.flush()
            self.queued.clear()
            self.in_turn = False
            if self._closing:
                self._close()
            if self._connecting or self._handshakes or self._soon:
                self._loop.call_soon(self._turn)
