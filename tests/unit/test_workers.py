"""node/workers.py: how workers are started, die, come back, and how their silence is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..support.office import Office


def test_N5_it_serves_when_all_are_ready(office: Office) -> None:
    office.start()
    assert office.log.of("serving") == [{"workers": 2}]


def test_N5_a_dead_worker_comes_back_after_a_growing_pause(office: Office) -> None:
    office.start()
    office.pairs[1].close()
    pauses = []
    for _ in range(12):
        office.died(0)
        pauses.append(office.log.of("worker-died")[-1]["restart"])
        before = office.forks
        office.supervisor.tick(office.now)
        assert office.forks == before, "not before its time"
        office.now += float(pauses[-1][:-1])
        assert office.supervisor.pause() == 0.0
        office.supervisor.tick(office.now)
        assert office.forks == before + 1
        office.pairs[0] = office.pairs.pop()
    assert pauses[:4] == ["0.1s", "0.2s", "0.4s", "0.8s"]
    assert pauses[-1] == "30.0s"


def test_N5_a_worker_that_lived_long_comes_back_at_once_again(office: Office) -> None:
    office.start()
    for _ in range(3):
        office.died(0)
        office.now += 1
        office.supervisor.tick(office.now)
        office.pairs[0] = office.pairs.pop()
    office.now += 61
    office.died(0, status=0)
    assert office.log.of("worker-died")[-1] == {"worker": 0, "why": "exit code 0", "restart": "0.1s"}


def test_N5_a_dead_worker_s_connections_are_gone(office: Office) -> None:
    office.start()
    counters = office.supervisor.counters
    for number in (0, 1):
        counters.enter(number, b"\x7f\0\0\1")
    office.died(0)
    assert counters.connections() == 1


def test_when_there_can_t_be_a_process_it_tries_later(office: Office) -> None:
    office.is_full = True
    office.workers.start()
    assert office.log.of("worker-died")[-1]["why"] == "Resource temporarily unavailable"
    office.is_full = False
    office.now += 0.2
    office.supervisor.tick(office.now)
    assert office.forks == 2


def test_N5_orders_to_a_stopped_worker_hold_nobody_up(office: Office) -> None:
    office.start()
    for _ in range(20_000):
        office.workers.order({"order": "reload", "config": "x" * 1000})
    client = office.ask({"do": "leases"})
    assert b"no worker is running" in client.recv(200)
    client.close()


def test_N5_a_loop_that_does_not_beat_is_said_once_and_shown(office: Office) -> None:
    office.start()
    office.seconds(10, beating=(1,))
    assert office.log.of("worker-stalled") == [{"worker": 0, "pid": 10_000_001}]
    shown = office.supervisor.status()["workers"]
    assert [(worker["ready"], worker["stalled"]) for worker in shown] == [(False, True), (True, False)]
    office.seconds(1, beating=(0, 1))
    assert office.log.of("worker-back") == [{"worker": 0, "pid": 10_000_001}]
    assert office.killed == [], "someone may have stopped it to look at it"
