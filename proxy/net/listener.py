"""A listening socket of one worker: takes connections, applies the limits on their number, and makes links of them.

All workers accept from the same inherited socket (RULES N4); at most `ACCEPTS` a turn, so that an onslaught can't
starve the sessions that are there.  When descriptors run out it pauses for a moment and goes on, without spinning and
without dying.

Over `connections` or `connections_per_client` a client gets one line (421, -ERR [SYS/TEMP]) and is closed; under
implicit TLS it is just closed, a handshake would cost more than the connection is worth.
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING, Final

from ..wire.address import packed, shown
from .poller import READ

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from ..log import Log
    from .census import Census
    from .poller import Poller
    from .service import Service

ACCEPTS: Final = 16
"""Connections a turn, RULES N4."""
ASIDE: Final = 64
"""Descriptors of a worker that are no connection: store, log, listeners, epoll, look-ups."""
PAUSE: Final = 0.2
"""Seconds without accepting when descriptors or memory have run out."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TOO_MANY = {
    "smtp": b"421 4.7.0 Too many connections, try again later\r\n",
    "pop3": b"-ERR [SYS/TEMP] Too many connections, try again later\r\n",
}
_CLOSING = {
    "smtp": b"421 4.3.2 Service is closing, try again later\r\n",
    "pop3": b"-ERR [SYS/TEMP] Service is closing, try again later\r\n",
}


def capacity() -> int:
    """How many connections this process has descriptors for: two each."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - ASIDE) // 2)


class Listener:
    """One bound socket in one worker."""

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        *,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        census: Census,
        worker: int,
        connections: int,
        per_client: int,
        welcome: Callable[[Service, socket.socket, bytes, str], None],
    ) -> None:
        """`welcome(service, socket, address, shown)` makes the link; the limits are the node's."""
        self.service = service
        self.connections, self.per_client = connections, per_client
        self.draining = False
        self._sock = sock
        self._poller, self._loop, self._log = poller, loop, log
        self._census, self._worker = census, worker
        self._welcome = welcome
        self._capacity = capacity()
        self._listening = True
        poller.add(sock.fileno(), READ, self._ready)

    def adopt(self, service: Service, connections: int, per_client: int, log: Log) -> None:
        """Serve by a new configuration from the next connection on."""
        self.service = service
        self.connections, self.per_client = connections, per_client
        self._log = log

    def drain(self, *, turn_away: bool = True) -> None:
        """Stop accepting (RULES N6).  Who waits in the queue of a socket that closes now would be cut by it, and is
        turned away before; where the socket stays open for a successor (`turn_away` False), he waits for that one."""
        self.draining = True
        while turn_away and self._listening and self._accept():
            pass
        self.close()

    def close(self) -> None:
        """Stop accepting; the socket itself stays open for the other workers."""
        if self._listening:
            self._listening = False
            self._poller.remove(self._sock.fileno())

    def _ready(self, events: int) -> None:
        for _ in range(ACCEPTS):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Take one connection; return whether there may be more."""
        try:
            sock, peer = self._sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause(error)
                return False
            return True  # of this connection alone (accept(2): treat network errors as EAGAIN)
        sock.setblocking(False)
        self._take(sock, peer)
        return True

    def _take(self, sock: socket.socket, peer: object) -> None:
        assert isinstance(peer, tuple)
        address = packed(peer[0].partition("%")[0])  # a zone id stands behind link-local ones, which are never leased
        text = shown(address)
        if self.draining:
            self._turn_away(sock, text, _CLOSING[self.service.protocol], "draining")
        elif self._census.connections_of(self._worker) >= self._capacity:
            self._turn_away(sock, text, _TOO_MANY[self.service.protocol], "descriptors of this worker")
        elif self._census.connections() >= self.connections:
            self._turn_away(sock, text, _TOO_MANY[self.service.protocol], "limits.connections")
        elif self._census.of(address) >= self.per_client:
            self._turn_away(sock, text, _TOO_MANY[self.service.protocol], "limits.connections_per_client")
        else:
            self._census.enter(self._worker, address)
            self._welcome(self.service, sock, address, text)

    def _turn_away(self, sock: socket.socket, text: str, reply: bytes, why: str) -> None:
        words = (("client", text), ("listener", self.service.name), ("why", why))
        self._log.line("info", self.service.protocol, "turned-away", *words)
        try:
            if reply and not self.service.implicit_tls:
                sock.send(reply)
        except OSError:
            pass  # it has gone already
        sock.close()

    def _pause(self, error: OSError) -> None:
        self._log.line("error", "popgate", "accept-failed", ("listener", self.service.name), ("why", error.strerror))
        self.close()
        self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        if not self._listening and not self.draining:
            self._listening = True
            self._poller.add(self._sock.fileno(), READ, self._ready)
