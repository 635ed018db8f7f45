"""What a POP3 server is, and whether it refuses a wrong password.

A server that says +OK to every password (a honeypot, a test house, a broken one) would give every visitor a lease,
that is, make popgate an open relay: the only finding here that must never be overlooked.  The user and password that
are tried are random, so the attempt shows as one failed login in the server's log.

RFC 1939, RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (SASL).  Lines and statuses are read by wire/pop3.py, as strictly
as popgate itself does it (rule P3).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError, UpstreamUnavailable
from ..wire.pop3 import MAX_REPLY_LINES, ReplyLines, Status, status
from ..wire.sasl import MECHANISMS
from .findings import said

if TYPE_CHECKING:
    from .findings import Findings
    from .talk import Talk

_CAPABILITIES: Final = ("USER", "STLS", "UIDL", "TOP", "PIPELINING", "UTF8", "RESP-CODES")
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


async def interrogate(pop3: Pop3, found: Findings, checks: bool = False) -> None:
    """Ask all there is to ask, behind greeting and TLS; `checks`: it is to check passwords for `auth = "pop3"`."""
    found.about("CAPA")
    offers = await pop3.capabilities()
    if offers is None:
        found.ok("not known: an old server")
        offers = {}
    else:
        has = [word for word in _CAPABILITIES if word in offers]
        missing = [word for word in _CAPABILITIES if word not in offers]
        found.ok(f"offers {', '.join(has) or 'nothing'}; not {', '.join(missing) or 'missing anything'}")
    found.about("logins")
    offered = offers.get("SASL", [])
    carried = [word for word in offered if word.encode() in MECHANISMS]
    left = [word for word in offered if word not in carried]
    found.ok(
        f"APOP {'yes' if pop3.apop else 'no'}; SASL {' '.join(carried) or 'none'}"
        + (f"; not passed on: {' '.join(left)}" if left else "")
    )
    taken = await _wrong_password(pop3, found)
    if checks:
        _can_check(offers, taken, found)


def _can_check(offers: dict[str, list[str]], taken: bool, found: Findings) -> None:
    """Whether passwords can be tried here: popgate has them, and no APOP or challenge could use them (rule G15)."""
    found.about("AUTH")
    if offers and "USER" not in offers:
        found.fail('offers no USER: passwords can\'t be checked here; take auth = "upstream" or "off"')
    elif not offers and not taken:
        found.warn('USER is refused; if that is so for all users, take auth = "upstream" or "off"')
    else:
        found.ok("passwords can be checked here, by USER and PASS")


async def _wrong_password(pop3: Pop3, found: Findings) -> bool:
    """Whether it took USER."""
    found.about("password")
    user = f"popgate-selftest-{secrets.token_hex(4)}"
    taken = False
    try:
        line = await pop3.ask(f"USER {user}")
        if taken := status(line) is Status.OK:
            line = await pop3.ask(f"PASS {secrets.token_hex(8)}", shown="PASS")
    except UpstreamUnavailable as error:  # a tarpit or a hang-up: unkind to users who mistype, but it opens nothing
        found.warn(f"a wrong one is not answered: {error}")
        return taken
    if status(line) is Status.ERR:
        found.ok(f"a wrong one is refused, {said(line)}")
    else:
        found.fail("accepts any password: every visitor would get a lease")
    return taken
