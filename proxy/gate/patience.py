"""Patience: refusals that wait a moment for a login from the same address (rule G9).

Mail clients fetch and send in parallel: the RCPT may be here a second before the password.  Who waits is looked at
again when the store says that something has changed (`LeaseStore.watch`), and for the last time when its time is over.
One watch serves all who wait in this process; while nobody waits there is none, and nothing polls.

Bounded: at most `PER_PLACE` wait for one address and `maximum` in all; one more is not taken in, and is refused at
once.  What is asked and what follows from the answer is gate/policy.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..leases.base import LeaseStore

PER_PLACE: Final = 5
"""rule G9: a client has a few connections; a spammer's hundred must not take everybody's room."""
_TOLD: Final = float("inf")
"""When the time of one is over who has been told so, and waits for the store's last word."""


class Waiting:
    """One who waits."""

    __slots__ = ("due", "look", "place")

    def __init__(self, place: bytes, due: float, look: Callable[[bool], None]) -> None:
        self.place, self.due, self.look = place, due, look


class Patience:
    """Those who wait in one worker."""

    def __init__(self, store: LeaseStore, clock: Callable[[], float], maximum: int) -> None:
        """`clock`: seconds, never going back; `maximum`: `patience_waiting`."""
        self._store = store
        self._clock = clock
        self.maximum = maximum
        self.news = 0
        """Grows with all that the store tells, and when the watch begins: an answer to a question that was asked at
        another figure may be outdated."""
        self._places: dict[bytes, list[Waiting]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, place: bytes, seconds: float, look: Callable[[bool], None]) -> Waiting | None:
        """Wait for at most `seconds`; None: no room.

        `look(False)` is called when a lease for `place` (the address as leases know it) may have appeared, `look(True)`
        when the time is over; `leave` ends it.
        """
        here = self._places.get(place, [])
        if self._count >= self.maximum or len(here) >= PER_PLACE:
            return None
        if not self._count:
            self.news += 1
            self._store.watch(self._changed)
        waiting = Waiting(place, self._clock() + seconds, look)
        self._places[place] = [*here, waiting]
        self._count += 1
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """It waits no more; may be said twice."""
        here = self._places.get(waiting.place, [])
        if waiting not in here:
            return
        here.remove(waiting)
        if not here:
            del self._places[waiting.place]
        self._count -= 1
        if not self._count:
            self._store.watch(None)

    def tick(self) -> None:
        """Tell those whose time is over, once; call ten times a second."""
        if self._count:
            now = self._clock()
            for waiting in self._present([one for here in self._places.values() for one in here if one.due <= now]):
                waiting.due = _TOLD
                waiting.look(True)

    def _changed(self, place: bytes | None) -> None:
        """The store has a new lease, for `place` or for whomever."""
        self.news += 1
        whose = self._places.values() if place is None else [self._places.get(place, [])]
        for waiting in self._present([one for here in whose for one in here]):
            waiting.look(False)

    def _present(self, those: list[Waiting]) -> Iterator[Waiting]:
        """One after the other; who has left meanwhile is passed by."""
        return (one for one in those if one in self._places.get(one.place, []))
