"""The supervisor's end of the process that answers HTTP: started, restarted, told of a reload, ended.

It is restarted like a worker (node/workers.py) and never waited for.  It has nothing that must be brought to an end,
so it stays to the end of a drain, whose state it tells, and is killed then.  When the supervisor dies its channel
closes, and it goes by itself.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from ..node.channel import Channel
from ..node.workers import ending, pause

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from ..log import Log
    from ..node.channel import Message
    from ..node.sockets import ListeningSocket
    from .context import AdminContext


class AdminProcess:
    """See the module."""

    def __init__(
        self,
        listening: ListeningSocket | None,
        selector: selectors.BaseSelector,
        log: Log,
        clock: Callable[[], float],
        *,
        context: Callable[[socket.socket, socket.socket], AdminContext],
        let_go: Callable[[], None],
    ) -> None:
        """`listening`: None if there is to be no such process.  `context(listening, channel)`: what it is given;
        `let_go`: called in it, for what is the supervisor's and the workers'."""
        self.socket = listening
        self._log = log
        self._selector, self._clock, self._context, self._let_go = selector, clock, context, let_go
        self._pid = 0
        self._channel: Channel | None = None
        self._born = self._pause = self._restart_at = 0.0

    def start(self) -> None:
        if self.socket is None:
            return
        self._log.flush()
        self._born = self._clock()
        ours, theirs = socket.socketpair()
        # Its own copy: `let_go` closes what workers and others must not have.
        context = self._context(self.socket.sock.dup(), theirs)
        try:
            pid = os.fork()
        except OSError as error:
            for sock in (ours, theirs, context.sock):
                sock.close()
            self._restart_later(error.strerror or str(error))
            return
        if pid == 0:
            self._serve(context, ours)
        theirs.close()
        context.sock.close()
        self._pid = pid
        self._channel = Channel(ours, self._selector, lambda _: None, self._hung_up)

    def tell(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.tell(message)

    def died(self, pid: int, status: int) -> None:
        """A child that is no worker has ended; perhaps this one."""
        if pid == self._pid:
            self._pid = 0
            self._restart_later(ending(status))

    def restarts_at(self) -> list[float]:
        """When it is due to come back."""
        return [] if self._pid or self.socket is None else [self._restart_at]

    def restart(self, now: float) -> None:
        """Start it if its pause is over."""
        if not self._pid and self._channel is None and self._restart_at <= now:
            self.start()

    def forget(self) -> None:
        """In a child: these are not its sockets."""
        if self.socket is not None:
            self.socket.sock.close()
        if self._channel is not None:
            self._channel.close()

    def end(self) -> None:
        """End it and wait until it has; its port is free then."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self.forget()

    def _serve(self, context: AdminContext, ours: socket.socket) -> None:
        """In the child: let go of what is the supervisor's, serve, and never come back."""
        code = 1
        try:
            ours.close()
            self._let_go()
            from .server import run  # here and not above: it needs an extra

            code = run(context)
        except BaseException as error:
            self._log.line("error", "popgate", "admin-failed", ("why", repr(error)))
            self._log.flush()
        finally:
            os._exit(code)

    def _hung_up(self) -> None:
        self._channel = None

    def _restart_later(self, why: str) -> None:
        now = self._clock()
        self._pause = pause(self._pause, now - self._born)
        self._restart_at = now + self._pause
        self._log.line("error", "popgate", "admin-died", ("why", why), ("restart", f"{self._pause:.1f}s"))
