"""A listening socket of one worker: accepts connections, applies the limits on their number, and hands them on.

All workers accept from the same inherited socket (rule N4), at most `ACCEPTS` connections a turn, so that a flood can't
starve the sessions that are there.  When descriptors run out it pauses for a moment and goes on, without spinning and
without dying.

Over `connections` or `connections_per_client` a client gets one line (421, -ERR [SYS/TEMP]) and is closed; under
implicit TLS it is just closed, because a handshake would cost more than the connection is worth.

A peer in `accept_proxy_from` is a load balancer: its PROXY header says whose connection it is
(net/accept/proxy_header.py), and `connections_per_client` counts that address; balancers themselves are exempt (rule
N1).

Not here: what becomes of a connection (`accepted` is the worker's), the counters (shared_memory/connections.py).
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING, Final

from ...metrics import TURNED_AWAY
from ...wire.address import packed, shown
from ..sockets.poller import READ
from .proxy_header import HeaderReader

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Mapping

    from ...shared_memory.connections import ConnectionCounters
    from ...wire.proxyheader import ProxyHeader
    from ..service import Service, Shared

    Accepted = Callable[[Service, socket.socket, bytes, str, ProxyHeader | None], None]

ACCEPTS: Final = 16
"""Connections a turn (rule N4)."""
RESERVED: Final = 64
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
_REASONS = {
    "limits.connections": TURNED_AWAY["connections"],
    "limits.connections_per_client": TURNED_AWAY["connections_per_client"],
    "descriptors of this worker": TURNED_AWAY["descriptors"],
    "draining": TURNED_AWAY["draining"],
}


def descriptors(connections: int) -> int:
    """How many descriptors a process needs for this number of connections."""
    return 2 * connections + RESERVED


def capacity(limit: int | None = None) -> int:
    """How many connections `limit` descriptors are enough for, at two each; None: the limit of this process."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    return max(1, (soft - RESERVED) // 2)


class Listener:
    """One bound socket in one worker."""

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        *,
        shared: Shared,
        loop: asyncio.AbstractEventLoop,
        counters: ConnectionCounters,
        worker: int,
        connections: int,
        per_client: int,
        accepted: Accepted,
        pause: float = PAUSE,
        most: int | None = None,
    ) -> None:
        """`connections`, `per_client`: the node's limits.  Nothing is accepted before `start`."""
        self.adopt(service, connections, per_client)
        self.draining = False
        """No more connections are accepted."""
        self._sock = sock
        self._shared, self._poller, self._loop = shared, shared.poller, loop
        self._counters, self._worker = counters, worker
        """The node's connections, and our number in them."""
        self._accepted = accepted
        """Called with service, socket, address, its text and the header of each connection that is to be served.  A
        header is what a balancer said; without a source it is a health check's, and the address the balancer's."""
        self._pause_seconds = pause
        """Without accepting, when descriptors have run out."""
        self._capacity = capacity() if most is None else most
        """How many connections this worker has descriptors for."""
        self._listening = False
        """The poller watches the socket."""
        self._readers: set[HeaderReader] = set()
        """Connections of balancers whose header has not come."""

    def start(self) -> None:
        """Accept from now on."""
        self._listening = True
        self._poller.add(self._sock.fileno(), READ, self)

    @property
    def arriving(self) -> int:
        """How many connections wait for their header."""
        return len(self._readers)

    def adopt(self, service: Service, connections: int, per_client: int) -> None:
        """Serve by a new configuration from the next connection on."""
        self.service = service
        self.connections, self.per_client = connections, per_client
        """The limits."""
        self._balancers = service.accept_proxy_from or None
        """None: nobody sends a PROXY header."""

    def drain(self, *, turn_away: bool = True) -> None:
        """Stop accepting (rule N6).

        A client in the queue of a socket that closes now would be cut by it, and is turned away before; where the
        socket stays open for a successor (`turn_away` False), it waits for that one.
        """
        self.draining = True
        while turn_away and self._listening and self._accept():
            pass
        self.close()

    def cut(self) -> None:
        """End the connections whose header has not come (the limit of a drain)."""
        for reader in list(self._readers):
            reader.cut()

    def close(self) -> None:
        """Stop accepting; the socket itself stays open for the other workers."""
        if self._listening:
            self._listening = False
            self._poller.remove(self._sock.fileno())

    def on_ready(self, events: int) -> None:
        for _ in range(ACCEPTS):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Accept one connection; return whether there may be more."""
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
        self._judge(sock, peer)
        return True

    def _judge(self, sock: socket.socket, peer: object) -> None:
        """Serve the connection, read its header first, or turn it away."""
        assert isinstance(peer, tuple)
        host = peer[0]
        if "%" in host:
            host = host.partition("%")[0]  # the zone id of a link-local address, which never gets a lease
        address = packed(host)
        if self._counters.connections_of(self._worker) >= self._capacity:
            self._turn_away(sock, address, _TOO_MANY, "descriptors of this worker")
        elif self._counters.connections() >= self.connections:
            self._turn_away(sock, address, _TOO_MANY, "limits.connections")
        elif self._balancers is not None and address in self._balancers:
            self._counters.enter(self._worker, address)
            reader = HeaderReader(self._shared, self.service, sock, address, self._header_read)
            self._readers.add(reader)
            reader.start()
        else:
            self._admit(self.service, sock, address, None)

    def _header_read(self, reader: HeaderReader, header: ProxyHeader | None) -> None:
        """A balancer has said whose connection it is; None: it is closed."""
        self._readers.discard(reader)
        if header is not None and header.source is None and not self.draining:
            self._accepted(reader.service, reader.sock, reader.address, reader.shown, header)
            return
        self._counters.leave(self._worker, reader.address)
        if header is not None:
            address = header.source[0] if header.source is not None else reader.address
            self._admit(reader.service, reader.sock, address, header)

    def _admit(self, service: Service, sock: socket.socket, address: bytes, header: ProxyHeader | None) -> None:
        if self.draining:
            self._turn_away(sock, address, _CLOSING, "draining")
        elif self._counters.admit(self._worker, address, self.per_client):
            self._accepted(service, sock, address, shown(address), header)
        else:
            self._turn_away(sock, address, _TOO_MANY, "limits.connections_per_client")

    def _turn_away(self, sock: socket.socket, address: bytes, replies: Mapping[str, bytes], why: str) -> None:
        protocol = self.service.protocol
        self._shared.figures[self.service.name][_REASONS[why]] += 1
        level = "info"
        if address in self.service.accept_proxy_from:  # it may be a health check
            level = "info" if not self.draining and self._shared.log.first_this_hour((address, why)) else "debug"
        words = (("client", shown(address)), ("listener", self.service.name), ("why", why))
        self._shared.log.line(level, protocol, "turned-away", *words)
        try:
            if not self.service.implicit_tls:
                sock.send(replies[protocol])
        except OSError:
            pass  # the client has left already
        sock.close()

    def _pause(self, error: OSError) -> None:
        words = (("listener", self.service.name), ("why", error.strerror))
        self._shared.log.line("error", "popgate", "accept-failed", *words)
        self.close()
        self._loop.call_later(self._pause_seconds, self._resume)

    def _resume(self) -> None:
        if not self._listening and not self.draining:
            self.start()
