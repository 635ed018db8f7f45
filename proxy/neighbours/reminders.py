"""Other servers are told again of a login while its POP session is open.

A whoson server forgets a LOGIN after a time of its own, which nobody tells us: the C daemon after five minutes,
gowhoson after thirty.  Our lease lives on with the session (rule G4), so theirs must, too: every `EVERY` seconds,
never past `max_age` after the login.  The end of a session tells nothing: what they know runs out by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

EVERY: Final = 240.0
"""Seconds: before the C daemon's default ttl of 300 is over."""


@dataclass(slots=True)
class _Reminder:
    tell: Callable[[], None]
    """Tells the servers of the login again."""
    due: float
    """When the next time is."""
    last: float  # max_age after the login


class Reminders:
    """Those of this worker's open POP sessions; in the order in which they are due, since all wait equally long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: OrderedDict[Hashable, _Reminder] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, session: Hashable, tell: Callable[[], None], max_age: float) -> None:
        """`session` has just logged in, and that was told; `max_age`: seconds."""
        now = self._clock()
        self._waiting[session] = _Reminder(tell, now + EVERY, now + max_age)

    def end(self, session: Hashable) -> None:
        self._waiting.pop(session, None)

    def tick(self) -> None:
        """Tell what is due; call at every tick of the worker."""
        now = self._clock()
        while self._waiting:
            session, reminder = next(iter(self._waiting.items()))
            if reminder.due > now:
                return
            del self._waiting[session]
            if reminder.due <= reminder.last:
                reminder.tell()
                reminder.due = now + EVERY
                self._waiting[session] = reminder
