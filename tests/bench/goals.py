"""What popgate has set itself, and how near it is: ratios that must be and that it aims at, beside those measured.

A speed says something only where the proxy's core was the limit (page.details has the share); a cost always does.
No test depends on any of these.  The pages have the figures alone (`measured`): what the project has set itself is for
those who work on it, and they ask for it by --goals (`page`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .page import BASE, shown, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .lookups import LookUp
    from .measure import Figures

US: Final = "popgate"
_COST, _SPEED, _RESUMED = "cost", "speed", "resumed"


@dataclass(frozen=True)
class Goal:
    """A figure of popgate in one workload, over the same figure of `against`: a peer, or popgate in another workload.

    Of a cost no more than `must` and `aim`, of a speed (and of the share of resumed sessions) no less.
    """

    workload: str
    what: str
    must: float
    aim: float | None = None
    against: str = BASE


GOALS: Final = (
    Goal("smtp", _COST, 1.40, 1.0),
    Goal("smtp", _SPEED, 0.75),
    Goal("smtp", _SPEED, 1.0, against="nginx-mail"),
    Goal("smtp-leased", _COST, 1.6, 1.1),
    Goal("pop3-leases", _COST, 1.6, 1.2),
    Goal("pipe", _SPEED, 0.60, 1.0),
    Goal("pipe", _SPEED, 3.0, against="nginx-mail"),
    Goal("data", _SPEED, 1.5, 1.9),
    Goal("data", _COST, 0.65, 0.45),
    Goal("data-text", _SPEED, 0.9, 1.3),
    Goal("pop3", _COST, 1.25, 0.95),
    Goal("pop3", _SPEED, 0.80),
    Goal("pop3", _SPEED, 1.1, against="nginx-mail"),
    Goal("pop3", _SPEED, 25.0, against="perdition"),
    Goal("retr", _SPEED, 2.0),
    Goal("retr", _COST, 0.5, 0.25),
    Goal("smtps", _SPEED, 1.0),
    Goal("smtps", _COST, 1.0, 0.9),
    Goal("pop3s", _SPEED, 1.0),
    Goal("pop3s", _COST, 1.0, 0.9),
    Goal("tls-resumed", _SPEED, 1.0, 1.1),
    Goal("tls-resumed", _SPEED, 2.0, against="nginx-mail"),
    Goal("tls-bulk", _SPEED, 1.4, 1.7),
    Goal("tls-bulk", _COST, 0.7),
    Goal("idle", _COST, 1.0, 0.6),
    Goal("idle-tls", _COST, 1.1, 0.9),
    Goal("latency", _COST, 1.1, 1.0),
    Goal("workers-2", _COST, 1.1, against="workers-1"),
    Goal("workers-4", _COST, 1.1, against="workers-1"),
    Goal("workers-tls", _RESUMED, 0.95),
)


def value(goal: Goal, results: Mapping[str, Mapping[str, Figures]]) -> float | None:
    """What was measured; None where one of the two figures is missing."""
    here = results.get(goal.workload, {})
    if US not in here:
        return None
    if goal.what == _RESUMED:
        return here[US].resumed
    other = results[goal.against].get(US) if goal.against in results else here.get(goal.against)
    ours, theirs = [None if one is None else one.cost if goal.what == _COST else one.speed for one in (here[US], other)]
    return ours / theirs if ours is not None and theirs else None


def _reached(found: float | None, must: float | None, aim: float | None, *, less: bool) -> str:
    if found is None or must is None:
        return "-"
    for bound, word in ((aim, "aim"), (must, "must")):
        if bound is not None and (found <= bound if less else found >= bound):
            return word if aim is not None else "yes"
    return "no"


def page(
    titles: Mapping[str, str], results: Mapping[str, Mapping[str, Figures]], look_ups: Sequence[LookUp] = ()
) -> str:
    """One row a goal, of the workloads that were measured; `titles`: of the peers, by name."""
    rows = []
    for goal in GOALS:
        if goal.workload not in results:
            continue
        less = goal.what == _COST
        found = value(goal, results)
        rows.append([goal.workload, _what(goal, titles), *_cells(found, goal.must, goal.aim, less=less)])
    rows += [["look-up", one.what, *_cells(one.value, one.must, None, less=True)] for one in look_ups]
    return table(["workload", "figure", "measured", "must", "aim", "reached"], rows)


def measured(
    titles: Mapping[str, str], results: Mapping[str, Mapping[str, Figures]], look_ups: Sequence[LookUp] = ()
) -> str:
    """The same figures without bounds, but for those that page.ratios has: to HAProxy."""
    rows = [
        [goal.workload, _what(goal, titles), shown(value(goal, results))]
        for goal in GOALS
        if goal.workload in results and (goal.what == _RESUMED or goal.against != BASE)
    ]
    rows += [["look-up", one.what, shown(one.value)] for one in look_ups]
    return table(["workload", "figure", "measured"], rows)


def _what(goal: Goal, titles: Mapping[str, str]) -> str:
    return "resumed" if goal.what == _RESUMED else f"{goal.what}, {titles.get(goal.against, goal.against)} = 1"


def _cells(found: float | None, must: float | None, aim: float | None, *, less: bool) -> list[str]:
    sign = "≤" if less else "≥"
    bounds = [f"{sign} {shown(bound)}" if bound is not None else "" for bound in (must, aim)]
    return [shown(found), *bounds, _reached(found, must, aim, less=less)]
