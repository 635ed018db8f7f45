"""Health probes: asks each server now and then how it is, and says in the log when one goes down or comes up.

A probe speaks the protocol as a client would: greeting, TLS where it is configured, EHLO or CAPA, QUIT.  One process of
the node probes, whoever is worker 0, and all workers read what it found (shared_memory/server_health.py), so that a
server's log fills no faster with more workers.  A server at which a client's session began within `health_interval` is
not probed: it has been asked already.  Intervals vary by a tenth, so that several nodes do not come all at once.

Down after `FALL` failed probes in a row, or at the first if it has never been seen up; a client's session that could
not begin (net/upstream/connector.py) takes it down at once, and is looked into at once.  Up after one success of either
kind: clients are better served by a server that comes too early, for they fail over, than by none.

A probe takes a place like a client (`max_connections`); a server that is full is not probed.

asyncio's streams are right here, where we speak a dialogue ourselves (upstream_client/talk.py); sessions are net/.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .errors import PopgateError, UpstreamUnavailable
from .upstream_client import talk
from .upstream_client.pop3 import Pop3
from .upstream_client.smtp import Smtp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .log import Log
    from .net.upstream.upstream import Address, Upstream

FALL: Final = 2
"""Probes that must fail in a row: one alone may be a lost packet or a server that is being restarted."""
JITTER: Final = 0.1
"""Share of the interval by which it varies."""
LOOK: Final = 0.5
"""Seconds between two looks at what clients' sessions found out."""


@dataclass(slots=True, eq=False)
class _Watch:
    """One server."""

    upstream: Upstream
    number: int
    """In the upstream's configuration."""
    said: str = "unknown"
    """The state that the log has."""
    since: float = 0.0
    """When it was seen to be down."""
    failures: int = 0
    """Probes that failed since the last success."""
    due: float = 0.0
    task: asyncio.Task[None] | None = None


class Prober:
    """Watches the servers of all upstreams."""

    def __init__(self, log: Log, clock: Callable[[], float], loop: asyncio.AbstractEventLoop) -> None:
        """`clock`: the one that the upstreams' pools have."""
        self.log = log
        self._clock, self._loop = clock, loop
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._look_at = 0.0

    def watch(self, upstreams: Iterable[Upstream]) -> None:
        """Watch the servers of these from now on, and no others; what is known of them stays.  One may come twice."""
        watches: dict[tuple[str, str], _Watch] = {}
        for upstream in upstreams:
            if upstream.is_original:
                continue  # there is a server for each client
            for number, server in enumerate(upstream.servers):
                key = upstream.name, str(server)
                if key in watches:
                    continue  # several listeners have this upstream
                watch = watches[key] = self._watches.pop(key) if key in self._watches else _Watch(upstream, number)
                watch.upstream, watch.number = upstream, number
        for left in self._watches.values():
            if left.task is not None:
                left.task.cancel()
        self._watches = watches

    def tick(self) -> None:
        """Look at all servers, and probe those whose time has come; call several times a second."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK
            for watch in self._watches.values():
                self._look(watch, now)

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self, watch: _Watch, now: float) -> None:
        upstream = watch.upstream
        known = upstream.pool.condition(watch.number)
        if known.state != watch.said:
            words = (("upstream", upstream.name), ("server", str(upstream.servers[watch.number])))
            if known.state == "down":
                self.log.line("warning", "popgate", "upstream-down", *words, ("why", known.why))
                watch.since = known.bad
                if not watch.failures:  # a client's session found out
                    watch.due = now
            elif watch.said == "down":
                self.log.line("info", "popgate", "upstream-up", *words, ("seconds", round(known.good - watch.since)))
            watch.said = known.state
        if not upstream.health_interval or watch.task is not None or now < watch.due:
            return
        watch.due = now + upstream.health_interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        if known.state == "up" and now - known.good < upstream.health_interval:
            watch.failures = 0  # a client was there
        elif upstream.pool.enter(watch.number):
            watch.task = self._loop.create_task(self._probe(watch))

    async def _probe(self, watch: _Watch) -> None:
        upstream, number, begun = watch.upstream, watch.number, self._clock()
        try:
            async with asyncio.timeout(upstream.connect_timeout):
                await probe(upstream, number)
        except (PopgateError, OSError, TimeoutError) as error:
            watch.failures += 1
            if watch.failures >= FALL or upstream.pool.condition(number).state != "up":
                upstream.pool.failed(number, begun, str(error) or "no answer in time")
        else:
            watch.failures = 0
            upstream.pool.succeeded(number, self._clock())
        finally:
            watch.task = None
            upstream.pool.leave(number)


async def probe(upstream: Upstream, number: int) -> None:
    """Ask one server by the first of its addresses that answers; raise PopgateError with the reason if none is well."""
    found: asyncio.Future[list[Address]] = asyncio.get_running_loop().create_future()

    def looked_up(addresses: list[Address]) -> None:
        if not found.done():  # else it was too late
            found.set_result(addresses)

    upstream.addresses(looked_up)
    problem: PopgateError = UpstreamUnavailable("its name can't be looked up")
    for address in [address for address in await found if address.server == number]:
        try:
            await _ask(upstream, address)
        except PopgateError as error:
            problem = error
        else:
            return
    raise problem


async def _ask(upstream: Upstream, address: Address) -> None:
    target = address.target
    where = (target, 0) if isinstance(target, str) else (target[0], target[1])
    connection = await talk.connect(
        talk.Address(address.family, *where), upstream.connect_timeout, upstream.announcing, probe=True
    )
    try:
        speaker = Smtp(connection) if upstream.protocol == "smtp" else Pop3(connection)
        if upstream.tls is not None and upstream.implicit:
            await connection.start_tls(upstream.tls, address.host)
        await speaker.greet()
        if upstream.tls is not None and not upstream.implicit:
            await speaker.upgrade()
            await connection.start_tls(upstream.tls, address.host)
        if isinstance(speaker, Pop3):
            await speaker.capabilities()
        elif (reply := await speaker.ask(f"EHLO {speaker.name}")).code // 100 == 4:
            raise UpstreamUnavailable(f"answer to EHLO: {reply.octets[:100].decode('ascii', 'replace').strip()}")
        with contextlib.suppress(PopgateError):
            await speaker.ask("QUIT")
    finally:
        await connection.close()
