"""The first process: binds the sockets, forks workers, restarts those that die, passes signals on, answers control.

No event loop, thread or store lives here (RULES N5): a fork copies only what is safe to copy.  What all workers share
is made before the first fork: listening sockets (N4: no connection is lost with a worker), TLS contexts (one set of
ticket keys), the census.

SIGTERM and SIGINT drain; a second one cuts.  SIGHUP reads the configuration again: it is checked here, completely, and
only a good one goes to the workers (N7).  After the sockets are bound everything runs as `user`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .channel import Frames, Message, config_text, packed
from .config import load
from .control import ControlServer
from .errors import ConfigError
from .leases.clock import Clock
from .log import Log, open_log
from .net.census import Census
from .runtime import build_services, make_tls, needs_restart, open_store
from .worker import Outfit, run

if TYPE_CHECKING:
    from pathlib import Path

    from .config import Config
    from .net.tls import ServerTls

_BACKLOG: Final = 4096
"""Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn."""
_PAUSES: Final = (0.1, 30.0)
"""Seconds before a dead worker is restarted: the first time, doubling, and at most."""
_STEADY: Final = 60.0
"""Seconds that a worker must have lived for its death to count as the first again."""
_DESCRIPTORS_ASIDE: Final = 64
"""Descriptors of a worker that are no connection: store, log, listeners, epoll."""


@dataclass(slots=True)
class _Child:
    """A worker as the supervisor sees it."""

    number: int
    pid: int = 0
    channel: socket.socket | None = None
    frames: Frames = field(default_factory=Frames)
    ready: bool = False
    born: float = 0.0
    pause: float = _PAUSES[0]
    restart_at: float = 0.0


class Supervisor:
    """Runs popgate; `run` returns the exit code."""

    def __init__(self, config: Config, path: Path | None) -> None:
        """`path`: where SIGHUP reads the configuration from.  Raise ConfigError for what can't be served."""
        self._config, self._path = config, path
        self._log: Log = open_log(config.log.level, config.log.format, config.log.file)
        self._sockets = _bind_all(config)
        self._bound = frozenset([(str(sock.getsockname()[0]), int(sock.getsockname()[1])) for _, sock in self._sockets])
        self._tls: dict[str, ServerTls] = make_tls(config)
        build_services(config, open_store(config, Clock()), self._tls, self._bound)  # only to see that it can be done
        _raise_descriptors()
        _drop_privileges(config.user)
        self._census = Census(config.processes)
        self._selector = selectors.DefaultSelector()
        self._control = ControlServer(config.admin.control, self._selector, self._controlled)
        self._children = [_Child(number) for number in range(config.processes)]
        self._waiting: dict[int, tuple[_Child, object]] = {}
        self._draining = False
        self._announced = False

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
        for child in self._children:
            self._start(child)
        while self._children and not (self._draining and not any(child.pid for child in self._children)):
            for key, _ in self._selector.select(self._pause()):
                key.data(key.fileobj)
            self._restart_due()
            self._log.flush()
        self._control.close()
        self._log.line("info", "popgate", "stopped")
        self._log.flush()
        return 0

    # Workers

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair()
        self._log.flush()
        outfit = Outfit(child.number, self._config, self._sockets, self._bound, self._tls, self._census, theirs)
        pid = os.fork()
        if pid == 0:
            self._be_worker(outfit, ours)
        theirs.close()
        child.pid, child.channel, child.frames, child.ready = pid, ours, Frames(), False
        child.born = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, lambda sock: self._heard(child))

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

    def _heard(self, child: _Child) -> None:
        channel = child.channel
        assert channel is not None
        try:
            data = channel.recv(1 << 20)
            messages = child.frames.feed(data)
        except (OSError, ValueError):
            data, messages = b"", []
        for message in messages:
            if "ready" in message:
                child.ready = True
                self._announce()
            elif (waiting := self._waiting.pop(int(message.get("tag", -1)), None)) is not None:
                self._control.answer(waiting[1], message.get("answer", {}))
        if not data:
            self._selector.unregister(channel)
            channel.close()
            child.channel = None
            for tag in [tag for tag, (asked, _) in self._waiting.items() if asked is child]:
                self._control.answer(self._waiting.pop(tag)[1], {"error": "the worker that was asked has died"})

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
        if self._draining:
            return
        now = time.monotonic()
        child.pause = _PAUSES[0] if now - child.born > _STEADY else min(child.pause * 2, _PAUSES[1])
        child.restart_at = now + child.pause
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        self._log.line("error", "popgate", "worker-died", ("worker", child.number), ("why", how),
                       ("restart", f"{child.pause:.1f}s"))  # fmt: skip

    def _pause(self) -> float | None:
        """How long to wait for something to happen: until the next restart."""
        due = [child.restart_at for child in self._children if not child.pid and not self._draining]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _restart_due(self) -> None:
        if self._draining:
            return
        for child in self._children:
            if not child.pid and child.channel is None and child.restart_at <= time.monotonic():
                self._start(child)

    def _order(self, child: _Child, message: Message) -> bool:
        if child.channel is None:
            return False
        try:
            child.channel.sendall(packed(message))
        except OSError:
            return False
        return True

    # Signals

    def _signalled(self, wake: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in wake.recv(4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._drain(0.0 if self._draining else self._config.drain_timeout)
                elif number == signal.SIGHUP:
                    self._reload()
        self._reap()

    def _drain(self, seconds: float) -> None:
        self._log.line("info", "popgate", "draining", ("seconds", round(seconds)))
        self._draining = True
        for child in self._children:
            self._order(child, {"order": "drain", "seconds": seconds})
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
            for tls in self._tls.values():
                tls.reload(config.tls.certificates, config.tls.min_version)
            log = open_log(config.log.level, config.log.format, config.log.file)
        except (ConfigError, OSError) as error:
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            for problem in problems:
                self._log.line("error", "popgate", "reload-refused", ("why", problem))
            return problems
        self._log.flush()
        self._config, self._log = config, log
        for child in self._children:
            self._order(child, {"order": "reload", "config": config_text(config)})
        self._log.line("info", "popgate", "reloaded")
        return []

    # The control socket

    def _controlled(self, question: Message, asker: object) -> None:
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

    def _ask_worker(self, question: Message, asker: object) -> None:
        tag = max(self._waiting, default=0) + 1
        for child in self._children:
            if child.ready and self._order(child, {"order": "ask", "tag": tag, "question": question}):
                self._waiting[tag] = (child, asker)
                return
        self._control.answer(asker, {"error": "no worker is running"})

    def _status(self) -> Message:
        return {
            "pid": os.getpid(),
            "workers": [{"number": c.number, "pid": c.pid, "ready": c.ready} for c in self._children],
            "connections": self._census.connections(),
            "draining": self._draining,
        }


def _bind_all(config: Config) -> list[tuple[str, socket.socket]]:
    """Bind every address of every listener; raise ConfigError with all that can't be bound."""
    sockets: list[tuple[str, socket.socket]] = []
    problems: list[str] = []
    for name, listener in config.listeners.items():
        for endpoint in listener.bind:
            family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as error:
                problems.append(f"listener.{name}: {endpoint}: {error.strerror}")
                continue
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit both on Linux
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((endpoint.host, endpoint.port))
                sock.listen(_BACKLOG)
            except OSError as error:
                sock.close()
                problems.append(f"listener.{name}: can't listen on {endpoint}: {error.strerror}; {_cure(error)}")
                continue
            sockets.append((name, sock))
    if problems:
        for _, sock in sockets:
            sock.close()
        raise ConfigError(problems)
    return sockets


def _cure(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "ports below 1024 need root (popgate drops to `user` afterwards) or CAP_NET_BIND_SERVICE"
    return "`ss -ltnp` shows who has it" if error.errno == 98 else "check the address"


def _raise_descriptors() -> None:
    """As many descriptors as we may have: each connection takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _drop_privileges(user: str) -> None:
    """Become `user` for good; nothing to do without one."""
    if not user:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError([f"user: there is no user {user!r}; `adduser --system {user}` makes one"]) from None
    if os.geteuid() == entry.pw_uid:
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise ConfigError([f"user: only root can become {user!r}; start popgate as root or as {user}"]) from None
