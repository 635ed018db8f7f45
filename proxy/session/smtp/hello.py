"""How a client has introduced itself, and what it was offered for it (RFC 5321 4.1.1.1, 3.2).

Always replaced as a whole: by the reply to EHLO or HELO, by TLS, by another upstream connection.  It belongs to the
session and not to the connection: what it says may be said again to a fresh one (session/upstream/handshake.py).
"""

from __future__ import annotations

from typing import Final

from ...wire.esmtp import NO_OFFER, Offer

NO_EHLO: Final = frozenset({500, 501, 502, 504, 550, 554})
"""What servers older than ESMTP say to EHLO; HELO is tried in its place (rule S7)."""


class Hello:
    """See the module."""

    __slots__ = ("line", "name", "offer")

    def __init__(self, name: bytes, line: bytes, offer: Offer) -> None:
        self.name = name
        """What the client calls itself, or its address literal where that can't be sent on; empty: nothing was said."""
        self.line = line
        """The whole command, as it was sent on."""
        self.offer = offer
        """What the upstream has offered for it; nothing before its reply, and nothing for HELO."""


NOTHING_SAID: Final = Hello(b"", b"", NO_OFFER)
"""Before EHLO and HELO, and again when TLS has started (RFC 3207 4.2)."""
