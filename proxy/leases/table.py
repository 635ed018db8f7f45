"""The lease table in SQLite: its statements, synchronous (rules G4, G8, G11).

Three users: the writer thread of a worker (`writer.py`), the loop's reader (`sqlite.py`, `read_only`), and the command
line when no daemon runs.

A row is on the time line of its `boot`; a row of another boot is measured by the wall clock, and never counts for more
than its own length (rule G8).  Opening moves such rows to this boot's line in one transaction, so that later steps of
the wall clock can't touch them.  The end of a count of messages is kept in the same way.

A look-up reads all rows of its address: 7 µs for one login, 2.4 ms for a thousand behind one NAT.

Not here: the file, its locks and errors (file.py), its columns (schema.py), who asks when (sqlite.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import history
from . import usage_report as observations
from .base import Lease, Term, check_revocation, in_order, login_octets, login_text
from .file import StoreFile
from .schema import COUNT_LEFT, LEFT

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from .clock import Clock
    from .file import Values
    from .usage_report import Observation

_FIND = f"""
SELECT login, source, granted, {LEFT} AS seconds, messages, recipients, {COUNT_LEFT}
FROM lease WHERE address = :address AND seconds > 0"""
_ALL = f"""
SELECT address, login, source, granted, {LEFT} AS seconds, messages, recipients, {COUNT_LEFT}
FROM lease WHERE seconds > 0"""
_HELD = f"SELECT login, source, {LEFT} FROM lease WHERE address = :address LIMIT 2"
# Live logins there, whether this is one of them, and whether its own row has ended and was not purged yet.
_HOLDERS = f"""
SELECT count(DISTINCT CASE WHEN {LEFT} > 0 THEN login END), coalesce(max(login = :login AND {LEFT} > 0), 0),
    coalesce(max(login = :login AND source = :source AND {LEFT} <= 0), 0)
FROM lease WHERE address = :address"""
_GRANT = """
INSERT INTO lease (address, login, source, granted, expires, length, boot, deadline, since)
VALUES (:address, :login, :source, :granted, :expires, :length, :boot, :deadline, :granted)
ON CONFLICT (address, login, source) DO UPDATE SET granted = excluded.granted, expires = excluded.expires,
    length = excluded.length, boot = excluded.boot, deadline = excluded.deadline,
    since = CASE WHEN :anew THEN excluded.since ELSE since END"""
_GRANT_LATE = _GRANT + " WHERE excluded.deadline > lease.deadline"
_KEY = "address = :address AND login = :login AND source = :source"
_RENEW = f"""
UPDATE lease SET expires = :expires, length = max(length, :length), deadline = :deadline
WHERE {_KEY} AND boot = :boot AND deadline > :now AND deadline < :deadline"""
# An UPDATE reckons all its right sides from the row as it was.
_CHARGE = f"""
UPDATE lease SET
    messages = CASE WHEN {COUNT_LEFT} > 0 THEN messages ELSE 0 END + :messages,
    recipients = CASE WHEN {COUNT_LEFT} > 0 THEN recipients ELSE 0 END + :recipients,
    count_expires = CASE WHEN {COUNT_LEFT} > 0 THEN count_expires ELSE :wall + :span END,
    count_length = CASE WHEN {COUNT_LEFT} > 0 THEN count_length ELSE :span END,
    count_deadline = CASE WHEN {COUNT_LEFT} > 0 THEN count_deadline ELSE :now + :span END
WHERE {_KEY} AND {LEFT} > 0"""
_MATCH = "(:address IS NULL OR address = :address) AND (:login IS NULL OR login = :login)"
_LIVE = f"SELECT count(*) FROM lease WHERE {_MATCH} AND {LEFT} > 0"
_PURGED = """(address, login, source) IN
    (SELECT address, login, source FROM lease WHERE deadline <= :now AND boot = :boot ORDER BY deadline LIMIT :limit)"""
_FOREIGN = "SELECT EXISTS (SELECT 1 FROM lease WHERE boot <> :boot)"
_FOREIGN_ENDED = "boot <> :boot AND min(expires - :wall, length) <= 0"
# The wall deadlines are cut as well: else each reboot under a wrong clock would give the full length again.
_MOVE_FOREIGN = """
UPDATE lease SET boot = :boot, deadline = :now + min(expires - :wall, length),
    expires = :wall + min(expires - :wall, length),
    count_deadline = :now + min(count_expires - :wall, count_length),
    count_expires = :wall + min(count_expires - :wall, count_length)
WHERE boot <> :boot"""


class LeaseTable(StoreFile):
    """The store through one connection.  Outside `transaction` each method commits by itself."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Clock,
        *,
        busy: float = 0.5,
        read_only: bool = False,
        kept: float = 0.0,
    ) -> None:
        """As a StoreFile; without `read_only` rows of another boot are moved to this boot's clock.

        `kept`: seconds that what has ended is remembered, `[store] history`; 0: it is forgotten.
        """
        super().__init__(path, clock, busy=busy, read_only=read_only)
        self._kept = kept
        try:
            if not read_only and self.rows(_FOREIGN, self.times()) == [(1,)]:
                with self.transaction():
                    self._end(_FOREIGN_ENDED, self.times())
                    self.run(_MOVE_FOREIGN, self.times())
        except BaseException:
            self.close()
            raise

    def find(self, address: bytes) -> list[Lease]:
        """The live leases of `address`, most time left first."""
        clock = self.clock
        wall = clock.wall()
        question: Values = {"boot": clock.boot_id, "now": clock.now(), "wall": wall, "address": address}
        rows = self.rows(_FIND, question)
        if len(rows) > 1:
            rows.sort(key=lambda row: -row[3])
        return [_lease(wall, address, *row) for row in rows]

    def all(self) -> list[Lease]:
        """Every live lease, in the order of `LeaseStore.all`."""
        rows = self.rows(_ALL, self.times())
        wall = self.clock.wall()
        return in_order(_lease(wall, *row) for row in rows)

    def grant(self, address: bytes, login: str, source: str, window: float) -> int:
        """Start a lease of `window` seconds now; how many logins hold the address."""
        return self.write(Term.starting(self.clock, address, login, source, window))

    def write(self, term: Term) -> int:
        """Start the lease again, even if that shortens it (rule G4), unless its login would be one too many there; the
        answer of `LeaseStore.grant`.  With a limit only within `transaction`: counting and writing are one step."""
        return self._write(_GRANT, term)

    def write_late(self, term: Term) -> None:
        """Write a grant that had to wait: not if it has ended, and not over one that reaches further."""
        if term.deadline > self.clock.now():
            self._write(_GRANT_LATE, term)

    def renew(self, terms: Iterable[Term]) -> None:
        """Move the ends of live leases further: never an insert, never a shortening (rule G4)."""
        for term in terms:
            self.run(_RENEW, self._row(term))

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        """Add to what a live lease has used (`LeaseStore.charge`)."""
        values: dict[str, bytes | str | float | None] = {
            "address": address,
            "login": login_octets(login),
            "source": source,
            "messages": messages,
            "recipients": recipients,
            "span": span,
        }
        self.run(_CHARGE, values | self.times())

    def revoke(self, address: bytes | None, login: str | None) -> int:
        """End the leases of the address, the login, or both together; how many were live.  Within `transaction`."""
        check_revocation(address, login)
        match: dict[str, bytes | str | float | None] = {"address": address, "login": None}
        if login is not None:
            match["login"] = login_octets(login)
        values = match | self.times()
        ((live,),) = self.rows(_LIVE, values)
        self._end(_MATCH, values)
        return int(live)

    def observe(self, batch: Iterable[Observation]) -> None:
        """Remember what clients need, if anything is remembered.  Within `transaction`."""
        if self._kept:
            observations.enter(self, batch)

    def purge(self, limit: int) -> int:
        """Delete at most `limit` rows of each kind that have ended or are too old; how many of one kind it was."""
        with self.transaction():
            ended = self._end(_PURGED, {"limit": limit, **self.times()})
            forgotten = history.purge(self, self._kept, limit)
            return max(ended, forgotten, observations.purge(self, self._kept, limit))

    def _end(self, which: str, values: Values) -> int:
        """Delete rows, by a condition in SQL, once the history has them; how many it was."""
        if self._kept:
            history.keep(self, which, values)
        return self.run(f"DELETE FROM lease WHERE {which}", values)

    def _write(self, statement: str, term: Term) -> int:
        row = self._row(term)
        count, holds, has_ended = self._holders(row)
        count += not holds
        if term.limit:
            if not holds and count > term.limit:
                return count
            count = min(count, term.limit)
        if has_ended and self._kept:
            history.keep(self, _KEY, row)
        row["anew"] = has_ended
        self.run(statement, row)
        return count

    def _holders(self, row: dict[str, bytes | str | float | None]) -> tuple[int, bool, bool]:
        """Of the address of a row that is to be written: live logins there, whether its own is one of them, and whether
        the row itself is there and has ended."""
        held = self.rows(_HELD, row)
        if not held:
            return 0, False, False
        if len(held) == 1 and held[0][0] == row["login"] and held[0][1] == row["source"]:  # nearly always
            is_live = held[0][2] > 0
            return int(is_live), is_live, not is_live
        ((count, holds, has_ended),) = self.rows(_HOLDERS, row)
        return int(count), bool(holds), bool(has_ended)

    def _row(self, term: Term) -> dict[str, bytes | str | float | None]:
        address, login, source = term.key
        return {
            "address": address,
            "login": login_octets(login),
            "source": source,
            "granted": term.granted,
            "expires": term.expires,
            "length": term.length,
            "deadline": term.deadline,
            **self.times(),
        }


def _lease(
    wall: float,
    address: bytes,
    login: bytes,
    source: str,
    granted: float,
    left: float,
    messages: int,
    recipients: int,
    count_left: float,
) -> Lease:
    if count_left <= 0:
        messages = recipients = 0
    return Lease(address, login_text(login), source, granted, wall + left, left, messages, recipients)
