"""admin/door.py: who gets in by HTTP, and for how long."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.admin import door as module
from proxy.admin.door import Door, is_ours

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def visited(visit: Callable[[Door, int], Awaitable[None]]) -> None:
    """A server whose /stay stays until it is cut and whose / answers; `visit(door, port)`."""

    async def served() -> None:
        loop = asyncio.get_running_loop()
        door: Door

        async def stay(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            door.stay(request)
            await response.prepare(request)
            await response.write(b"there")
            await asyncio.Event().wait()
            return response

        async def root(request: web.Request) -> web.Response:
            return web.Response(text="hello")

        application = web.Application()
        application.router.add_get("/stay", stay)
        application.router.add_get("/", root)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        assert runner.server is not None
        door = Door(runner.server, loop)
        server = await loop.create_server(door, "127.0.0.1", 0)
        try:
            await visit(door, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            await runner.cleanup()

    asyncio.run(served())


async def connected(port: int, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


async def over(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whatever way."""
    got = b""
    try:
        async with asyncio.timeout(10):
            while data := await reader.read(1000):
                got += data
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("said", [b"", b"GET / HTTP", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_who_says_nothing_or_too_slowly_is_cut(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(module, "LASTS", 0.1)

    async def visit(_: Door, port: int) -> None:
        reader, writer = await connected(port, said)
        assert await over(reader) == b""
        writer.close()

    visited(visit)


def test_who_watches_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LASTS", 0.1)

    async def visit(_: Door, port: int) -> None:
        reader, writer = await connected(port, b"GET /stay HTTP/1.1\r\nHost: x\r\n\r\n")
        silent, other = await connected(port, b"")
        await over(silent)
        await reader.readuntil(b"there")
        assert not reader.at_eof()
        for one in (writer, other):
            one.close()

    visited(visit)


def test_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)

    async def visit(_: Door, port: int) -> None:
        watchers = [await connected(port, b"GET /stay HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
        for reader, _writer in watchers:
            await reader.readuntil(b"there")
        reader, writer = await connected(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert await over(reader) == b""
        writer.close()
        watchers[0][1].close()
        until = asyncio.get_running_loop().time() + 10
        while not (got := await again(port)):  # the server hears of the end by its loop
            assert asyncio.get_running_loop().time() < until
        assert got.endswith(b"hello")
        watchers[1][1].close()

    async def again(port: int) -> bytes:
        reader, writer = await connected(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = await over(reader)
        writer.close()
        return got

    visited(visit)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8110", "[::1]", "[::1]:8110", "192.0.2.7:1", "localhost", "LOCALHOST:8110", ""]
)
def test_names_of_ours(host: str) -> None:
    assert is_ours(host)


def test_this_machine_s_own_name() -> None:
    assert is_ours(f"{socket.gethostname()}:8110")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8110", "127.0.0.1@evil.example", "x", ":x"],
)
def test_names_of_others(host: str) -> None:
    assert not is_ours(host)
