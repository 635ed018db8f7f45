"""supervisor.py and systemd: what is told when, and the watchdog; without a fork (tests/support/office.py)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from ..support.office import SETTINGS

if TYPE_CHECKING:
    from ..support.office import Office
    from ..support.systemd import Listening

pytestmark = pytest.mark.usefixtures("systemd")  # before the office, which looks for it


def states(said: list[str]) -> list[str]:
    """What was said, but for signs of life and phrases."""
    lines = [line for message in said for line in message.splitlines()]
    return [line for line in lines if not line.startswith(("WATCHDOG", "STATUS", "MONOTONIC", "EXTEND"))]


def phrases(said: list[str]) -> list[str]:
    return [message.removeprefix("STATUS=") for message in said if message.startswith("STATUS=")]


def taken(office: Office) -> None:
    """Both workers have the new configuration."""
    for number in (0, 1):
        office.answer(number, {})


def signs(said: list[str]) -> int:
    return said.count("WATCHDOG=1")


def test_N5_ready_when_all_workers_serve(systemd: Listening, office: Office) -> None:
    office.workers.start()
    office.pairs[0].sendall(b'\0\0\0\x0c{"ready": 0}')
    office.turn()
    office.seconds(2)
    assert states(systemd.heard()) == []
    office.pairs[1].sendall(b'\0\0\0\x0c{"ready": 1}')
    office.turn()
    assert states(systemd.heard()) == ["READY=1"]


def test_N5_nobody_inherits_the_variables(systemd: Listening, office: Office) -> None:
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & os.environ.keys()


def test_N7_a_reload_begins_and_ends(systemd: Listening, office: Office) -> None:
    office.start()
    systemd.heard()
    office.ask({"do": "reload"}).close()
    said = systemd.heard()
    assert states(said) == ["RELOADING=1"]
    taken(office)
    assert states(systemd.heard()) == ["READY=1"]
    assert said[0] == f"RELOADING=1\nMONOTONIC_USEC={int(office.now * 1e6)}"


def test_N7_a_refused_reload_ends_too_and_is_shown(systemd: Listening, office: Office) -> None:
    office.start()
    office.seconds(1, beating=(0, 1))
    assert phrases(systemd.heard())[-1] == "serving with 2 workers"
    office.path.write_text(SETTINGS + "[limits]\nerorrs = 7\n")
    office.ask({"do": "reload"}).close()
    said = systemd.heard()
    assert states(said) == ["RELOADING=1", "READY=1"]
    assert phrases(said) == ["serving with 2 workers; the last reload was refused, see the log"]
    office.path.write_text(SETTINGS)
    office.ask({"do": "reload"}).close()
    taken(office)
    assert phrases(systemd.heard()) == ["serving with 2 workers"]


def test_N7_a_reload_does_not_end_the_start_nor_hide_the_end(systemd: Listening, office: Office) -> None:
    office.ask({"do": "reload"}).close()
    assert states(systemd.heard()) == []
    office.start()
    office.supervisor.drain(20.0)
    systemd.heard()
    office.ask({"do": "reload"}).close()
    office.seconds(6)
    assert not {"RELOADING=1", "READY=1"} & set(states(systemd.heard()))


def test_N6_a_drain_is_told_and_systemd_asked_for_patience(systemd: Listening, office: Office) -> None:
    office.start()
    systemd.heard()
    office.supervisor.drain(20.0)
    office.seconds(5, beating=(0, 1))  # systemd's queue may be no longer than ten (net.unix.max_dgram_qlen)
    said = systemd.heard()
    assert states(said) == ["STOPPING=1"]
    assert said.count("EXTEND_TIMEOUT_USEC=10000000") == 5
    assert phrases(said) == ["draining, connections left: 0"]


def test_N5_a_sign_of_life_every_five_seconds_while_all_loops_beat(systemd: Listening, office: Office) -> None:
    office.start()
    office.seconds(1, beating=(0, 1))
    systemd.heard()
    office.seconds(20, beating=(0, 1))
    assert signs(systemd.heard()) == 4


def test_N5_none_while_one_worker_is_stuck(systemd: Listening, office: Office) -> None:
    office.start()
    office.seconds(6, beating=(1,))
    systemd.heard()
    office.seconds(60, beating=(1,))
    said = systemd.heard()
    assert signs(said) == 0
    office.seconds(2, beating=(0, 1))
    assert signs(systemd.heard()) == 1, "at once, when it beats again"


def test_N5_a_worker_that_is_being_restarted_is_not_stuck(systemd: Listening, office: Office) -> None:
    office.start()
    for _ in range(8):
        office.died(0)
        office.now += 0.01
    office.seconds(1, beating=(1,))
    systemd.heard()
    office.died(0, signal.SIGSEGV)
    office.seconds(10, beating=(1,))
    assert signs(systemd.heard()) == 2


def test_N5_none_without_a_worker(systemd: Listening, office: Office) -> None:
    office.start()
    office.seconds(1, beating=(0, 1))
    systemd.heard()
    office.is_full = True
    for number in (0, 1):
        office.died(number)
    office.seconds(20)
    said = systemd.heard()
    assert signs(said) == 0
    assert phrases(said) == ["serving with 2 workers; worker 0 is being restarted; worker 1 is being restarted"]
