"""Which side of a link may be read now, and in which way.

Flow control is nothing more than this: while one side does not take what is sent to it, the side that causes it is not
read (docs/architecture.md).  The reasons are net/sockets/leg.py's, and each comes and goes by itself; what is read in
which way is the session's `streaming`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sockets.leg import OWN_FULL, PEER_FULL, SESSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...session.contract import Session
    from ..sockets.leg import Leg


class FlowControl:
    """Of one link."""

    __slots__ = ("held", "streaming")

    def __init__(self) -> None:
        self.held = 0
        """The reasons for which the client's leg was last told to be held."""
        self.streaming = False
        """Whether the legs were last told that message text passes."""

    def regulate(
        self, session: Session, client: Leg, upstream: Leg | None, streamed: Callable[[Leg, memoryview], None]
    ) -> None:
        """Hold each side or let it go on, for its own reasons; `streamed` gets message text."""
        held = SESSION if session.holding else 0
        if client.rest:
            held |= OWN_FULL
        if upstream is not None and upstream.rest:
            held |= PEER_FULL
        if held != self.held:
            self.held = held
            client.hold(held)
            if upstream is not None:
                self.hold_upstream(upstream)
        if session.streaming is not self.streaming:
            self.streaming = session.streaming
            handler = streamed if self.streaming else None
            client.stream_to(handler)
            if upstream is not None:
                upstream.stream_to(handler)

    def hold_upstream(self, upstream: Leg) -> None:
        """Hold an upstream leg, a new one, too, while the client does not take what it sends."""
        upstream.hold(PEER_FULL if self.held & OWN_FULL else 0)
