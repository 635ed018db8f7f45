"""Certificates while popgate runs: read again when their files change, and talked of before they expire.

The supervisor looks at the files once a minute (`PAUSE`), without opening them.  What has changed is read, checked and
shown, here and then in the workers; clients that are connected keep what they have.  A pair that can't be used changes
nothing and is told once, until the files change again: certbot writes one file after the other.  A reload does the
same for the whole configuration, at once.

From `DAYS` before its end a certificate has a line a day in the log; `popgate status` shows the end at all times.

Rejected: inotify, for which Python's library has nothing, and which sees no files over NFS.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..runtime import reload_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..config import Config
    from ..log import Log
    from ..net.tls.contexts import ServerTls

PAUSE: Final = 60.0
"""Seconds between two looks."""
DAY: Final = 86400.0
"""Seconds."""
DAYS: Final = 14
"""Before its end; Let's Encrypt's are renewed by certbot 30 days before."""

Traces = dict[str, tuple[int, int, int] | None]
"""Of each file its inode, size and time of change; None where it can't be seen."""


class CertificateWatch:
    """See the module."""

    def __init__(self, sides: Collection[ServerTls], wall: Callable[[], float] = time.time) -> None:
        """`sides`: what shows certificates to clients."""
        self._sides, self._wall = sides, wall
        self._seen = self._traces()
        self._look_at = 0.0
        self._told: dict[str, float] = {}  # when the end of a certificate was told last

    def tick(self, now: float, config: Config, log: Log) -> bool:
        """Call often; return whether other certificates are shown now, so that the workers must be told."""
        if now < self._look_at:
            return False
        self._look_at = now + PAUSE
        changed = self._read_again(config, log)
        self._tell_of_ends(log)
        return changed

    def reloaded(self) -> None:
        """All of them have just been read."""
        self._seen = self._traces()

    def _read_again(self, config: Config, log: Log) -> bool:
        traces = self._traces()
        if traces == self._seen:
            return False
        self._seen = traces
        try:
            reload_tls(self._sides, config)
        except ConfigError as error:
            for problem in error.problems:
                log.line("error", "popgate", "certificate-refused", ("why", problem))
            return False
        self._seen = self._traces()  # the same path may lead to other files now
        log.line("info", "popgate", "certificates-reloaded", ("files", ",".join(sorted(self._seen))))
        return True

    def _traces(self) -> Traces:
        found: Traces = {}
        for certificate in {certificate for side in self._sides for certificate in side.certificates}:
            for path in (certificate.chain, certificate.key):
                try:
                    now = path.stat()
                    found[str(path)] = (now.st_ino, now.st_size, now.st_mtime_ns)
                except OSError:
                    found[str(path)] = None
        return found

    def _tell_of_ends(self, log: Log) -> None:
        now = self._wall()
        for certificate in {certificate for side in self._sides for certificate in side.certificates}:
            left, path = certificate.not_after - now, str(certificate.path)
            if left > DAYS * DAY or now - self._told.get(path, -DAY) < DAY:
                continue
            self._told[path] = now
            if left > 0:
                log.line("warning", "popgate", "certificate-ends", ("path", path), ("days", int(left / DAY)))
            else:
                log.line("error", "popgate", "certificate-ended", ("path", path), ("days", int(-left / DAY)))
