"""Deadlines of all links of a worker, on one coarse tick (rule N3).

Links wait for a handful of durations (the [limits]), so a deadline is an entry at the end of the queue of its
duration: every queue is in order of time by itself, and a tick looks at the heads of the queues only.  There is no
timer handle per session, and no heap.

A wait that begins is only recorded (`wait_began`); the next tick arms a deadline for what is still waited for then.
Most waits are over before it, so a dialogue costs no more than its first record.

Promises: a deadline is at most one `TICK` late, two for a wait that was recorded, and never early.  What must be exact
(the end of a lease) is compared with the clock where it is used (net/link/requests.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

TICK: Final = 0.1
"""Seconds: how late a deadline may be noticed.  An idle worker looks at ten queues ten times a second."""


class Timed(Protocol):
    """Something that has a deadline."""

    queue: Queue | None
    """The queue it waits in.  Only `Deadlines` changes it; it is here because a table would cost memory a session."""

    def expired(self) -> None:
        """Its deadline has passed."""


class Waiting(Timed, Protocol):
    """Something whose waits come and go faster than ticks."""

    def limit(self) -> float | None:
        """Seconds from now on for the present wait; None: what is armed stays as it is."""


Queue = OrderedDict[Timed, float]
"""When each is due, in that order."""


class Deadlines:
    """At most one deadline for each `Timed`."""

    __slots__ = ("_begun", "_queues", "clock", "now")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        """Seconds, never going back."""
        self._queues: dict[float, Queue] = {}
        """By duration, in seconds."""
        self.now = clock()
        """The clock at the last tick: costs nothing, and tells whether a wait was recorded since."""
        self._begun: list[Waiting] = []
        """Whose waits have begun since the last tick."""

    def wait_began(self, waiting: Waiting) -> None:
        """Record that it waits for something else than before; at most once a tick."""
        self._begun.append(waiting)

    def arm(self, timed: Timed, seconds: float) -> None:
        """Call `timed.expired()` in `seconds`, instead of what was armed before."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = OrderedDict()
        before = timed.queue
        if before is not None:
            del before[timed]
        queue[timed] = self.clock() + seconds
        timed.queue = queue

    def disarm(self, timed: Timed) -> None:
        """Forget its deadline, if it has one."""
        if timed.queue is not None:
            del timed.queue[timed]
            timed.queue = None

    def tick(self) -> None:
        """Arm what has begun, and call `expired` of all whose time is over."""
        now = self.now = self.clock()
        begun, self._begun = self._begun, []
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
                timed.queue = None
                timed.expired()
            if not queue:
                del self._queues[seconds]
