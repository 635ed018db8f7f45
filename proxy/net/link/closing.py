"""The end of a link: the last words go out, then its connections close.

Promises: the client's last words reach it.  Where it may have sent what we never read, a close would be a reset and
destroy them (RFC 1122 4.2.2.13), so the client's end is waited for, `LINGER` seconds; where it has said its last, they
share a packet with the end.

Not here: the upstream's end (net/link/upstream_side.py), and what is written of the link (net/link/journal.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...session.events import Finished
from ..sockets.leg import CORK, LINGER, OWN_FULL

if TYPE_CHECKING:
    from ..sockets.leg import Leg
    from .timeouts import Timeouts


class Closing:
    """Of one link: how far it is on its way to its end."""

    __slots__ = ("client_left", "final", "lingering")

    def __init__(self) -> None:
        self.final: Finished | None = None
        """How the session ended, once it has."""
        self.client_left = False
        """The client has said its last, or is lost."""
        self.lingering = False
        """All was said; the client's end is waited for."""

    def client_gone(self) -> None:
        """The client says no more."""
        self.client_left = True

    def session_over(self, final: Finished) -> None:
        """The session has ended."""
        self.final = final

    def finish(self, client: Leg, timeouts: Timeouts, patience: float) -> bool:
        """Let the last words go out; may come several times.  Return whether the client's leg is to be closed now.

        `patience`: seconds for a client that reads slowly.
        """
        final = self.final
        assert final is not None
        # A client that has said its last has nothing on its way that a close would answer by a reset.
        with_fin = final.clean or self.client_left
        if with_fin:
            client.send_close_notify()
        client.flush(CORK if with_fin else 0)
        if client.rest:
            # It reads slowly, so it may have sent what we never read: a close would be a reset, and lose the rest.
            self.final = Finished(final.why)
            client.hold(OWN_FULL)  # a client that never reads is not listened to for all that time
            timeouts.close_within(patience)
            return False
        if with_fin:
            return True
        if not self.lingering:
            self.lingering = True
            client.finish_sending()
            client.hold(0)
            timeouts.close_within(LINGER)
        return False
