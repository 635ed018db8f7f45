"""How many leases clients believe to have that are not in the store yet: it can't be written now (rule G7).

While there are any, "no lease" is no fact: the recipient is deferred, also by the other workers of the machine, which
share one figure.  What waits to be written is in leases/retry_queue.py.
"""

from __future__ import annotations

from .rows import rows


class UnwrittenLeases:
    """One process's count, and the sum of all."""

    def __init__(self, counts: memoryview[int] | None = None, worker: int = 0) -> None:
        """`counts`: the node's, one a worker (shared_memory/connections.py); None: this process is alone."""
        self._counts = counts or rows("I", 1, 1)[0]
        self._worker = worker

    def note(self, count: int) -> None:
        """This process owes the store `count` leases."""
        self._counts[self._worker] = count

    def total(self) -> int:
        """All processes together."""
        return sum(self._counts)
