"""The lease table in SQLite: schema and statements, synchronous (RULES G4, G8, N8).

Three users: the writer thread of a worker (`writer.py`), the loop's reader (`sqlite.py`, `read_only`), and the command
line when no daemon runs.  One `LeaseTable` is one connection, used by one thread at a time; it must not cross a fork.

Promises: every `sqlite3.Error` and `OSError` leaves here as `StoreUnavailable` with the path and the text, as
`StoreBusy` where another process merely holds a lock and the connection is sound.  A new file has mode 0600, and SQLite
gives `-wal` and `-shm` the mode and (for root) the owner of the file; an existing file keeps mode and owner.
`read_only` creates no store (it may leave SQLite's own `-wal` and `-shm` beside one that exists).

WAL with synchronous=NORMAL: a killed process or worker loses nothing that was committed.  A power cut or a kernel crash
may lose the commits since the last checkpoint (never the integrity of the file): those clients log in again.

A row is on the time line of its `boot`; a row of another boot is measured by the wall clock, and never counts for more
than its own length (RULES G8).  Opening moves such rows to this boot's line in one transaction, so that later steps of
the wall clock can't touch them.  STRICT and RETURNING were rejected: supported distributions still ship SQLite 3.34.

A look-up reads all rows of its address: 5 µs for one login, 140 µs for a thousand behind one NAT.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreUnavailable
from .base import Lease, Term, check_revocation, in_order, login_octets, login_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .clock import Clock

SCHEMA = 1  # PRAGMA user_version of a store that this code understands
_WAL_KEPT = (
    4 << 20
)  # octets that a -wal file keeps after a checkpoint; SQLite checkpoints at 1,000 pages (4 MiB) itself
_OPENING_PAUSE = 0.005  # s between tries to switch a new file to WAL, which ignores busy_timeout

# login is a blob: peers' octets that are not UTF-8 must come back as they went in (surrogateescape).
_CREATE = """
CREATE TABLE lease (
    address  BLOB NOT NULL CHECK (typeof(address) = 'blob'),  -- 4 or 16 octets
    login    BLOB NOT NULL CHECK (typeof(login) = 'blob'),
    source   TEXT NOT NULL,
    granted  REAL NOT NULL,                                   -- epoch seconds, for people
    expires  REAL NOT NULL,                                   -- epoch seconds: counts after a reboot
    length   REAL NOT NULL,                                   -- seconds
    boot     TEXT NOT NULL,                                   -- the boot whose clock `deadline` is on
    deadline REAL NOT NULL,                                   -- seconds on that clock
    PRIMARY KEY (address, login, source)
) WITHOUT ROWID"""
_CREATE_INDEX = "CREATE INDEX lease_deadline ON lease (deadline)"  # for the purge

_LEFT = "min(CASE boot WHEN :boot THEN deadline - :now ELSE expires - :wall END, length)"
# max() with bare columns: SQLite takes them from the row that has the maximum (lang_select, "bare columns").
_FIND = f"SELECT login, source, granted, max({_LEFT}) FROM lease WHERE address = :address"
_ALL = f"SELECT address, login, source, granted, {_LEFT} AS seconds FROM lease WHERE seconds > 0"
_GRANT = """
INSERT INTO lease VALUES (:address, :login, :source, :granted, :expires, :length, :boot, :deadline)
ON CONFLICT (address, login, source) DO UPDATE SET granted = excluded.granted, expires = excluded.expires,
    length = excluded.length, boot = excluded.boot, deadline = excluded.deadline"""
_GRANT_LATE = _GRANT + " WHERE excluded.deadline > lease.deadline"
_RENEW = """
UPDATE lease SET expires = :expires, length = max(length, :length), deadline = :deadline
WHERE address = :address AND login = :login AND source = :source
    AND boot = :boot AND deadline > :now AND deadline < :deadline"""
_MATCH = "(:address IS NULL OR address = :address) AND (:login IS NULL OR login = :login)"
_REVOKE_ENDED = f"DELETE FROM lease WHERE {_MATCH} AND {_LEFT} <= 0"
_REVOKE = f"DELETE FROM lease WHERE {_MATCH}"
_PURGE = """
DELETE FROM lease WHERE (address, login, source) IN
    (SELECT address, login, source FROM lease WHERE deadline <= :now AND boot = :boot LIMIT :limit)"""
_FOREIGN = "SELECT EXISTS (SELECT 1 FROM lease WHERE boot <> :boot)"
_DROP_FOREIGN = "DELETE FROM lease WHERE boot <> :boot AND min(expires - :wall, length) <= 0"
# The wall deadline is cut as well: else each reboot under a wrong clock would give the full length again.
_MOVE_FOREIGN = """
UPDATE lease SET boot = :boot, deadline = :now + min(expires - :wall, length),
    expires = :wall + min(expires - :wall, length)
WHERE boot <> :boot"""


class StoreBusy(StoreUnavailable):
    """Another process holds the lock; the connection is sound and the same question may succeed later."""


class LeaseTable:
    """One connection to the store.  Outside `transaction` each method commits by itself."""

    def __init__(
        self, path: str | os.PathLike[str], clock: Clock, *, busy: float = 0.5, read_only: bool = False
    ) -> None:
        """Open the store, waiting at most about `busy` seconds for other processes' locks, here and in every method.

        Without `read_only` a missing file is made, and rows of another boot are moved to this boot's clock.
        """
        self._path = Path(path)
        self._clock = clock
        self._busy = busy
        with self._edge():
            if not read_only:
                self._create_file()
            self._file = self._identity()
            mode = "ro" if read_only else "rw"
            uri = f"{self._path.absolute().as_uri()}?mode={mode}"
            # check_same_thread: the thread opens the loop's reader for it.  Never two threads at the same time.
            self._db = sqlite3.connect(uri, uri=True, timeout=busy, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(read_only)
            except BaseException:
                self._db.close()
                raise

    def find(self, address: bytes) -> Lease | None:
        """The live lease of `address` with most time left, or None.  Called in the loop, hence without `_edge`."""
        wall = self._clock.wall()
        question = {"boot": self._clock.boot_id, "now": self._clock.now(), "wall": wall, "address": address}
        try:
            # fetchall, not fetchone: an unfinished SELECT would hold its snapshot and stop checkpoints.
            ((login, source, granted, left),) = self._db.execute(_FIND, question).fetchall()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        if left is None or left <= 0:
            return None
        return Lease(address, login_text(login), source, granted, wall + left, left)

    def all(self) -> list[Lease]:
        """Every live lease, in the order of `LeaseStore.all`."""
        with self._edge():
            rows = self._db.execute(_ALL, self._times()).fetchall()
        wall = self._clock.wall()
        return in_order(
            Lease(address, login_text(login), source, granted, wall + left, left)
            for address, login, source, granted, left in rows
        )

    def grant(self, address: bytes, login: str, source: str, window: float) -> None:
        """Start a lease of `window` seconds now."""
        self.write(Term.starting(self._clock, address, login, source, window))

    def write(self, term: Term) -> None:
        """Start the lease anew, even if that shortens it (RULES G4)."""
        self._run(_GRANT, self._row(term))

    def write_late(self, term: Term) -> None:
        """Write a grant that had to wait: not if it has ended, and not over one that reaches further."""
        if term.deadline > self._clock.now():
            self._run(_GRANT_LATE, self._row(term))

    def renew(self, terms: Iterable[Term]) -> None:
        """Move the ends of live leases further: never an insert, never a shortening (RULES G4)."""
        for term in terms:
            self._run(_RENEW, self._row(term) | {"now": self._clock.now()})

    def revoke(self, address: bytes | None, login: str | None) -> int:
        """End the leases of the address, the login, or both together; how many were live."""
        check_revocation(address, login)
        match: dict[str, bytes | str | float | None] = {"address": address, "login": None}
        if login is not None:
            match["login"] = login_octets(login)
        # Two statements instead of RETURNING; what falls between them has ended anyhow.
        self._run(_REVOKE_ENDED, match | self._times())
        return self._run(_REVOKE, match)

    def purge(self, limit: int) -> int:
        """Delete at most `limit` rows that have ended; how many it was."""
        return self._run(_PURGE, {"boot": self._clock.boot_id, "now": self._clock.now(), "limit": limit})

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, or not at all."""
        with self._edge():
            # IMMEDIATE: the lock is waited for here, once, not in the middle with half of the work done.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def never_wait(self) -> None:
        """From now on a lock is StoreBusy at once: for the loop's reader (RULES N8)."""
        with self._edge():
            self._db.execute("PRAGMA busy_timeout = 0")

    def is_current(self) -> bool:
        """Whether the path still names the file that this connection has open."""
        try:
            return self._identity() == self._file
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the file.  Never raises: who closes has nothing left to do about it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _create_file(self) -> None:
        # By us and not by SQLite, for the mode.  Only if it is new: closing a second descriptor of a store that
        # this process has open would drop its POSIX locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def _prepare(self, read_only: bool) -> None:
        if read_only:
            self._db.execute("PRAGMA query_only = 1")
        else:
            self._switch_to_wal()
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
        version = self._version()
        if version == 0 and not read_only:
            with self.transaction():
                self._create_schema()
            version = self._version()
        if version > SCHEMA:
            raise StoreUnavailable(
                f"{self._path}: written by a newer popgate (schema {version}, this one knows {SCHEMA})"
            )
        if version == 0:
            raise StoreUnavailable(f"{self._path}: not a lease store")
        if not read_only and self._db.execute(_FOREIGN, {"boot": self._clock.boot_id}).fetchall() == [(1,)]:
            with self.transaction():
                self._db.execute(_DROP_FOREIGN, self._times())
                self._db.execute(_MOVE_FOREIGN, self._times())

    def _switch_to_wal(self) -> None:
        """WAL is a property of the file.  SQLite doesn't wait when several processes switch at once, so we do."""
        give_up = time.monotonic() + self._busy
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= give_up:
                    raise
            time.sleep(_OPENING_PAUSE)

    def _create_schema(self) -> None:
        if self._version() != 0:
            return  # another worker was first
        if self._db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchall() == [(1,)]:
            raise StoreUnavailable(f"{self._path}: a database of another program, not a lease store")
        self._db.execute(_CREATE)
        self._db.execute(_CREATE_INDEX)
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _version(self) -> int:
        ((version,),) = self._db.execute("PRAGMA user_version").fetchall()
        return int(version)

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino

    def _times(self) -> dict[str, str | float]:
        return {"boot": self._clock.boot_id, "now": self._clock.now(), "wall": self._clock.wall()}

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

    def _run(self, statement: str, values: Mapping[str, bytes | str | float | None]) -> int:
        with self._edge():
            return self._db.execute(statement, values).rowcount

    @contextlib.contextmanager
    def _edge(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error | OSError) -> StoreUnavailable:
        kind = StoreBusy if isinstance(error, sqlite3.Error) and _is_busy(error) else StoreUnavailable
        text = error.strerror if isinstance(error, OSError) else error
        return kind(f"{self._path}: {text}")


def _is_busy(error: sqlite3.Error) -> bool:
    # The low octet is the primary code, the rest says more (SQLITE_BUSY_RECOVERY ...).
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
