"""Whose sessions are traced in this worker, and the lines of their transcripts that wait for the supervisor.

A client whose address is on the list when it connects gets a session with a transcript (session/transcript.py).  The
lines wait in a queue with a bound: beyond it they are lost and counted, so that a trace that nobody reads costs a bound
of memory and no mail.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAITING: Final = 1000
"""Lines that wait for the supervisor."""
BATCH: Final = 16_384
"""Characters of lines handed over at once, and one line: the socket to the supervisor takes that without a wait."""


class Traces:
    """See the module."""

    __slots__ = ("_clock", "_lines", "_lost", "clients")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clients: frozenset[bytes] = frozenset()
        """Addresses."""
        self._clock = clock
        self._lines: list[list[Any]] = []
        self._lost = 0

    def note(self, shown: str, id_: str, protocol: str, who: str, text: str) -> None:
        """A line of the session `id_` of the client whose address is `shown`."""
        if len(self._lines) < MAX_WAITING:
            self._lines.append([round(self._clock(), 3), shown, id_, protocol, who, text])
        else:
            self._lost += 1

    def take(self) -> dict[str, Any] | None:
        """The next batch, as a message for the supervisor; None where nothing waits."""
        if not self._lines:
            return None
        size = count = 0
        while count < len(self._lines) and size < BATCH:
            size += len(self._lines[count][-1])
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        lost, self._lost = self._lost, 0
        return {"trace": lines, "lost": lost}
