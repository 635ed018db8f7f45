"""scripts/systemd: the units say what popgate does, and systemd understands them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import USAGE, parser_of_all
from proxy.config import load
from proxy.node.workers import STALLED
from proxy.supervisor import _GRACE, ANNOUNCE

from ..support.needs import need

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "scripts" / "systemd"
INSTALLED = "/opt/popgate/.venv/bin/popgate"  # docs/install.md, step 1


def settings(unit: str) -> dict[str, list[str]]:
    """What a unit sets, by key."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        if line[:1].isalpha():
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


SERVICE = settings("popgate.service")
SOCKET = settings("popgate.socket")


def seconds(key: str) -> float:
    (value,) = SERVICE[key]
    return float(value.removesuffix("s"))


def test_the_sockets_are_the_binds_of_the_shipped_listeners() -> None:
    shipped = load(ROOT / "conf.d").listeners.values()
    assert sorted(SOCKET["ListenStream"]) == sorted(str(end) for listener in shipped for end in listener.bind)
    assert SOCKET["BindIPv6Only"] == ["ipv6-only"]
    assert "Accept" not in SOCKET


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload"])
def test_what_it_runs_is_a_command_line_of_popgate(key: str) -> None:
    program, *words = shlex.split(*SERVICE[key])
    assert program == INSTALLED
    options = parser_of_all().parse_args(words)
    assert callable(options.command)
    assert options.config == Path("/etc/popgate/conf.d")


def test_N6_systemd_waits_longer_than_a_drain_takes() -> None:
    assert seconds("TimeoutStopSec") >= ANNOUNCE + load(ROOT / "conf.d").drain_timeout + _GRACE


def test_N5_the_watchdog_is_slower_than_a_worker_is_called_stuck() -> None:
    assert seconds("WatchdogSec") / 2 > 2 * STALLED
    assert SERVICE["WatchdogSignal"] == ["SIGTERM"], "the sessions of the others may end"


def test_a_configuration_that_can_t_be_served_is_not_tried_again() -> None:
    assert SERVICE["RestartPreventExitStatus"] == [str(USAGE)]


def test_it_has_no_more_descriptors_than_its_connections_need() -> None:
    limits = load(ROOT / "conf.d").limits
    assert 2 * limits.connections < int(*SERVICE["LimitNOFILE"])


def copied(folder: Path) -> list[str]:
    """The units with what this machine has: a Python for the one in /opt."""
    program = folder / "popgate"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -m proxy\n")
    program.chmod(0o755)
    for unit in ("popgate.service", "popgate.socket"):
        text = (UNITS / unit).read_text()
        (folder / unit).write_text(text.replace(INSTALLED, str(program)).replace("/opt/popgate/docs", f"{ROOT}/docs"))
    return [str(folder / unit) for unit in ("popgate.service", "popgate.socket")]


def test_systemd_understands_them(tmp_path: Path) -> None:
    (program,) = need("systemd-analyze")
    done = subprocess.run(
        [program, "verify", "--man=no", *copied(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, re.findall(".*popgate.*", done.stderr)) == (0, [])


def test_systemd_finds_it_locked_up_well(tmp_path: Path) -> None:
    """The exposure is a figure from 0 to 10; with --threshold, given in tenths, too much of it is an error."""
    (program,) = need("systemd-analyze")
    service, _ = copied(tmp_path)
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", "--threshold=20", service],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
