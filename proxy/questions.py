"""What the command line asks about leases, and its answers, as JSON objects.

A running popgate answers from the store of one of its workers (`ask`); without one, cli.py opens the table itself and
words its answers by the same functions.  An `error` in an answer is a sentence for the administrator.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from .errors import StoreUnavailable
from .leases.base import MAX_LOGIN, login_octets
from .wire.address import packed, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .leases.base import Lease, LeaseStore

Answer = dict[str, Any]

ADMIN_LOGIN: Final = "(admin)"
ADMIN_SOURCE: Final = "admin"
"""Login and source of a lease that the administrator made (RULES G1)."""


def listed(found: list[Lease] | StoreUnavailable) -> Answer:
    """{"leases": [...]}: addresses as text, seconds left rounded to milliseconds."""
    if isinstance(found, StoreUnavailable):
        return down(found)
    return {
        "leases": [asdict(lease) | {"address": shown(lease.address), "left": round(lease.left, 3)} for lease in found]
    }


def down(problem: StoreUnavailable) -> Answer:
    return {"error": f"the lease store is down: {problem}"}


def ask(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    """Answer {"do": "leases" | "grant" | "revoke", ...} by one call of `then`."""
    try:
        kind = question["do"]
        if kind == "leases":
            store.all(lambda found: then(listed(found)))
        elif kind == "grant":
            _grant(store, question, then)
        elif kind == "revoke":
            _revoke(store, question, then)
        else:
            then({"error": f"unknown question {kind!r}"})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        then({"error": f"not a question: {error}"})


def granting(question: Answer) -> tuple[bytes, str, str, float]:
    """Address, login, source and window of a question to grant; raise ValueError for what can't be a lease."""
    address, window = packed(question["address"]), float(question["window"])
    if not (window > 0 and math.isfinite(window)):
        raise ValueError("the window is no length of time")
    login = str(question.get("login") or ADMIN_LOGIN)
    if len(login_octets(login)) > MAX_LOGIN:
        raise ValueError(f"the login is longer than {MAX_LOGIN} octets")
    return address, login, ADMIN_SOURCE, window


def _grant(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    address, login, source, window = granting(question)

    def granted(answer: int | StoreUnavailable) -> None:
        then(down(answer) if isinstance(answer, StoreUnavailable) else {"granted": shown(address)})

    store.grant(address, login, source, window, granted)


def _revoke(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    address, login = question.get("address"), question.get("login")

    def revoked(count: int | StoreUnavailable) -> None:
        then(down(count) if isinstance(count, StoreUnavailable) else {"revoked": count})

    store.revoke(packed(address) if address else None, str(login) if login else None, revoked)
