"""Plays a case against an SMTP server, or what stands before it: whole packets, or octet by octet.

Returns all that was said to the client.  It never judges: what the client is told proves nothing (verdicts.py looks at
what arrived).  Many cases are played side by side, since most of the time is waiting.

How long a silence must be to mean something depends on the machine: at least the times below, and SLOWNESS times what
the server's greeting and its reply to EHLO took on this very connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from typing import TYPE_CHECKING

from .steps import EHLO, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .steps import Case

PATIENCE = 20.0  # seconds of silence before the client goes on all the same
MOMENT = 0.03  # seconds; also how long a 354 may come after another reply
BREATH = 1.0  # seconds; a server may take that long for the end of a message
UNMARKED = 0.7  # seconds of silence that stand for the mark at servers without VRFY
DRIP_LIMIT = 2500  # octets; a longer packet goes in pieces of PIECE, or the lab would take all day
PIECE = 997
SILENCE = {Wait.MARK: UNMARKED, Wait.END: 1.5}
SLOWNESS = 20

_FINAL = re.compile(rb"^(?:\d{3}(?: [^\n]*|\r?)|[+-][^\n]*)\n", re.MULTILINE)  # SMTP or POP3
_MARKED = re.compile(rb"^252", re.MULTILINE)
_GO_ON = re.compile(rb"^354", re.MULTILINE)


class Talk:
    """One connection; `said` is all that was heard on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.said = b""
        self.over = False
        self.slowest = 0.0  # seconds, of the first replies

    async def measure(self) -> None:
        """Hear a reply that a server has at hand."""
        began = time.monotonic()
        await self.hear(_FINAL.search, PATIENCE)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def silence(self, least: float) -> float:
        """Seconds without a word after which there will be none."""
        return min(max(least, SLOWNESS * self.slowest), PATIENCE)

    async def say(self, packet: bytes, dripped: bool) -> None:
        size = len(packet) if not dripped else 1 if len(packet) <= DRIP_LIMIT else PIECE
        try:
            for start in range(0, len(packet), size or 1):
                if self._writer.is_closing():
                    return
                self._writer.write(packet[start : start + size])
                if dripped:
                    await asyncio.sleep(0)
            await self._writer.drain()
        except ConnectionError:
            self.over = True

    async def hear(self, enough: Callable[[bytes], object], silence: float) -> bool:
        """Listens until what is said from here on is `enough`, the peer is silent for so long, or closes."""
        start = len(self.said)
        while not self.over and not enough(self.said[start:]):
            try:
                async with asyncio.timeout(silence):
                    more = await self._reader.read(65536)
            except TimeoutError:
                return False
            except ConnectionError:
                more = b""
            self.said += more
            self.over = not more
        return not self.over


async def play(
    address: tuple[str, int],
    case: Case,
    words: Mapping[bytes, bytes],
    *,
    dripped: bool,
    source: str = "",
    doorway: asyncio.Semaphore | None = None,
) -> bytes:
    """`words`: what stands for `{tag}`, `{ip}` and `{host}`; `source`: the address to connect from; `doorway`: held
    until the server has greeted."""
    async with doorway or contextlib.nullcontext():
        reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0) if source else None)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = Talk(reader, writer)
        if case.steps[0] == EHLO or not case.hasty:  # who is hasty from the start does not wait for the greeting
            await talk.measure()
    try:
        await _steps(talk, case, words, dripped)
    finally:
        writer.close()
    return talk.said


async def _steps(talk: Talk, case: Case, words: Mapping[bytes, bytes], dripped: bool) -> None:
    skip, breathless = False, False
    for number, (packet, wait) in enumerate(case.steps):
        if talk.over:
            return
        if skip:
            skip = False
            continue
        for word, value in words.items():
            packet = packet.replace(word, value)
        await talk.say(packet, dripped)
        match wait:
            case Wait.PAUSE:
                await asyncio.sleep(MOMENT)
            case Wait.BREATH:
                breathless = not await talk.hear(_FINAL.search, talk.silence(MOMENT if breathless else BREATH))
            case Wait.REPLY if number == 0:
                await talk.measure()
            case Wait.REPLY:
                await talk.hear(_FINAL.search, PATIENCE)
            case Wait.MARK:
                await talk.hear(_MARKED.search, talk.silence(SILENCE[wait]))
            case Wait.DATA:
                start = len(talk.said)
                await talk.hear(_FINAL.search, PATIENCE)
                if not _GO_ON.search(talk.said[start:]):
                    await talk.hear(_GO_ON.search, talk.silence(MOMENT))
                skip = not _GO_ON.search(talk.said[start:])
            case Wait.END:
                await talk.hear(lambda _: False, talk.silence(SILENCE[wait]))
            case Wait.CLOSE:
                return
