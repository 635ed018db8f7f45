"""The workers as their supervisor sees them: forked, watched, restarted, told what to do, asked.

A worker that dies is started again after a pause that grows while it keeps dying.  One whose loop does not beat
(shared_memory/connections.py) is called stalled, and only when all must end is it killed: somebody may have stopped it
to look at it. Nothing here waits for a worker.

What they are told and asked, and why, is ../supervisor.py and worker_queries.py; what they do, ../worker.py.
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .channel import Channel, Message

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from ..log import Log
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.figures import NodeFigures
    from .worker_context import WorkerContext

PAUSES: Final = (0.1, 30.0)
"""Seconds before a dead worker is restarted: the first time, doubling, and at most."""
STEADY: Final = 60.0
"""Seconds that a worker must have lived for its death to count as the first again."""
STALLED: Final = 5.0
"""Seconds in which a worker's loop must beat (it does ten times a second), and a question to it be answered."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker as the supervisor sees it."""

    number: int
    """From 0."""
    pid: int = 0
    """0: it is not running."""
    channel: Channel | None = None
    """For orders and answers; None: it has hung up."""
    ready: bool = False
    """Whether it has said that it serves."""
    born: float = 0.0
    """When it was started."""
    pause: float = 0.0
    """Seconds from its last death to its next start."""
    restart_at: float = 0.0
    """When that pause is over."""
    beats: int = 0
    """The last figure that its loop has shown."""
    beat_at: float = 0.0
    """When `beats` last changed."""
    stalled: bool = False
    """Whether that is too long ago."""


class Workers:
    """All workers of this node."""

    def __init__(
        self,
        counters: ConnectionCounters,
        selector: selectors.BaseSelector,
        log: Log,
        clock: Callable[[], float],
        *,
        figures: NodeFigures,
        context: Callable[[int, socket.socket], WorkerContext],
        let_go: Callable[[], None],
        work: Callable[[WorkerContext], int],
        heard: Callable[[WorkerProcess, Message], None],
        lost: Callable[[WorkerProcess], None],
        serving: Callable[[], None],
    ) -> None:
        """`figures`: where a dead worker's gauges are cleared.  `context(number, channel)`: what a worker that starts
        is given.  `let_go`: called in a new worker, for what is the supervisor's; then `work` is its life, which
        ends with an exit code.  `heard`: a worker said something;
        `lost`: it says nothing more.  `serving`: called once, when all are ready."""
        self._log = log
        self._restarting = True  # whether the dead come back
        self._all = [WorkerProcess(number) for number in range(counters.workers)]
        self.restarts = 0
        """How often a worker was started in place of one that had died."""
        self._counters, self._figures, self._selector, self._clock = counters, figures, selector, clock
        self._context, self._let_go, self._work = context, let_go, work
        self._heard, self._lost, self._on_serving = heard, lost, serving
        self.serving = False
        """Whether all have been ready, once."""

    def start(self) -> None:
        """Start all of them."""
        for worker in self._all:
            self._start(worker)

    def let_die(self) -> None:
        """From now on the dead don't come back: all are to end."""
        self._restarting = False

    def running(self) -> bool:
        """Whether any process is left."""
        return any(worker.pid for worker in self._all)

    def beat(self) -> bool:
        """Whether the loops of all that run beat.  One that died is no reason to say no: it is being restarted, and the
        others' sessions go on; but there must be one."""
        return self.running() and not any(worker.stalled for worker in self._all if worker.pid)

    def any_ready(self) -> bool:
        """Whether any of them serves."""
        return any(worker.ready and not worker.stalled for worker in self._all)

    def by_health(self) -> list[WorkerProcess]:
        """All, those that seem stuck last."""
        return sorted(self._all, key=lambda worker: worker.stalled)

    def order(self, message: Message) -> None:
        """Tell all; one that is being started has the new state already or reads this later."""
        for worker in self._all:
            if worker.channel is not None:
                worker.channel.tell(message)

    def status(self) -> list[Message]:
        """For `popgate status`: one object each."""
        return [
            {"number": c.number, "pid": c.pid, "ready": c.ready and not c.stalled, "stalled": c.stalled}
            for c in self._all
        ]

    def phrase(self) -> str:
        """How they are, in a few words."""
        if not self.serving:
            return "starting"
        troubles = [f"; worker {worker.number} is stuck" for worker in self._all if worker.pid and worker.stalled]
        troubles += [f"; worker {worker.number} is being restarted" for worker in self._all if not worker.ready]
        return f"serving with {len(self._all)} workers" + "".join(troubles)

    # Birth and death

    def _start(self, worker: WorkerProcess) -> None:
        self._log.flush()
        worker.born = worker.beat_at = self._clock()
        ours, theirs = socket.socketpair()
        context = self._context(worker.number, theirs)
        try:
            pid = os.fork()
        except OSError as error:  # too many processes: as if it had died at once
            ours.close()
            theirs.close()
            self._restart_later(worker, error.strerror or str(error))
            return
        if pid == 0:
            self._be_worker(context, ours)
        theirs.close()
        worker.pid, worker.ready, worker.stalled = pid, False, False
        worker.channel = Channel(
            ours, self._selector, lambda message: self._said(worker, message), lambda: self._hung_up(worker)
        )

    def _be_worker(self, context: WorkerContext, ours: socket.socket) -> None:
        """In the worker: let go of what is the supervisor's, serve, and never come back."""
        code = 1
        try:
            ours.close()
            self.close()
            self._let_go()
            code = self._work(context)
        except BaseException as error:
            self._log.line("error", "popgate", "worker-failed", ("worker", context.number), ("why", repr(error)))
            self._log.flush()
        finally:
            os._exit(code)

    def close(self) -> None:
        """Let go of the channels; nothing is said to the workers."""
        for worker in self._all:
            if worker.channel is not None:
                worker.channel.close()

    def _said(self, worker: WorkerProcess, message: Message) -> None:
        if "ready" not in message:
            self._heard(worker, message)
            return
        worker.ready = True
        if not self.serving and all(worker.ready for worker in self._all):
            self.serving = True
            self._log.line("info", "popgate", "serving", ("workers", len(self._all)))
            self._on_serving()

    def _hung_up(self, worker: WorkerProcess) -> None:
        worker.channel = None
        self._lost(worker)

    def reap(self, another: Callable[[int, int], None]) -> None:
        """Reap processes that have ended; after SIGCHLD.  `another(pid, status)`: one that was no worker."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not self.died(pid, status):
                another(pid, status)

    def died(self, pid: int, status: int) -> bool:
        """A process has ended; whether it was a worker."""
        worker = next((worker for worker in self._all if worker.pid == pid), None)
        if worker is None:
            return False
        worker.pid, worker.ready = 0, False
        self._counters.forget(worker.number)
        self._figures.forget(worker.number)
        if self._restarting:
            self._restart_later(worker, ending(status))
        return True

    def _restart_later(self, worker: WorkerProcess, why: str) -> None:
        now = self._clock()
        worker.pause = pause(worker.pause, now - worker.born)
        worker.restart_at = now + worker.pause
        words = (("worker", worker.number), ("why", why), ("restart", f"{worker.pause:.1f}s"))
        self._log.line("error", "popgate", "worker-died", *words)

    # Time

    def restarts_at(self) -> list[float]:
        """When the dead are due to come back."""
        return [worker.restart_at for worker in self._all if not worker.pid] if self._restarting else []

    def restart(self, now: float) -> None:
        """Start those whose pause is over."""
        for worker in self._all:
            if not worker.pid and worker.channel is None and worker.restart_at <= now and self._restarting:
                self.restarts += 1
                self._start(worker)

    def watch(self, now: float) -> None:
        """Say of a worker whose loop does not beat that it is stuck; call about once a second."""
        for worker in self._all:
            if not worker.pid:
                continue
            beats = self._counters.beats(worker.number)
            if beats != worker.beats:
                worker.beats, worker.beat_at = beats, now
            stalled = now - worker.beat_at > STALLED
            if stalled != worker.stalled:
                worker.stalled = stalled
                words = (("worker", worker.number), ("pid", worker.pid))
                self._log.line("error", "popgate", "worker-stalled" if stalled else "worker-back", *words)

    def kill(self) -> None:
        """End those that do not end."""
        for worker in self._all:
            if worker.pid:
                words = (("worker", worker.number), ("why", "it does not end"))
                self._log.line("error", "popgate", "worker-killed", *words)
                os.kill(worker.pid, signal.SIGKILL)


def ignore_signals() -> None:
    """In a worker: what is sent to popgate is the supervisor's."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)


def pause(last: float, lived: float) -> float:
    """Seconds until a process that has died is started again; `last`: the pause before, `lived`: seconds since then."""
    return PAUSES[0] if lived > STEADY else min(max(last * 2, PAUSES[0]), PAUSES[1])


def ending(status: int) -> str:
    """How a process ended, by its wait status."""
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
