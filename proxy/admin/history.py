"""What happened in each of the last minutes, a day of them, kept by the process of the status page.

A minute is the difference between two readings of the node's counters (metrics.py), which never go back.  What was
before this process began is not known, and what it has is lost with it: for more there is Prometheus.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..metrics import LOGINS, RELAYS, SESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..shared_memory.figures import NodeFigures

EVERY: Final = 60.0
"""Seconds of a row."""
ROWS: Final = 1440
"""A day."""
HOUR: Final = 60
"""Rows."""
SERIES: Final = {
    "sessions": (SESSIONS,),
    "logins": (LOGINS["accepted"],),
    "failed": (LOGINS["failed"],),
    "allowed": (RELAYS["allowed"],),
    "refused": (RELAYS["refused"],),
    "deferred": (RELAYS["deferred"], RELAYS["spent"]),
    "shadowed": (RELAYS["shadowed"],),
}
"""What is kept, and the cells that it is the sum of."""


class History:
    """Call `tick` now and then, a few times in `EVERY` at least."""

    def __init__(self, figures: NodeFigures, clock: Callable[[], float] = time.time) -> None:
        """`clock`: epoch seconds, so that minutes are the wall clock's."""
        self._figures, self._clock = figures, clock
        self._rows: deque[tuple[int, list[int]]] = deque(maxlen=ROWS)
        self._minute = self._now()
        self._before = self.totals()

    def totals(self) -> list[int]:
        """Each of `SERIES` since popgate began."""
        figures = self._figures
        return [
            sum([figures.total(cell, name) for name in figures.listeners for cell in cells])
            for cells in SERIES.values()
        ]

    def tick(self) -> None:
        """End the row if its minute is over."""
        now = self._now()
        if now != self._minute:
            self._rows.append((self._minute, self._present()))
            self._minute, self._before = now, self.totals()

    def hour(self) -> dict[str, int]:
        """The sums of the last hour, this minute among it."""
        since = self._minute - HOUR
        rows = [row for minute, row in self._rows if minute > since] + [self._present()]
        return dict(zip(SERIES, map(sum, zip(*rows, strict=True)), strict=True))

    def table(self) -> dict[str, Any]:
        """{"every": seconds, "names": of the columns, "rows": [[epoch seconds of its begin, figures ...], ...]}; the
        last row is this minute."""
        rows = [*self._rows, (self._minute, self._present())]
        return {
            "every": EVERY,
            "names": list(SERIES),
            "rows": [[minute * EVERY, *figures] for minute, figures in rows],
        }

    def _present(self) -> list[int]:
        return [total - before for total, before in zip(self.totals(), self._before, strict=True)]

    def _now(self) -> int:
        return int(self._clock() // EVERY)
