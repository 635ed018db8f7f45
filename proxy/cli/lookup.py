"""How a command gets its answer: from the running popgate, or from the store itself where none runs (rule N8).

Without popgate nothing is made just to be looked at, and what is written is written as `user`.  What questions and
answers are: ../questions.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import PopgateError, StoreUnavailable
from ..leases import history
from ..leases import usage_report as observations
from ..leases.clock import Clock
from ..leases.table import LeaseTable
from ..node import control
from ..node.privileges import become
from ..queries import address as known
from ..queries import leases as questions
from ..runtime import open_store
from ..wire.address import packed, shown

if TYPE_CHECKING:
    from ..config import Config
    from ..queries.leases import Answer

_NOTHING: Answer = {"leases": [], "count": 0, "revoked": 0, "history": [], "report": [], **known.UNKNOWN}


def ask(config: Config, question: Answer) -> Answer:
    """The answer; raise PopgateError with what is wrong, for the administrator."""
    try:
        answer = control.ask(config.admin.control, question)
    except control.NotRunning:
        answer = _ask_store(config, question)
    if "error" in answer:
        raise PopgateError(str(answer["error"]))
    return answer


def _ask_store(config: Config, question: Answer) -> Answer:
    path, kind = config.store.path, question["do"]
    if kind in ("history", "report"):
        problem = questions.unremembered(None if path is None else config.store.history)
        if problem is not None:
            return problem
    if config.store.redis is not None:
        return questions.ask_alone(open_store(config, Clock()), question, known.ask if kind == "why" else questions.ask)
    if path is None:
        raise PopgateError("popgate does not run, and leases in memory: live only in the running program")
    if os.geteuid() == 0:
        become(config.user)  # what root made here would be closed to the popgate that starts next
    if kind != "grant" and not os.path.lexists(path):
        return _NOTHING | {"remembered": config.store.history}
    try:
        read_only = kind not in ("grant", "revoke")
        table = LeaseTable(path, Clock(), read_only=read_only, kept=config.store.history)
        try:
            return _answer(table, question, config.store.history)
        finally:
            table.close()
    except StoreUnavailable as problem:
        return known.UNKNOWN | {"down": str(problem)} if kind == "why" else questions.down(problem)


def _answer(table: LeaseTable, question: Answer, remembered: float) -> Answer:
    kind = question["do"]
    if kind == "why":
        return known.look(table, question, remembered)
    if kind == "leases":
        return questions.listed(table.all())
    if kind == "history":
        return questions.history(history.tenancies(table, *questions.period(question)))
    if kind == "report":
        return questions.report(observations.seen(table, question["since"]))
    if kind == "grant":
        address, login, source, window = questions.granting(question)
        table.grant(address, login, source, window)
        return {"granted": shown(address)}
    address_text = question.get("address")
    with table.transaction():
        return {"revoked": table.revoke(packed(address_text) if address_text else None, question.get("login"))}
