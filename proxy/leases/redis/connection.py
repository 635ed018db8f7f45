"""The connection to a Redis server: one, made again by itself whenever it breaks.

Promises: commands go out in the order in which they were sent, those of one turn of the loop in one write, and each
gets its reply, or `None` when the line broke before it came; nothing here blocks the loop; between two attempts to
connect there are PAUSE_FIRST to PAUSE_LAST seconds; each attempt resolves the name again, so that a name or an address
that moves to another server is followed.  No error text holds the password.

Commands are packed and replies parsed by hiredis, redis-py's own parser.  redis-py's asyncio client was measured and
rejected for this path: 50 to 60 µs of CPU for a question where this takes 10, since it makes a task and a trip through
the streams for each and has no pipelining of questions that come side by side.  RESP3 lets what is published arrive on
the same connection.

Not here: what the commands mean (`redis.py`), time limits of questions (`leases/in_flight.py`).
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import socket
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = tuple[str | bytes | int, ...]
    Then = Callable[[Any], None]  # Any: whatever Redis says; bytes, int, None, lists of them, ReplyError

CONNECT: Final = 2.0
"""Seconds for an attempt: name, TCP, TLS and login."""
PAUSE_FIRST, PAUSE_LAST = 0.05, 1.0  # s between two attempts, doubled each time; less up to a half by chance
_TURN_AWAY = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH")  # this is not, or not yet, the server that we need


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, and how to log in."""

    host: str
    """Name or address."""
    port: int = 6379
    """TCP."""
    database: int = 0
    """Its number."""
    user: str = ""
    """Empty: the default user."""
    password: str = field(default="", repr=False)
    """Empty: none is needed."""
    tls: ssl.SSLContext | None = None
    """None: in the clear."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis {host}:{self.port}"


class _Wire(asyncio.Protocol):
    """One connection, from its start to its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, published: Callable[[list[Any]], None], lost: Callable[[_Wire], None]
    ) -> None:
        self._loop = loop
        self._published = published
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[Then] = deque()
        self._out: list[bytes] = []
        self.why = ""  # what was wrong with it

    @property
    def alive(self) -> bool:
        return self._transport is not None

    def send(self, command: Command, then: Then) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]
        self._waiting.append(then)

    def drop(self, why: str) -> None:
        """Away with it, for a reason."""
        self.why = self.why or why
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Write what is to be written, and go."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        self.why = self.why or str(exc or "closed by the server")
        self._transport = None
        self._out.clear()
        waiting, self._waiting = self._waiting, deque()
        try:
            while waiting:
                waiting.popleft()(None)
        finally:
            if waiting:  # a `then` raised: that is the loop's to report, and the others hear of it
                self._waiting = waiting
                self._loop.call_soon(self.connection_lost, exc)
            else:
                self._lost(self)

    def _deliver(self) -> None:
        again = True
        try:
            while (reply := self._next()) is not False:
                # What answers SUBSCRIBE is pushed, too, but in its turn; where it is refused, the error is no push.
                if isinstance(reply, hiredis.PushNotification) and reply[0] not in (b"subscribe", b"unsubscribe"):
                    self._published(reply)
                elif self._waiting:
                    self._waiting.popleft()(reply)
            again = False
        finally:
            if again:  # a `then` raised: the others get their replies all the same
                self._loop.call_soon(self._deliver)

    def _next(self) -> Any:
        """The next whole reply, False where there is none."""
        try:
            reply = self._reader.gets()
        except hiredis.ProtocolError as error:
            self.drop(f"not Redis's protocol: {error}")
            return False
        if isinstance(reply, hiredis.ReplyError) and str(reply).split(" ", 1)[0] in _TURN_AWAY:
            self.drop(str(reply))
        return reply

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()


class Connection:
    """See the module.  `send` only while it is `up`."""

    def __init__(
        self,
        server: Server,
        *,
        came: Callable[[], None],
        went: Callable[[], None],
        published: Callable[[list[Any]], None],
    ) -> None:
        """`came`: it is up, and commands may be sent; `went`: it is not, or an attempt failed: `why` says the reason.
        `published` is given what a subscription brings: b"message", channel, text."""
        self._server = server
        self._came = came
        self._went = went
        self._published = published
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: _Wire | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._pause = PAUSE_FIRST
        self._timer: asyncio.TimerHandle | None = None
        self.why = ""
        """Why the last attempt failed; "" when none did since it was up."""

    @property
    def up(self) -> bool:
        return self._wire is not None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begin()

    def send(self, command: Command, then: Then) -> None:
        """`then` gets the reply, or None if the line breaks."""
        assert self._wire is not None
        self._wire.send(command, then)

    def settled(self) -> None:
        """The server is of use: when the line breaks next, the first attempt is made soon."""
        self._pause = PAUSE_FIRST

    def drop(self, why: str) -> None:
        """This connection is of no use: make another."""
        if self._wire is not None:
            self._wire.drop(why)

    def close(self) -> None:
        self._loop = None
        if self._attempt is not None:
            self._attempt.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._wire is not None:
            self._wire.leave()
            self._wire = None

    def _begin(self) -> None:
        self._timer = None
        if self._loop is not None:
            # A task, once a connection: asyncio has no other way to resolve and to connect.
            self._attempt = self._loop.create_task(self._connect(self._loop))

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        server = self._server
        wire = _Wire(loop, self._published, self._lost)
        try:
            async with asyncio.timeout(CONNECT):
                name = server.host if server.tls is not None else None
                await loop.create_connection(
                    lambda: wire, server.host, server.port, ssl=server.tls, server_hostname=name
                )
                await self._log_in(loop, wire)
        except (OSError, UnicodeError, hiredis.HiredisError) as error:  # TimeoutError is an OSError
            text = f"no connection within {CONNECT:g} s" if isinstance(error, TimeoutError) else _reason(error)
            wire.drop(text)
            self._failed(text)
        except BaseException:
            wire.drop("closing")
            raise
        else:
            self._wire, self.why = wire, ""
            self._came()
        finally:
            self._attempt = None

    async def _log_in(self, loop: asyncio.AbstractEventLoop, wire: _Wire) -> None:
        server = self._server
        login = ("AUTH", server.user or "default", server.password) if server.password else ()
        commands: Sequence[Command] = [("HELLO", 3, *login, "SETNAME", "popgate"), ("SELECT", server.database)]
        replies = []
        for command in commands:
            reply: asyncio.Future[Any] = loop.create_future()
            wire.send(command, functools.partial(_answer, reply))
            replies.append(reply)
        for reply in replies:
            answer = await reply
            if answer is None:
                raise ConnectionError(wire.why)
            if isinstance(answer, hiredis.ReplyError):
                raise answer
        if not wire.alive:
            raise ConnectionError(wire.why)

    def _lost(self, wire: _Wire) -> None:
        if wire is self._wire:
            self._wire = None
            self.why = ""  # no attempt has failed yet: what is asked now may wait for the next one
            self._went()
            self._later()

    def _failed(self, why: str) -> None:
        self.why = why
        self._went()
        self._later()

    def _later(self) -> None:
        if self._loop is not None and self._timer is None:
            pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 (not all nodes at the same moment)
            self._pause = min(2 * self._pause, PAUSE_LAST)
            self._timer = self._loop.call_later(pause, self._begin)


def _answer(future: asyncio.Future[Any], reply: Any) -> None:
    if not future.done():  # else the attempt was given up
        future.set_result(reply)


def _reason(error: Exception) -> str:
    """One line, for the log."""
    text = str(error)
    if isinstance(error, ssl.SSLError):
        text = f"TLS: {getattr(error, 'verify_message', '') or error.reason or text}"
    elif isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        text = os.strerror(error.errno)  # asyncio's own text repeats the address
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return " ".join(text.split()) or type(error).__name__
