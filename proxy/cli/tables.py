"""Leases, history, report and sessions as text for a terminal, from the answers of queries/leases.py and
node/sessions.py.

Times are local.  What a peer chose (a login) is shown without what could steer a terminal.  Programs take `--json`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = dict[str, Any]

_REFUSED: Final = "refused"  # only said where mode "shadow" saw some
_NEEDS: Final = {_REFUSED: "refused, if enforced", "lease": "POP before SMTP", "clear": "clear text"}
"""In the order of the report; behind them versions of TLS, which name themselves."""


def printable(text: str) -> str:
    """Text with what a peer chose in it, for a terminal."""
    return "".join([c if c.isprintable() else "?" for c in text])


def moment(seconds: float) -> str:
    """Epoch seconds in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def leases(found: Sequence[Row]) -> str:
    head = ("ADDRESS", "LOGIN", "SOURCE", "SINCE", "LEFT")
    return _table(
        head,
        [
            (one["address"], one["login"], one["source"], moment(one["granted"]), f"{one['left']:.0f} s")
            for one in found
        ],
    )


def history(found: Sequence[Row]) -> str:
    head = ("ADDRESS", "LOGIN", "SOURCE", "FROM", "TILL", "HOW")
    return _table(
        head,
        [
            (one["address"], one["login"], one["source"], moment(one["began"]), moment(one["ended"]), one["how"])
            for one in found
        ],
    )


def report(found: Sequence[Row], since: float) -> str:
    """A table by need, what was seen last first, and under it how many clients each need has."""
    order = {need: number for number, need in enumerate(_NEEDS)}
    rows = sorted(found, key=lambda one: (order.get(one["need"], len(order)), one["need"], -one["last"]))
    head = ("NEEDS", "BY", "ADDRESS", "LOGIN", "TIMES", "FIRST", "LAST")
    table = _table(
        head,
        [
            (_need(one), one["protocol"].upper(), one["address"], one["login"], str(one["times"]),
             moment(one["first"]), moment(one["last"]))
            for one in rows
        ],
    )  # fmt: skip
    always = [words for need, words in _NEEDS.items() if need != _REFUSED]
    clients: dict[str, set[tuple[str, str]]] = {words: set() for words in always}
    for one in rows:
        clients.setdefault(_need(one), set()).add((one["address"], one["login"]))
    counts = ", ".join([f"{need} {len(those)}" for need, those in clients.items()])
    return f"{table}\n\nClients (address and login) since {moment(since)[:10]}: {counts}"


def sessions(found: Sequence[Row], count: int) -> str:
    """A table, the newest first, and where it is not all of them, how many there are."""
    head = ("ID", "CLIENT", "LISTENER", "LOGIN", "HELO", "SECONDS", "IN", "OUT", "UPSTREAM", "DOING")
    names = [name.lower() for name in head]
    table = _table(head, [tuple([_cell(one.get(name)) for name in names]) for one in found])
    return table if count <= len(found) else f"{table}\n\nthe newest {len(found)} of {count} sessions"


def _cell(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value) if value or value == 0 else "-"


def _need(one: Row) -> str:
    need: str = one["need"]
    return _NEEDS.get(need, need)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, *[tuple([printable(cell) for cell in row]) for row in rows]]
    widths = [max([len(line[column]) for line in lines]) for column in range(len(head))]
    return "\n".join(
        ["  ".join([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]).rstrip() for line in lines]
    )
