"""Which side of a link may be read now, and in which way: functions of a link.

Flow control is nothing more: while one side does not take what is sent to it, the side that causes it is not read
(docs/architecture.md).  The reasons are net/sockets/leg.py's, each apart; what is read in which way is the session's
`streaming`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..sockets.leg import OWN_FULL, PEER_FULL, SESSION

if TYPE_CHECKING:
    from .link import Link


def regulate(link: Link) -> None:
    """Hold and let go reading, each side for its own reasons."""
    client, upstream, session = link.client, link.upstream, link.session
    held = SESSION if session.holding else 0
    if client.rest:
        held |= OWN_FULL
    if upstream is not None and upstream.rest:
        held |= PEER_FULL
    if held != link.held:
        link.held = held
        client.hold(held)
        if upstream is not None:
            upstream.hold(PEER_FULL if held & OWN_FULL else 0)
    if session.streaming is not link.streaming:
        link.streaming = session.streaming
        client.streaming = link.streamed if link.streaming else None
        if upstream is not None:
            upstream.streaming = client.streaming
