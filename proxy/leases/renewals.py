"""Open POP sessions keep their leases alive (rule G4).

A lease is made for `window`.  While the session that made it is open, it is renewed when less than `margin` is left,
to `margin` ahead of now, and never past `max_age` after the login; so the leases of a worker that is killed end within
`margin`. All that are due go to the store in one batch.  A renewal is an update: a lease that was revoked stays so.

The end of a session writes nothing: the lease runs out by itself.  A session whose client has sent its last is over
here, even if the server goes on: the client's address may have another owner by now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .base import Key, LeaseStore

MARGIN: Final = 60.0
"""Seconds, rule G4; half of the window where that is less."""
_SPARE: Final = 0.75
"""Share of the margin below which a lease is renewed: a session writes once in a fourth of a margin, not every tick."""
_PACE: Final = 1.0
"""Seconds between two looks, or an eighth of the shortest margin: what is due is seen while it still lives."""


@dataclass(slots=True)
class _Tenancy:
    key: Key
    """The lease."""
    margin: float
    """Seconds that a renewal leaves it."""
    ends: float  # what the store was last told, on the clock's time line
    last: float  # max_age after the login


class Renewals:
    """The leases of this worker's open POP sessions."""

    def __init__(self, store: LeaseStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._tenancies: dict[Hashable, _Tenancy] = {}
        self._pace = _PACE
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._tenancies)

    def begin(self, session: Hashable, key: Key, window: float, max_age: float) -> None:
        """`session` holds the lease `key`, which was made just now for `window` seconds."""
        now, margin = self._clock(), min(MARGIN, window / 2)
        self._tenancies[session] = _Tenancy(key, margin, now + window, now + max_age)
        self._pace = min(self._pace, margin / 8)

    def end(self, session: Hashable) -> None:
        self._tenancies.pop(session, None)

    def tick(self) -> None:
        """Renew what is due; call at every tick of the worker."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + self._pace
        batch = []
        for tenancy in self._tenancies.values():
            if tenancy.ends - now < tenancy.margin * _SPARE:
                ends = min(now + tenancy.margin, tenancy.last)
                if ends > tenancy.ends:
                    tenancy.ends = ends
                    batch.append((*tenancy.key, ends - now))
        if batch:
            self._store.renew(batch)
