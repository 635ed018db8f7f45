"""Which server of an upstream a client gets: balance, health, and a bound on each server's connections.

`order` gives the servers for one client by `balance`; `enter_first` counts a connection at the first of them that is up
and not full.  Servers that are down come last, and are tried all the same when none is up: what is believed of them may
be old.  Where all that are up are full the client waits in a queue: first come, first served, as long as its
`connect_timeout` goes (net/upstream/connector.py arms it).

Connections, health and queues are counted for the whole node (shared_memory/server_health.py): `max_connections`
protects the server, which does not care how many workers we are.

A failure counts until a success; but when the server has not been tried for `forgiven` seconds (there are no probes, or
they have failed to come), clients try it again.  A failure is not counted if a later connection has succeeded in the
meantime: it was this one's bad luck.

Not here: connections (net/upstream/connector.py), probes (health.py).
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ...shared_memory.server_health import keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...shared_memory.server_health import Condition, ServerHealthRow

FORGIVEN: Final = 5.0
"""Seconds for which a failure counts where nobody probes: in that time one client finds out, not each of them."""
MAX_WAITING: Final = 1000
"""Clients in one queue of one worker; one more is told at once to come again."""


class Waiter(Protocol):
    """A client that waits in a queue."""

    def try_again(self) -> bool:
        """A connection may be free: enter at a server and go on, or return False and wait on."""


class WaitingQueue:
    """The clients of one worker that wait until a server of an upstream takes them; it outlives a reload."""

    def __init__(
        self,
        row: ServerHealthRow,
        slot: int,
        soon: Callable[[Callable[[], None]], object],
        most: int = MAX_WAITING,
    ) -> None:
        self.slot = slot
        """The upstream's own in the table of servers' health."""
        self._row = row
        """The table of servers' health, as this worker writes it."""
        self._soon = soon
        """Calls later what would otherwise be called in the middle of a close."""
        self._most = most
        """How many may wait."""
        self._waiting: OrderedDict[Waiter, float] = OrderedDict()
        """Since when each waits, the first first."""

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: Waiter, now: float) -> bool:
        """Wait at the end of the queue; False: it is too long."""
        if len(self._waiting) >= self._most:
            return False
        self._waiting[waiter] = now
        self._publish()
        return True

    def leave(self, waiter: Waiter) -> None:
        """Wait no more; nothing where it does not wait."""
        if self._waiting.pop(waiter, None) is not None:
            self._publish()

    def serve(self) -> None:
        """Let as many go on as the servers take."""
        while self._waiting:
            first = next(iter(self._waiting))
            since = self._waiting.pop(first)
            if not first.try_again():
                self._waiting[first] = since
                self._waiting.move_to_end(first, last=False)
                break
        self._publish()

    def connection_freed(self) -> None:
        """A server may take one more: it is for the client that has waited longest in the node."""
        worker = self._row.longest_waiting(self.slot)
        if worker is not None and not self._row.wake(worker):
            self._soon(self.serve)

    def use_slot(self, slot: int) -> None:
        """The upstream's slot is another one now."""
        self.slot = slot

    def _publish(self) -> None:
        """Tell the node since when the first has waited."""
        self._row.waiting(self.slot, next(iter(self._waiting.values()), 0.0))


class Pool:
    """The servers of one upstream, by their number in the configuration, as one worker sees them."""

    def __init__(
        self,
        row: ServerHealthRow,
        queue: WaitingQueue,
        slots: Sequence[int],
        balance: str,
        max_connections: int,
        forgiven: float,
        clock: Callable[[], float],
    ) -> None:
        self.queue = queue
        """Where clients wait while all servers that are up are full."""
        self.clock = clock
        """Seconds, as the table of servers' health has them."""
        self._row = row
        """The table of servers' health, as this worker reads and writes it."""
        self._slots = slots
        """The servers' own in the table of servers' health."""
        self._balance = balance
        """"first", "roundrobin" or "leastconn"."""
        self._max = max_connections
        """Connections that each server takes; 0: any number."""
        self._forgiven = forgiven
        """Seconds after which a failure counts no more."""
        self.leaving = [partial(self.leave, server) for server in range(len(slots))]
        """For each server: what is to be called when a connection to it ends.  Made once, not for each connection."""

    # Health

    @property
    def healthy(self) -> bool:
        """Whether any server is up, as far as is known."""
        return any(self.is_up(server) for server in range(len(self._slots)))

    def is_up(self, server: int) -> bool:
        return self._row.is_up(self._slots[server], self.clock(), self._forgiven)

    def condition(self, server: int) -> Condition:
        return self._row.condition(self._slots[server])

    def succeeded(self, server: int, now: float) -> None:
        """It serves, `now` on the clock."""
        self._row.succeeded(self._slots[server], now)

    def failed(self, server: int, begun: float, why: str) -> None:
        """A connection that was `begun` then came to nothing."""
        slot = self._slots[server]
        self._row.count_failure(slot)
        if self._row.last(slot)[0] < begun:
            self._row.failed(slot, self.clock(), why)

    # Connections

    def connections(self, server: int) -> int:
        """How many the node has to it, those that are being made among them."""
        return self._row.connections(self._slots[server])

    def order(self) -> list[int]:
        """All servers, in the order in which this client should try those that are up."""
        count = len(self._slots)
        if self._balance == "first" or count == 1:
            return list(range(count))
        turn = self._row.turn(self.queue.slot)
        servers = [(turn + number) % count for number in range(count)]
        if self._balance == "leastconn":  # those that have as many take turns
            servers.sort(key=self.connections)
        return servers

    def enter_first(self, candidates: Sequence[int], *, from_queue: bool = False) -> int | None:
        """Enter the first of them that is up and not full; None: the client is to wait in the queue."""
        if self._max and self.queue and not from_queue:
            return None  # a newcomer does not overtake
        up = candidates if len(candidates) == 1 else [one for one in candidates if self.is_up(one)] or candidates
        for server in up:
            if self.enter(server):
                return server
        return None

    def enter(self, server: int) -> bool:
        """Count a connection at this server; False if it is full."""
        slot = self._slots[server]
        # Enter, then count: two workers that see one last connection may both step back, but never both stay.
        self._row.enter(slot)
        if self._max and self._row.connections(slot) > self._max:
            self._row.leave(slot)
            return False
        return True

    def leave(self, server: int) -> None:
        """The connection that `enter` was for has ended, or was never made."""
        self._row.leave(self._slots[server])
        if self._max:
            self.queue.connection_freed()


class Pools:
    """What the pools of one worker share; it outlives reloads."""

    def __init__(
        self,
        row: ServerHealthRow,
        clock: Callable[[], float],
        soon: Callable[[Callable[[], None]], object] = lambda action: None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._row = row
        """The table of servers' health, as this worker reads and writes it."""
        self._clock = clock
        """Seconds, as the table of servers' health has them."""
        self._soon = soon
        """The loop's call_soon; without it nobody can wait."""
        self._max_waiting = max_waiting
        """The length of a queue."""
        self._queues: dict[str, WaitingQueue] = {}
        """By the name of the upstream."""

    def pool(
        self,
        name: str,
        servers: Sequence[object],
        balance: str = "first",
        max_connections: int = 0,
        forgiven: float = FORGIVEN,
    ) -> Pool:
        """The pool of [upstream.`name`], whose keys have been enlisted (shared_memory/server_health.py)."""
        upstream, keys = keys_of(name, servers)
        slot = self._row.slot(upstream)
        queue = self._queues.setdefault(name, WaitingQueue(self._row, slot, self._soon, self._max_waiting))
        queue.use_slot(slot)  # another one, if a reload took the upstream away and another brought it back
        slots = [self._row.slot(key) for key in keys]
        return Pool(self._row, queue, slots, balance, max_connections, forgiven, self._clock)

    def tick(self) -> None:
        """Serve the queues: a server may have become free in a worker that did not know of anybody waiting."""
        for queue in self._queues.values():
            if queue:
                queue.serve()

    def woken(self) -> None:
        """Serve the queues, because another worker has closed a connection."""
        self._row.slept()
        self.tick()
