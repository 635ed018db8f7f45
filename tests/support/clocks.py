"""A clock that a test turns by hand, and a way to put one question to a lease store and wait for its answer.

Whole seconds everywhere, so that a model can compare floats for equality.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop

from proxy.leases.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PATIENCE = 30.0  # s until a test gives up: for waiting only, nothing is measured by it


class FakeClock(Clock):
    """Stands still until told otherwise."""

    def __init__(self, boottime: float = 1000.0, wall: float = 1_800_000_000.0, boot_id: str = "boot-1") -> None:
        self.boot_id = boot_id
        self._boottime = boottime
        self._wall = wall

    def boottime(self) -> float:
        return self._boottime

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Time goes by, awake or suspended: CLOCK_BOOTTIME does not know the difference, and that is the point."""
        self._boottime += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds

    def reboot(self, down: float, boot_id: str) -> None:
        """The machine is off for `down` seconds and starts to count anew."""
        self._boottime = 7.0
        self._wall += down
        self.boot_id = boot_id


def answer(loop: asyncio.AbstractEventLoop, ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """Put the question and run the loop until `then` is called.  A second call of `then` is an InvalidStateError."""
    future: asyncio.Future[Any] = loop.create_future()
    ask(future.set_result)
    return loop.run_until_complete(asyncio.wait_for(future, PATIENCE))
