"""The POP3 dialogue of a client with one question at a time (RFC 1939, RFC 2449, RFC 2595).

Lines and statuses are read by wire/pop3.py, as strictly as popgate itself does it (rule P3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ProtocolError, UpstreamUnavailable
from ..wire.pop3 import MAX_REPLY_LINES, ReplyLines, Status, status
from .said import said

if TYPE_CHECKING:
    from .talk import Talk

_TIMESTAMP = re.compile(rb"<[!-;=?-~]+@[!-;=?-~]+>")  # RFC 1939 7: a msg-id in the greeting offers APOP


class Pop3:
    """A dialogue: each command with its reply line.  Raises UpstreamUnavailable, and ProtocolError for nonsense."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._lines = ReplyLines()
        self.apop = False
        """Whether the greeting has the timestamp that APOP needs."""

    async def greet(self) -> bytes:
        """The greeting line; anything but +OK is UpstreamUnavailable."""
        line = await self._line("greeting")
        if status(line) is not Status.OK:
            raise UpstreamUnavailable(f"it takes nobody now: {said(line)}")
        self.apop = _TIMESTAMP.search(line) is not None
        return line

    async def ask(self, command: str, shown: str = "") -> bytes:
        """The reply line, +OK or -ERR.  shown: the command as an error may show it."""
        if len(self._lines):
            raise ProtocolError("it says more than it was asked")
        self._talk.say(command.encode("ascii"))
        line = await self._line(f"answer to {shown or command}")
        if status(line) is Status.CONTINUE:
            raise ProtocolError(f"a challenge as the answer to {shown or command}")
        return line

    async def capabilities(self) -> dict[str, list[str]] | None:
        """The list that CAPA gives, keywords in capitals; None where it is refused."""
        if status(await self.ask("CAPA")) is not Status.OK:
            return None
        found: dict[str, list[str]] = {}
        for _ in range(MAX_REPLY_LINES):
            line = await self._line("end of the list of CAPA")
            if line == b".":
                return found
            if line.isascii() and (words := line.decode().upper().split()):
                found[words[0]] = words[1:]
        raise ProtocolError(f"a list of CAPA of more than {MAX_REPLY_LINES} lines")

    async def upgrade(self) -> None:
        """Go as far as TLS may start."""
        line = await self.ask("STLS")
        if status(line) is not Status.OK:
            raise UpstreamUnavailable(
                f'tls = "starttls", but STLS is refused: {said(line)}; "off" is left, or "implicit"'
            )
        if len(self._lines):
            raise ProtocolError("it sends more in the clear behind its answer to STLS")

    async def leave(self) -> None:
        await self.ask("QUIT")

    async def _line(self, what: str) -> bytes:
        return await self._talk.until(what, self._lines.feed, self._lines.take)
