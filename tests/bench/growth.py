"""What sessions and leases cost as they become more: nothing, or in proportion, and nothing worse.

Sessions: a popgate with so many idle ones: its memory, its CPU while nothing happens, and the CPU of a short session
beside them.  Leases: a store with so many, in SQLite and in memory: CPU of a look-up and of a grant, of forgetting a
lease that has ended; memory; for SQLite the time until popgate serves, and that of the first opening after a reboot,
which moves all leases to the new boot's clock.

CPU and not time, since other programs disturb it less; of the several figures of a series the median.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.leases.base import Term
from proxy.leases.clock import Clock
from proxy.leases.memory import MemoryStore
from proxy.leases.sqlite import SqliteStore
from proxy.leases.table import LeaseTable

from ..support.folder import Folder
from . import machine, measure, programs
from .peers import Popgate
from .workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.leases.base import LeaseStore

    from .measure import Effort
    from .peers import Running
    from .programs import Upstream

SESSIONS = (1, 1000, 10_000)
LEASES = (10, 10_000, 1_000_000)
_WINDOW = 3600.0  # seconds; no lease ends while it is measured
_HISTORY = 30 * 86400.0  # seconds: `[store] history` as shipped
_ASKED = 2000  # questions for one figure of CPU
_PURGED = 1000  # leases a turn, as the writer thread does it
_IDLE = 2.0  # seconds without anything to do
_LATER = 2 * _WINDOW
_PATIENCE = 60.0  # seconds: `[store] timeout`, on a busy machine


@dataclass(frozen=True)
class Series:
    """One quantity at several numbers of sessions or leases."""

    what: str
    unit: str
    of: str
    """"sessions" or "leases"."""
    name: str
    """Which store, or ""."""
    points: list[tuple[int, float]]

    def power(self) -> float | None:
        """1: it grows in proportion; 0: not at all.  Between the last two numbers."""
        if len(self.points) < 2 or min(value for _, value in self.points[-2:]) <= 0:
            return None
        (n1, value1), (n2, value2) = self.points[-2:]
        return max(0.0, math.log(value2 / value1) / math.log(n2 / n1))


class Reboot(Clock):
    """The clock of another boot, and of a later time."""

    def __init__(self, ahead: float = 0.0) -> None:
        super().__init__()
        self.boot_id = "another boot"
        self.ahead = ahead

    def boottime(self) -> float:
        return super().boottime() + self.ahead

    def wall(self) -> float:
        return super().wall() + self.ahead


def sessions(upstream: Upstream, certificate: Path, numbers: Sequence[int], effort: Effort) -> list[Series]:
    """`numbers`: of idle sessions; the last is lowered to what the descriptors allow."""
    idle, short = WORKLOADS["idle"], WORKLOADS["smtp"]
    resident, still, busy = [], [], []
    for wanted in numbers:
        number = min(wanted, machine.most_sessions() - short.parallel)
        with Popgate().run(idle, upstream, certificate) as proxy:
            _cost_of_a_session(proxy, effort)  # so that what it needs but once is there
            time.sleep(measure.SETTLED)
            before = machine.memory(proxy.pid)
            options = ("-n", str(number), "-p", str(min(number, 64)))
            with programs.hold(proxy.host, proxy.ports["pop3"], idle.steps, *options) as held:
                still.append((held, _used_while_idle(proxy, effort) * 1000))
                resident.append((held, float(machine.memory(proxy.pid) - before)))
                busy.append((held, _cost_of_a_session(proxy, effort)))
    return [
        Series("memory of the sessions", "KiB", "sessions", "", resident),
        Series("nothing happens", "ms of CPU a second", "sessions", "", still),
        Series("a short SMTP session beside them", "µs of CPU", "sessions", "", busy),
    ]


def _used_while_idle(proxy: Running, effort: Effort) -> float:
    time.sleep(measure.SETTLED)
    before = proxy.cpu_seconds()
    time.sleep(min(_IDLE, effort.seconds) * 2)
    return (proxy.cpu_seconds() - before) / (min(_IDLE, effort.seconds) * 2)


def _cost_of_a_session(proxy: Running, effort: Effort) -> float:
    short = WORKLOADS["smtp"]
    for seconds in (effort.warm_up, effort.seconds):
        before = proxy.cpu_seconds()
        options = ("-d", str(seconds), "-p", str(short.parallel))
        played = programs.play(proxy.host, proxy.ports["smtp"], short.steps, *options, patience=120.0)
    return (proxy.cpu_seconds() - before) / max(played.sessions, 1) * 1e6


def leases(upstream: Upstream, certificate: Path, numbers: Sequence[int]) -> list[Series]:
    """Each number in a process of its own, for the memory."""
    found: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for number in numbers:
        with Folder("growth") as name:
            path = Path(name) / "leases.db"
            figures = _apart(_in_sqlite, number, path) + _apart(_in_memory, number, path)
            figures.append(("start", "s until it serves", "SQLite", _start(upstream, certificate, path)))
            figures += _apart(_after_reboot, number, path)
            for what, unit, store, value in figures:
                found.setdefault((what, unit, store), []).append((number, value))
    return [Series(what, unit, "leases", store, points) for (what, unit, store), points in found.items()]


Figure = tuple[str, str, str, float]
"""What, unit, store, value."""


def _apart(measured: Callable[[int, Path], list[Figure]], number: int, path: Path) -> list[Figure]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(measured, number, path).result()


def _address(number: int) -> bytes:
    return (0x0A000000 + number).to_bytes(4, "big")  # 10.0.0.0/8


def _in_sqlite(number: int, path: Path) -> list[Figure]:
    clock = Clock()
    table = LeaseTable(path, clock, kept=_HISTORY)
    with table.transaction():
        for one in range(number):
            table.write(Term.starting(clock, _address(one), f"user{one}", "pop3", _WINDOW))
    table.close()
    before = _own_memory()
    store = SqliteStore(path, clock, _PATIENCE, kept=_HISTORY)
    figures = asyncio.run(_asked(store, number, "SQLite"))
    grown = _own_memory() - before
    store.close()
    size = sum(file.stat().st_size for file in path.parent.glob(path.name + "*")) / 2**20
    return [*figures, ("memory", "MiB", "SQLite", grown), ("on disk", "MiB", "SQLite", size)]


def _in_memory(number: int, _: Path) -> list[Figure]:
    clock = Reboot()
    store = MemoryStore(clock)
    before = _own_memory()
    for one in range(number):
        store.grant(_address(one), f"user{one}", "pop3", _WINDOW, lambda _: None)
    grown = _own_memory() - before
    figures = asyncio.run(_asked(store, number, "memory"))
    clock.ahead = _LATER
    ended, start = len(store), time.process_time()
    while len(store):
        store.find(b"", lambda _: None)
    forgotten = (time.process_time() - start) / ended * 1e6
    return [*figures, ("memory", "MiB", "memory", grown), ("forgetting", "µs of CPU a lease", "memory", forgotten)]


async def _asked(store: LeaseStore, number: int, name: str) -> list[Figure]:
    """CPU of a grant that waits for its commit, and of a look-up; every second address has a lease."""
    store.start(asyncio.get_running_loop())
    await _granted(store, 0)
    start = time.process_time()
    for one in range(_ASKED):
        await _granted(store, one * number // _ASKED)
    grant = (time.process_time() - start) / _ASKED * 1e6
    start = time.process_time()
    for one in range(_ASKED):
        store.find(_address(one * number // _ASKED + number * (one % 2)), lambda _: None)
    find = (time.process_time() - start) / _ASKED * 1e6
    return [("look-up", "µs of CPU", name, find), ("grant", "µs of CPU", name, grant)]


async def _granted(store: LeaseStore, one: int) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    store.grant(_address(one), f"user{one}", "pop3", _WINDOW, lambda _: done.set_result(None))
    await done


def _start(upstream: Upstream, certificate: Path, path: Path) -> float:
    """Seconds from its command to the first connection, the median of three."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        with Popgate(store=f"sqlite:{path}").run(WORKLOADS["smtp"], upstream, certificate):
            times.append(time.monotonic() - start)
    return statistics.median(times)


def _after_reboot(number: int, path: Path) -> list[Figure]:
    clock = Reboot()
    start = time.process_time()
    table = LeaseTable(path, clock, kept=_HISTORY)
    opening = time.process_time() - start
    clock.ahead = _LATER
    costs = []
    for _ in range(5):
        start = time.process_time()
        if purged := table.purge(_PURGED):
            costs.append((time.process_time() - start) / purged * 1e6)
    table.close()
    return [
        ("first opening after a reboot", "s of CPU", "SQLite", opening),
        ("forgetting", "µs of CPU a lease", "SQLite", statistics.median(costs)),
    ]


def _own_memory() -> float:
    """MiB."""
    return machine.memory(multiprocessing.current_process().pid or 0) / 1024
