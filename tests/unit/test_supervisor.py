"""supervisor.py without a fork: how deaths, silence, questions, reloads and the end are treated.

The whole program, with its processes, is tests/e2e/test_operator.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from proxy import supervisor as module
from proxy.channel import Frames, packed
from proxy.config import load
from proxy.supervisor import Supervisor

from ..support.folder import Folder
from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Office:
    """A Supervisor whose workers are ends of socket pairs in the test's hand; nothing is forked, nothing killed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "conf.d").mkdir()
        self.path = folder / "conf.d" / "popgate.toml"
        self.path.write_text(SETTINGS)
        self.clock = Clock()
        self.forks = 0
        self.killed: list[tuple[int, int]] = []
        self.pairs: list[socket.socket] = []
        monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(socket, "socketpair", self._pair)
        monkeypatch.setattr(os, "fork", self._fork)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.killed.append((pid, number)))
        self.supervisor: Any = Supervisor(load(self.path), self.path)
        self.log = self.supervisor._log = KeptLog()

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = _socketpair()
        self.pairs.append(theirs.dup())  # the supervisor closes its copy, as if there were a child
        return ours, theirs

    def _fork(self) -> int:
        self.forks += 1
        return 10_000_000 + self.forks  # above the largest process id that Linux gives

    def start(self) -> None:
        for child in self.supervisor._children:
            self.supervisor._start(child)
        for number, sock in enumerate(self.pairs):
            sock.sendall(packed({"ready": number}))
        self.turn()

    def turn(self) -> None:
        while ready := self.supervisor._selector.select(0):
            for key, _ in ready:
                key.data(key.fileobj)

    def seconds(self, seconds: float, beating: tuple[int, ...] = ()) -> None:
        """Time goes by in the supervisor's loop, and only these workers' loops beat."""
        for _ in range(round(seconds * 2)):
            self.clock.now += 0.5
            for number in beating:
                self.supervisor._census.beat(number)
            self.supervisor._tick(self.clock.now)
            self.turn()

    def ask(self, question: dict[str, Any]) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(self.supervisor._config.admin.control))
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

    def close(self) -> None:
        self.supervisor._control.close()
        for child in self.supervisor._children:
            if child.channel is not None:
                child.channel.close()
        self.supervisor._selector.close()
        for _, sock in self.supervisor._sockets:
            sock.close()
        for sock in self.pairs:
            sock.close()
        logger.remove()
        logger.add(sys.stderr)


_socketpair = socket.socketpair


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with Folder("office") as name:
        made = Office(Path(name), monkeypatch)
        yield made
        made.close()


def died(office: Office, number: int, status: int = signal.SIGKILL) -> None:
    """The worker's process ends: its socket closes, and the supervisor reaps it."""
    office.supervisor._died(office.supervisor._children[number], status)
    office.pairs[number].close()
    office.turn()


def test_N5_it_serves_when_all_are_ready(office: Office) -> None:
    office.start()
    assert office.log.of("serving") == [{"workers": 2}]


def test_N5_a_dead_worker_comes_back_after_a_growing_pause(office: Office) -> None:
    office.start()
    office.pairs[1].close()
    pauses = []
    for _ in range(12):
        died(office, 0)
        pauses.append(office.log.of("worker-died")[-1]["restart"])
        before = office.forks
        office.supervisor._tick(office.clock.now)
        assert office.forks == before, "not before its time"
        office.clock.now += float(pauses[-1][:-1])
        assert office.supervisor._pause() == 0.0
        office.supervisor._tick(office.clock.now)
        assert office.forks == before + 1
        office.pairs[0] = office.pairs.pop()
    assert pauses[:4] == ["0.1s", "0.2s", "0.4s", "0.8s"]
    assert pauses[-1] == "30.0s"


def test_N5_a_worker_that_lived_long_comes_back_at_once_again(office: Office) -> None:
    office.start()
    for _ in range(3):
        died(office, 0)
        office.clock.now += 1
        office.supervisor._tick(office.clock.now)
        office.pairs[0] = office.pairs.pop()
    office.clock.now += 61
    died(office, 0, status=0)
    assert office.log.of("worker-died")[-1] == {"worker": 0, "why": "exit code 0", "restart": "0.1s"}


def test_N5_a_dead_worker_s_connections_are_gone(office: Office) -> None:
    office.start()
    census = office.supervisor._census
    for number in (0, 1):
        census.enter(number, b"\x7f\0\0\1")
    died(office, 0)
    assert census.connections() == 1


def test_when_there_can_t_be_a_process_it_tries_later(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    office.supervisor._start(office.supervisor._children[0])
    assert office.log.of("worker-died")[-1]["why"] == "Resource temporarily unavailable"
    monkeypatch.setattr(os, "fork", office._fork)
    office.clock.now += 0.2
    office.supervisor._tick(office.clock.now)
    assert office.forks == 2


# --- questions


def test_a_question_goes_to_a_worker_and_its_answer_back(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    (order,) = office.heard(0)
    assert order["question"] == {"do": "leases"}
    office.pairs[0].sendall(packed({"tag": order["tag"], "answer": {"leases": []}}))
    office.turn()
    assert client.recv(100) == b'{"leases": []}\n'
    client.close()


def test_N5_a_stopped_worker_s_question_is_given_up(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    office.seconds(6, beating=(1,))
    assert b"does not answer" in client.recv(200)
    assert office.supervisor._asked == {}
    client.close()


def test_N5_the_next_question_goes_to_one_that_lives(office: Office) -> None:
    office.start()
    office.seconds(6, beating=(1,))
    client = office.ask({"do": "leases"})
    assert office.heard(0) == []
    assert office.heard(1)[0]["order"] == "ask"
    client.close()


def test_a_late_answer_is_no_other_question_s(office: Office) -> None:
    office.start()
    first = office.ask({"do": "leases"})
    (order,) = office.heard(0)
    office.seconds(6, beating=(0, 1))
    second = office.ask({"do": "leases"})
    office.pairs[0].sendall(packed({"tag": order["tag"], "answer": {"leases": ["old"]}}))
    office.turn()
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.recv(10)
    first.close()
    second.close()


def test_a_worker_that_dies_owes_its_answers(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    died(office, 0)
    assert b"the worker that was asked has died" in client.recv(200)
    client.close()


def test_without_a_worker_it_says_so(office: Office) -> None:
    client = office.ask({"do": "leases"})
    assert b"no worker is running" in client.recv(200)
    client.close()


@pytest.mark.parametrize(
    "message",
    [{}, {"tag": "x"}, {"tag": 1}, {"tag": 1, "answer": 7}, {"tag": 99, "answer": {}}, {"tag": [1]}, {"tag": None}],
)
def test_what_a_worker_says_can_t_break_the_supervisor(office: Office, message: dict[str, Any]) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    office.pairs[0].sendall(packed(message))
    office.turn()
    assert list(office.supervisor._asked) == [1]
    client.close()


def test_N5_orders_to_a_stopped_worker_hold_nobody_up(office: Office) -> None:
    office.start()
    for _ in range(20_000):
        office.supervisor._order({"order": "reload", "config": "x" * 1000})
    client = office.ask({"do": "leases"})
    assert b"no worker is running" in client.recv(200)
    client.close()


def test_N5_a_loop_that_does_not_beat_is_said_once_and_shown(office: Office) -> None:
    office.start()
    office.seconds(10, beating=(1,))
    assert office.log.of("worker-stalled") == [{"worker": 0, "pid": 10_000_001}]
    shown = office.supervisor._status()["workers"]
    assert [(worker["ready"], worker["stalled"]) for worker in shown] == [(False, True), (True, False)]
    office.seconds(1, beating=(0, 1))
    assert office.log.of("worker-back") == [{"worker": 0, "pid": 10_000_001}]
    assert office.killed == [], "someone may have stopped it to look at it"


# --- the end


def drains(office: Office) -> list[float]:
    return [words["seconds"] for words in office.log.of("draining")]


def signalled(office: Office, *numbers: int) -> None:
    wake, woken = _socketpair()
    with wake, woken:
        woken.setblocking(False)
        wake.sendall(bytes(numbers))
        office.supervisor._signalled(woken)


def test_N6_a_second_signal_cuts(office: Office) -> None:
    office.start()
    signalled(office, signal.SIGTERM)
    signalled(office, signal.SIGTERM)
    assert drains(office) == [20, 0]
    assert [order["seconds"] for order in office.heard(0)] == [20.0, 0.0]


def test_N6_a_signal_after_popgate_drain_is_the_first(office: Office) -> None:
    """`popgate drain`, and then systemd stops the service: nobody asked to cut."""
    office.start()
    office.ask({"do": "drain"}).close()
    signalled(office, signal.SIGTERM)
    assert drains(office) == [20, 20]


def test_N6_who_does_not_end_is_killed(office: Office) -> None:
    office.start()
    signalled(office, signal.SIGTERM)
    office.seconds(29, beating=(0, 1))
    assert office.killed == []
    office.supervisor._died(office.supervisor._children[1], 0)
    office.seconds(2)
    assert set(office.killed) == {(10_000_001, signal.SIGKILL)}


def test_N6_a_drain_later_does_not_prolong_the_first(office: Office) -> None:
    office.start()
    signalled(office, signal.SIGTERM)
    office.seconds(15, beating=(0, 1))
    office.ask({"do": "drain"}).close()
    office.seconds(16, beating=(0, 1))
    assert {pid for pid, _ in office.killed} == {10_000_001, 10_000_002}


def test_while_draining_the_dead_stay_dead(office: Office) -> None:
    office.start()
    signalled(office, signal.SIGTERM)
    died(office, 0)
    office.seconds(5)
    assert office.forks == 2


# --- reload


def test_N7_a_reload_reaches_every_worker(office: Office) -> None:
    office.start()
    office.path.write_text(SETTINGS + "[limits]\nerrors = 7\n")
    client = office.ask({"do": "reload"})
    assert client.recv(100) == b'{"done": "reloaded"}\n'
    assert [office.heard(number)[0]["order"] for number in (0, 1)] == ["reload", "reload"]
    client.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("[limits]\nerorrs = 7\n", "errors"),
        ("[[[", "popgate.toml"),
        ("[admin]\ncontrol = 'x.sock'\n", "admin.control"),
        ("[log]\nfile = '/nowhere/popgate.log'\n", "log.file: can't write /nowhere/popgate.log"),
    ],
)
def test_N7_a_bad_one_changes_nothing(office: Office, change: str, named: str) -> None:
    office.start()
    before = office.supervisor._config
    office.path.write_text(SETTINGS + change)
    client = office.ask({"do": "reload"})
    assert named.encode() in client.recv(1000)
    assert named in office.log.of("reload-refused")[0]["why"]
    assert office.supervisor._config is before
    assert office.heard(0) == []
    client.close()
