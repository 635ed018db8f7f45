"""The replies that the client is still owed, in order.

A client may send several commands before it reads a reply (RFC 2920).  Some of them go on to the upstream and are
answered there, others are answered by us.  `Ledger` keeps one entry for each, so that every reply takes its turn: an
injected 554 waits until the upstream has answered what came before it.  A run of commands of one kind is one entry
that stands for as many replies (`Expected.count`), not an object a reply: a hundred recipients come at once.

It is bounded (promise 6): `full` tells the session to use no more commands until replies have gone out.  It
knows no protocol; what an entry expects is whatever the session put there.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

BOUND: Final = 1000
"""Replies.  RFC 5321 4.5.3.1.8 wants 100 recipients at least in one transaction, clients pipeline them all."""


class Counted(Protocol):
    """What the ledger asks of an entry."""

    count: int
    """How many replies it still stands for.  Entries of more than one are counted down, and so belong to one ledger."""


Expected = TypeVar("Expected", bound=Counted)


class Ledger(Generic[Expected]):
    """Entries are an `Expected` (the upstream owes replies) or octets (we have the reply already)."""

    __slots__ = ("_bound", "_entries", "answered", "awaited", "full", "injected")

    def __init__(self, bound: int = BOUND) -> None:
        self._entries: list[Expected | bytes] = []  # short; an empty deque takes 700 octets of every idle session
        self._bound = bound
        self.awaited = 0
        """How many replies the upstream owes."""
        self.answered = 0
        """How many replies of the upstream have come."""
        self.injected = 0
        """How many of ours wait for their turn."""
        self.full = False

    def __len__(self) -> int:
        return self.awaited + self.injected

    @property
    def room(self) -> int:
        """How many more replies it takes until it is full."""
        return self._bound - len(self)

    def expect(self, what: Expected) -> None:
        """The upstream was sent something that it answers."""
        self._entries.append(what)
        self.awaited += what.count
        self.full = self.awaited + self.injected >= self._bound

    def inject(self, reply: bytes) -> bytes:
        """Enter a reply of ours; return what may be said now: the reply itself if nothing is owed before it."""
        if not self._entries:
            return reply
        self._entries.append(reply)
        self.injected += 1
        self.full = self.awaited + self.injected >= self._bound
        return b""

    def pop(self, count: int = 1) -> Expected:
        """The upstream's next reply is here, or the next `count`, all for the entry in front: return what they answer.

        Call only while `awaited`.
        """
        self.awaited -= count
        self.answered += count
        self.full = False
        entry = self._entries[0]
        assert not isinstance(entry, bytes)  # octets at the head have been released already
        if entry.count > count:
            entry.count -= count
        else:
            del self._entries[0]
        return entry

    def front(self) -> Expected:
        """What the upstream's next reply will answer.  Call only while `awaited`."""
        entry = self._entries[0]
        assert not isinstance(entry, bytes)
        return entry

    def released(self) -> bytes:
        """The replies of ours whose turn has come, in order."""
        ready = []
        for entry in self._entries:
            if not isinstance(entry, bytes):
                break
            ready.append(entry)
        if not ready:
            return b""
        del self._entries[: len(ready)]
        self.injected -= len(ready)
        return b"".join(ready)
