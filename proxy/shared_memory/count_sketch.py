"""How many there are of each of very many things, counted in memory that the workers of a node share (rule N5).

Each worker writes only its own slot, so nothing is locked; a sum over the slots is the node's figure.  Things (an
address, a login) are hashed with a secret into `CELLS` counters, twice, and the smaller sum counts: two things that
meet in one cell can make a count too high, never too low, and one would have to meet a crowd in both rows to be taken
for it.  No dictionary grows with what an attacker sends.
"""

from __future__ import annotations

from typing import Final

from .rows import rows

CELLS: Final = 32768
"""Counters in a row, two octets each: 10,000 things fill a third."""
_ROWS: Final = 2
_MOST: Final = 65535


class CountMinSketch:
    """One number for each thing, and one slot for each worker."""

    def __init__(self, workers: int) -> None:
        self._slots = rows("H", _ROWS * CELLS, workers)

    def add(self, worker: int, thing: bytes) -> None:
        """One more."""
        self._enter(worker, *cells_of(thing))

    def join(self, worker: int, thing: bytes, most: int) -> bool:
        """One more, unless there are `most` already; whether it was counted."""
        one, two = cells_of(thing)
        if self._count(one, two) >= most:
            return False
        self._enter(worker, one, two)
        return True

    def remove(self, worker: int, thing: bytes) -> None:
        """One less."""
        cells = self._slots[worker]
        for cell in cells_of(thing):
            if cells[cell]:
                cells[cell] -= 1

    def of(self, thing: bytes) -> int:
        """How many in all workers; rarely too high, never too low."""
        return self._count(*cells_of(thing))

    def forget(self, worker: int) -> None:
        """A worker has died, or counts from nothing again."""
        cells = self._slots[worker].cast("B")
        cells[:] = bytes(len(cells))

    def _enter(self, worker: int, one: int, two: int) -> None:
        cells = self._slots[worker]
        if cells[one] < _MOST:
            cells[one] += 1
        if cells[two] < _MOST:
            cells[two] += 1

    def _count(self, one: int, two: int) -> int:
        first = second = 0
        for cells in self._slots:
            first += cells[one]
            second += cells[two]
        return min(first, second)


def cells_of(thing: bytes) -> tuple[int, int]:
    """Its cell in either row, the same in all workers."""
    digest = hash(thing)  # SipHash under a secret of this process and those that it forks
    return digest % CELLS, CELLS + (digest >> 32) % CELLS
