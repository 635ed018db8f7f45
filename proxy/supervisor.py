"""The first process: binds the sockets, has workers forked, passes signals on, answers control, reloads and drains.

No event loop, thread or store lives here (rule N5): a fork copies only what is safe to copy.  What all workers share
is made before the first fork: listening sockets (N4: no connection is lost with a worker), TLS contexts (one set of
ticket keys), the counters.

systemd may have made the sockets (node/activation.py) and is told how we are (node/notify.py).  Its watchdog is
answered only while every worker's loop beats: a worker that is stuck for good gets popgate restarted.

SIGTERM and SIGINT drain; a second one cuts.  Where a balancer asks node/agent.py, that is told first, and new clients
are served for `ANNOUNCE` seconds, so that none is sent here in vain (rule N6); a second signal skips these.  SIGHUP
reads the configuration again: it is checked here, completely, and only a good one goes to the workers (N7).  Once the
sockets are bound nothing runs as root any more.

Not here, but in node/: the workers' lives (node/workers.py), their answers (node/worker_queries.py), transcripts
(tracing.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from . import admin, worker
from .admin.context import AdminContext
from .admin.process import AdminProcess
from .config import load
from .config.schema import LOG_LEVELS
from .errors import ConfigError
from .leases.clock import Clock
from .log import node_log
from .node import sessions
from .node import status as node_status
from .node.agent import AgentServer, words
from .node.bindings import bind
from .node.certificate_watch import CertificateWatch
from .node.channel import Message, config_text
from .node.control import Asker, ControlServer
from .node.notify import Notify
from .node.rotation import Rotation
from .node.tracing import Tracing
from .node.worker_context import WorkerContext
from .node.worker_queries import WorkerQueries
from .node.workers import WorkerProcess, Workers
from .runtime import check_successor, make_tls, point_log, rehearse, reload_tls, server_keys
from .shadow import judged
from .shared_memory.connections import ConnectionCounters
from .shared_memory.failed_logins import FailedLogins
from .shared_memory.figures import NodeFigures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .config import Config
    from .log import Log
    from .net.tls.contexts import ServerTls

ANNOUNCE: Final = 5.0
"""Seconds between the agent's first `drain` and the drain: two of HAProxy's agent-inter (2 s, its default), and one."""
_TICK: Final = 1.0
"""Seconds between two looks at what takes too long."""
_EXTENSION: Final = 10.0
"""Seconds that systemd is asked to wait from each look on, while we drain."""
_GRACE: Final = 10.0
"""Seconds past the limit of a drain until a worker that is still there is killed: closing the store may take some."""


class Supervisor:
    """Runs popgate; `run` returns the exit code."""

    def __init__(
        self, config: Config, path: Path | None, clock: Callable[[], float] = time.monotonic, log: Log | None = None
    ) -> None:
        """`path`: where SIGHUP reads the configuration from; `log`: None: the node's.  Raise ConfigError for what can't
        be served."""
        self.config = config
        """What is served; a reload puts another in its place."""
        self._path, self._clock = path, clock
        self._node_clock = Clock()
        self._notify = Notify(os.environ, clock)
        self._tls: dict[str, ServerTls] = make_tls(config)
        rehearse(config, self._node_clock, self._tls, frozenset())
        admin.demand(config)
        self._bindings = bindings = bind(config, os.environ)
        with contextlib.ExitStack() as undo:
            undo.callback(bindings.close)
            self._log = log or node_log()
            point_log(self._log, config)
            self.config = config = judged(config, self._log)
            self.counters = ConnectionCounters(config.processes)
            """What the workers count."""
            self.counters.servers.enlist(server_keys(config))
            self._failures = FailedLogins(config.processes, self._node_clock.now)
            self._figures = NodeFigures(config.processes, {one.name: one.protocol for one in config.listeners.values()})
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self.control = ControlServer(config.admin.control, self._selector, self._controlled, clock)
            self.agent: AgentServer | None = None
            """Where a balancer asks."""
            if bindings.agent is not None:
                self.agent = AgentServer(bindings.agent, self._selector, self._agent_words, clock)
            undo.pop_all()
        self.queries = WorkerQueries(self.control, clock)
        self.workers = Workers(
            self.counters,
            self._selector,
            self._log,
            clock,
            figures=self._figures,
            context=self._worker_context,
            let_go=self._let_go_in_worker,
            work=worker.run,
            serving=self._serving,
            heard=self._heard,
            lost=self.queries.lost,
        )
        self.tracing = Tracing(self.control, self.workers.order)
        self._token = secrets.token_urlsafe(18)
        self.admin = AdminProcess(
            bindings.http, self._selector, self._log, clock, context=self._admin_context, let_go=self.let_go
        )
        self._rotation = Rotation(config.log.file, self._reopen_log)
        self._certificates = CertificateWatch(self._tls.values())
        self._draining = False
        self._drain_at: float | None = None  # announced, not begun
        self._kill_at = 0.0  # while draining: when those that are left are killed
        self._signalled_once = False  # by SIGTERM or SIGINT
        self._refused = False  # the last reload
        self._tick_at = 0.0

    def run(self) -> int:
        """Serve until a signal ends it."""
        wake, woken = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)  # by habit with others, SIGUSR1 is sent for logs: it ends no mail
        self._selector.register(wake, selectors.EVENT_READ, self._wakened)
        others = (self._bindings.agent, self._bindings.http)
        for one in [*self._bindings.listeners, *(other for other in others if other is not None)]:
            words = (("listener", one.listener), ("address", str(one)), ("by", "systemd" if one.kept else ""))
            self._log.line("info", "popgate", "listening", *words)
        for door in self._bindings.services:
            self._log.line("info", "popgate", "listening", ("listener", door.name), ("address", str(door)))
        node_status.warn(self.config, self._tls.values(), self._log)
        self.workers.start()
        self.admin.start()
        while not self._draining or self.workers.running():
            self.turn(self.pause())
            self.tick(self._clock())
            self._log.flush()
        self.workers.close()
        self.control.close()
        if self.agent is not None:
            self.agent.close()
        self.admin.end()
        signal.set_wakeup_fd(-1)
        for sock in (wake, woken):
            sock.close()
        self._selector.close()
        self._log.line("info", "popgate", "stopped")
        self._log.flush()
        return 0

    def turn(self, seconds: float) -> bool:
        """Answer what has come, waiting at most this long for it; whether there was anything."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            key.data(key.fileobj)
        return bool(ready)

    def _worker_context(self, number: int, channel: socket.socket) -> WorkerContext:
        return WorkerContext(
            number,
            self.config,
            self._bindings.listeners,
            self._bindings.services,
            self._bindings.bound,
            self._tls,
            self.counters,
            self._failures,
            self._figures,
            channel,
        )

    def _admin_context(self, sock: socket.socket, channel: socket.socket) -> AdminContext:
        return AdminContext(self.config, sock, self._figures, self.counters, self._token, channel)

    def _let_go_in_worker(self) -> None:
        """In a worker: these are not its own."""
        self.control.forget()
        if self.agent is not None:
            self.agent.forget()
        self.admin.forget()
        self._selector.close()

    def let_go(self) -> None:
        """In the process of the status page: the workers' channels and sockets, too, aren't its own."""
        self.workers.close()
        self._bindings.close_workers()
        self._let_go_in_worker()

    def _serving(self) -> None:
        """All workers are ready, for the first time."""
        self._notify.phrase(self.phrase())
        self._notify.ready()

    # Time

    def pause(self) -> float:
        """Seconds to wait for something to happen: until the next tick or restart."""
        due = [self._tick_at, *self.workers.restarts_at(), *self.admin.restarts_at()]
        if self._drain_at is not None:
            due.append(self._drain_at)
        return max(0.0, min(due) - self._clock())

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.workers.restart(now)
        self.admin.restart(now)
        if self._drain_at is not None and now >= self._drain_at:
            self.drain(self.config.drain_timeout)
        if now < self._tick_at:
            return
        self._tick_at = now + min(_TICK, self._notify.pause)
        self.control.tick()
        if self.agent is not None:
            self.agent.tick()
        self.queries.tick(now)
        self.tracing.tick()
        self._rotation.tick(self._log)
        if self._certificates.tick(now, self.config, self._log):
            self.workers.order({"order": "certificates"})
        self.workers.watch(now)
        if self.workers.beat():
            self._notify.alive(now)
        self._notify.phrase(self.phrase())
        if self._is_leaving():
            self._notify.extend(_EXTENSION)
        if self._draining and now > self._kill_at:
            self.workers.kill()

    def phrase(self) -> str:
        """For `systemctl status`."""
        if self._is_leaving():
            return f"draining, connections left: {self.counters.connections()}"
        refused = "; the last reload was refused, see the log" if self._refused else ""
        return self.workers.phrase() + refused

    # Signals

    def _wakened(self, wake: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            self.signalled(wake.recv(4096))

    def signalled(self, numbers: bytes) -> None:
        """These signals have come."""
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                if not self._signalled_once:
                    self._announce()
                elif self._drain_at is not None:
                    self.drain(self.config.drain_timeout)
                else:
                    self.drain(0.0)
                self._signalled_once = True
            elif number == signal.SIGHUP:
                self._reload()
        self.workers.reap(self.admin.died)

    def _announce(self) -> None:
        """Drain; where a balancer asks, tell it a moment before."""
        if self._drain_at is not None:
            return
        if self.agent is None or self._draining:
            self.drain(self.config.drain_timeout)
            return
        self._log.line("info", "popgate", "announcing", ("seconds", round(ANNOUNCE)))
        self._notify.stopping()
        self._drain_at = self._clock() + ANNOUNCE

    def drain(self, seconds: float) -> None:
        """Have all sessions end within this time, and popgate with them (rule N6)."""
        self._drain_at = None
        self._log.line("info", "popgate", "draining", ("seconds", round(seconds)))
        kill_at = self._clock() + seconds + _GRACE
        self._kill_at = min(self._kill_at, kill_at) if self._draining else kill_at
        self._draining = True
        self._notify.stopping()
        self.workers.let_die()
        self.workers.order({"order": "drain", "seconds": seconds})
        self._bindings.close_workers()

    def _reload(self, asker: Asker | None = None) -> None:
        """Read the configuration again.  Systemd and `asker` are told when all workers have it, or what is wrong with
        it; then nothing has changed."""
        if self.workers.serving and not self._is_leaving():  # else READY=1 would say that the start is over
            self._notify.reloading()
        try:
            self._adopt()
        except ConfigError as error:
            for problem in error.problems:
                self._log.line("error", "popgate", "reload-refused", ("why", problem))
            self._reloaded(error.problems, asker)
            return
        order = {"order": "reload", "config": config_text(self.config)}
        self.admin.tell(order)
        self.queries.order(self.workers.by_health(), order, lambda answers: self._taken(answers, asker))

    def _taken(self, answers: list[Message], asker: Asker | None) -> None:
        """All workers have the new configuration, but for those that say that they keep the old one.  One that
        has died is started again with the new one; one that is stuck takes it when it goes on."""
        kept = [f"a worker keeps the old configuration, restart: {one['kept']}" for one in answers if "kept" in one]
        if not kept:
            self._log.line("info", "popgate", "reloaded")
        self._reloaded(kept, asker)

    def _reloaded(self, problems: list[str], asker: Asker | None) -> None:
        self._refused = bool(problems)
        self._notify.phrase(self.phrase())
        if self.workers.serving and not self._is_leaving():
            self._notify.ready()
        if asker is not None:
            self.control.answer(asker, {"error": "\n".join(problems)} if problems else {"done": "reloaded"})

    def _adopt(self) -> None:
        """Have what the files say now; raise ConfigError where that can't be."""
        config = judged(load(self._path), self._log)
        check_successor(self.config, config, self._node_clock, self._tls, self._bindings.bound)
        point_log(self._log, config)
        reload_tls(self._tls.values(), config)
        self.counters.servers.enlist(server_keys(config))
        self.config = config
        self._rotation = Rotation(config.log.file, self._reopen_log)
        self._certificates.reloaded()

    def _reopen_log(self) -> None:
        self._log.reopen(self.config.log.file)
        self._tell_all({"order": "reopen-log"})

    def _tell_all(self, order: Message) -> None:
        self.workers.order(order)
        self.admin.tell(order)

    # The control socket

    def _controlled(self, question: Message, asker: Asker) -> None:
        """Answer what `popgate status`, `leases` ... ask."""
        kind, workers = question.get("do"), self.workers.by_health()
        if kind == "status":
            self.control.answer(asker, self.status())
        elif kind == "token":
            there = self.admin.socket is not None
            self.control.answer(asker, {"token": self._token} if there else {"error": "admin.http is off"})
        elif kind == "reload":
            self._reload(asker)
        elif kind == "drain":
            self._announce()
            self.control.answer(asker, {"done": "draining"})
        elif kind == "log-level":
            self.control.answer(asker, self._set_level(question.get("level")))
        elif kind == "trace":
            self.tracing.begin(question, asker)
        elif kind == "sessions":
            self.queries.ask_all(workers, question, asker, sessions.merged)
        else:
            self.queries.ask(sessions.concerned(workers, question), question, asker)

    def _set_level(self, level: object) -> Message:
        """Until the next reload, in workers that are started later too."""
        if level not in LOG_LEVELS:
            return {"error": f"no level of the log; there are {', '.join(LOG_LEVELS)}"}
        self.config = replace(self.config, log=replace(self.config.log, level=level))
        self._log.set_level(level)
        self._tell_all({"order": "log-level", "level": level})
        self._log.line("info", "popgate", "log-level", ("level", level))
        return {"done": f"log level {level}, until the next reload or restart"}

    def _heard(self, child: WorkerProcess, message: Message) -> None:
        """What a worker said, beside that it is ready."""
        if not self.tracing.heard(message):
            self.queries.answered(child, message)

    def status(self) -> Message:
        """For `popgate status`."""
        return {
            "pid": os.getpid(),
            "workers": self.workers.status(),
            "alive": self.workers.beat(),
            "restarts": self.workers.restarts,
            "agent": self._agent_words(),
            "connections": self.counters.connections(),
            "draining": self._is_leaving(),
            "upstreams": node_status.status(self.config, self.counters.servers, self._node_clock.now()),
            "certificates": node_status.certificates(self._tls.values()),
            "store": node_status.store(self.config, self._figures),
        }

    def _is_leaving(self) -> bool:
        return self._draining or self._drain_at is not None

    def _agent_words(self) -> str:
        return words(
            draining=self._is_leaving(), ready=self.workers.any_ready(),
            healthy=node_status.healthy(self.config, self.counters.servers, self._node_clock.now()),
            connections=self.counters.connections(), limit=self.config.limits.connections,
        )  # fmt: skip
