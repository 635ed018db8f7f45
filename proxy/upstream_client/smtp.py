"""The SMTP dialogue of a client with one question at a time (RFC 5321, RFC 3207).

Replies are cut by wire/replies.py.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from ..errors import ProtocolError, UpstreamUnavailable
from ..wire.replies import Reply, ReplyBuffer
from .said import said

if TYPE_CHECKING:
    from .talk import Talk

_NAME = re.compile(r"[!-~]{1,255}")


class Smtp:
    """A dialogue: each command with its one reply.  Raises UpstreamUnavailable, and ProtocolError for nonsense."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._replies = ReplyBuffer()
        self.name = socket.gethostname()
        """What we call ourselves."""
        if not _NAME.fullmatch(self.name):
            self.name = "localhost"

    async def greet(self) -> bytes:
        """The greeting's octets; anything but 220 is UpstreamUnavailable."""
        reply = await self._reply("greeting")
        if reply.code != 220:
            raise UpstreamUnavailable(f"it takes no mail now: {said(reply.octets)}")
        return reply.octets

    async def ask(self, command: str) -> Reply:
        if len(self._replies):
            raise ProtocolError("it says more than it was asked")
        self._talk.say(command.encode("ascii"))
        return await self._reply(f"answer to {command}")

    async def upgrade(self) -> None:
        """Go as far as TLS may start."""
        offer = await self.ask(f"EHLO {self.name}")
        if offer.code != 250 or "STARTTLS" not in extensions(offer):
            raise UpstreamUnavailable('tls = "starttls", but it does not offer STARTTLS; "off" is left, or "implicit"')
        reply = await self.ask("STARTTLS")
        if reply.code != 220:
            raise UpstreamUnavailable(f"STARTTLS is offered and refused: {said(reply.octets)}")
        if len(self._replies):
            raise ProtocolError("it sends more in the clear behind its answer to STARTTLS")

    async def leave(self) -> None:
        await self.ask("RSET")
        await self.ask("QUIT")

    async def _reply(self, what: str) -> Reply:
        return await self._talk.until(what, self._replies.feed, self._replies.take)


def extensions(offer: Reply) -> dict[str, list[str]]:
    """The keywords of an answer to EHLO, in capitals, each with its parameters; what is not ASCII is left out."""
    found: dict[str, list[str]] = {}
    for text in offer.texts()[1:]:
        if text.isascii() and (words := text.decode().upper().replace("AUTH=", "AUTH ", 1).split()):
            known = found.setdefault(words[0], [])
            known += [word for word in words[1:] if word not in known]
    return found
