"""How many connections the node has, in all and from each address, in memory that its workers share (RULES N5).

Heads of each worker's slot: connections, heartbeats of its loop, and how many leases it owes the store
(leases/base.py). Connections by address, and open POP sessions by login, are counted as net/crowd.py does.

Made by the supervisor before it forks; a dead worker's slot is cleared by the supervisor.  The tables of the servers
behind and the last refusals are files of their own (net/scoreboard.py, net/refusals.py), and come along as `servers`
and `refusals`.
"""

from __future__ import annotations

import mmap
from typing import Final

from ..leases.base import Arrears
from .crowd import Crowd
from .refusals import Refusals
from .scoreboard import Scoreboard

_HEAD: Final = 8  # unsigned 32-bit figures
_CONNECTIONS, _BEATS, _ARREARS = 0, 1, 2


class Census:
    """The node's counters; each worker writes by its own number."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.servers = Scoreboard(workers)
        self.refusals = Refusals(workers)
        memory = memoryview(mmap.mmap(-1, _HEAD * 4 * workers))
        self._heads = [memory[_HEAD * 4 * number : _HEAD * 4 * (number + 1)].cast("I") for number in range(workers)]
        self._addresses = Crowd(workers)
        self.logins = Crowd(workers)
        """Open POP sessions of each login (its octets)."""

    def connections(self) -> int:
        """All connections of the node now."""
        return sum([head[_CONNECTIONS] for head in self._heads])

    def connections_of(self, worker: int) -> int:
        """Those of one worker."""
        return self._heads[worker][_CONNECTIONS]

    def beats(self, worker: int) -> int:
        """How often the loop of a worker has said that it lives; wraps at 2**32."""
        return self._heads[worker][_BEATS]

    def arrears(self, worker: int) -> Arrears:
        """For one worker's store: it notes its own, and reads the node's."""
        return _NodeArrears(self._heads, worker)

    def forget(self, worker: int) -> None:
        """A worker has died: its connections are gone."""
        head = self._heads[worker]
        for figure in range(_HEAD):
            head[figure] = 0
        self._addresses.forget(worker)
        self.logins.forget(worker)
        self.servers.forget(worker)

    def beat(self, worker: int) -> None:
        head = self._heads[worker]
        head[_BEATS] = (head[_BEATS] + 1) & 0xFFFFFFFF

    def enter(self, worker: int, address: bytes) -> None:
        """A connection from `address` has begun in this worker."""
        self._heads[worker][_CONNECTIONS] += 1
        self._addresses.add(worker, address)

    def leave(self, worker: int, address: bytes) -> None:
        self._heads[worker][_CONNECTIONS] -= 1
        self._addresses.remove(worker, address)

    def of(self, address: bytes) -> int:
        """Connections from `address` in all workers; rarely too high, never too low."""
        return self._addresses.of(address)


class _NodeArrears(Arrears):
    def __init__(self, heads: list[memoryview], worker: int) -> None:
        self._heads, self._worker = heads, worker

    def note(self, count: int) -> None:
        self._heads[self._worker][_ARREARS] = count

    def total(self) -> int:
        return sum([head[_ARREARS] for head in self._heads])
