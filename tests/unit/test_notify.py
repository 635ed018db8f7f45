"""notify.py: what systemd hears, and when."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.node.notify import Notify

from ..support.folder import Folder
from ..support.systemd import Listening

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with Folder("notify") as name:
        made = Listening(f"{name}/notify" if request.param == "path" else f"@popgate-test-{os.path.basename(name)}")
        yield made
        made.close()


def clock() -> float:
    return 12.5


def test_what_it_says(systemd: Listening) -> None:
    notify = Notify(systemd.environ, clock)
    notify.ready()
    notify.reloading()
    notify.stopping()
    notify.extend(3.5)
    assert systemd.heard() == [
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
        "EXTEND_TIMEOUT_USEC=3500000",
    ]


def test_children_do_not_inherit_the_variables(systemd: Listening) -> None:
    systemd.environ |= {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}
    Notify(systemd.environ, clock)
    assert systemd.environ == {"PATH": "/bin"}


def test_a_phrase_is_said_when_it_changes(systemd: Listening) -> None:
    notify = Notify(systemd.environ, clock)
    for phrase in ("starting", "starting", "serving", "serving", "starting"):
        notify.phrase(phrase)
    assert systemd.heard() == ["STATUS=starting", "STATUS=serving", "STATUS=starting"]


def test_N5_a_sign_of_life_at_half_of_the_time(systemd: Listening) -> None:
    notify = Notify(systemd.environ | {"WATCHDOG_USEC": "8000000"}, clock)
    assert notify.pause == 4.0
    said = []
    for now in range(100, 110):
        notify.alive(float(now))
        said.append(bool(systemd.heard()))
    assert said == [True, False, False, False, True, False, False, False, True, False]


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "8000000", "WATCHDOG_PID": "1"}],
)
def test_N5_no_sign_where_nobody_waits_for_one(systemd: Listening, variables: dict[str, str]) -> None:
    notify = Notify(systemd.environ | variables, clock)
    notify.alive(100.0)
    assert systemd.heard() == []


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/nowhere/notify", "@nobody-listens-here"])
def test_without_systemd_nothing_happens(address: str) -> None:
    notify = Notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "8000000"}, clock)
    notify.ready()
    notify.phrase("serving")
    notify.alive(100.0)


def test_a_full_queue_does_not_hold_it_up_for_good(systemd: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.node.notify._PATIENCE", 0.01)
    notify = Notify(systemd.environ, clock)
    queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for number in range(queue + 5):
        notify.phrase(str(number))
    assert len(systemd.heard()) < queue + 5
    notify.ready()
    assert systemd.heard() == ["READY=1"]
