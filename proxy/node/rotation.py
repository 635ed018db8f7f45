"""The log file, looked after by the supervisor alone (rule N11): rotated by size, opened again where it was moved.

A file above `SIZE` becomes FILE.1, that one FILE.2 ... up to FILE.7; then every process opens FILE again.  Until a
worker does, it writes to the file that it has, so no line is lost.  The same when somebody else moved or removed the
file: logrotate needs neither a postrotate script nor a reload.

Rejected: loguru's own rotation: each process would rotate for itself, and lines of the others would go with the old
file.  Keys for size and number: an appliance's year of mail is some hundred MiB of log; for another scheme there is
logrotate, which may be as clever as it likes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ..sinks import SYSLOG, SYSLOG_BSD

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..log import Log

SIZE: Final = 100 << 20
"""Octets of a log file: some 500,000 sessions."""
KEPT: Final = 7
"""Old files."""


class Rotation:
    """See the module."""

    def __init__(self, file: str, reopen: Callable[[], None]) -> None:
        """`file`: [log] file; `reopen`: have all processes open it again, may raise OSError."""
        self._file = "" if file in (SYSLOG, SYSLOG_BSD) else file
        self._reopen = reopen
        self._inode = self._present()

    def tick(self, log: Log) -> None:
        """Look whether it is time; call about once a second."""
        if not self._file:
            return
        try:
            found = self._present()
            if found is not None and found == self._inode:
                if os.stat(self._file).st_size < SIZE:
                    return
                self._shift()
            self._reopen()
            self._inode = self._present()
        except OSError as error:
            if log.first_this_hour(("rotation", self._file)):
                words = ("path", self._file), ("why", error.strerror)
                log.line("error", "popgate", "log-failed", *words)

    def _present(self) -> tuple[int, int] | None:
        """Which file is there now; None: none."""
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _shift(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            if os.path.lexists(f"{self._file}.{number}"):
                os.replace(f"{self._file}.{number}", f"{self._file}.{number + 1}")
        os.replace(self._file, f"{self._file}.1")
