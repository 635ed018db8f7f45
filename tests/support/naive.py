"""The positive control: a relay check as one would write it in an afternoon, on sockets.

It reads lines, refuses a RCPT whose address is not local, and passes all else on.  The lab must find it open, or the
lab proves nothing.  DO NOT make it better.

`newline` is what it takes for the end of a line: LF as `readline` does, or CRLF.  (careless.py has one without
sockets.)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from .legacy import Call, Legacy

if TYPE_CHECKING:
    from collections.abc import Iterable

_RCPT = re.compile(rb"RCPT TO:\s*<([^>]*)>", re.IGNORECASE)
_DATA = re.compile(rb"DATA", re.IGNORECASE)


class NaiveProxy:
    """A context manager; `address` is (host, port)."""

    def __init__(self, upstream: tuple[str, int], local_domains: Iterable[bytes], newline: bytes = b"\n") -> None:
        self._upstream, self._local, self._newline = upstream, frozenset(local_domains), newline
        self._server = Legacy(self._play)
        self.address = self._server.address

    def __enter__(self) -> NaiveProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    async def _play(self, call: Call) -> None:
        reader, writer = await asyncio.open_connection(*self._upstream)
        back = asyncio.create_task(self._back(reader, call))
        try:
            in_message = False
            while line := await self._line(call):
                if in_message:
                    in_message = line != b".\r\n"
                elif (match := _RCPT.match(line)) and match[1].rpartition(b"@")[2].lower() not in self._local:
                    await call.say(b"554 5.7.1 Relay access denied\r\n")
                    continue
                elif _DATA.match(line):
                    in_message = True
                writer.write(line)
                await writer.drain()
            with contextlib.suppress(OSError):
                writer.write_eof()
            await back
        finally:
            back.cancel()
            writer.close()

    async def _line(self, call: Call) -> bytes:
        try:
            return await call.reader.readuntil(self._newline)
        except asyncio.IncompleteReadError as end:
            return end.partial

    async def _back(self, reader: asyncio.StreamReader, call: Call) -> None:
        with contextlib.suppress(ConnectionError):
            while more := await reader.read(65536):
                await call.say(more)
        call.writer.close()


class NaivePop:
    """The same for logins: after a PASS the next +OK is a login, of the last USER.  `logins` is what it believes."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.logins: list[str] = []
        self._upstream = upstream
        self._server = Legacy(self._play)
        self.address = self._server.address

    def __enter__(self) -> NaivePop:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    async def _play(self, call: Call) -> None:
        reader, writer = await asyncio.open_connection(*self._upstream)
        user: list[str] = []
        waiting: list[str] = []
        back = asyncio.create_task(self._back(reader, call, waiting))
        try:
            while line := await call.line():
                if line.upper().startswith(b"USER "):
                    user[:] = [line[5:].strip().decode("latin-1")]
                elif line.upper().startswith((b"PASS ", b"APOP ", b"AUTH ")):
                    waiting[:] = user or ["?"]
                writer.write(line)
                await writer.drain()
            with contextlib.suppress(OSError):
                writer.write_eof()
            await back
        finally:
            back.cancel()
            writer.close()

    async def _back(self, reader: asyncio.StreamReader, call: Call, waiting: list[str]) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if waiting and line.startswith(b"+OK"):
                    self.logins.append(waiting.pop())
                await call.say(line)
        call.writer.close()
