"""One connection of a client in an asyncio loop: says lines, expects replies, by SMTP or POP3.

A reply that is not expected says what became of the client: `ToldToComeAgain`, `Unexpected`, or ConnectionError where
there is none.  Nothing is waited for longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

PATIENCE = 20.0  # seconds for one reply, a restart included


class ToldToComeAgain(Exception):
    """421, or -ERR [SYS/TEMP]."""


class Unexpected(AssertionError):
    """Any other reply than those expected."""

    def __init__(self, expected: tuple[bytes, ...], reply: bytes) -> None:
        super().__init__(f"expected {expected!r}, got {reply!r}")
        self.reply = reply


class Talk:
    """An async context manager.  `waited`: seconds until the first reply; `own`: the client's address and port."""

    def __init__(self, address: tuple[str, int], source: str = "", tls: ssl.SSLContext | None = None) -> None:
        """`source`: the client's address; `tls`: from the first octet."""
        self._address, self._source, self._tls = address, source, tls
        self.own = ("", 0)
        self.waited = 0.0

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        local = (self._source, 0) if self._source else None
        async with asyncio.timeout(PATIENCE):
            self._reader, self._writer = await asyncio.open_connection(*self._address, local_addr=local)
        self.own = self._writer.get_extra_info("sockname")[:2]
        try:
            if self._tls is not None:
                await self.starttls(self._tls)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):  # ssl.SSLError is one: an end without close_notify
            await self._writer.wait_closed()

    async def starttls(self, context: ssl.SSLContext) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._writer.start_tls(context)

    def say(self, line: bytes) -> None:
        self._writer.write(line + b"\r\n")

    async def ask(self, line: bytes, *starts: bytes) -> bytes:
        self.say(line)
        return await self.expect(*starts)

    async def expect(self, *starts: bytes) -> bytes:
        """The last line of the next reply; it begins with one of `starts`."""
        line = b"250-"
        async with asyncio.timeout(PATIENCE):
            while line[:3].isdigit() and line[3:4] == b"-":
                line = await self._reader.readline()
        self.waited = self.waited or time.monotonic() - self._began
        if line.startswith(starts):
            return line
        if line.startswith((b"421", b"-ERR [SYS/TEMP]")):
            raise ToldToComeAgain
        if not line:
            raise ConnectionAbortedError
        raise Unexpected(starts, line)
