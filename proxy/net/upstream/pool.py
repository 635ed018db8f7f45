"""Which server of an upstream a client gets: balance, health, and places at servers that take only so many.

`order` gives the servers for one client by `balance`; `take` gives the first of them that is up and has a place free,
and enters there. Servers that are down come last and are tried all the same when none is up: what is believed of them
may be old.  Where all that are up are full the client waits in line: first come, first served, as long as its
`connect_timeout` goes (net/upstream/connector.py arms it).

Connections, health and lines are the node's (shared_memory/server_health.py): `max_connections` protects the server,
which does not care how many workers we are.

A failure counts until a success; but when nobody has looked again for `forgiven` seconds (no probes, or who probes is
ill) clients try anew.  A failure is not counted if a later connection has succeeded meanwhile: it was this one's bad
luck.

Not here: connections (net/upstream/connector.py), probes (health.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from ...shared_memory.server_health import keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...shared_memory.server_health import Condition, ServerHealthRow

FORGIVEN: Final = 5.0
"""Seconds for which a failure counts where nobody probes: one client in so many finds out, not each of them."""
MAX_WAITING: Final = 1000
"""Clients in one line of one worker; who comes then is told at once to come again."""


class Waiter(Protocol):
    """Who waits in line."""

    def place_free(self) -> bool:
        """There may be a place; return False if there is none for this one, who waits on."""


class Line:
    """The clients of one worker that wait for a place at an upstream's servers; it outlives a reload."""

    def __init__(self, row: ServerHealthRow, slot: int, soon: Callable[[Callable[[], None]], object]) -> None:
        """`slot`: the upstream's own; `soon`: calls later what would otherwise be called in the midst of an end."""
        self.slot = slot
        self._row, self._soon = row, soon
        self._waiting: OrderedDict[Waiter, float] = OrderedDict()  # since when

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: Waiter, now: float) -> bool:
        """False: the line is too long."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting[waiter] = now
        self._tell()
        return True

    def leave(self, waiter: Waiter) -> None:
        if self._waiting.pop(waiter, None) is not None:
            self._tell()

    def serve(self) -> None:
        """Let as many go on as there are places."""
        while self._waiting:
            first = next(iter(self._waiting))
            since = self._waiting.pop(first)
            if not first.place_free():
                self._waiting[first] = since
                self._waiting.move_to_end(first, last=False)
                break
        self._tell()

    def freed(self) -> None:
        """A place has become free: it is for who has waited longest in the node."""
        worker = self._row.longest_waiting(self.slot)
        if worker is not None and not self._row.wake(worker):
            self._soon(self.serve)

    def _tell(self) -> None:
        self._row.waiting(self.slot, next(iter(self._waiting.values()), 0.0))


class Pool:
    """The servers of one upstream, by their number in the configuration, as one worker sees them."""

    def __init__(
        self,
        row: ServerHealthRow,
        line: Line,
        slots: Sequence[int],
        balance: str,
        max_connections: int,
        forgiven: float,
        clock: Callable[[], float],
    ) -> None:
        """`slots`: the servers'; `max_connections`: per server, 0 is no limit; `forgiven`: seconds, see the module."""
        self.line = line
        self.clock = clock
        self._row, self._slots = row, slots
        self._balance, self._max, self._forgiven = balance, max_connections, forgiven

    @property
    def healthy(self) -> bool:
        """Whether any server is up, as far as is known."""
        return any(self.is_up(server) for server in range(len(self._slots)))

    def is_up(self, server: int) -> bool:
        return self._row.is_up(self._slots[server], self.clock(), self._forgiven)

    def condition(self, server: int) -> Condition:
        return self._row.condition(self._slots[server])

    def order(self) -> list[int]:
        """All servers, in the order in which this client should try those that are up."""
        count = len(self._slots)
        if self._balance == "first" or count == 1:
            return list(range(count))
        turn = self._row.turn(self.line.slot)
        servers = [(turn + number) % count for number in range(count)]
        if self._balance == "leastconn":  # who has as many take turns
            servers.sort(key=lambda server: self._row.connections(self._slots[server]))
        return servers

    def take(self, untried: list[int], *, first_in_line: bool = False) -> int | None:
        """Enter the first server that is up and not full, and take it out of `untried`; None: it is to wait in line."""
        if self._max and self.line and not first_in_line:
            return None
        up = untried if len(untried) == 1 else [server for server in untried if self.is_up(server)] or untried
        for server in up:
            if self.enter(server):
                untried.remove(server)
                return server
        return None

    def enter(self, server: int) -> bool:
        """Take a place at this server; False if it is full."""
        slot = self._slots[server]
        self._row.enter(slot)  # then count: of two workers that see one last place both may step back, never both stay
        if self._max and self._row.connections(slot) > self._max:
            self._row.leave(slot)
            return False
        return True

    def leave(self, server: int) -> None:
        """The connection that `enter` was for has ended, or was never made."""
        self._row.leave(self._slots[server])
        if self._max:
            self.line.freed()

    def succeeded(self, server: int, now: float) -> None:
        """It serves, `now` on the clock."""
        self._row.succeeded(self._slots[server], now)

    def failed(self, server: int, begun: float, why: str) -> None:
        """A connection that was `begun` then came to nothing."""
        slot = self._slots[server]
        self._row.count_failure(slot)
        if self._row.last(slot)[0] < begun:
            self._row.failed(slot, self.clock(), why)


class Pools:
    """What the pools of one worker share; it outlives reloads."""

    def __init__(
        self,
        row: ServerHealthRow,
        clock: Callable[[], float],
        soon: Callable[[Callable[[], None]], object] = lambda action: None,
    ) -> None:
        """`soon`: the loop's call_soon; without it nobody can wait for a place."""
        self._row, self._clock, self._soon = row, clock, soon
        self._lines: dict[str, Line] = {}

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
        line = self._lines.setdefault(name, Line(self._row, slot, self._soon))
        line.slot = slot  # another one, if a reload took the upstream away and another brought it back
        slots = [self._row.slot(key) for key in keys]
        return Pool(self._row, line, slots, balance, max_connections, forgiven, self._clock)

    def tick(self) -> None:
        """Serve the lines: a place may have become free in a worker that knew of nobody waiting."""
        for line in self._lines.values():
            if line:
                line.serve()

    def woken(self) -> None:
        """Another worker has freed a place."""
        self._row.slept()
        self.tick()
