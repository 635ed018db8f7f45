"""What the command line asks about leases, and its answers, as JSON objects.

A running popgate answers from the store of one of its workers (`ask`).  Without one, cli/lookup.py asks a shared store
by itself (`ask_alone`), or opens the table of SQLite and words its answers by the same functions.  An `error` in an
answer is a sentence for the administrator.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ..errors import StoreUnavailable
from ..gate.policy import ADMIN
from ..leases.base import MAX_LOGIN, login_octets
from ..leases.sqlite import SqliteStore
from ..wire.address import packed, shown

if TYPE_CHECKING:
    from ..leases.base import Lease, LeaseStore
    from ..leases.history import Tenancy
    from ..leases.usage_report import Observation
    from ..log import Log

Answer = dict[str, Any]

ADMIN_LOGIN: Final = "(admin)"
"""Login of a lease that the administrator made (rule G1), where he names none."""


def listed(found: list[Lease] | StoreUnavailable, limit: int | None = None) -> Answer:
    """{"leases": [...], "count": ...}: addresses as text, seconds left rounded to milliseconds; at most `limit` of so
    many as `count` says."""
    if isinstance(found, StoreUnavailable):
        return down(found)
    leases = [
        asdict(lease) | {"address": shown(lease.address), "left": round(lease.left, 3)} for lease in found[:limit]
    ]
    return {"leases": leases, "count": len(found)}


def down(problem: StoreUnavailable) -> Answer:
    return {"error": f"the lease store is down: {problem}"}


def history(found: list[Tenancy] | StoreUnavailable) -> Answer:
    """{"history": [...]}, addresses as text."""
    if isinstance(found, StoreUnavailable):
        return down(found)
    return {"history": [asdict(tenancy) | {"address": shown(tenancy.address)} for tenancy in found]}


def report(found: list[Observation] | StoreUnavailable) -> Answer:
    """{"report": [...]}, addresses as text."""
    if isinstance(found, StoreUnavailable):
        return down(found)
    return {"report": [asdict(one) | {"address": shown(one.address)} for one in found]}


def unremembered(kept: float | None) -> Answer | None:
    """Why there is no history and no report; `kept`: its seconds, None for a store that has none."""
    if kept is None:
        return {"error": 'history and report are kept in SQLite only: [store] url = "sqlite:leases.db"'}
    return None if kept else {"error": 'history and report are off: [store] history = "0s"'}


def period(question: Answer) -> tuple[list[bytes], float | None, float | None]:
    """Addresses (none: all), and since when until when, of a question about history."""
    since, until = question.get("since"), question.get("until")
    return (
        [packed(address) for address in question.get("addresses", [])],
        None if since is None else float(since),
        None if until is None else float(until),
    )


def ask(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    """Answer {"do": "leases" | "grant" | "revoke" | "history" | "report", ...} by one call of `then`."""
    try:
        kind = question["do"]
        if kind == "leases":
            store.all(lambda found: then(listed(found, question.get("limit"))))
        elif kind == "grant":
            _grant(store, question, then)
        elif kind == "revoke":
            _revoke(store, question, then)
        elif kind in ("history", "report"):
            _remembered(store, question, then)
        else:
            then({"error": f"unknown question {kind!r}"})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        then({"error": f"not a question: {error}"})


Asking = Callable[["LeaseStore", Answer, Callable[[Answer], None]], None]
"""`ask`, or another of its kind (queries/address.py)."""


def ask_alone(store: LeaseStore, question: Answer, asking: Asking = ask) -> Answer:
    """As `asking`, of a store that nobody has started, and wait for the answer."""

    async def answered() -> Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        store.start(loop)
        try:
            asking(store, question, answer.set_result)
            return await answer
        finally:
            store.close()
            await asyncio.sleep(0)  # the loop lets go of the connection

    return asyncio.run(answered())


def noted(log: Log, question: Answer, then: Callable[[Answer], None]) -> Callable[[Answer], None]:
    """`then`, and a line in the log before it if the administrator grants or revokes: who may relay is audited.

    A grant with an `error` may yet be written, when the store is back.
    """
    if question.get("do") not in ("grant", "revoke"):
        return then
    grants, window, login = question["do"] == "grant", question.get("window"), question.get("login")

    def answered(answer: Answer) -> None:
        client = answer.get("granted", question.get("address"))
        log.line(
            "info", "popgate", "grant" if grants else "revoke", ("client", client and str(client)),
            ("login", str(login) if login else ADMIN_LOGIN if grants else None),
            ("seconds", round(window) if isinstance(window, int | float) and abs(window) < math.inf else None),
            ("leases", answer.get("revoked")), ("error", answer.get("error")),
        )  # fmt: skip
        then(answer)

    return answered


def granting(question: Answer) -> tuple[bytes, str, str, float]:
    """Address, login, source and window of a question to grant; raise ValueError for what can't be a lease."""
    address, window = packed(question["address"]), float(question["window"])
    if not (window > 0 and math.isfinite(window)):
        raise ValueError("the window is no length of time")
    login = str(question.get("login") or ADMIN_LOGIN)
    if len(login_octets(login)) > MAX_LOGIN:
        raise ValueError(f"the login is longer than {MAX_LOGIN} octets")
    return address, login, ADMIN, window


def _grant(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    address, login, source, window = granting(question)

    def granted(answer: int | StoreUnavailable) -> None:
        then(down(answer) if isinstance(answer, StoreUnavailable) else {"granted": shown(address)})

    store.grant(address, login, source, window, granted)


def _remembered(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    problem = unremembered(store.kept if isinstance(store, SqliteStore) else None)
    if problem is not None or not isinstance(store, SqliteStore):
        then(problem or {})
    elif question["do"] == "history":
        store.tenancies(*period(question), lambda found: then(history(found)))
    else:
        store.observed(float(question["since"]), lambda found: then(report(found)))


def _revoke(store: LeaseStore, question: Answer, then: Callable[[Answer], None]) -> None:
    address, login = question.get("address"), question.get("login")

    def revoked(count: int | StoreUnavailable) -> None:
        then(down(count) if isinstance(count, StoreUnavailable) else {"revoked": count})

    store.revoke(packed(address) if address else None, str(login) if login else None, revoked)
