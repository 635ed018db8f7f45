"""A supervisor without a fork: its workers are ends of socket pairs in the test's hand, and time is the test's.

For the tests of supervisor.py and its parts.  The whole program, with its processes, is tests/e2e/test_operator.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from loguru import logger

from proxy.config import load
from proxy.node.channel import Frames, packed
from proxy.supervisor import Supervisor

from .workshop import KeptLog

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_socketpair = socket.socketpair

SETTINGS = """
workers = 2
drain_timeout = "20s"
[store]
url = "sqlite:leases.db"
[listener.smtp]
protocol = "smtp"
bind = ["127.0.0.1:0"]
tls = "off"
[upstream.smtp]
servers = ["192.0.2.10:25"]
"""


class Office:
    """A Supervisor whose workers are ends of socket pairs in the test's hand; nothing is forked, nothing killed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
        """`more`: settings behind SETTINGS."""
        (folder / "conf.d").mkdir()
        self.path = folder / "conf.d" / "popgate.toml"
        self.path.write_text(SETTINGS + more)
        self.now = 1000.0
        self.forks = 0
        self.is_full = False  # there is room for no more processes
        self.killed: list[tuple[int, int]] = []
        self.is_over = False
        self.pairs: list[socket.socket] = []
        monkeypatch.setattr(socket, "socketpair", self._pair)
        monkeypatch.setattr(os, "fork", self.fork)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.killed.append((pid, number)))
        self.log = KeptLog()
        self.supervisor = Supervisor(load(self.path), self.path, lambda: self.now, self.log)
        self.workers = self.supervisor.workers

    def _pair(self, **kind: Any) -> tuple[socket.socket, socket.socket]:
        ours, theirs = _socketpair(**kind)
        self.pairs.append(theirs.dup())  # the supervisor closes its copy, as if there were a child
        return ours, theirs

    def fork(self) -> int:
        if self.is_full:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.forks += 1
        return 10_000_000 + self.forks  # above the largest process id that Linux gives

    def start(self) -> None:
        self.workers.start()
        for number, sock in enumerate(self.pairs):
            sock.sendall(packed({"ready": number}))
        self.turn()

    def end(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Its whole life, of which only the beginning and the end are left; the signals stay the test's."""
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr(signal, "set_wakeup_fd", lambda fd, **_: fd < 0 or os.write(fd, bytes([signal.SIGTERM])))
        monkeypatch.setattr(type(self.workers), "running", lambda _: False)
        self.is_over = True
        return self.supervisor.run()

    def turn(self) -> None:
        while self.supervisor.turn(0.0):
            pass

    def seconds(self, seconds: float, beating: tuple[int, ...] = ()) -> None:
        """Time goes by in the supervisor's loop, and only these workers' loops beat."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            for number in beating:
                self.supervisor.counters.beat(number)
            self.supervisor.tick(self.now)
            self.turn()

    def ask(self, question: dict[str, Any]) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(self.supervisor.config.admin.control))
        client.sendall(packed(question)[4:] + b"\n")
        self.turn()
        return client

    def heard(self, number: int) -> list[dict[str, Any]]:
        """What the worker was told and has not read yet."""
        self.pairs[number].settimeout(0.05)
        try:
            return Frames().feed(self.pairs[number].recv(1 << 20))
        except TimeoutError:
            return []

    def answer(self, number: int, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """The worker answers all that it was told, and which is returned."""
        heard = self.heard(number)
        for order in heard:
            self.pairs[number].sendall(packed({"tag": order["tag"], "answer": answer}))
        self.turn()
        return heard

    def died(self, number: int, status: int = signal.SIGKILL) -> None:
        """The worker's process ends: its socket closes, and the supervisor reaps it."""
        self.workers.died(self.workers.status()[number]["pid"], status)
        self.pairs[number].close()
        self.turn()

    def close(self) -> None:
        if not self.is_over:
            self.supervisor.let_go()
        for sock in self.pairs:
            sock.close()
        logger.remove()
        logger.add(sys.stderr)
