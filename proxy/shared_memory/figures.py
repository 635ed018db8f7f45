"""The node's figures (metrics.py) in memory that its workers share (rule N5).

A worker counts in lists of its own, and ten times a second copies them to its own part of the memory
(`WorkerFigures.publish`); sums over the workers are the node's.  A worker that dies loses its gauges, and leaves its
counters, which never go back; what it counted in its last tenth of a second is lost.

Listeners are known before the fork, and no reload changes them.  What a reload does change (servers, certificates) is
counted elsewhere: shared_memory/server_health.py.

Rejected: counting in the shared memory itself, which costs twice as much each time (measured).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ..metrics import CELLS, GAUGES, NODE
from .rows import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..metrics import Figures


class NodeFigures:
    """All blocks of the node."""

    def __init__(self, workers: int, listeners: Mapping[str, str]) -> None:
        """`listeners`: name to protocol."""
        self.listeners = dict(listeners)
        names = [*listeners, NODE]
        self._rows = [dict(zip(names, rows("Q", CELLS, len(names)), strict=True)) for _ in range(workers)]

    def row(self, worker: int) -> WorkerFigures:
        """For one worker that begins; it goes on where one that died has stopped."""
        return WorkerFigures(self._rows[worker])

    def total(self, cell: int, listener: str) -> int:
        """The node's figure."""
        return sum([row[listener][cell] for row in self._rows])

    def forget(self, worker: int) -> None:
        """A worker has died: what was now is no more."""
        for block in self._rows[worker].values():
            for cell in GAUGES:
                block[cell] = 0


class WorkerFigures:
    """What one worker counts, by listener; NODE is its own."""

    def __init__(self, shared: Mapping[str, memoryview[int]]) -> None:
        self._shared = shared
        self.figures: dict[str, Figures] = {name: block.tolist() for name, block in shared.items()}

    def publish(self) -> None:
        """Show all of it; some microseconds."""
        for name, figures in self.figures.items():
            self._shared[name][:] = array("Q", figures)
