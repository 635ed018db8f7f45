"""How a worker's lease store is: asked now and then, and told once when it breaks and once when it is well again (G7).

It is asked about nobody, so that the figures (metrics.py) know how it is when no mail goes out; `popgate status` and
the status page read these.  A file is one for all workers of a node, so one of them tells.  What sessions make of a
store that is down is gate/policy.py's; they say so one by one.

Not here: the connection to a shared store, of which leases/redis/store.py tells by itself; permissions, which status.py
looks at before the workers start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import StoreUnavailable
from ..leases.sqlite import SqliteStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..leases.base import Lease, LeaseStore
    from ..metrics import LookUps

_NOBODY: Final = bytes(4)
"""An address that no client can have, 0.0.0.0."""
_ENOUGH: Final = 2
"""Failures in a row that are told: one commit that a slow disk holds up is no alarm."""
_AGAIN: Final = 1.0
"""Seconds from the first of them to the next question."""


class StoreWatch:
    """Watches one store from one worker."""

    def __init__(
        self, store: LeaseStore, look_ups: LookUps, say: Callable[[str, str], None], *, first: bool = False
    ) -> None:
        """`say` is given "store-down" or "store-back" and why, if this worker is the `first` and the store a file."""
        self._store, self._look_ups, self._say = store, look_ups, say
        self._tells = first and isinstance(store, SqliteStore)
        self._failures = 0
        self._down = False
        self._loop: asyncio.AbstractEventLoop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """After the store's own start; a file that is none is told of at once."""
        self._loop = loop
        if self._tells:
            self.ask()

    def ask(self) -> None:
        """Call now and then."""
        self._store.find(_NOBODY, self._answered)

    def _answered(self, answer: Sequence[Lease] | StoreUnavailable) -> None:
        failed = isinstance(answer, StoreUnavailable)
        self._look_ups.seen(is_down=failed)
        if not self._tells:
            return
        self._failures = self._failures + 1 if failed else 0
        if self._failures == 1:
            self._loop.call_later(_AGAIN, self.ask)
        down = self._failures >= _ENOUGH
        if down != self._down:
            self._down = down
            self._say("store-down" if down else "store-back", str(answer) if failed else "")
