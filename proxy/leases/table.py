"""The lease table in SQLite: its statements, synchronous (RULES G4, G8, G11).

Three users: the writer thread of a worker (`writer.py`), the loop's reader (`sqlite.py`, `read_only`), and the command
line when no daemon runs.

A row is on the time line of its `boot`; a row of another boot is measured by the wall clock, and never counts for more
than its own length (RULES G8).  Opening moves such rows to this boot's line in one transaction, so that later steps of
the wall clock can't touch them.  The end of a count of messages is kept in the same way.

A look-up reads all rows of its address: 7 µs for one login, 2.4 ms for a thousand behind one NAT.

Not here: the file, its locks and errors (file.py), its columns (schema.py), who asks when (sqlite.py).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from .base import Lease, Term, check_revocation, in_order, login_octets, login_text
from .file import StoreFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from .clock import Clock

_LEFT = "min(CASE boot WHEN :boot THEN deadline - :now ELSE expires - :wall END, length)"
_COUNT_LEFT = "min(CASE boot WHEN :boot THEN count_deadline - :now ELSE count_expires - :wall END, count_length)"
_FIND = f"""
SELECT login, source, granted, {_LEFT} AS seconds, messages, recipients, {_COUNT_LEFT}
FROM lease WHERE address = :address AND seconds > 0"""
_ALL = f"""
SELECT address, login, source, granted, {_LEFT} AS seconds, messages, recipients, {_COUNT_LEFT}
FROM lease WHERE seconds > 0"""
_HOLDERS = f"""
SELECT count(DISTINCT login), coalesce(max(login = :login), 0) FROM lease WHERE address = :address AND {_LEFT} > 0"""
_GRANT = """
INSERT INTO lease (address, login, source, granted, expires, length, boot, deadline)
VALUES (:address, :login, :source, :granted, :expires, :length, :boot, :deadline)
ON CONFLICT (address, login, source) DO UPDATE SET granted = excluded.granted, expires = excluded.expires,
    length = excluded.length, boot = excluded.boot, deadline = excluded.deadline"""
_GRANT_LATE = _GRANT + " WHERE excluded.deadline > lease.deadline"
_KEY = "address = :address AND login = :login AND source = :source"
_RENEW = f"""
UPDATE lease SET expires = :expires, length = max(length, :length), deadline = :deadline
WHERE {_KEY} AND boot = :boot AND deadline > :now AND deadline < :deadline"""
# An UPDATE reckons all its right sides from the row as it was.
_CHARGE = f"""
UPDATE lease SET
    messages = CASE WHEN {_COUNT_LEFT} > 0 THEN messages ELSE 0 END + :messages,
    recipients = CASE WHEN {_COUNT_LEFT} > 0 THEN recipients ELSE 0 END + :recipients,
    count_expires = CASE WHEN {_COUNT_LEFT} > 0 THEN count_expires ELSE :wall + :span END,
    count_length = CASE WHEN {_COUNT_LEFT} > 0 THEN count_length ELSE :span END,
    count_deadline = CASE WHEN {_COUNT_LEFT} > 0 THEN count_deadline ELSE :now + :span END
WHERE {_KEY} AND {_LEFT} > 0"""
_MATCH = "(:address IS NULL OR address = :address) AND (:login IS NULL OR login = :login)"
_REVOKE_ENDED = f"DELETE FROM lease WHERE {_MATCH} AND {_LEFT} <= 0"
_REVOKE = f"DELETE FROM lease WHERE {_MATCH}"
_PURGE = """
DELETE FROM lease WHERE (address, login, source) IN
    (SELECT address, login, source FROM lease WHERE deadline <= :now AND boot = :boot LIMIT :limit)"""
_FOREIGN = "SELECT EXISTS (SELECT 1 FROM lease WHERE boot <> :boot)"
_DROP_FOREIGN = "DELETE FROM lease WHERE boot <> :boot AND min(expires - :wall, length) <= 0"
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
        self, path: str | os.PathLike[str], clock: Clock, *, busy: float = 0.5, read_only: bool = False
    ) -> None:
        """As a StoreFile; without `read_only` rows of another boot are moved to this boot's clock."""
        super().__init__(path, clock, busy=busy, read_only=read_only)
        try:
            if not read_only and self.rows(_FOREIGN, self.times()) == [(1,)]:
                with self.transaction():
                    self.run(_DROP_FOREIGN, self.times())
                    self.run(_MOVE_FOREIGN, self.times())
        except BaseException:
            self.close()
            raise

    def find(self, address: bytes) -> list[Lease]:
        """The live leases of `address`, most time left first.  Called in the loop, hence without `rows`."""
        clock = self._clock
        wall = clock.wall()
        question = {"boot": clock.boot_id, "now": clock.now(), "wall": wall, "address": address}
        try:
            # fetchall, not fetchone: an unfinished SELECT would hold its snapshot and stop checkpoints.
            rows = self._db.execute(_FIND, question).fetchall()
        except sqlite3.Error as error:
            raise self.unavailable(error) from error
        if len(rows) > 1:
            rows.sort(key=lambda row: -row[3])
        return [_lease(wall, address, *row) for row in rows]

    def all(self) -> list[Lease]:
        """Every live lease, in the order of `LeaseStore.all`."""
        rows = self.rows(_ALL, self.times())
        wall = self._clock.wall()
        return in_order(_lease(wall, *row) for row in rows)

    def grant(self, address: bytes, login: str, source: str, window: float) -> int:
        """Start a lease of `window` seconds now; how many logins hold the address."""
        return self.write(Term.starting(self._clock, address, login, source, window))

    def write(self, term: Term) -> int:
        """Start the lease anew, even if that shortens it (RULES G4), unless its login would be one too many there; the
        answer of `LeaseStore.grant`.  With a limit only within `transaction`: counting and writing are one step."""
        return self._write(_GRANT, term)

    def write_late(self, term: Term) -> None:
        """Write a grant that had to wait: not if it has ended, and not over one that reaches further."""
        if term.deadline > self._clock.now():
            self._write(_GRANT_LATE, term)

    def renew(self, terms: Iterable[Term]) -> None:
        """Move the ends of live leases further: never an insert, never a shortening (RULES G4)."""
        for term in terms:
            self.run(_RENEW, self._row(term) | {"now": self._clock.now()})

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
        """End the leases of the address, the login, or both together; how many were live."""
        check_revocation(address, login)
        match: dict[str, bytes | str | float | None] = {"address": address, "login": None}
        if login is not None:
            match["login"] = login_octets(login)
        # Two statements instead of RETURNING; what falls between them has ended anyhow.
        self.run(_REVOKE_ENDED, match | self.times())
        return self.run(_REVOKE, match)

    def purge(self, limit: int) -> int:
        """Delete at most `limit` rows that have ended; how many it was."""
        return self.run(_PURGE, {"boot": self._clock.boot_id, "now": self._clock.now(), "limit": limit})

    def _write(self, statement: str, term: Term) -> int:
        row = self._row(term)
        ((held, holds),) = self.rows(_HOLDERS, self.times() | {"address": row["address"], "login": row["login"]})
        count = int(held) + (not holds)
        if not term.limit:
            self.run(statement, row)
        elif holds or count <= term.limit:
            self.run(statement, row)
            count = min(count, term.limit)
        return count

    def _row(self, term: Term) -> dict[str, bytes | str | float]:
        address, login, source = term.key
        return {
            "address": address,
            "login": login_octets(login),
            "source": source,
            "granted": term.granted,
            "expires": term.expires,
            "length": term.length,
            "boot": self._clock.boot_id,
            "deadline": term.deadline,
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
