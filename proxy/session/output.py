"""What a session has produced and nobody has taken yet: octets for either side, and events.

The session and its parts add to it; whoever drives the session takes from it after every call (net/link/link.py).
Octets for one side keep their order, events keep theirs.  What was said to a side before an event stands there when
the event is taken, and so goes out first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import Event


class Output:
    """See the module.  Octets are kept in one piece: mostly there is only one, and then nothing is copied."""

    __slots__ = ("events", "to_client", "to_upstream")

    def __init__(self) -> None:
        self.to_client = b""
        """Whole replies, and what passes through."""
        self.to_upstream = b""
        """Whole commands, and what passes through."""
        self.events: list[Event] = []
        """Questions and facts, in the order in which they came about."""

    def for_client(self, octets: bytes) -> None:
        """Add octets for the client."""
        self.to_client += octets

    def for_upstream(self, octets: bytes) -> None:
        """Add octets for the upstream."""
        self.to_upstream += octets

    def take_to_client(self) -> bytes:
        """Take the octets for the client."""
        octets, self.to_client = self.to_client, b""
        return octets

    def take_to_upstream(self) -> bytes:
        """Take the octets for the upstream."""
        octets, self.to_upstream = self.to_upstream, b""
        return octets

    def take_events(self) -> list[Event]:
        """Take the events."""
        events, self.events = self.events, []
        return events

    def drop_to_upstream(self) -> None:
        """Forget the octets for an upstream that will not get them."""
        self.to_upstream = b""
