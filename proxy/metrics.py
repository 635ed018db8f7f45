"""What is counted of the node: counters, gauges and histograms, and where each has its cells.

Every worker has a block of cells for each listener and one for itself, all laid out alike: what is declared below is
the number of a cell, and to count is one index increment, `figures[SESSIONS] += 1`, in a list of its own.  How the
workers show their blocks to each other: shared_memory/figures.py.  How figures are written for Prometheus:
admin/exposition.py, by the names below.

Rejected: prometheus-client's own multiprocess mode, whose files outlive the process and cost microseconds a count.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Figures = list[int]
    """One block: the cells of a listener, or of the worker itself."""

Kind = Literal["counter", "gauge", "histogram"]

NODE: Final = ""
"""Stands for the worker itself where a listener's name would."""
SECOND: Final = 1_000_000_000
"""Of the unit of histograms' sums, nanoseconds: a look-up takes some microseconds."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its cells: one, or one for each value of its label, or, of a histogram, one for each of its bounds,
    one for what is above them, and the sum."""

    name: str
    """Empty: not shown as it is."""
    kind: Kind
    """As Prometheus has it."""
    text: str
    """What it counts, for people."""
    first: int
    """Its first cell."""
    by_listener: bool = True
    """Whether each listener has its own, or the worker one."""
    label: str = ""
    """Its name for Prometheus; "": it has one cell."""
    values: tuple[str, ...] = ()
    """Of the label, a cell each."""
    bounds: tuple[float, ...] = ()
    """Of a histogram, in seconds."""

    @property
    def cells(self) -> int:
        return len(self.bounds) + 2 if self.kind == "histogram" else len(self.values) or 1


class Histogram:
    """Where a histogram's cells are."""

    __slots__ = ("_bounds", "_first", "_sum")

    def __init__(self, family: Family) -> None:
        self._bounds, self._first, self._sum = family.bounds, family.first, family.first + family.cells - 1

    def note(self, figures: Figures, seconds: float) -> None:
        """One more that took this long."""
        figures[self._first + bisect_left(self._bounds, seconds)] += 1
        figures[self._sum] += int(seconds * SECOND) if seconds > 0 else 0


class _Table:
    """Gives each family its cells as it is declared."""

    def __init__(self) -> None:
        self.families: list[Family] = []
        self.cells = 0

    def declare(self, name: str, kind: Kind, text: str, **more: object) -> Family:
        family = Family(name, kind, text, self.cells, **more)  # type: ignore[arg-type]
        self.families.append(family)
        self.cells += family.cells
        return family

    def counter(self, name: str, text: str) -> int:
        return self.declare(name, "counter", text).first

    def counter_by(self, label: str, values: tuple[str, ...], name: str, text: str) -> Mapping[str, int]:
        family = self.declare(name, "counter", text, label=label, values=values)
        return {value: family.first + place for place, value in enumerate(values)}

    def gauge(self, name: str, text: str, *, by_listener: bool = True) -> int:
        return self.declare(name, "gauge", text, by_listener=by_listener).first

    def histogram(self, bounds: tuple[float, ...], name: str, text: str, *, by_listener: bool = True) -> Histogram:
        return Histogram(self.declare(name, "histogram", text, bounds=bounds, by_listener=by_listener))


_table = _Table()

# Sessions

SESSIONS: Final = _table.counter("popgate_sessions_total", "Sessions begun.")
SESSIONS_NOW: Final = _table.gauge("popgate_sessions", "Sessions now.")
SESSION_SECONDS: Final = _table.histogram(
    (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),  # limits.session_timeout is 2 h
    "popgate_session_seconds", "How long sessions took, noted at their end.",
)  # fmt: skip
OCTETS: Final = _table.counter_by(
    "direction", ("in", "out"),
    "popgate_octets_total", "Octets from clients (in) and to them (out), counted at the end of each session.",
)  # fmt: skip
MESSAGES: Final = _table.counter(
    "popgate_messages_total", "Messages that the mail server took, local ones too, counted at the end of each session."
)
TURNED_AWAY: Final = _table.counter_by(
    "reason", ("connections", "connections_per_client", "descriptors", "draining", "header"),
    "popgate_turned_away_total", "Connections that became no session, by the limit or the lack that kept them out.",
)  # fmt: skip
TLS_SESSIONS: Final = _table.counter_by(
    "version", ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"), "popgate_tls_sessions_total", "TLS handshakes with clients."
)
TLS_FAILURES: Final = _table.counter("popgate_tls_failures_total", "TLS handshakes with clients that failed.")

# The gate

LOGINS: Final = _table.counter_by(
    "result", ("accepted", "failed"), "popgate_logins_total", "Logins, by the mail server's answer."
)
LEASES_GRANTED: Final = _table.counter("popgate_leases_granted_total", "Logins that made a lease, or made it new.")
UNLEASED: Final = _table.counter(
    "popgate_logins_unleased_total", "POP logins that made no lease: by a rule, or because the store could not take it."
)
RELAYS: Final = _table.counter_by(
    "outcome", ("allowed", "refused", "deferred", "spent", "shadowed"),
    "popgate_relays_total",
    "Transactions with a recipient outside, by what the gate said; shadowed: allowed, and refused if it enforced.",
)  # fmt: skip
REFUSALS: Final = _table.counter_by(
    "reason", ("no lease", "sender does not match", "budget spent", "store down", "other"),
    "popgate_refusals_total",
    "Recipients that were answered by the gate and not by the mail server, by the reason; of 45x one a message.",
)  # fmt: skip

# What is behind

CONNECT_SECONDS: Final = _table.histogram(
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    "popgate_upstream_connect_seconds", "From the attempt at a server until its greeting, for clients' sessions.",
)  # fmt: skip
LOOK_UP_SECONDS: Final = _table.histogram(
    (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0),
    "popgate_store_lookup_seconds", "How long the lease store took to answer whether an address may relay.",
    by_listener=False,
)  # fmt: skip
WAITING: Final = _table.gauge(
    "popgate_waiting", "Recipients whose refusal waits for a login (patience).", by_listener=False
)
STORE_DOWN: Final = _table.gauge("", "1 where the store's last answer to this worker was none.", by_listener=False)

FAMILIES: Final = tuple(_table.families)
CELLS: Final = _table.cells
"""Of one block."""
GAUGES: Final = tuple([family.first for family in FAMILIES if family.kind == "gauge"])


class LookUps:
    """Times what a worker's store is asked."""

    __slots__ = ("_figures", "clock")

    def __init__(self, figures: Figures, clock: Callable[[], float] = time.perf_counter) -> None:
        """`figures`: the worker's own block; `clock`: seconds."""
        self._figures, self.clock = figures, clock

    def answered(self, begun: float, *, is_down: bool) -> None:
        """The answer to a question of `begun` is there, or it is none."""
        LOOK_UP_SECONDS.note(self._figures, self.clock() - begun)
        self._figures[STORE_DOWN] = is_down

    def seen(self, *, is_down: bool) -> None:
        """How the store is, when nobody wanted to know."""
        self._figures[STORE_DOWN] = is_down
