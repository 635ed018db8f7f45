"""The live leases that this process made, so that it can bring them back into a store that lost them (rule G7).

Promises: at most MADE_MAX are kept (the oldest go first), and what has ended goes by itself, two looks at every grant:
faster than what begins can come.  A lease that the store refused, or that was revoked, must not be in here: who knows
of it calls `forget`.  What had its place in the store needs no other when it is brought back: its limit is forgotten.

Whether a revocation was before or after a grant is known by the store's own count of revocations, not by clocks: every
answer of a store carries it, and a login that comes a millisecond after the revocation is not to lose its lease because
the news of it took longer (`Revocation`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Key, Term
    from ..clock import Clock

MADE_MAX: Final = 100_000
"""Live leases that a worker could bring back; some 50 MB."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One that a store tells of."""

    store: bytes
    """The id of its life, from one loss to the next; with a loss the count begins again."""
    number: int
    """1 is the first of that life."""
    at: float
    """On `Clock.now()`'s time line: that or earlier, by as much as the news needed."""
    address: bytes | None
    """Whose leases; None: all addresses'."""
    login: str | None
    """Whose leases; None: all logins'."""

    def ends(self, term: Term) -> bool:
        """Whether that lease is no more.  In doubt it is: what was made in another life of the store was made before;
        of what no store has taken yet only the clocks tell."""
        if self.address not in (None, term.key[0]) or self.login not in (None, term.key[1]):
            return False
        if term.counted is None:
            return term.deadline - term.length <= self.at
        store, count = term.counted
        return store != self.store or count < self.number


class OwnLeases:
    """See the module."""

    def __init__(self, clock: Clock, maximum: int = MADE_MAX) -> None:
        self._clock = clock
        self._maximum = maximum
        self._terms: dict[Key, Term] = {}

    def __len__(self) -> int:
        """Ended ones that are not yet forgotten included."""
        return len(self._terms)

    def remember(self, term: Term, store: bytes, count: int) -> None:
        """It is in that store, which had counted this many revocations by then."""
        self._terms.pop(term.key, None)
        self._terms[term.key] = replace(term, limit=0, counted=(store, count))
        now = self._clock.now()
        for _ in range(2):
            oldest = next(iter(self._terms))
            looked_at = self._terms.pop(oldest)
            if looked_at.deadline > now and len(self._terms) < self._maximum:
                self._terms[oldest] = looked_at

    def renewed(self, term: Term) -> None:
        """It will end later; nothing if we did not make it, or if it has ended."""
        made = self._terms.get(term.key)
        if made is not None and self._clock.now() < made.deadline < term.deadline:
            self._terms[term.key] = replace(made, length=max(made.length, term.length), deadline=term.deadline)

    def forget(self, unwanted: Callable[[Term], bool] | None = None) -> None:
        """Those, or all."""
        for key in [key for key, term in self._terms.items() if unwanted is None or unwanted(term)]:
            del self._terms[key]

    def live(self) -> list[Term]:
        now = self._clock.now()
        return [term for term in self._terms.values() if term.deadline > now]
