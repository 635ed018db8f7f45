"""One worker process: an event loop, the store, the listeners, and the links between them.

`run` is called in the child after the fork and returns the exit code.  The worker takes orders from its supervisor
through a socket pair (node/channel.py): `reload` with a configuration that the supervisor has checked, `drain`,
questions about leases.  When that pair closes the supervisor has died, and the worker drains: nobody would restart it
or count its connections.

The loop is uvloop's where it is installed, asyncio's own where not (POPGATE_LOOP=asyncio chooses it).
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import termios
from typing import TYPE_CHECKING, Final

from .errors import ConfigError
from .gate.patience import Patience
from .health import Prober
from .leases.clock import Clock
from .leases.renewals import Renewals
from .leases.sqlite import SqliteStore
from .leases.usage_report import UsageRecorder
from .metrics import NODE, WAITING, LookUps
from .neighbours.query_server import query_server
from .neighbours.reminders import Reminders
from .net.accept.balancer_check import BalancerCheck
from .net.accept.listener import Listener
from .net.link.link import Link
from .net.service import Service, Shared
from .net.sockets.leg import LINGER
from .net.sockets.poller import Poller
from .net.timers import TICK, Deadlines
from .net.upstream.pool import Pools
from .node import sessions
from .node.channel import MAX, Frames, config_of, packed
from .node.store_watch import StoreWatch
from .node.workers import ignore_signals
from .queries import address as known
from .queries.leases import ask, noted
from .runtime import (
    build_others,
    build_query_handlers,
    build_services,
    log_of,
    open_store,
    point_log,
    reload_tls,
    upstreams_of,
)
from .wire import address

try:  # here and not where it is used: by then we are `user`, to whom root's virtual environment may be closed
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .config import Config
    from .leases.base import Key
    from .neighbours.whoson_client import WhosonClient
    from .net.service import Connection
    from .node.channel import Message
    from .node.worker_context import WorkerContext
    from .wire.proxyheader import ProxyHeader


_YOUNG: Final = 20_000
"""Objects before cycles are looked for: Python's 700 are reached by ten sessions, which leave none (2 % of the CPU)."""
_REMEMBERING: Final = 5.0
"""Seconds from one batch of what was observed to the next."""


def run(context: WorkerContext) -> int:
    """Serve until drained; the exit code of the process."""
    ignore_signals()  # the supervisor passes on what concerns us
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        worker = Worker(context, loop)
        gc.collect()
        gc.set_threshold(_YOUNG)
        gc.freeze()  # what was made so far lives as long as the process
        return loop.run_until_complete(worker.serve())
    finally:
        loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop, or asyncio's where uvloop is missing or not wanted."""
    if uvloop is not None and os.environ.get("POPGATE_LOOP") != "asyncio":
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


class Worker:
    """See the module."""

    def __init__(self, context: WorkerContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context, self._loop = context, loop
        self._config = config = context.config
        self._log = log_of(config)
        self._figures = context.figures.row(context.number)
        self._refusals = context.counters.refusals.row(context.number)
        self._look_ups = LookUps(self._figures.figures[NODE])
        clock = Clock()
        self._clock = clock.reader()
        self._store = open_store(config, clock, context.counters.unwritten(context.number), self._store_news)
        self._poller = Poller(loop)
        self._deadlines = Deadlines(self._clock)
        self._renewals = Renewals(self._store, self._clock)
        self._reminders = Reminders(self._clock)
        self._notes = UsageRecorder(clock.wall)
        self._links: set[Link | BalancerCheck] = set()
        self._serial = 0
        self._drain_until: float | None = None
        self._cut = False
        self._done: asyncio.Future[int] = loop.create_future()
        self._shared = Shared(
            poller=self._poller,
            deadlines=self._deadlines,
            log=self._log,
            clock=self._clock,
            closed=self._closed,
            leased=self._leased,
            left=self._left,
            notes=self._notes,
            counters=context.counters,
            failures=context.failures,
            figures=self._figures.figures,
            refusals=self._refusals,
            worker=context.number,
        )
        self._patience = Patience(self._store, self._clock, config.gate.patience_waiting)
        row = context.counters.servers.row(context.number)
        self._pools = Pools(row, self._clock, lambda action: loop.call_soon(action))
        if row.wake_fd is not None:
            loop.add_reader(row.wake_fd, self._pools.woken)
        others = build_others(config, self._log)
        services = self._build(config, others)
        self._prober = Prober(self._log, self._clock, loop) if context.number == 0 else None
        if self._prober is not None:
            self._prober.watch(upstreams_of(services))
        self._listeners = [self._listen(one.sock, services[one.listener]) for one in context.sockets]
        handlers = build_query_handlers(config, self._store, self._log, others)
        self._query_servers = [
            query_server(one.sock, handlers[one.name], self._poller, self._log) for one in context.service_sockets
        ]
        self._frames = Frames()
        self._store.start(loop)
        self._store_watch = StoreWatch(self._store, self._look_ups, self._store_news, first=context.number == 0)
        self._store_watch.start(loop)
        context.channel.setblocking(False)
        loop.add_reader(context.channel.fileno(), self._orders)
        loop.call_later(TICK, self._tick)
        loop.call_later(_REMEMBERING, self._remember)

    async def serve(self) -> int:
        """Serve until drained; return the exit code."""
        self._tell({"ready": self._context.number})
        try:
            return await self._done
        finally:
            self._loop.remove_reader(self._context.channel.fileno())
            for server in self._query_servers:
                await server.shut()
            self._hand_over_notes()
            self._figures.publish()
            if self._prober is not None:
                await self._prober.close()
            self._store.close()
            await asyncio.sleep(0)  # the loop lets go of what the store has closed
            self._poller.shut()
            self._log.flush()

    def _build(self, config: Config, others: WhosonClient | None) -> dict[str, Service]:
        context = self._context
        return build_services(
            config, self._store, context.tls, context.bound, self._pools, self._patience, others, self._look_ups
        )

    def _listen(self, sock: socket.socket, service: Service) -> Listener:
        limits = self._config.limits
        listener = Listener(
            sock,
            service,
            shared=self._shared,
            loop=self._loop,
            counters=self._context.counters,
            worker=self._context.number,
            connections=limits.connections,
            per_client=limits.connections_per_client,
            accepted=self._accepted,
        )
        listener.start()
        return listener

    # Links

    def _accepted(
        self, service: Service, sock: socket.socket, address: bytes, shown: str, header: ProxyHeader | None
    ) -> None:
        self._serial += 1
        id_ = f"{self._context.number}-{self._serial:x}"
        if header is not None and header.source is None:
            check = BalancerCheck(self._shared, service, sock, address, shown, id_)
            self._links.add(check)
            check.start()
        else:
            link = Link(self._shared, service, sock, address, shown, id_, header)
            self._links.add(link)
            link.begin()

    def _closed(self, connection: Connection) -> None:
        self._links.difference_update([connection])
        self._left(connection)
        self._context.counters.leave(self._context.number, connection.address)

    def _leased(self, connection: Connection, key: Key) -> None:
        service = connection.service
        self._renewals.begin(connection, key, service.policy.window, service.max_age)
        if (others := service.policy.others) is not None:
            self._reminders.begin(connection, lambda: others.tell(connection.address, key[1]), service.max_age)

    def _left(self, connection: Connection) -> None:
        """The client is gone, whatever the server makes of it: a new owner of its address is not to inherit (G4)."""
        self._renewals.end(connection)
        self._reminders.end(connection)

    def _store_news(self, event: str, why: str) -> None:
        words = ("worker", self._context.number), ("why", why)
        if event == "store-back":
            self._log.line("info", "popgate", "store-back", *words)
        elif event == "store-emptied":
            self._log.line("error", "popgate", "store-emptied", *words)
        else:
            self._log.line("error", "popgate", "store-down", *words)

    # Time

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        self._context.counters.beat(self._context.number)
        self._context.failures.tick(self._context.number)
        self._deadlines.tick()
        self._patience.tick()
        self._figures.figures[NODE][WAITING] = len(self._patience)
        self._figures.publish()
        self._refusals.publish()
        self._renewals.tick()
        self._reminders.tick()
        self._pools.tick()
        if self._prober is not None:
            self._prober.tick()
        if self._drain_until is not None:
            self._drain_on(self._drain_until)
        self._hand_over_traces()
        self._log.flush()

    def _remember(self) -> None:
        self._loop.call_later(_REMEMBERING, self._remember)
        self._hand_over_notes()
        self._store_watch.ask()

    def _hand_over_notes(self) -> None:
        batch = self._notes.take()
        if isinstance(self._store, SqliteStore):
            self._store.observe(batch)

    def _hand_over_traces(self) -> None:
        """As much as the socket takes at once: a supervisor that is slow must not hold us up."""
        channel = self._context.channel
        while fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4)) == bytes(4):
            batch = self._shared.traces.take()
            if batch is None:
                return
            self._tell(batch)

    # Orders of the supervisor

    def _orders(self) -> None:
        try:
            data = self._context.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self._loop.remove_reader(self._context.channel.fileno())
            self._log.line("error", "popgate", "supervisor-lost", ("worker", self._context.number))
            self._drain(self._config.drain_timeout)
            return
        for message in self._frames.feed(data):
            self._obey(message)

    def _obey(self, message: Message) -> None:
        order = message.get("order")
        if order == "drain":
            self._drain(float(message["seconds"]))
        elif order == "reload":
            self._tell({"tag": message["tag"], "answer": self._reload(config_of(message["config"]))})
        elif order == "log-level":
            self._log.set_level(message["level"])
        elif order == "reopen-log":
            self._reopen_log()
        elif order == "certificates":
            self._read_certificates()
        elif order == "trace":
            self._shared.traces.clients = frozenset([address.packed(client) for client in message["clients"]])
        elif order == "ask":
            tag = message["tag"]
            self._asked(message["question"], lambda answer: self._tell({"tag": tag, "answer": answer}))

    def _read_certificates(self) -> None:
        try:
            reload_tls(self._context.tls.values(), self._config)
        except ConfigError as error:  # what the supervisor could read a moment ago
            self._log.line("error", "popgate", "reload-failed", ("worker", self._context.number), ("why", str(error)))

    def _reopen_log(self) -> None:
        try:
            self._log.reopen(self._config.log.file)
        except OSError as error:  # the old file is still written
            self._log.line("error", "popgate", "log-failed", ("worker", self._context.number), ("why", str(error)))

    def _asked(self, question: Message, then: Callable[[Message], None]) -> None:
        kind = question.get("do")
        if kind == "why":
            known.ask(self._store, question, then, self._context.failures.of)
        elif kind == "sessions":
            then(sessions.listed(self._links))
        elif kind == "kick":
            then(sessions.kick(self._links, str(question.get("id"))))
        else:
            ask(self._store, question, noted(self._log, question, then))

    def _tell(self, message: Message) -> None:
        """Say something to the supervisor; it reads all the time, so what the socket does not take is waited for."""
        channel = self._context.channel
        octets = packed(message)
        if len(octets) > MAX:
            octets = packed(message | {"answer": {"error": "too many leases to list"}})
        try:
            channel.setblocking(True)
            channel.sendall(octets)
        except OSError:
            pass  # it is gone; `_orders` hears of it
        finally:
            channel.setblocking(False)

    def _reload(self, config: Config) -> Message:
        """Swap in a checked configuration; living sessions keep theirs (rule N7).  Return {"kept": why} if not."""
        context = self._context
        try:
            reload_tls(context.tls.values(), config)
            others = build_others(config, self._log)
            services = self._build(config, others)
            point_log(self._log, config)
        except ConfigError as error:  # what the supervisor could read a moment ago
            self._log.line("error", "popgate", "reload-failed", ("worker", context.number), ("why", str(error)))
            return {"kept": str(error)}
        self._config = config
        self._patience.maximum = config.gate.patience_waiting
        if self._prober is not None:
            self._prober.watch(upstreams_of(services))
        sessions.leave_shadow(self._links, services)
        limits = config.limits
        for one, listener in zip(context.sockets, self._listeners, strict=True):
            listener.adopt(services[one.listener], limits.connections, limits.connections_per_client)
        handlers = build_query_handlers(config, self._store, self._log, others)
        for service, server in zip(context.service_sockets, self._query_servers, strict=True):
            server.adopt(handlers[service.name])
        return {}

    def _drain(self, seconds: float) -> None:
        """Take no more work, finish what is under way, and cut the rest after `seconds` (rule N6)."""
        if self._drain_until is None:
            for listener, one in zip(self._listeners, self._context.sockets, strict=True):
                listener.drain(turn_away=not one.kept)
                one.sock.close()  # with the last copy the port is free, for a popgate that is started in the meantime
            for service, server in zip(self._context.service_sockets, self._query_servers, strict=True):
                server.close()
                service.sock.close()
            self._drain_until = self._clock() + seconds
        else:
            self._drain_until = min(self._drain_until, self._clock() + seconds)
        self._drain_on(self._drain_until)

    def _drain_on(self, until: float) -> None:
        now = self._clock()
        for link in list(self._links):
            if now >= until and not self._cut:
                link.cut()
            else:
                link.drain()
        if now >= until:
            self._cut = True
            for listener in self._listeners:
                listener.cut()
        arriving = any(listener.arriving for listener in self._listeners)
        if (not (self._links or arriving) or now >= until + LINGER) and not self._done.done():
            self._done.set_result(0)
