"""What popgate tells the service manager that started it (sd_notify(3)): ready, reloading, stopping, alive, a phrase.

Datagrams to $NOTIFY_SOCKET; without it nothing is said.  The supervisor alone speaks: the variables are taken out of
its environment before it forks.  A service manager that does not listen is no error of ours.

Not MAINPID: the process that systemd started stays the first.  Not libsystemd: a datagram is a few lines.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

_PATIENCE: Final = 1.0
"""Seconds to wait when the service manager's queue is full."""


class Notify:
    """Says it, to systemd or to nobody."""

    def __init__(self, environ: MutableMapping[str, str], clock: Callable[[], float]) -> None:
        """Take $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID out of `environ`; `clock` is CLOCK_MONOTONIC."""
        keys = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        address, period, pid = (environ.pop(key, "") for key in keys)
        self._address = ""
        if address[:1] in ("/", "@"):  # "@": in the abstract namespace (unix(7)), which a NUL begins
            self._address = "\0" + address[1:] if address[0] == "@" else address
        watched = bool(self._address) and period.isdecimal() and pid in ("", str(os.getpid()))
        self.pause = int(period) / 2e6 if watched and int(period) else float("inf")
        """Seconds between two signs of life: half of what systemd waits for one."""
        self._clock = clock
        self._alive_at = 0.0
        self._phrase = ""

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` tells its end."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(self._clock() * 1e6)}")

    def stopping(self) -> None:
        """The end begins."""
        self._tell("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """The end takes this long from now on, even if TimeoutStopSec= is less."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self, now: float) -> None:
        """A sign of life, if one is due; without it systemd kills popgate."""
        if now >= self._alive_at and self.pause < float("inf"):
            self._alive_at = now + self.pause
            self._tell("WATCHDOG=1")

    def phrase(self, text: str) -> None:
        """What `systemctl status` shows; said when it is another one."""
        if text != self._phrase:
            self._phrase = text
            self._tell(f"STATUS={text}")

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(_PATIENCE)
            sock.sendto("\n".join(words).encode(), self._address)
