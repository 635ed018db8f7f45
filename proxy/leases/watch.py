"""Telling those who wait that a lease may have appeared in a SQLite store (rule G9).

Promises: grants of this process are told as soon as they are committed; a commit of anybody else is told within
`PACE`, by one look a tenth of a second at a figure in shared memory (`PRAGMA data_version`, 4 µs), and only while
there is a watcher.  After the watch begins, and after the loop's reader is opened again, the first look tells in any
case: that reader's figure can't be compared with an older one, and a lease that came a moment before must not be
missed.  Purges, renewals and this process's own commits are told too: that something changed is all that is known.

inotify on the -wal file was rejected: what is written there goes through shared memory first, and may stay there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PACE: Final = 0.1
"""Seconds, rule G9."""


class Watch:
    """The watcher of one store, and the looks on its behalf."""

    def __init__(self, figure: Callable[[], int | None]) -> None:
        """`figure`: differs from the last one if somebody has committed since; None while it can't be known."""
        self._figure = figure
        self._changed: Callable[[bytes | None], None] | None = None
        self._seen: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, changed: Callable[[bytes | None], None]) -> None:
        """Tell `changed` from now on, and nobody else."""
        self._changed = changed
        self.look_anew()
        if self._timer is None:
            self._timer = loop.call_later(PACE, self._look, loop)

    def end(self) -> None:
        self._changed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look_anew(self) -> None:
        """What was seen last is worth nothing any more: there is another reader."""
        self._seen = None

    def granted(self, loop: asyncio.AbstractEventLoop, address: bytes | None) -> None:
        """A grant of this process is in the store.  Told by the loop: a bug of the watcher's is not the store's."""
        if self._changed is not None:
            loop.call_soon(self._tell, address)

    def _tell(self, address: bytes | None) -> None:
        if self._changed is not None:
            self._changed(address)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(PACE, self._look, loop)
        figure = self._figure()
        if figure is not None and figure != self._seen:
            self._seen = figure
            self._tell(None)
