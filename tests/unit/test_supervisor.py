"""supervisor.py: signals, reloads, what is told of it, and the end; without a fork (tests/support/office.py)."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.leases.clock import Clock

from ..support.office import SETTINGS

if TYPE_CHECKING:
    from ..support.office import Office


# --- the end


def drains(office: Office) -> list[float]:
    return [words["seconds"] for words in office.log.of("draining")]


def signalled(office: Office, *numbers: int) -> None:
    office.supervisor.signalled(bytes(numbers))


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
    office.workers.died(10_000_002, 0)
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


def test_the_end_leaves_no_channel_open(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor that of a worker that is buried before its end is read."""
    assert office.end(monkeypatch) == 0
    for theirs in office.pairs[-2:]:
        while theirs.recv(1 << 16):
            pass  # what it was told before


# --- the agent


def agent_says(office: Office) -> bytes:
    with socket.create_connection(office.supervisor.agent.socket.address()) as asker:
        asker.settimeout(5)
        office.turn()
        return asker.recv(100)


def test_the_agent_tells_readiness_load_and_health(asked_office: Office) -> None:
    office = asked_office
    assert agent_says(office) == b"down # no worker is ready\n"
    office.start()
    assert agent_says(office) == b"ready up 100%\n"
    for _ in range(3000):
        office.supervisor.counters.enter(0, b"\x7f\0\0\1")
    assert agent_says(office) == b"ready up 70%\n"
    board = office.supervisor.counters.servers
    slot = board.slot("smtp 192.0.2.10:25")
    board.row(0).failed(slot, Clock().now(), "Connection refused")
    assert agent_says(office) == b"down # no mail server answers\n"
    board.row(1).succeeded(slot, Clock().now())
    assert agent_says(office) == b"ready up 70%\n"
    office.seconds(6)  # no loop beats
    assert agent_says(office) == b"down # no worker is ready\n"


def test_N6_the_agent_says_drain_before_anything_is_closed(asked_office: Office) -> None:
    office = asked_office
    office.start()
    signalled(office, signal.SIGTERM)
    assert office.log.of("announcing") == [{"seconds": 5}]
    assert agent_says(office) == b"drain\n"
    office.seconds(4.5, beating=(0, 1))
    assert drains(office) == []
    assert office.heard(0) == [], "the workers go on serving"
    assert office.supervisor.status()["draining"]
    office.seconds(0.5, beating=(0, 1))
    assert drains(office) == [20]
    assert [order["order"] for order in office.heard(0)] == ["drain"]
    assert agent_says(office) == b"drain\n"
    office.seconds(29, beating=(0, 1))
    assert office.killed == []
    office.seconds(2)
    assert office.killed, "the time until they are killed begins with the drain"


def test_N6_a_second_signal_skips_the_announcement_and_a_third_cuts(asked_office: Office) -> None:
    office = asked_office
    office.start()
    for _ in range(3):
        signalled(office, signal.SIGTERM)
    assert drains(office) == [20, 0]


def test_N6_popgate_drain_announces_too_and_a_signal_behind_it_skips_nothing(asked_office: Office) -> None:
    office = asked_office
    office.start()
    office.ask({"do": "drain"}).close()
    signalled(office, signal.SIGTERM)
    assert drains(office) == []
    assert office.supervisor.pause() <= 5.0
    office.seconds(5, beating=(0, 1))
    office.seconds(5, beating=(0, 1))
    assert drains(office) == [20]
    assert len(office.log.of("announcing")) == 1


# --- reload


def test_N7_a_reload_s_new_servers_are_known_before_the_workers_hear_of_them(office: Office) -> None:
    office.start()
    office.path.write_text(SETTINGS.replace("192.0.2.10:25", "192.0.2.11:25"))
    office.ask({"do": "reload"}).close()
    assert [(one["upstream"], one["server"], one["state"]) for one in office.supervisor.status()["upstreams"]] == [
        ("smtp", "192.0.2.11:25", "unknown")
    ]


def asked_to_reload(office: Office) -> socket.socket:
    office.start()
    office.path.write_text(SETTINGS + "[limits]\nerrors = 7\n")
    client = office.ask({"do": "reload"})
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    return client


def test_N7_a_reload_is_over_when_every_worker_has_it(office: Office) -> None:
    with asked_to_reload(office) as client:
        assert [order["order"] for order in office.answer(0, {})] == ["reload"]
        with pytest.raises(BlockingIOError):
            client.recv(100)
        assert office.log.of("reloaded") == []
        assert [order["order"] for order in office.answer(1, {})] == ["reload"]
        assert client.recv(100) == b'{"done": "reloaded"}\n'
        assert len(office.log.of("reloaded")) == 1


def test_N7_a_worker_that_keeps_the_old_one_is_told_of(office: Office) -> None:
    with asked_to_reload(office) as client:
        office.answer(0, {"kept": "can't read mail.pem"})
        office.answer(1, {})
        assert b"can't read mail.pem" in client.recv(1000)
        assert office.log.of("reloaded") == []
        assert "reload was refused" in office.supervisor.phrase()


@pytest.mark.parametrize("fate", ["dead", "stuck"])
def test_N7_who_is_dead_or_stuck_does_not_hold_up_a_reload(office: Office, fate: str) -> None:
    with asked_to_reload(office) as client:
        office.answer(0, {})
        if fate == "dead":
            office.died(1)
        else:
            office.seconds(6, beating=(0,))
        assert client.recv(100) == b'{"done": "reloaded"}\n'


def test_N7_a_reload_without_a_worker_is_over_at_once(office: Office) -> None:
    with office.ask({"do": "reload"}) as client:
        assert client.recv(100) == b'{"done": "reloaded"}\n'


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
    before = office.supervisor.config
    office.path.write_text(SETTINGS + change)
    client = office.ask({"do": "reload"})
    assert named.encode() in client.recv(1000)
    assert named in office.log.of("reload-refused")[0]["why"]
    assert office.supervisor.config is before
    assert office.heard(0) == []
    client.close()
