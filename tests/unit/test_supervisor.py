"""supervisor.py: signals, reloads, what is told of it, and the end; without a fork (tests/support/office.py)."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from ..support.office import SETTINGS

if TYPE_CHECKING:
    from ..support.office import Office


# --- the end


def drains(office: Office) -> list[float]:
    return [words["seconds"] for words in office.log.of("draining")]


def signalled(office: Office, *numbers: int) -> None:
    wake, woken = socket.socketpair()
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
    office.children._died(office.children._all[1], 0)
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
    office.died(0)
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
