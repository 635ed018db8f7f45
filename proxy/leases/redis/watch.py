"""Telling those who wait that a grant was made, by whichever node (rule G9): one subscription a worker, while somebody
waits.

Promises: every grant that the server carries out after the subscription is told with its address; when a subscription
begins, and again after the connection broke, None is told: what came before it was not heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...wire.address import packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Connection


class Watch:
    """The watcher of one store."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._changed: Callable[[bytes | None], None] | None = None

    def begin(self, changed: Callable[[bytes | None], None] | None, line: Connection) -> None:
        """Tell `changed` from now on, and nobody else; None: nobody."""
        before, self._changed = self._changed, changed
        if line.up and (before is None) != (changed is None):
            line.send(("UNSUBSCRIBE" if changed is None else "SUBSCRIBE", self._channel), self._subscribed)

    def came(self, line: Connection) -> None:
        """The line is up, and the server knows of no subscription."""
        if self._changed is not None:
            line.send(("SUBSCRIBE", self._channel), self._subscribed)

    def published(self, message: list[Any]) -> None:
        if self._changed is not None and message[0] == b"message":
            self._changed(packed(message[2].decode()))

    def _subscribed(self, reply: Any) -> None:
        if isinstance(reply, list) and reply[0] == b"subscribe" and self._changed is not None:
            self._changed(None)
