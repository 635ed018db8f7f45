"""What is known about one address, for `popgate why`: its leases, what it had before, its failed logins.

The question is {"do": "why", "address": A, "places": [...]}: the address, and what its leases would be for (itself, or
its network, of each gate).  The answer:

- "leases": as questions.listed has them; or "down": why the store could not tell;
- "past": what held those places last, the newest first; "unleased": logins from the address that made no lease, the
  last first; both empty where nothing is remembered;
- "remembered": how many seconds back they go; 0: nothing is remembered;
- "failures": logins that failed from the address, or its network, within the last ten minutes; 0 where no popgate
  runs.

`ask` asks the living store, one question after the other; `look` reads the table where no popgate runs.  What follows
from it is queries/why.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import StoreUnavailable
from ..leases import history
from ..leases import usage_report as observations
from ..leases.sqlite import SqliteStore
from ..wire.address import packed
from . import leases as questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..leases.base import Lease, LeaseStore
    from ..leases.history import Tenancy
    from ..leases.table import LeaseTable
    from ..leases.usage_report import Observation
    from .leases import Answer

_LAST: Final = 3
"""So many of the past are told."""

UNKNOWN: Final[Answer] = {"leases": [], "past": [], "unleased": [], "remembered": 0, "failures": 0}
"""Of an address that nobody has ever heard of."""


def look(table: LeaseTable, question: Answer, remembered: float) -> Answer:
    """The answer of the table itself."""
    address, places = _asked(question)
    answer = UNKNOWN | {"remembered": remembered}
    answer["leases"] = questions.listed([lease for place in places for lease in table.find(place)])["leases"]
    if remembered:
        answer["past"] = _past(history.tenancies(table, places, limit=_LAST + len(answer["leases"])))
        answer["unleased"] = questions.report(observations.unleased(table, address, _LAST))["report"]
    return answer


def ask(
    store: LeaseStore,
    question: Answer,
    then: Callable[[Answer], None],
    failures: Callable[[bytes], int] = lambda address: 0,
) -> None:
    """The answer of the living store, by one call of `then`."""
    try:
        address, places = _asked(question)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        then({"error": f"not a question: {error}"})
        return
    answer = UNKNOWN | {"failures": max([failures(one) for one in (address, *places)])}  # counted by place, too
    _Asking(store, address, places, answer, then).next_place()


def _asked(question: Answer) -> tuple[bytes, list[bytes]]:
    return packed(question["address"]), [packed(place) for place in question["places"]]


def _past(found: Sequence[Tenancy]) -> list[dict[str, Any]]:
    ended = [tenancy for tenancy in found if tenancy.how != "live"]
    rows: list[dict[str, Any]] = questions.history(ended[:_LAST])["history"]
    return rows


class _Asking:
    """One question on its way through a living store."""

    def __init__(
        self, store: LeaseStore, address: bytes, places: list[bytes], answer: Answer, then: Callable[[Answer], None]
    ) -> None:
        self._store, self._address, self._places, self._answer, self._then = store, address, places, answer, then
        self._left = list(places)

    def next_place(self) -> None:
        if self._left:
            self._store.find(self._left.pop(0), self._found)
        else:
            self._recall()

    def _found(self, leases: Sequence[Lease] | StoreUnavailable) -> None:
        if isinstance(leases, StoreUnavailable):
            self._answer["down"] = str(leases)
            self._then(self._answer)
            return
        self._answer["leases"] = self._answer["leases"] + questions.listed(list(leases))["leases"]
        self.next_place()

    def _recall(self) -> None:
        if isinstance(self._store, SqliteStore) and self._store.kept:
            self._answer["remembered"] = self._store.kept
            self._store.tenancies(self._places, None, None, self._recalled)
        else:
            self._then(self._answer)

    def _recalled(self, found: list[Tenancy] | StoreUnavailable) -> None:
        assert isinstance(self._store, SqliteStore)
        if not isinstance(found, StoreUnavailable):  # what was is less than what is: without it the rest still counts
            self._answer["past"] = _past(found)
        self._store.unleased(self._address, _LAST, self._unleased)

    def _unleased(self, found: list[Observation] | StoreUnavailable) -> None:
        if not isinstance(found, StoreUnavailable):
            self._answer["unleased"] = questions.report(found)["report"]
        self._then(self._answer)
