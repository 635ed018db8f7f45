"""How a gate under attack is doing: its workers' memory, descriptors and CPU time, and what an honest user sees.

`Vitals(gate)` reads /proc.  `HonestUser(gate)` reads and sends mail in a thread of its own for as long as a `with`
block lasts, from an address that no attacker uses, and fails the test if one round took longer than PATIENCE, or than
a hundred rounds before the attack where that is more (a machine that is busy with something else is no lag of ours):
that is the event-loop lag as a person meets it, measured from outside.

Figures for the pages go through `noted`: `pytest -rP` or POPGATE_FIGURES=FILE shows them.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .dialogue import Dialogue, pop_login, send, stuffed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .popgate import Popgate

PATIENCE = 5.0  # seconds for one login, or one message; on a machine that does nothing else it takes 0.01
ROUNDS = 100  # so many times what the slowest of three rounds takes without an attack
HONEST = "127.0.0.9"  # where the honest user sits
MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")


def noted(case: str, figure: str) -> None:
    """A figure worth a line on a page."""
    print(f"{case}: {figure}")
    if path := os.environ.get("POPGATE_FIGURES"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{case}: {figure}\n")


def eventually(condition: Callable[[], object], what: Callable[[], str] | str, seconds: float = 30.0) -> None:
    """Wait for a state that nobody announces; fail by saying `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        late = time.monotonic() >= deadline
        assert not late, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)


class Vitals:
    """The workers of a gate, looked at from outside; `..._before` are the figures of the moment it was made.

    Made before the attack and before there is an HonestUser, whose connections come and go.  One login and one message
    warm up the workers: the store is opened at the first.
    """

    def __init__(self, gate: Popgate) -> None:
        pop_login(gate.address("pop3"), source=HONEST)
        send(gate.address("smtp"), [b"friend@example.org"], source=HONEST)
        self._pids = gate.workers()
        self.descriptors_before = 0
        self._still = 0
        eventually(self._is_still, "the end of the first login")
        self.resident_before = self.resident()
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        self._peak_before = 0
        self._peak_before = self.peak_grown()
        self.cpu_before = self.cpu()

    def resident(self) -> int:
        """Octets of memory that are the workers' own (anonymous)."""
        return sum([self._status(pid, "RssAnon") for pid in self._pids]) * 1024

    def peak_grown(self) -> int:
        """The most that they had resident in all since this was made, in octets, above what they had then."""
        return sum([self._status(pid, "VmHWM") for pid in self._pids]) * 1024 - self._peak_before

    def grown(self) -> int:
        """Octets more than at the beginning."""
        return self.resident() - self.resident_before

    def descriptors(self) -> int:
        return sum([len(os.listdir(f"/proc/{pid}/fd")) for pid in self._pids])

    def cpu(self) -> float:
        """Seconds of CPU that the workers have used."""
        return sum([self._cpu(pid) for pid in self._pids])

    def settle(self) -> None:
        """All descriptors are back: no connection was forgotten."""
        before = self.descriptors_before
        eventually(
            lambda: self.descriptors() <= before, lambda: f"{self.descriptors()} descriptors, {before} at the beginning"
        )

    def _is_still(self) -> bool:
        """Whether as many descriptors were open at ten looks in a row."""
        before, self.descriptors_before = self.descriptors_before, self.descriptors()
        self._still = self._still + 1 if before == self.descriptors_before else 0
        return self._still >= 10

    @staticmethod
    def _status(pid: int, name: str) -> int:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise AssertionError(f"worker {pid} has no {name}")

    @staticmethod
    def _cpu(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class HonestUser:
    """Somebody who logs in and sends a message to a local and to a foreign recipient, over and over."""

    def __init__(self, gate: Popgate, pause: float = 0.05) -> None:
        """`pause`: seconds between two rounds."""
        self._pop3, self._smtp = gate.address("pop3"), gate.address("smtp")
        self._pause = pause
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self.rounds = 0
        self.slowest = 0.0  # seconds
        self.patience = PATIENCE
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> HonestUser:
        for _ in range(3):  # it works before the attack begins
            self._round()
        self.patience = max(PATIENCE, ROUNDS * self.slowest)
        self.slowest = 0.0
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        if kind is not None:
            return
        if self._failure is not None:
            raise self._failure
        assert self.rounds > 3
        assert self.slowest < self.patience, f"an honest user waited {self.slowest:.2f} s, of {self.patience:.2f} s"

    def _live(self) -> None:
        try:
            while not self._over.is_set():  # at least one round, however short the attack
                self._round()
                self._over.wait(self._pause)
        except BaseException as failure:
            self._failure = failure

    def _round(self) -> None:
        began = time.monotonic()
        with Dialogue(self._pop3, HONEST) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
            pop.ask(b"QUIT", b"+OK")
        between = time.monotonic()
        with Dialogue(self._smtp, HONEST) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"EHLO honest.example.net", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
            smtp.ask(b"RCPT TO:<friend@example.org>", b"250")
            smtp.ask(b"DATA", b"354")
            smtp.say(stuffed(b"Subject: honest\r\n\r\nmail\r\n"))
            smtp.expect(b"250")
            smtp.ask(b"QUIT", b"221")
        self.slowest = max(self.slowest, between - began, time.monotonic() - between)
        self.rounds += 1
