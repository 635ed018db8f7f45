"""What a look-up costs who waits for it: its time in SQLite and in Redis, and how often Redis is asked.

A foreign recipient takes one round trip to Redis, a local one none.  That is counted on a running popgate, by the
scripts that its Redis has executed: every question of a store is one script (proxy/leases/redis/scripts.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxy.leases.base import Term
from proxy.leases.clock import Clock
from proxy.leases.sqlite import SqliteStore
from proxy.leases.table import LeaseTable

from ..support.folder import Folder
from ..support.needs import path_of
from . import programs
from .peers import Popgate
from .workloads import LOG_IN, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.leases.base import LeaseStore

    from ..support.redis import RedisServer
    from .programs import Upstream

_LEASES = 10_000
_WINDOW = 3600.0  # seconds; no lease ends while it is measured
_STORE_TIMEOUT = 60.0  # seconds, on a busy machine
_SESSIONS = 100  # so many that the question that a worker puts every five seconds is none a session
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class LookUp:
    """One figure; None: there is no Redis here."""

    what: str
    value: float | None
    must: float | None = None


def measure(upstream: Upstream, certificate: Path, asked: int = 2000) -> list[LookUp]:
    """`asked`: look-ups for each median."""
    in_redis = local = foreign = None
    with _redis() as server:
        if server is not None:
            from proxy.leases.redis.store import RedisStore

            store = RedisStore(server.server, Clock(), _STORE_TIMEOUT)
            in_redis = asyncio.run(_median(store, asked))
            local = _trips(server, "smtp", upstream, certificate)
            foreign = _trips(server, "smtp-leased", upstream, certificate)
    return [
        LookUp("SQLite, median, µs", _in_sqlite(asked), 30.0),
        LookUp("Redis, median, µs", in_redis),
        LookUp("Redis, round trips for a foreign recipient", foreign, 1.0),
        LookUp("Redis, round trips for a local recipient", local, 0.0),
    ]


@contextlib.contextmanager
def _redis() -> Iterator[RedisServer | None]:
    """A Redis of our own, if there is one, and its library."""
    try:
        from ..support.redis import RedisServer
    except ImportError:
        yield None
        return
    if not path_of("redis-server"):
        yield None
        return
    with RedisServer() as server:
        yield server


def _address(number: int) -> bytes:
    return (0x0A000000 + number).to_bytes(4, "big")  # 10.0.0.0/8


def _in_sqlite(asked: int) -> float:
    clock = Clock()
    with Folder("look-ups") as name:
        table = LeaseTable(f"{name}/leases.db", clock)
        with table.transaction():
            for one in range(_LEASES):
                table.write(Term.starting(clock, _address(one), f"user{one}", "pop3", _WINDOW))
        table.close()
        return asyncio.run(_median(SqliteStore(f"{name}/leases.db", clock, _STORE_TIMEOUT), asked))


async def _median(store: LeaseStore, asked: int) -> float:
    """Microseconds from a question to its answer."""
    loop = asyncio.get_running_loop()
    store.start(loop)
    for one in range(1, 11):  # also opens what a store opens
        answered: asyncio.Future[object] = loop.create_future()
        store.grant(_address(one), f"user{one}", "pop3", _WINDOW, answered.set_result)
        await answered
    times = [await _time(loop, store, _address(one % _LEASES)) for one in range(asked)]
    store.close()
    await asyncio.sleep(0)
    return statistics.median(times) * 1e6


async def _time(loop: asyncio.AbstractEventLoop, store: LeaseStore, address: bytes) -> float:
    answered: asyncio.Future[float] = loop.create_future()
    start = time.perf_counter()
    store.find(address, lambda _: answered.set_result(time.perf_counter()))
    return await answered - start


def _trips(server: RedisServer, name: str, upstream: Upstream, certificate: Path) -> float:
    """Scripts that Redis executes for a session, to one decimal."""
    workload = replace(WORKLOADS[name], store=server.url())
    with Popgate().run(workload, upstream, certificate) as proxy:
        if workload.leased:
            leases = ("-n", str(programs.SOURCES))
            programs.play(proxy.host, proxy.ports["pop3"], LOG_IN, *leases, patience=_PATIENCE)
        options = ("-n", str(_SESSIONS), "-p", "16")
        before = _executed(server)
        played = programs.play(proxy.host, proxy.ports["smtp"], workload.steps, *options, patience=_PATIENCE)
        asked = _executed(server) - before
    return round(asked / max(1, played.sessions), 1)


def _executed(server: RedisServer) -> int:
    with server.client() as client:
        known = client.info("commandstats")
    return sum(int(known[f"cmdstat_{name}"]["calls"]) for name in ("eval", "evalsha") if f"cmdstat_{name}" in known)
