"""What the node knows of the servers behind it, in memory that its workers share: connections, health, waiting clients.

Each worker writes only its own row, so nothing is locked; sums and latest times over the rows are the node's figures.
A server is down when its last failure is later than its last success, whoever saw them: so a probe of one worker and a
client's session in another correct each other without a word between them (net/upstream/pool.py, health.py).

A key (`keys_of`) has a slot, the same in all workers: the supervisor enters the keys of a configuration before it
forks, and those of a new one before it tells the workers of it (`enlist`).  A key that went keeps its slot until the
last connection there has ended.

A worker that has freed a place for which a client of another one has waited longest wakes that one by its eventfd.

Not here: which server is next (net/upstream/pool.py).
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ConfigError
from .rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOTS: Final = 512
"""Keys at a time, those of connections that outlive a reload among them: twice what a configuration may have."""
_WHY: Final = 96
"""Octets of the reason for a failure."""
_FIELDS: Final = 6
# Where each field's figures begin.
_CONNECTIONS, _GOOD, _BAD, _TURNS, _WAITING, _FAILURES = range(0, _FIELDS * SLOTS, SLOTS)


class Condition(NamedTuple):
    """A server as the node saw it last."""

    good: float
    """When it last served; clock of leases/clock.py, 0: never."""
    bad: float
    """When it last failed."""
    why: str
    """The reason of that failure."""

    @property
    def state(self) -> str:
        """up, down, or unknown: nobody has asked yet."""
        if self.good == self.bad:
            return "unknown"
        return "up" if self.good > self.bad else "down"


class ServerHealth:
    """The node's table of servers; `row(n)` is worker n's view."""

    def __init__(self, workers: int) -> None:
        self._keys = rows("q", SLOTS, 1)[0]  # hashes; 0: free
        self._figures = rows("d", _FIELDS * SLOTS, workers)
        self._whys = rows("B", SLOTS * _WHY, workers)
        self._wakes: list[int] = []
        if workers > 1:  # one alone has nobody to wake
            self._wakes = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(workers)]
        weakref.finalize(self, _close, self._wakes)

    def enlist(self, keys: Iterable[str]) -> None:
        """Give each key a slot, and free those of other keys that nobody uses any more; only for the supervisor."""
        wanted = {_digest(key) for key in keys}
        for slot, digest in enumerate(self._keys):
            if digest and digest not in wanted and not self.connections(slot):
                self._clear(slot)
        free = [slot for slot, digest in enumerate(self._keys) if not digest]
        missing = wanted - set(self._keys)
        if len(missing) > len(free):
            raise ConfigError(
                ["upstream: too many servers, those with sessions that are not over among them; try later"]
            )
        for slot, digest in zip(free, missing, strict=False):
            self._keys[slot] = digest

    def slot(self, key: str) -> int:
        """Where a key stands that was enlisted."""
        return self._keys.tolist().index(_digest(key))

    def row(self, worker: int) -> ServerHealthRow:
        return ServerHealthRow(self, worker, self._figures, self._whys[worker], self._wakes)

    def connections(self, slot: int) -> int:
        """Connections of the node to a server, those that are being made among them."""
        return int(sum([row[_CONNECTIONS + slot] for row in self._figures]))

    def failures(self, slot: int) -> int:
        """Connections to a server that came to nothing, since it was enlisted."""
        return int(sum([row[_FAILURES + slot] for row in self._figures]))

    def last(self, slot: int) -> tuple[float, float]:
        """When a server last served and when it last failed; 0: never."""
        return max([row[_GOOD + slot] for row in self._figures]), max([row[_BAD + slot] for row in self._figures])

    def is_up(self, slot: int, now: float, forgiven: float) -> bool:
        """Whether a server is to be tried: no failure was last, or one that is `forgiven` seconds old."""
        good, bad = self.last(slot)
        return good >= bad or now - bad >= forgiven

    def condition(self, slot: int) -> Condition:
        good, bad = self.last(slot)
        worker = max(range(len(self._figures)), key=lambda number: self._figures[number][_BAD + slot])
        why = bytes(self._whys[worker][slot * _WHY : (slot + 1) * _WHY])
        return Condition(good, bad, why.rstrip(b"\0").decode("utf-8", "replace"))

    def forget(self, worker: int) -> None:
        """A worker has died: its connections are gone, and nobody waits there.  What it saw of servers stays true."""
        row = self._figures[worker]
        for field in (_CONNECTIONS, _WAITING):
            for slot in range(field, field + SLOTS):
                row[slot] = 0.0

    def _clear(self, slot: int) -> None:
        self._keys[slot] = 0
        for row, whys in zip(self._figures, self._whys, strict=True):
            for field in range(0, _FIELDS * SLOTS, SLOTS):
                row[field + slot] = 0.0
            whys[slot * _WHY : (slot + 1) * _WHY] = bytes(_WHY)


class ServerHealthRow:
    """The table as one worker reads and writes it."""

    def __init__(
        self, board: ServerHealth, worker: int, rows: list[memoryview[float]], whys: memoryview[int], wakes: list[int]
    ) -> None:
        self.board = board
        self.slot = board.slot
        self.is_up = board.is_up
        self.condition = board.condition
        self.connections = board.connections
        self.last = board.last
        self.wake_fd = wakes[worker] if wakes else None
        """Readable when another worker has left a place to this one; `slept` makes it unreadable."""
        self._worker, self._rows, self._wakes = worker, rows, wakes
        self._figures, self._whys = rows[worker], whys

    def enter(self, slot: int) -> None:
        """A connection to a server begins here."""
        self._figures[_CONNECTIONS + slot] += 1

    def leave(self, slot: int) -> None:
        if self._figures[_CONNECTIONS + slot] > 0:
            self._figures[_CONNECTIONS + slot] -= 1

    def count_failure(self, slot: int) -> None:
        self._figures[_FAILURES + slot] += 1

    def succeeded(self, slot: int, now: float) -> None:
        self._figures[_GOOD + slot] = now

    def failed(self, slot: int, now: float, why: str) -> None:
        octets = why.encode("utf-8", "replace")[:_WHY]
        self._whys[slot * _WHY : (slot + 1) * _WHY] = octets.ljust(_WHY, b"\0")
        self._figures[_BAD + slot] = now

    def turn(self, slot: int) -> int:
        """The node's next turn of a key, counted from 0; two workers that ask at the very same time may get one."""
        turn = sum([row[_TURNS + slot] for row in self._rows])
        self._figures[_TURNS + slot] += 1
        return int(turn)

    def waiting(self, slot: int, since: float) -> None:
        """Since when the first in this worker's line has waited; 0: nobody waits."""
        self._figures[_WAITING + slot] = since

    def longest_waiting(self, slot: int) -> int | None:
        """The worker whose first in line has waited longest; None: nobody waits."""
        since = [(row[_WAITING + slot], worker) for worker, row in enumerate(self._rows) if row[_WAITING + slot]]
        return min(since)[1] if since else None

    def wake(self, worker: int) -> bool:
        """Wake another worker; False if this is it."""
        if worker == self._worker:
            return False
        with contextlib.suppress(BlockingIOError):  # it has been woken 2**64 - 1 times and not looked
            os.eventfd_write(self._wakes[worker], 1)
        return True

    def slept(self) -> None:
        assert self.wake_fd is not None
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake_fd)


def keys_of(upstream: str, servers: Iterable[object]) -> tuple[str, list[str]]:
    """The key of an upstream, and those of its servers as configured."""
    return upstream, [f"{upstream} {server}" for server in servers]


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _digest(key: str) -> int:
    return hash(key) or 1  # SipHash under a secret of this process and those that it forks; 64 bits do not meet
