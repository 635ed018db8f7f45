"""The live leases that this process made, so that it can bring them back into a store that lost them (RULES G7).

Promises: at most MADE_MAX are kept (the oldest go first), and what has ended goes by itself, two looks at every grant:
faster than what begins can come.  A lease that the store refused, or that was revoked, must not be in here: who knows
of it calls `forget`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Key, Term
    from .clock import Clock

MADE_MAX: Final = 100_000
"""Live leases that a worker could bring back; some 50 MB."""


class Made:
    """See the module."""

    def __init__(self, clock: Clock, maximum: int = MADE_MAX) -> None:
        self._clock = clock
        self._maximum = maximum
        self._terms: dict[Key, Term] = {}

    def __len__(self) -> int:
        """Ended ones that are not yet forgotten included."""
        return len(self._terms)

    def remember(self, term: Term) -> None:
        """It is in the store."""
        self._terms.pop(term.key, None)
        self._terms[term.key] = term
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
