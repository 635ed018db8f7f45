"""The replies that the client is still owed, in order.

A client may send several commands before it reads a reply (RFC 2920).  Some of them go on to the upstream and are
answered there, others are answered by us.  `Ledger` keeps one entry for each, so that every reply takes its turn: an
injected 554 waits until the upstream has answered what came before it.

It is bounded (DESIGN promise 6): `full` tells the session to use no more commands until replies have gone out.  It
knows no protocol; what an entry expects is whatever the session put there.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

BOUND: Final = 1000
"""Entries.  RFC 5321 4.5.3.1.8 wants 100 recipients at least in one transaction, clients pipeline them all."""

Expected = TypeVar("Expected")


class Ledger(Generic[Expected]):
    """Entries are an `Expected` (the upstream owes a reply) or octets (we have the reply already)."""

    __slots__ = ("_bound", "_entries", "awaited", "full")

    def __init__(self, bound: int = BOUND) -> None:
        self._entries: deque[Expected | bytes] = deque()
        self._bound = bound
        self.awaited = 0
        """How many replies the upstream owes."""
        self.full = False

    def __len__(self) -> int:
        return len(self._entries)

    def expect(self, what: Expected) -> None:
        """The upstream was sent something that it answers."""
        self._entries.append(what)
        self.awaited += 1
        self.full = len(self._entries) >= self._bound

    def inject(self, reply: bytes) -> bytes:
        """Enter a reply of ours; return what may be said now: the reply itself if nothing is owed before it."""
        if not self._entries:
            return reply
        self._entries.append(reply)
        self.full = len(self._entries) >= self._bound
        return b""

    def settle(self) -> Expected:
        """The upstream's next reply is here: return what it answers.  Call only while `awaited`."""
        self.awaited -= 1
        self.full = False
        entry = self._entries.popleft()
        assert not isinstance(entry, bytes)  # octets at the head have been released already
        return entry

    def front(self) -> Expected:
        """What the upstream's next reply will answer.  Call only while `awaited`."""
        entry = self._entries[0]
        assert not isinstance(entry, bytes)
        return entry

    def released(self) -> bytes:
        """The replies of ours whose turn has come, in order."""
        entries = self._entries
        if not entries or not isinstance(entries[0], bytes):
            return b""
        ready = []
        while entries and isinstance(entries[0], bytes):
            ready.append(entries.popleft())
        return b"".join(ready)  # type: ignore[arg-type]
