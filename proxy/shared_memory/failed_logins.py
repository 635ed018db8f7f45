"""Failed logins of each address within the last ten minutes, of all workers (rule G13).

Counted in halves of `SPAN`: the present and the one before, so that a count is of the last five to ten minutes and
costs no list of times.  A worker clears its own halves as time goes by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .count_sketch import CountMinSketch

if TYPE_CHECKING:
    from collections.abc import Callable

SPAN: Final = 600.0
"""Seconds, `failed_logins_per_address` counts in."""
_HALVES: Final = 3
"""The present one, the one before, and one that is clear already when its time begins."""


class FailedLogins:
    """The node's count; a worker notes by its number and calls `tick` about once a second."""

    def __init__(self, workers: int, clock: Callable[[], float]) -> None:
        """`clock`: seconds, the same in all workers, never going back."""
        self._clock = clock
        self._halves = [CountMinSketch(workers) for _ in range(_HALVES)]
        self._cleared = -1

    def note(self, worker: int, address: bytes) -> int:
        """One more failure; how many there are now."""
        self._halves[self._present() % _HALVES].add(worker, address)
        return self.of(address)

    def of(self, address: bytes) -> int:
        """Failures within the span."""
        present = self._present()
        return sum([self._halves[half % _HALVES].of(address) for half in (present, present - 1)])

    def tick(self, worker: int) -> None:
        """Clear the half that comes next, once in each half."""
        present = self._present()
        if present != self._cleared:
            if 0 <= self._cleared < present - 1:  # after a suspend: what stands there is not of our time
                self._halves[present % _HALVES].forget(worker)
                self._halves[(present - 1) % _HALVES].forget(worker)
            self._halves[(present + 1) % _HALVES].forget(worker)
            self._cleared = present

    def _present(self) -> int:
        return int(self._clock() // (SPAN / 2))
