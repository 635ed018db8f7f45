"""The first process: binds the sockets, forks workers, restarts those that die, passes signals on, answers control.

No event loop, thread or store lives here (RULES N5): a fork copies only what is safe to copy.  What all workers share
is made before the first fork: listening sockets (N4: no connection is lost with a worker), TLS contexts (one set of
ticket keys), the census.

SIGTERM and SIGINT drain; a second one cuts.  SIGHUP reads the configuration again: it is checked here, completely, and
only a good one goes to the workers (N7).  After the sockets are bound everything runs as `user`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .channel import Channel, Message, config_text
from .config import load
from .control import Asker, ControlServer
from .errors import ConfigError
from .leases.clock import Clock
from .log import Log, open_log
from .net.census import Census
from .privileges import become, bind_all, raise_descriptors
from .runtime import build_services, make_tls, needs_restart, open_store
from .worker import Outfit, run

if TYPE_CHECKING:
    from pathlib import Path

    from .config import Config
    from .net.tls import ServerTls

_PAUSES: Final = (0.1, 30.0)
"""Seconds before a dead worker is restarted: the first time, doubling, and at most."""
_STEADY: Final = 60.0
"""Seconds that a worker must have lived for its death to count as the first again."""
_TICK: Final = 1.0
"""Seconds between two looks at what takes too long."""
_STALLED: Final = 5.0
"""Seconds in which a worker's loop must beat (it does ten times a second), and a question to it be answered."""
_GRACE: Final = 10.0
"""Seconds past the limit of a drain until a worker that is still there is killed: closing the store may take some."""


@dataclass(slots=True)
class _Child:
    """A worker as the supervisor sees it."""

    number: int
    pid: int = 0
    channel: Channel | None = None
    ready: bool = False
    born: float = 0.0
    pause: float = 0.0
    restart_at: float = 0.0
    beats: int = 0
    beat_at: float = 0.0
    """When `beats` last changed."""
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that a worker has not answered yet."""

    child: _Child
    asker: Asker
    until: float


class Supervisor:
    """Runs popgate; `run` returns the exit code."""

    def __init__(self, config: Config, path: Path | None) -> None:
        """`path`: where SIGHUP reads the configuration from.  Raise ConfigError for what can't be served."""
        self._config, self._path = config, path
        self._sockets = bind_all(config)
        with contextlib.ExitStack() as undo:
            for _, sock in self._sockets:
                undo.callback(sock.close)
            bound = [sock.getsockname()[:2] for _, sock in self._sockets]
            self._bound = frozenset([(str(host), int(port)) for host, port in bound])
            self._tls: dict[str, ServerTls] = make_tls(config)
            build_services(config, open_store(config, Clock()), self._tls, self._bound)  # to see that it can be done
            raise_descriptors()
            become(config.user)
            self._log: Log = _opened(config)
            self._census = Census(config.processes)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._control = ControlServer(config.admin.control, self._selector, self._controlled)
            undo.pop_all()
        self._children = [_Child(number) for number in range(config.processes)]
        self._asked: dict[int, _Asked] = {}
        self._tags = itertools.count(1)
        self._draining = self._signalled_once = self._announced = False
        self._kill_at = 0.0
        self._tick_at = 0.0

    def run(self) -> int:
        """Serve until a signal ends it."""
        wake, woken = socket.socketpair()
        for sock in (wake, woken):
            sock.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ, self._signalled)
        for name, sock in self._sockets:
            host, port = sock.getsockname()[:2]
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._log.line("info", "popgate", "listening", ("listener", name), ("address", shown))
        self._warn_of_files()
        for child in self._children:
            self._start(child)
        while self._children and not (self._draining and not any(child.pid for child in self._children)):
            for key, _ in self._selector.select(self._pause()):
                key.data(key.fileobj)
            self._tick(time.monotonic())
            self._log.flush()
        self._control.close()
        signal.set_wakeup_fd(-1)
        for sock in (wake, woken):
            sock.close()
        self._log.line("info", "popgate", "stopped")
        self._log.flush()
        return 0

    def _warn_of_files(self) -> None:
        """Say what `user` may not touch.  No reason not to start: mail can be read without a store (the workers try
        again each second), and certificates have been read."""
        path, who = self._config.store.path, f"uid {os.geteuid()}"
        if path is not None:
            folder = os.access(path.parent, os.W_OK | os.X_OK)  # SQLite keeps its -wal beside the file
            if not folder or (os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK)):
                why = f"{who} can't write {'it' if folder else 'in its folder'}"
                self._log.line("error", "popgate", "store-down", ("path", str(path)), ("why", why))
        for key in sorted({certificate.key for tls in self._tls.values() for certificate in tls.certificates}):
            if not os.access(key, os.R_OK):
                why = f"{who} can't read it: every reload will be refused"
                self._log.line("warning", "popgate", "key-closed", ("path", str(key)), ("why", why))

    # Workers

    def _start(self, child: _Child) -> None:
        self._log.flush()
        child.born = child.beat_at = time.monotonic()
        ours, theirs = socket.socketpair()
        outfit = Outfit(child.number, self._config, self._sockets, self._bound, self._tls, self._census, theirs)
        try:
            pid = os.fork()
        except OSError as error:  # too many processes: as if it had died at once
            ours.close()
            theirs.close()
            self._restart_later(child, error.strerror or str(error))
            return
        if pid == 0:
            self._be_worker(outfit, ours)
        theirs.close()
        child.pid, child.ready, child.stalled = pid, False, False
        child.channel = Channel(
            ours, self._selector, lambda message: self._heard(child, message), lambda: self._lost(child)
        )

    def _be_worker(self, outfit: Outfit, ours: socket.socket) -> None:
        """In the child: let go of what is the supervisor's, serve, and never come back."""
        code = 1
        try:
            ours.close()
            for child in self._children:
                if child.channel is not None:
                    child.channel.close()
            self._control.forget()
            self._selector.close()
            code = run(outfit)
        except BaseException as error:
            self._log.line("error", "popgate", "worker-failed", ("worker", outfit.number), ("why", repr(error)))
            self._log.flush()
        finally:
            os._exit(code)

    def _heard(self, child: _Child, message: Message) -> None:
        if "ready" in message:
            child.ready = True
            self._announce()
            return
        tag, answer = message.get("tag"), message.get("answer")
        if not isinstance(tag, int) or not isinstance(answer, dict):
            return
        asked = self._asked.get(tag)  # None: it came too late
        if asked is not None and asked.child is child:
            del self._asked[tag]
            self._control.answer(asked.asker, answer)

    def _lost(self, child: _Child) -> None:
        child.channel = None
        self._give_up([tag for tag, asked in self._asked.items() if asked.child is child], "has died")

    def _give_up(self, tags: list[int], why: str) -> None:
        for tag in tags:
            self._control.answer(self._asked.pop(tag).asker, {"error": f"the worker that was asked {why}"})

    def _announce(self) -> None:
        if not self._announced and all(child.ready for child in self._children):
            self._announced = True
            self._log.line("info", "popgate", "serving", ("workers", len(self._children)))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._died(child, status)

    def _died(self, child: _Child, status: int) -> None:
        child.pid, child.ready = 0, False
        self._census.forget(child.number)
        if not self._draining:
            signalled = os.WIFSIGNALED(status)
            self._restart_later(
                child, f"signal {os.WTERMSIG(status)}" if signalled else f"exit code {os.WEXITSTATUS(status)}"
            )

    def _restart_later(self, child: _Child, why: str) -> None:
        now = time.monotonic()
        steady = now - child.born > _STEADY
        child.pause = _PAUSES[0] if steady else min(max(child.pause * 2, _PAUSES[0]), _PAUSES[1])
        child.restart_at = now + child.pause
        words = (("worker", child.number), ("why", why), ("restart", f"{child.pause:.1f}s"))
        self._log.line("error", "popgate", "worker-died", *words)

    # Time

    def _pause(self) -> float:
        """How long to wait for something to happen: until the next tick or restart."""
        due = [self._tick_at] + [child.restart_at for child in self._children if not child.pid and not self._draining]
        return max(0.0, min(due) - time.monotonic())

    def _tick(self, now: float) -> None:
        for child in self._children:
            if not child.pid and child.channel is None and child.restart_at <= now and not self._draining:
                self._start(child)
        if now < self._tick_at:
            return
        self._tick_at = now + _TICK
        self._control.tick()
        self._give_up([tag for tag, asked in self._asked.items() if asked.until <= now], "does not answer")
        for child in self._children:
            if child.pid:
                self._watch(child, now)

    def _watch(self, child: _Child, now: float) -> None:
        """Say of a worker whose loop does not beat that it is stuck; kill it only when all must end."""
        beats = self._census.beats(child.number)
        if beats != child.beats:
            child.beats, child.beat_at = beats, now
        stalled = now - child.beat_at > _STALLED
        if stalled != child.stalled:
            child.stalled = stalled
            words = (("worker", child.number), ("pid", child.pid))
            self._log.line("error", "popgate", "worker-stalled" if stalled else "worker-back", *words)
        if self._draining and now > self._kill_at:
            self._log.line("error", "popgate", "worker-killed", ("worker", child.number), ("why", "it does not end"))
            os.kill(child.pid, signal.SIGKILL)

    def _order(self, message: Message) -> None:
        """Tell all workers; one that is being started has the new state already or reads this later."""
        for child in self._children:
            if child.channel is not None:
                child.channel.tell(message)

    # Signals

    def _signalled(self, wake: socket.socket) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = wake.recv(4096)
        for number in numbers:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._drain(0.0 if self._signalled_once else self._config.drain_timeout)
                self._signalled_once = True
            elif number == signal.SIGHUP:
                self._reload()
        self._reap()

    def _drain(self, seconds: float) -> None:
        self._log.line("info", "popgate", "draining", ("seconds", round(seconds)))
        kill_at = time.monotonic() + seconds + _GRACE
        self._kill_at = min(self._kill_at, kill_at) if self._draining else kill_at
        self._draining = True
        self._order({"order": "drain", "seconds": seconds})
        for _, sock in self._sockets:
            sock.close()

    def _reload(self) -> list[str]:
        """Read the configuration again; return what is wrong with it, having changed nothing then."""
        try:
            config = load(self._path)
            problems = needs_restart(self._config, config)
            if problems:
                raise ConfigError(problems)
            build_services(config, open_store(config, Clock()), self._tls, self._bound)
            make_tls(config)  # only to see that it can be done
            self._log.flush()
            log = _opened(config)
            for tls in self._tls.values():
                tls.reload(config.tls.certificates, config.tls.min_version)
        except ConfigError as error:
            for problem in error.problems:
                self._log.line("error", "popgate", "reload-refused", ("why", problem))
            return error.problems
        self._config, self._log = config, log
        self._order({"order": "reload", "config": config_text(config)})
        self._log.line("info", "popgate", "reloaded")
        return []

    # The control socket

    def _controlled(self, question: Message, asker: Asker) -> None:
        """Answer what `popgate status`, `leases` ... ask."""
        kind = question.get("do")
        if kind == "status":
            self._control.answer(asker, self._status())
        elif kind == "reload":
            problems = self._reload()
            self._control.answer(asker, {"error": "\n".join(problems)} if problems else {"done": "reloaded"})
        elif kind == "drain":
            self._drain(self._config.drain_timeout)
            self._control.answer(asker, {"done": "draining"})
        else:
            self._ask_worker(question, asker)

    def _ask_worker(self, question: Message, asker: Asker) -> None:
        tag = next(self._tags)
        for child in sorted(self._children, key=lambda child: child.stalled):
            channel = child.channel
            if child.ready and channel and channel.tell({"order": "ask", "tag": tag, "question": question}):
                self._asked[tag] = _Asked(child, asker, time.monotonic() + _STALLED)
                return
        self._control.answer(asker, {"error": "no worker is running"})

    def _status(self) -> Message:
        return {
            "pid": os.getpid(),
            "workers": [
                {"number": c.number, "pid": c.pid, "ready": c.ready and not c.stalled, "stalled": c.stalled}
                for c in self._children
            ],
            "connections": self._census.connections(),
            "draining": self._draining,
        }


def _opened(config: Config) -> Log:
    try:
        return open_log(config.log.level, config.log.format, config.log.file)
    except OSError as error:
        raise ConfigError([f"log.file: can't write {config.log.file}: {error.strerror}; check its folder"]) from error
