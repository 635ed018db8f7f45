"""Deadlines of all links of a worker, on one coarse tick (rule N3).

Links wait for a handful of durations (the [limits]), so a deadline is an entry at the end of the list of its duration:
every list is in order of time by itself, and a tick looks at list heads only.  No timer handle per session, no heap.

A wait that begins is only noted (`begun`); the next tick arms what is still waited for then.  Most waits are over
before it: a dialogue costs no more than its first note.

A deadline is kept to the tick: at most `TICK` late, two for a wait that was noted, never early.  What must be exact
(the end of a lease) is compared with the clock where it is used, see net/link/link.py.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

TICK: Final = 0.1
"""Seconds: how late a deadline may be noticed.  An idle worker pays for ten list heads ten times a second."""


class Timed(Protocol):
    """Something that has a deadline."""

    deadlines: Queue | None
    """The list it waits in; Deadlines' own."""

    def expired(self) -> None: ...


class Waiting(Timed, Protocol):
    """Something whose waits come and go faster than ticks."""

    def limit(self) -> float | None:
        """Seconds from now on for the present wait; None: what is armed stays as it is."""


Queue = OrderedDict[Timed, float]


class Deadlines:
    """At most one deadline for each `Timed`."""

    __slots__ = ("_clock", "_queues", "begun", "now")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._queues: dict[float, Queue] = {}
        self.now = clock()
        """The clock at the last tick: free, and enough to see whether a wait was noted since."""
        self.begun: list[Waiting] = []
        """Whose waits have begun since the last tick; enter each once."""

    def arm(self, timed: Timed, seconds: float) -> None:
        """Call `timed.expired()` in `seconds`, instead of what was armed before."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = OrderedDict()
        before = timed.deadlines
        if before is not None:
            del before[timed]
        queue[timed] = self._clock() + seconds
        timed.deadlines = queue

    def disarm(self, timed: Timed) -> None:
        if timed.deadlines is not None:
            del timed.deadlines[timed]
            timed.deadlines = None

    def tick(self) -> None:
        """Call `expired` of all whose time is over."""
        now = self.now = self._clock()
        begun, self.begun = self.begun, []
        for waiting in begun:
            limit = waiting.limit()
            if limit is not None:
                self.arm(waiting, limit)
        for seconds, queue in list(self._queues.items()):
            while queue:
                timed, due = next(iter(queue.items()))
                if due > now:
                    break
                del queue[timed]
                timed.deadlines = None
                timed.expired()
            if not queue:
                del self._queues[seconds]
