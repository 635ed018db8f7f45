"""One client of the demo: says lines, hears replies, and shows both on the screen.

A dialogue that we speak ourselves, so asyncio streams are the right tool.  A reply other than the expected one is
`Unexpected`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from .screen import Screen, Unexpected

if TYPE_CHECKING:
    import ssl

PATIENCE = 15.0  # seconds for a reply that takes milliseconds


class Talk:
    """A connection to one of the gate's ports.  Made by `Talk.connect`, ended by `close`."""

    def __init__(self, screen: Screen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._screen = screen
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, screen: Screen, address: tuple[str, int], greeting: str) -> Talk:
        """Connects and hears the greeting, which must start with `greeting`."""
        screen.quietly(f"  connecting to {address[0]} port {address[1]}")
        talk = cls(screen, *await asyncio.open_connection(*address))
        await talk.hear(greeting)
        return talk

    async def ask(self, line: str, expected: str, shown: str = "") -> str:
        """Says `line`, hears the reply.  `shown`: what the screen has instead, for a password."""
        self._screen.client(shown or line)
        self._writer.write(line.encode() + b"\r\n")
        await self._writer.drain()
        return await self.hear(expected)

    async def hear(self, expected: str) -> str:
        """A whole reply; its last line must start with `expected` and is returned."""
        while True:
            async with asyncio.timeout(PATIENCE):
                line = (await self._reader.readline()).decode(errors="replace").rstrip("\r\n")
            self._screen.server(line or "(closed)")
            if line[3:4] == "-" and line[:3].isdigit():
                continue
            if not line.startswith(expected):
                raise Unexpected(f"expected {expected!r}, got {line!r}")
            return line

    async def starttls(self, context: ssl.SSLContext, name: str) -> None:
        """TLS from here on, the server's certificate checked against `context` and `name`."""
        async with asyncio.timeout(PATIENCE):
            await self._writer.start_tls(context, server_hostname=name)
        version = self._writer.get_extra_info("ssl_object").version()
        self._screen.quietly(f"  {version}, certificate of {name} verified")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
