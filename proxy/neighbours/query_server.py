"""Where other servers ask popgate: a bound socket of one worker, and which peers may use it.

A `StreamServer` (TCP or unix) takes connections with any number of requests each, a `DatagramServer` (UDP) one request
a packet.  What requests mean is the `QueryHandler`'s: neighbours/whoson_server.py, neighbours/postfix_policy.py.  All
workers share the inherited sockets (rule N4), each answers what it happens to take.

asyncio's streams and a task for each connection, unlike net/sockets/leg.py: such connections are few and long, a
question is rare, and popgate itself is the other end of the dialogue.

Bounds: connections a worker; octets of a request; seconds for the next whole request and its answer to be read.  A peer
that is not allowed is turned away unread, and counted in a line an hour.  Every datagram has its answer, a refusal too:
a peer that asks by UDP waits for seconds otherwise.  But none that looks like an answer: its source may be forged, and
two servers would answer each other for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import ProtocolError
from ..net.sockets.poller import READ
from ..wire.address import packed, shown
from ..wire.stanzas import Stanzas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..log import Log
    from ..net.sockets.poller import Poller

CONNECTIONS: Final = 1000
"""At a time and server, in one worker: Postfix has up to 100 smtpd (default_process_limit), each with one of its
own."""
IDLE: Final = 360.0
"""Seconds for the next request, from the last answer: Postfix lets go of an idle connection after 300 by itself."""
_TURN: Final = 16
"""Connections or datagrams taken in one turn of the loop (as rule N4 has it for clients)."""
_PAUSE: Final = 0.2
"""Seconds without accepting when descriptors or memory have run out."""
_CHUNK: Final = 4096

Peer = bytes | None
"""Who asks: a binary address, or None at a unix socket, where the file's mode has decided."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    octets: bytes
    """As they are sent."""
    last: bool = False
    """The connection ends with it."""


class QueryHandler(Protocol):
    """What answers the queries; a reload puts another one in its place."""

    name: str
    """The log's subject: "whoson", "postfix"."""
    limit: int
    """Octets of a request."""
    denial: bytes
    """Said to peers that are not allowed."""
    overlong: bytes
    """Said to a request of more than `limit` octets."""
    marks: bytes
    """Octets that an answer begins with, and no request does."""

    def allows(self, peer: Peer) -> bool:
        """Whether the peer may ask at all."""

    def answer(self, lines: Sequence[bytes], peer: Peer, then: Callable[[Answer], None]) -> None:
        """Call `then` with the answer to a request, at once or from the loop.  `lines`: at least one."""


class QueryServer(Protocol):
    """What the worker knows of either kind."""

    def adopt(self, handler: QueryHandler) -> None:
        """Answer by a new configuration from the next request on."""

    def close(self) -> None:
        """Take nothing more; what was taken is answered.  The socket itself stays open for the other workers."""

    async def shut(self) -> None:
        """Let go of everything."""


def query_server(sock: socket.socket, handler: QueryHandler, poller: Poller, log: Log) -> QueryServer:
    """The server on a bound, non-blocking socket."""
    if sock.type == socket.SOCK_DGRAM:
        return DatagramServer(sock, handler, poller, log)
    return StreamServer(sock, handler, poller, log)


class _TurnedAway:
    """Counts the peers that were turned away, and says so at most once an hour for each reason."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._counts: Counter[str] = Counter()

    def note(self, name: str, peer: Peer, why: str) -> None:
        self._counts[why] += 1
        if self._log.first_this_hour((name, why)):
            words = (("client", "unix" if peer is None else shown(peer)), ("why", why), ("count", self._counts[why]))
            self._log.line("warning", name, "turned-away", *words)
            del self._counts[why]


class DatagramServer:
    """A UDP socket."""

    def __init__(self, sock: socket.socket, handler: QueryHandler, poller: Poller, log: Log) -> None:
        self._sock, self._handler, self._poller = sock, handler, poller
        self._turned_away = _TurnedAway(log)
        self._open = True
        poller.add(sock.fileno(), READ, self)

    def adopt(self, handler: QueryHandler) -> None:
        self._handler = handler

    def close(self) -> None:
        if self._open:
            self._open = False
            self._poller.remove(self._sock.fileno())

    async def shut(self) -> None:
        self.close()

    def on_ready(self, events: int) -> None:
        for _ in range(_TURN):
            try:
                data, source = self._sock.recvfrom(self._handler.limit + 1)
            except OSError:  # mostly BlockingIOError: no more, or another worker was faster
                return
            peer = _address(source)
            if data and data[0] in self._handler.marks:
                self._turned_away.note(self._handler.name, peer, "an answer to nothing that was asked")
            elif not self._handler.allows(peer):
                self._turned_away.note(self._handler.name, peer, "not allowed")
                self._send(Answer(self._handler.denial), source)
            elif len(data) > self._handler.limit:  # cut off here, it could say something else than it did
                why = f"a request of more than {self._handler.limit} octets"
                self._turned_away.note(self._handler.name, peer, why)
                self._send(Answer(self._handler.overlong), source)
            else:
                lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
                self._handler.answer(lines, peer, lambda answer, source=source: self._send(answer, source))  # type: ignore[misc]

    def _send(self, answer: Answer, source: tuple[object, ...]) -> None:
        with contextlib.suppress(OSError):  # the buffer is full, the peer is gone: it asks again if it still cares
            self._sock.sendto(answer.octets, source)


class StreamServer:
    """A listening TCP or unix socket."""

    def __init__(self, sock: socket.socket, handler: QueryHandler, poller: Poller, log: Log) -> None:
        self._sock, self._handler, self._poller = sock, handler, poller
        self._turned_away = _TurnedAway(log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True
        self._listening = False
        self._listen()

    def adopt(self, handler: QueryHandler) -> None:
        self._handler = handler

    def close(self) -> None:
        self._open = False
        self._pause()

    async def shut(self) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self) -> None:
        if self._open and not self._listening:
            self._listening = True
            self._poller.add(self._sock.fileno(), READ, self)

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._poller.remove(self._sock.fileno())

    def on_ready(self, events: int) -> None:
        for _ in range(_TURN):
            try:
                sock, source = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no more descriptors, or of this connection alone: a moment harms neither
                self._turned_away.note(self._handler.name, None, error.strerror or "accept failed")
                self._pause()
                asyncio.get_running_loop().call_later(_PAUSE, self._listen)
                return
            self._take(sock, None if sock.family == socket.AF_UNIX else _address(source))

    def _take(self, sock: socket.socket, peer: Peer) -> None:
        sock.setblocking(False)
        handler = self._handler
        if len(self._tasks) < CONNECTIONS and handler.allows(peer):
            task = asyncio.get_running_loop().create_task(self._converse(sock, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        full = len(self._tasks) >= CONNECTIONS
        self._turned_away.note(handler.name, peer, "too many connections" if full else "not allowed")
        with contextlib.suppress(OSError):
            sock.send(b"" if full else handler.denial)
        sock.close()

    async def _converse(self, sock: socket.socket, peer: Peer) -> None:
        """One connection, from its first request to its end."""
        connect = asyncio.open_unix_connection if sock.family == socket.AF_UNIX else asyncio.open_connection
        reader, writer = await connect(sock=sock, limit=_CHUNK)
        writer.transport.set_write_buffer_limits(0)  # `drain` is back when all is out
        stanzas = Stanzas(self._handler.limit)
        try:
            going_on = True
            while going_on:
                async with asyncio.timeout(IDLE):
                    going_on = await self._round(reader, writer, stanzas, peer)
            writer.close()
        except ProtocolError as error:
            self._turned_away.note(self._handler.name, peer, str(error))
            writer.write(self._handler.overlong)
            writer.close()
        except OSError:  # TimeoutError is one
            pass
        finally:
            writer.transport.abort()  # nothing happens where it is closed already

    async def _round(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stanzas: Stanzas, peer: Peer
    ) -> bool:
        """Read requests and answer them, in order; False at the end."""
        found: list[list[bytes]] = []
        while not found:
            data = await reader.read(_CHUNK)
            if not data:
                return False
            found = stanzas.feed(data)
        for lines in found:
            answer = await self._answer(lines, peer)
            if writer.is_closing():  # it was reset in the meantime; uvloop's transports raise what is no OSError
                return False
            writer.write(answer.octets)
            await writer.drain()
            if answer.last:
                return False
        return True

    async def _answer(self, lines: Sequence[bytes], peer: Peer) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # It may be too late for the answer: `shut` has cancelled what waits for it.
        self._handler.answer(lines, peer, lambda answer: None if future.done() else future.set_result(answer))
        return await future


def _address(source: tuple[object, ...]) -> bytes:
    """The binary address of a peer; a zone id is left out: what is link-local is in no list unless somebody put it."""
    return packed(str(source[0]).partition("%")[0])
