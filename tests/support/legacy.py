"""An old server by script: records every octet it receives, and says exactly what a test tells it to.

`Legacy(play)` listens on 127.0.0.1 and runs the coroutine `play(call)` for every connection, in a thread and loop of
its own, so that tests of either kind (threads or asyncio) may use it.  A `Call` is one connection: `said()`,
`line()`, `until()`, `starttls()`, `hang_up()`, `reset()`.  When `play` returns, the connection is closed in order; an
octet that the client sends after that is not read.

Not a mail server: `proxy.demo.appliance` is one, simple and honest, and `dovecot`, `postfix` are the real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from proxy.demo.appliance import stop_serving

if TYPE_CHECKING:
    import ssl

WAIT = 20.0  # seconds a test waits for a call before it shows what there was


class Call:
    """One connection to the old server; `received` holds all its octets, decrypted, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = bytearray()
        self.ended = threading.Event()  # set once the script is through and the connection is closed

    async def say(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def line(self) -> bytes:
        """The next line with its end; b"" at end of file (half a line before it is in `received` and is returned)."""
        got = await self.reader.readline()
        self.received += got
        return got

    async def until(self, mark: bytes) -> bytes:
        """All up to and with `mark`; what there was of it if the client closed first."""
        try:
            got = await self.reader.readuntil(mark)
        except asyncio.IncompleteReadError as end:
            got = end.partial
        self.received += got
        return got

    async def ask(self, octets: bytes) -> bytes:
        """Says `octets`, returns the client's next line."""
        await self.say(octets)
        return await self.line()

    async def to_the_end(self) -> bytes:
        """Reads until the client closes."""
        got = bytearray()
        with contextlib.suppress(ConnectionError):
            while more := await self.reader.read(65536):
                got += more
                self.received += more
        return bytes(got)

    async def starttls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context)

    def reset(self) -> None:
        """Ends the connection by a TCP reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


Play = Callable[[Call], Awaitable[None]]


class Legacy:
    """The server.  A context manager; `address` is (host, port), `calls` all connections in the order they came.

    An exception in `play`, a failed assertion for instance, is kept and raised when the test leaves the server.
    """

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.calls: list[Call] = []
        self._play = play
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = threading.Condition()
        self._failure: Exception | None = None
        self._socket = socket.create_server((host, 0))
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._over: asyncio.Event = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """The address as the configuration writes it."""
        return f"{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> Legacy:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if self._failure is not None and kind is None:
            raise self._failure

    def close(self) -> None:
        """Stops listening and cuts what is still connected."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(WAIT)

    def call(self, number: int = 0) -> Call:
        """Connection `number`, waited for."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.calls) > number, WAIT)
            assert came, f"only {len(self.calls)} connections came"
            return self.calls[number]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        # No limit on a line worth naming: an endless line is the test's business.
        server = await asyncio.start_server(self._one, sock=self._socket, ssl=self._tls, limit=1 << 26)
        await self._over.wait()
        await stop_serving([server], self._tasks)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        call = Call(reader, writer)
        with self._news:
            self.calls.append(call)
            self._news.notify_all()
        try:
            await self._play(call)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client, the test, or the end of this server cut the connection
        except Exception as failure:
            self._failure = self._failure or failure
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)
            call.ended.set()


async def silent(call: Call) -> None:
    """A server that accepts and never says a word."""
    await call.to_the_end()


def greets(greeting: bytes) -> Play:
    """A server that says `greeting` and then only listens."""

    async def play(call: Call) -> None:
        await call.say(greeting)
        await call.to_the_end()

    return play
