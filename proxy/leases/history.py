"""Who held which address from when till when, in the SQLite store (`[store] history`).

A lease that lives is its own history: its row knows since when the address has been held without a gap.  When it goes
(purged, replaced, revoked) the statement that removes it is preceded, in the same transaction, by one that copies it
here, so that nothing is lost between the two and a login or a renewal costs no second row.  Times are the wall clock's,
for people; that of the end is reckoned back from the clock that ended it.

Bounds: what ended longer ago than `[store] history`, and the oldest beyond MAXIMUM.

Functions of a `StoreFile`, which holds the connection; those that write are called within its `transaction`.  Who calls
them: table.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .base import login_text
from .schema import LEFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .file import StoreFile, Values

MAXIMUM: Final = 1_000_000
"""Rows; some 200 MB with their indices.  30 days of 30,000 clients that come once a day."""
SHOWN: Final = 10_000
"""Rows of one answer, the newest: they have to pass through the control socket."""

_ENDED = f":wall + min(0, {LEFT})"
_KEEP = f"""
INSERT INTO history (address, login, source, began, ended, how)
SELECT address, login, source, since, {_ENDED}, CASE WHEN {LEFT} > 0 THEN 'revoked' ELSE 'ended' END
FROM lease WHERE """
_OLD = "SELECT rowid FROM history WHERE ended <= :before ORDER BY ended LIMIT :limit"
_TOO_MANY = """
SELECT rowid FROM history WHERE rowid <= (SELECT max(rowid) FROM history) - :maximum ORDER BY rowid LIMIT :limit"""
_NOW = f"""
SELECT address, login, source, since AS began, :wall + {LEFT} AS ended,
    CASE WHEN {LEFT} > 0 THEN 'live' ELSE 'ended' END AS how FROM lease"""
_THEN = "SELECT address, login, source, began, ended, how FROM history"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A login held an address, without a gap."""

    address: bytes
    """Binary form."""
    login: str
    """Who it was, by the lease."""
    source: str
    """What made the lease: "pop3", "admin" ..."""
    began: float
    """Epoch seconds."""
    ended: float
    """Epoch seconds; of one that lives the moment at which it will end."""
    how: str
    """"ended", "revoked", or "live"."""


def keep(file: StoreFile, which: str, values: Values) -> None:
    """Copy the rows of `lease` that are about to go; `which`: the condition, in SQL, with `times` in its values."""
    file.run(_KEEP + which, values)


def purge(file: StoreFile, kept: float, limit: int) -> int:
    """Delete at most `limit` rows that ended more than `kept` seconds ago (0: all of them) or are too many; how many
    it was."""
    before = file.clock.wall() - kept if kept else float("inf")
    old = file.run(f"DELETE FROM history WHERE rowid IN ({_OLD})", {"before": before, "limit": limit})
    excess = {"maximum": MAXIMUM, "limit": limit - old}
    return old + file.run(f"DELETE FROM history WHERE rowid IN ({_TOO_MANY})", excess)


def tenancies(
    file: StoreFile,
    addresses: Sequence[bytes] = (),
    since: float | None = None,
    until: float | None = None,
    limit: int = SHOWN,
) -> list[Tenancy]:
    """At most `limit` of those of the addresses (none given: of all) that touch the time from `since` to `until` (epoch
    seconds; None: any time), what ended last first."""
    values: dict[str, bytes | str | float | None] = {"since": since, "until": until, "limit": limit}
    values |= {f"address{number}": address for number, address in enumerate(addresses)}
    conditions = [f"address IN ({', '.join([f':address{n}' for n in range(len(addresses))])})"] if addresses else []
    conditions += ["ended > :since"] if since is not None else []
    conditions += ["began < :until"] if until is not None else []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    both = f"SELECT * FROM ({_NOW}){where} UNION ALL {_THEN}{where} ORDER BY ended DESC LIMIT :limit"
    return [
        Tenancy(found, login_text(login), source, began, ended, how)
        for found, login, source, began, ended, how in file.rows(both, values | file.times())
    ]
