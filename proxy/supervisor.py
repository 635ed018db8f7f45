"""The first process: binds the sockets, has workers forked, passes signals on, answers control, reloads and drains.

No event loop, thread or store lives here (rule N5): a fork copies only what is safe to copy.  What all workers share
is made before the first fork: listening sockets (N4: no connection is lost with a worker), TLS contexts (one set of
ticket keys), the census.

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
from .admin.process import AdminContext, AdminProcess
from .config import load
from .config.schema import LOG_LEVELS
from .errors import ConfigError
from .leases.clock import Clock
from .log import reopen
from .node import sessions
from .node import status as conditions
from .node.activation import inherited
from .node.agent import AgentServer, words
from .node.certificate_watch import CertificateWatch
from .node.channel import Message, config_text
from .node.control import Asker, ControlServer
from .node.notify import Notify
from .node.privileges import become, demand_net_raw, raise_descriptors
from .node.rotation import Rotation
from .node.service_sockets import ServiceSocket, bind_paths, bind_ports
from .node.sockets import bind_all, listening
from .node.tracing import Tracing
from .node.worker_context import WorkerContext
from .node.worker_queries import Inquiries
from .node.workers import Children, WorkerProcess
from .runtime import check_successor, log_of, make_tls, rehearse, reload_tls, server_keys, spoofing_keys
from .shadow import judged
from .shared_memory.connections import ConnectionCounters
from .shared_memory.failed_logins import FailedLogins
from .shared_memory.figures import NodeFigures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .config import Config
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

    def __init__(self, config: Config, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`path`: where SIGHUP reads the configuration from.  Raise ConfigError for what can't be served."""
        self._config, self._path, self._clock = config, path, clock
        self._node_clock = Clock()
        self._notify = Notify(os.environ, clock)
        self._tls: dict[str, ServerTls] = make_tls(config)
        rehearse(config, self._node_clock, self._tls, frozenset())
        admin.demand(config)
        self._sockets = bind_all(config, inherited(os.environ))
        self._doorways: list[ServiceSocket] = []
        with contextlib.ExitStack() as undo:
            undo.callback(self._close_sockets)
            agent = listening("admin.agent", config.admin.agent) if config.admin.agent else None
            if agent is not None:
                undo.callback(agent.sock.close)
            self._doorways += bind_ports(config)
            http = listening("admin.http", config.admin.http) if config.admin.http else None
            if http is not None:
                undo.callback(http.sock.close)
            spoofing = spoofing_keys(config)
            become(config.user, keep_net_raw=bool(spoofing))  # nothing below runs as root
            demand_net_raw(spoofing)
            self._doorways += bind_paths(config)
            self._bound = frozenset([one.address() for one in self._sockets])
            raise_descriptors()
            self._log = log_of(config)
            self._config = config = judged(config, self._log)
            self._census = ConnectionCounters(config.processes)
            self._census.servers.enlist(server_keys(config))
            self._failures = FailedLogins(config.processes, self._node_clock.now)
            self._board = NodeFigures(config.processes, {one.name: one.protocol for one in config.listeners.values()})
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._control = ControlServer(config.admin.control, self._selector, self._controlled)
            self._agent = AgentServer(agent, self._selector, self._agent_words, clock) if agent else None
            undo.pop_all()
        self._inquiries = Inquiries(self._control, clock)
        self._children = Children(
            self._census,
            self._selector,
            self._log,
            clock,
            board=self._board,
            context=self._outfit,
            let_go=self._let_go,
            work=worker.run,
            serving=self._serving,
            heard=self._heard,
            lost=self._inquiries.lost,
        )
        self._tracing = Tracing(self._control, self._children.order)
        self._token = secrets.token_urlsafe(18)
        self._admin = AdminProcess(
            http, self._selector, self._log, clock, context=self._admin_outfit, let_go=self._let_go_of_all
        )
        self._rotation = Rotation(config.log.file, self._reopen_log)
        self._certificates = CertificateWatch(self._tls.values())
        self._draining = self._signalled_once = self._refused = False
        self._drain_at: float | None = None  # announced, not begun
        self._kill_at = self._tick_at = 0.0

    def run(self) -> int:
        """Serve until a signal ends it."""
        wake, woken = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)  # by habit with others, SIGUSR1 is sent for logs: it ends no mail
        self._selector.register(wake, selectors.EVENT_READ, self._signalled)
        others = [self._agent.socket if self._agent else None, self._admin.socket]
        for one in [*self._sockets, *(other for other in others if other is not None)]:
            words = (("listener", one.listener), ("address", str(one)), ("by", "systemd" if one.kept else ""))
            self._log.line("info", "popgate", "listening", *words)
        for door in self._doorways:
            self._log.line("info", "popgate", "listening", ("listener", door.name), ("address", str(door)))
        conditions.warn(self._config, self._tls.values(), self._log)
        self._children.start()
        self._admin.start()
        while not self._draining or self._children.running():
            for key, _ in self._selector.select(self._pause()):
                key.data(key.fileobj)
            self._tick(self._clock())
            self._log.flush()
        self._children.close()
        self._control.close()
        if self._agent is not None:
            self._agent.close()
        self._admin.end()
        signal.set_wakeup_fd(-1)
        for sock in (wake, woken):
            sock.close()
        self._log.line("info", "popgate", "stopped")
        self._log.flush()
        return 0

    def _outfit(self, number: int, channel: socket.socket) -> WorkerContext:
        return WorkerContext(
            number, self._config, self._sockets, self._doorways, self._bound, self._tls, self._census, self._failures,
            self._board, channel,
        )  # fmt: skip

    def _admin_outfit(self, sock: socket.socket, channel: socket.socket) -> AdminContext:
        return AdminContext(self._config, sock, self._board, self._census, self._token, channel)

    def _let_go(self) -> None:
        """In a worker: these are not its own."""
        self._control.forget()
        if self._agent is not None:
            self._agent.forget()
        self._admin.forget()
        self._selector.close()

    def _let_go_of_all(self) -> None:
        """In the process of the status page: the workers' channels and sockets, too, aren't its own."""
        self._children.close()
        self._close_sockets()
        self._let_go()

    def _serving(self) -> None:
        """All workers are ready, for the first time."""
        self._notify.phrase(self._phrase())
        self._notify.ready()

    # Time

    def _pause(self) -> float:
        """How long to wait for something to happen: until the next tick or restart."""
        due = [self._tick_at, *self._children.restarts_at(), *self._admin.restarts_at()]
        if self._drain_at is not None:
            due.append(self._drain_at)
        return max(0.0, min(due) - self._clock())

    def _tick(self, now: float) -> None:
        self._children.restart(now)
        self._admin.restart(now)
        if self._drain_at is not None and now >= self._drain_at:
            self._drain(self._config.drain_timeout)
        if now < self._tick_at:
            return
        self._tick_at = now + min(_TICK, self._notify.pause)
        self._control.tick()
        if self._agent is not None:
            self._agent.tick()
        self._inquiries.tick(now)
        self._tracing.tick()
        self._rotation.tick(self._log)
        if self._certificates.tick(now, self._config, self._log):
            self._children.order({"order": "certificates"})
        self._children.watch(now)
        if self._children.beat():
            self._notify.alive(now)
        self._notify.phrase(self._phrase())
        if self._is_leaving():
            self._notify.extend(_EXTENSION)
        if self._draining and now > self._kill_at:
            self._children.kill()

    def _phrase(self) -> str:
        """For `systemctl status`."""
        if self._is_leaving():
            return f"draining, connections left: {self._census.connections()}"
        refused = "; the last reload was refused, see the log" if self._refused else ""
        return self._children.phrase() + refused

    def _close_sockets(self) -> None:
        for sock in [one.sock for one in self._sockets] + [one.sock for one in self._doorways]:
            sock.close()

    # Signals

    def _signalled(self, wake: socket.socket) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = wake.recv(4096)
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                if not self._signalled_once:
                    self._announce()
                elif self._drain_at is not None:
                    self._drain(self._config.drain_timeout)
                else:
                    self._drain(0.0)
                self._signalled_once = True
            elif number == signal.SIGHUP:
                self._reload()
        self._children.reap(self._admin.died)

    def _announce(self) -> None:
        """Drain; where a balancer asks, tell it a moment before."""
        if self._drain_at is not None:
            return
        if self._agent is None or self._draining:
            self._drain(self._config.drain_timeout)
            return
        self._log.line("info", "popgate", "announcing", ("seconds", round(ANNOUNCE)))
        self._notify.stopping()
        self._drain_at = self._clock() + ANNOUNCE

    def _drain(self, seconds: float) -> None:
        self._drain_at = None
        self._log.line("info", "popgate", "draining", ("seconds", round(seconds)))
        kill_at = self._clock() + seconds + _GRACE
        self._kill_at = min(self._kill_at, kill_at) if self._draining else kill_at
        self._draining = True
        self._notify.stopping()
        self._children.restarting = False
        self._children.order({"order": "drain", "seconds": seconds})
        self._close_sockets()

    def _reload(self, asker: Asker | None = None) -> None:
        """Read the configuration again.  Systemd and `asker` are told when all workers have it, or what is wrong with
        it; then nothing has changed."""
        if self._children.serving and not self._is_leaving():  # else READY=1 would say that the start is over
            self._notify.reloading()
        try:
            self._adopt()
        except ConfigError as error:
            for problem in error.problems:
                self._log.line("error", "popgate", "reload-refused", ("why", problem))
            self._reloaded(error.problems, asker)
            return
        order = {"order": "reload", "config": config_text(self._config)}
        self._admin.tell(order)
        self._inquiries.order(self._children.by_health(), order, lambda answers: self._taken(answers, asker))

    def _taken(self, answers: list[Message], asker: Asker | None) -> None:
        """All workers have the new configuration, but for those that say that they keep the old one.  Who has died is
        born again with the new one; who is stuck takes it when it goes on."""
        kept = [f"a worker keeps the old configuration, restart: {one['kept']}" for one in answers if "kept" in one]
        if not kept:
            self._log.line("info", "popgate", "reloaded")
        self._reloaded(kept, asker)

    def _reloaded(self, problems: list[str], asker: Asker | None) -> None:
        self._refused = bool(problems)
        self._notify.phrase(self._phrase())
        if self._children.serving and not self._is_leaving():
            self._notify.ready()
        if asker is not None:
            self._control.answer(asker, {"error": "\n".join(problems)} if problems else {"done": "reloaded"})

    def _adopt(self) -> None:
        """Have what the files say now; raise ConfigError where that can't be."""
        config = judged(load(self._path), self._log)
        check_successor(self._config, config, self._node_clock, self._tls, self._bound)
        self._log.flush()
        log = log_of(config)
        reload_tls(self._tls.values(), config)
        self._census.servers.enlist(server_keys(config))
        self._config = config
        self._log = self._children.log = self._admin.log = log
        self._rotation = Rotation(config.log.file, self._reopen_log)
        self._certificates.reloaded()

    def _reopen_log(self) -> None:
        reopen(self._log, self._config.log.file)
        self._tell_all({"order": "reopen-log"})

    def _tell_all(self, order: Message) -> None:
        self._children.order(order)
        self._admin.tell(order)

    # The control socket

    def _controlled(self, question: Message, asker: Asker) -> None:
        """Answer what `popgate status`, `leases` ... ask."""
        kind, workers = question.get("do"), self._children.by_health()
        if kind == "status":
            self._control.answer(asker, self._status())
        elif kind == "token":
            there = self._admin.socket is not None
            self._control.answer(asker, {"token": self._token} if there else {"error": "admin.http is off"})
        elif kind == "reload":
            self._reload(asker)
        elif kind == "drain":
            self._announce()
            self._control.answer(asker, {"done": "draining"})
        elif kind == "log-level":
            self._control.answer(asker, self._set_level(question.get("level")))
        elif kind == "trace":
            self._tracing.begin(question, asker)
        elif kind == "sessions":
            self._inquiries.ask_all(workers, question, asker, sessions.merged)
        else:
            self._inquiries.ask(sessions.concerned(workers, question), question, asker)

    def _set_level(self, level: object) -> Message:
        """Until the next reload, in workers that are started later too."""
        if level not in LOG_LEVELS:
            return {"error": f"no level of the log; there are {', '.join(LOG_LEVELS)}"}
        self._config = replace(self._config, log=replace(self._config.log, level=level))
        self._log.set_level(level)
        self._tell_all({"order": "log-level", "level": level})
        self._log.line("info", "popgate", "log-level", ("level", level))
        return {"done": f"log level {level}, until the next reload or restart"}

    def _heard(self, child: WorkerProcess, message: Message) -> None:
        """What a worker said, beside that it is ready."""
        if not self._tracing.heard(message):
            self._inquiries.answered(child, message)

    def _status(self) -> Message:
        return {
            "pid": os.getpid(),
            "workers": self._children.status(),
            "alive": self._children.beat(),
            "restarts": self._children.restarts,
            "agent": self._agent_words(),
            "connections": self._census.connections(),
            "draining": self._is_leaving(),
            "upstreams": conditions.status(self._config, self._census.servers, self._node_clock.now()),
            "certificates": conditions.certificates(self._tls.values()),
            "store": conditions.store(self._config, self._board),
        }

    def _is_leaving(self) -> bool:
        return self._draining or self._drain_at is not None

    def _agent_words(self) -> str:
        return words(
            draining=self._is_leaving(), ready=self._children.any_ready(),
            healthy=conditions.healthy(self._config, self._census.servers, self._node_clock.now()),
            connections=self._census.connections(), limit=self._config.limits.connections,
        )  # fmt: skip
