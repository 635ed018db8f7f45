"""The file of a SQLite lease store: opening it, locks, transactions, what is wrong with it (rule N8).

One `StoreFile` is one connection, used by one thread at a time; it must not cross a fork.

Promises: every `sqlite3.Error` and `OSError` leaves here as `StoreUnavailable` with the path and the text, as
`StoreBusy` where another process merely holds a lock and the connection is sound.  A new file has mode 0600, and SQLite
gives `-wal` and `-shm` the mode and (for root) the owner of the file; an existing file keeps mode and owner.
`read_only` creates no store (it may leave SQLite's own `-wal` and `-shm` beside one that exists).

WAL with synchronous=NORMAL: a killed process or worker loses nothing that was committed.  A power cut or a kernel crash
may lose the commits since the last checkpoint (never the integrity of the file): those clients log in again.

Not here: what is in it (schema.py), leases (table.py).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import StoreUnavailable
from .schema import SCHEMA, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .clock import Clock

Values: TypeAlias = "Mapping[str, bytes | str | float | None]"
"""What stands for the `:names` of a statement."""

_WAL_KEPT = (
    4 << 20
)  # octets that a -wal file keeps after a checkpoint; SQLite checkpoints at 1,000 pages (4 MiB) itself
_OPENING_PAUSE = 0.005  # s between tries to switch a new file to WAL, which ignores busy_timeout


class StoreBusy(StoreUnavailable):
    """Another process holds the lock; the connection is sound and the same question may succeed later."""


class StoreFile:
    """One connection to the store."""

    def __init__(
        self, path: str | os.PathLike[str], clock: Clock, *, busy: float = 0.5, read_only: bool = False
    ) -> None:
        """Open the store, waiting at most about `busy` seconds for other processes' locks, here and in every method.

        Without `read_only` a missing file is made and an older one brought up to this code's schema.
        """
        self._path = Path(path)
        self.clock = clock
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

    def run(self, statement: str, values: Values) -> int:
        """Execute a statement that writes; how many rows it concerned.  Outside `transaction` it commits by itself."""
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise self.unavailable(error) from error

    def rows(self, statement: str, values: Values) -> list[Any]:
        """All rows of a SELECT."""
        try:
            # fetchall, not fetchone: an unfinished SELECT would hold its snapshot and stop checkpoints.
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self.unavailable(error) from error

    def changes(self) -> int:
        """A figure that differs from the last one of this connection if others have committed since."""
        ((version,),) = self.rows("PRAGMA data_version", {})
        return int(version)

    def never_wait(self) -> None:
        """From now on a lock is StoreBusy at once: for the loop's reader (rule N8)."""
        with self._edge():
            self._db.execute("PRAGMA busy_timeout = 0")

    def is_current(self) -> bool:
        """Whether the path still names the file that this connection has open."""
        try:
            return self._identity() == self._file
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the file.  Never raises: there is nothing left to do about it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def times(self) -> dict[str, str | float]:
        """What "now" is, as values of a statement: `boot`, `now` on that boot's clock, `wall`."""
        return {"boot": self.clock.boot_id, "now": self.clock.now(), "wall": self.clock.wall()}

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
        if version < SCHEMA and not read_only:
            with self.transaction():
                self._bring_up()
            version = self._version()
        if version > SCHEMA:
            raise StoreUnavailable(
                f"{self._path}: written by a newer popgate (schema {version}, this one knows {SCHEMA})"
            )
        if version == 0:
            raise StoreUnavailable(f"{self._path}: not a lease store")
        if version < SCHEMA:
            raise StoreUnavailable(
                f"{self._path}: written by an older popgate (schema {version}); `popgate run` brings it up to {SCHEMA}"
            )

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

    def _bring_up(self) -> None:
        version = self._version()  # under the lock: another worker may have been first
        if version == 0 and self._db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchall() == [(1,)]:
            raise StoreUnavailable(f"{self._path}: a database of another program, not a lease store")
        for step in STEPS[version:]:
            for statement in step:
                self._db.execute(statement)
        if version < SCHEMA:
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _version(self) -> int:
        ((version,),) = self._db.execute("PRAGMA user_version").fetchall()
        return int(version)

    def _identity(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino

    @contextlib.contextmanager
    def _edge(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: sqlite3.Error | OSError) -> StoreUnavailable:
        """The error that says where and what."""
        kind = StoreBusy if isinstance(error, sqlite3.Error) and _is_busy(error) else StoreUnavailable
        text = error.strerror if isinstance(error, OSError) else error
        return kind(f"{self._path}: {text}")


def _is_busy(error: sqlite3.Error) -> bool:
    # The low octet is the primary code, the rest says more (SQLITE_BUSY_RECOVERY ...).
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
