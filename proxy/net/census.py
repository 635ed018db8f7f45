"""How many connections the node has, in all and from each address: counted in memory that its workers share (RULES N5).

Each worker writes only its own slot, so nothing is locked; a sum over the slots is the node's figure.  Addresses are
hashed with a secret into `CELLS` counters, twice, and the smaller sum counts: two addresses that meet in one cell can
make a count too high, never too low, and a client would have to meet a crowd in both rows to be refused for it.  A
count by address needs no dictionary that grows with the addresses of an attack.

Made by the supervisor before it forks; a dead worker's slot is cleared by the supervisor.  Heartbeats stand here too,
and how many leases the workers owe the store (leases/base.py).  The table of the servers behind is a file of its own
(net/scoreboard.py), and comes along as `servers`.
"""

from __future__ import annotations

import mmap
from typing import Final

from ..leases.base import Arrears
from .scoreboard import Scoreboard

CELLS: Final = 32768
"""Counters in a row, two octets each: 10,000 connections fill a third."""
_ROWS: Final = 2
_HEAD: Final = 8  # unsigned 32-bit figures at the head of a slot
_CONNECTIONS, _BEATS, _ARREARS = 0, 1, 2


class Census:
    """The node's counters; `slot(n)` is worker n's view."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.servers = Scoreboard(workers)
        size = _HEAD * 4 + _ROWS * CELLS * 2
        self._memory = memoryview(mmap.mmap(-1, size * workers))
        self._heads: list[memoryview] = []
        self._cells: list[memoryview] = []
        self._slots = [self._memory[size * number : size * (number + 1)] for number in range(workers)]
        for slot in self._slots:
            self._heads.append(slot[: _HEAD * 4].cast("I"))
            self._cells.append(slot[_HEAD * 4 :].cast("H"))

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
        slot = self._slots[worker]
        slot[:] = bytes(len(slot))
        self.servers.forget(worker)

    def beat(self, worker: int) -> None:
        head = self._heads[worker]
        head[_BEATS] = (head[_BEATS] + 1) & 0xFFFFFFFF

    def enter(self, worker: int, address: bytes) -> None:
        """A connection from `address` has begun in this worker."""
        self._heads[worker][_CONNECTIONS] += 1
        cells = self._cells[worker]
        for cell in self._where(address):
            if cells[cell] < 65535:
                cells[cell] += 1

    def leave(self, worker: int, address: bytes) -> None:
        self._heads[worker][_CONNECTIONS] -= 1
        cells = self._cells[worker]
        for cell in self._where(address):
            if cells[cell]:
                cells[cell] -= 1

    def of(self, address: bytes) -> int:
        """Connections from `address` in all workers; rarely too high, never too low."""
        return min([sum([cells[cell] for cells in self._cells]) for cell in self._where(address)])

    def _where(self, address: bytes) -> tuple[int, int]:
        digest = hash(address)  # SipHash under a secret of this process and those that it forks
        return digest % CELLS, CELLS + (digest >> 32) % CELLS


class _NodeArrears(Arrears):
    def __init__(self, heads: list[memoryview], worker: int) -> None:
        self._heads, self._worker = heads, worker

    def note(self, count: int) -> None:
        self._heads[self._worker][_ARREARS] = count

    def total(self) -> int:
        return sum([head[_ARREARS] for head in self._heads])
