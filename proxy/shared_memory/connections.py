"""How many connections the node has, in all and from each address, in memory that its workers share (rule N5).

Of each worker: its connections, heartbeats of its loop, and how many leases it owes the store
(shared_memory/unwritten_leases.py).  Connections by address, and open POP sessions by login, are counted as
shared_memory/count_sketch.py does.  The tables of the servers behind and the last refusals are files of their own
(shared_memory/server_health.py, shared_memory/recent_refusals.py), and come along as `servers` and `refusals`.
"""

from __future__ import annotations

from .count_sketch import CountMinSketch
from .recent_refusals import RecentRefusals
from .rows import rows
from .server_health import ServerHealth
from .unwritten_leases import UnwrittenLeases


class ConnectionCounters:
    """The node's counters; each worker writes by its own number."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.servers = ServerHealth(workers)
        self.refusals = RecentRefusals(workers)
        self._connections, self._beats, self._unwritten = rows("I", workers, 3)
        self._addresses = CountMinSketch(workers)
        """Connections from each address."""
        self.logins = CountMinSketch(workers)
        """Open POP sessions of each login (its octets)."""

    def connections(self) -> int:
        """All connections of the node now."""
        return sum(self._connections)

    def connections_of(self, worker: int) -> int:
        """Those of one worker."""
        return self._connections[worker]

    def beats(self, worker: int) -> int:
        """How often the loop of a worker has said that it lives; wraps at 2**32."""
        return self._beats[worker]

    def unwritten(self, worker: int) -> UnwrittenLeases:
        """For one worker's store: it notes its own, and reads the node's."""
        return UnwrittenLeases(self._unwritten, worker)

    def forget(self, worker: int) -> None:
        """A worker has died: its connections are gone."""
        self._connections[worker] = self._beats[worker] = self._unwritten[worker] = 0
        self._addresses.forget(worker)
        self.logins.forget(worker)
        self.servers.forget(worker)

    def beat(self, worker: int) -> None:
        self._beats[worker] = (self._beats[worker] + 1) & 0xFFFFFFFF

    def enter(self, worker: int, address: bytes) -> None:
        """A connection from `address` has begun in this worker."""
        self._connections[worker] += 1
        self._addresses.add(worker, address)

    def admit(self, worker: int, address: bytes, most: int) -> bool:
        """`enter`, unless the node has `most` connections from `address` already, as far as `of` knows."""
        if not self._addresses.join(worker, address, most):
            return False
        self._connections[worker] += 1
        return True

    def leave(self, worker: int, address: bytes) -> None:
        self._connections[worker] -= 1
        self._addresses.remove(worker, address)

    def of(self, address: bytes) -> int:
        """Connections from `address` in all workers; rarely too high, never too low."""
        return self._addresses.of(address)
