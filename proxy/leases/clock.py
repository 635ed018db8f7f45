"""The clock of the leases (rule G8): a deadline must survive suspend, clock steps, restarts and reboots.

CLOCK_BOOTTIME counts the seconds since boot, suspend included, and can't be set; with the boot's id beside it a
deadline can be stored and compared by every process of this boot.  CLOCK_MONOTONIC was rejected: it stops in suspend,
and a lease would outlive its second by the hours that a machine slept.  The wall clock was rejected: NTP, an
administrator or a bad battery moves it by hours.

Not here: timers.  Event-loop timeouts are the loop's own; this clock only says how much of a lease is left.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux: random(4); 36 characters and a newline


class Clock:
    """Reads the machine's clocks.  Holds no descriptor and no state, so that it may cross a fork."""

    def __init__(self) -> None:
        self.boot_id = _read_boot_id()
        """Names this boot; "" where it can't be read."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Epoch seconds, as the machine believes just now."""
        return time.time()

    def now(self) -> float:
        """The time line that stored deadlines are on.

        That is the boot clock where the boot has a name.  Where it has none, a stored boot-clock figure could belong to
        an earlier boot, so the wall clock is the only line that all rows share.
        """
        return self.boottime() if self.boot_id else self.wall()

    def reader(self) -> Callable[[], float]:
        """`now` for callers that ask several times a session: a single call, of C."""
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME) if self.boot_id else time.time


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text("utf-8").strip()
    except (OSError, UnicodeError):
        return ""
