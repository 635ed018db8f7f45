"""The last recipients that the gate refused, of all workers, for the status page: in memory that they share (rule N5).

A worker keeps its own last `KEPT` in a list, and with its figures (metrics.py) shows them ten times a second, if there
are new ones, as JSON in a part of the memory that only it writes.  A number before the text is odd while it is written,
and another one behind each writing: a reader between two writings reads again.

Values are what peers chose: cut here, to be escaped where they are shown.
"""

from __future__ import annotations

import heapq
import json
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = 50
"""Of each worker, and shown."""
_CUT: Final = 100
"""Characters of a value."""
SIZE: Final = 65536
"""Octets of a worker's part: 50 of some 300; the oldest are left out where they take more."""
HEAD: Final = struct.Struct("=QI")
"""Number of the writing, octets of the text."""
_TRIES: Final = 100


class RecentRefusals:
    """The node's; `row(n)` is worker n's."""

    def __init__(self, workers: int, parts: list[memoryview[int]] | None = None) -> None:
        """`parts`: one a worker, of `SIZE` octets; None: in shared memory."""
        self._parts = parts or rows("B", SIZE, workers)

    def row(self, worker: int, clock: Callable[[], float] = time.time) -> RefusalRow:
        """For one worker that begins; it goes on where one that died has stopped.  `clock`: epoch seconds."""
        return RefusalRow(self._parts[worker], clock)

    def newest(self) -> list[dict[str, Any]]:
        """The last `KEPT` of all, the newest first: time (epoch seconds), listener, client, sender, recipient, why."""
        found = [one for part in self._parts for one in _read(part)]
        return heapq.nlargest(KEPT, found, key=lambda one: float(one["time"]))


class RefusalRow:
    """Those of one worker."""

    def __init__(self, part: memoryview[int], clock: Callable[[], float]) -> None:
        self._part, self._clock = part, clock
        self._last = deque(_read(part), maxlen=KEPT)  # of the worker that died before this one
        self._new = False

    def note(self, listener: str, client: str, sender: str, recipient: str, why: str) -> None:
        words = {"listener": listener, "client": client, "sender": sender, "recipient": recipient, "why": why}
        self._last.append({"time": self._clock(), **{key: value[:_CUT] for key, value in words.items()}})
        self._new = True

    def publish(self) -> None:
        """Show them, if there are new ones."""
        if not self._new:
            return
        self._new = False
        while len(text := json.dumps(list(self._last)).encode()) > SIZE - HEAD.size:
            self._last.popleft()
        number = HEAD.unpack_from(self._part)[0] | 1  # odd, also where a worker died in the midst of it
        HEAD.pack_into(self._part, 0, number, len(text))
        self._part[HEAD.size : HEAD.size + len(text)] = text
        HEAD.pack_into(self._part, 0, number + 1, len(text))


def _read(part: memoryview[int]) -> list[dict[str, Any]]:
    for _ in range(_TRIES):
        number, length = HEAD.unpack_from(part)
        text = bytes(part[HEAD.size : HEAD.size + length])
        if number % 2 == 0 and HEAD.unpack_from(part)[0] == number:
            found: list[dict[str, Any]] = json.loads(text) if text else []
            return found
    return []  # its worker was killed while it wrote; the next one writes again
