"""What is in the file of a SQLite lease store, and how an older file becomes a present one.

`STEPS[n]` makes schema n + 1 (PRAGMA user_version) out of schema n; a new file takes all of them, an older one those
that it lacks, in one transaction: there is one way to every schema, and a popgate that is stopped half-way leaves the
old one.  A step that was once released is never changed; a newer file than this code knows is left alone (file.py).

STRICT and RETURNING were rejected: supported distributions still ship SQLite 3.34.
"""

from __future__ import annotations

from typing import Final

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # login is a blob: peers' octets that are not UTF-8 must come back as they went in (surrogateescape).
        """
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
) WITHOUT ROWID""",
        "CREATE INDEX lease_deadline ON lease (deadline)",  # for the purge
    ),
    (
        # What was charged to a lease, and when counting starts again: an end as the lease's own, in three figures.
        "ALTER TABLE lease ADD COLUMN messages INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE lease ADD COLUMN recipients INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE lease ADD COLUMN count_expires REAL NOT NULL DEFAULT 0",  # epoch seconds
        "ALTER TABLE lease ADD COLUMN count_length REAL NOT NULL DEFAULT 0",  # seconds
        "ALTER TABLE lease ADD COLUMN count_deadline REAL NOT NULL DEFAULT 0",  # seconds on the clock of `boot`
        # The login since which the address has been held without a gap; epoch seconds, for the history.
        "ALTER TABLE lease ADD COLUMN since REAL NOT NULL DEFAULT 0",
        "UPDATE lease SET since = granted",
        """
CREATE TABLE history (
    address BLOB NOT NULL,
    login   BLOB NOT NULL,
    source  TEXT NOT NULL,
    began   REAL NOT NULL,                                    -- epoch seconds
    ended   REAL NOT NULL,                                    -- epoch seconds
    how     TEXT NOT NULL                                     -- "ended", "revoked"
)""",
        "CREATE INDEX history_address ON history (address, ended)",
        "CREATE INDEX history_ended ON history (ended, began)",  # 80 ms instead of 500 to look through a million
        """
CREATE TABLE observation (
    address  BLOB NOT NULL,
    login    BLOB NOT NULL,
    protocol TEXT NOT NULL,                                   -- "pop3", "smtp"
    need     TEXT NOT NULL,                                   -- what its client can't do without (usage_report.py)
    times    INTEGER NOT NULL,
    first    REAL NOT NULL,                                   -- epoch seconds
    last     REAL NOT NULL,                                   -- epoch seconds
    PRIMARY KEY (address, login, protocol, need)
) WITHOUT ROWID""",
        "CREATE INDEX observation_last ON observation (last)",
    ),
)
SCHEMA: Final = len(STEPS)
"""PRAGMA user_version of a store that this code understands."""

LEFT: Final = "min(CASE boot WHEN :boot THEN deadline - :now ELSE expires - :wall END, length)"
"""Seconds left of a row of `lease`, given `StoreFile.times`; rule G8."""
COUNT_LEFT: Final = "min(CASE boot WHEN :boot THEN count_deadline - :now ELSE count_expires - :wall END, count_length)"
"""Seconds left until what is charged to it is counted again."""
