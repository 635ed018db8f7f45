"""The shipped units under a real systemd (tests/support/machine.py): all that locks popgate up, and popgate works.

rules N4 to N7.  What the units say is tests/unit/test_systemd_units.py.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.machine import Machine
from ..support.popgate import config, merged
from ..support.ports import server_host
from ..support.process import PATIENCE
from ..support.toml import dumps

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from ..support.appliance import SampleAppliance

UNITS = Path(__file__).parents[2] / "scripts" / "systemd"
FRIEND = b"friend@example.org"
CAP_NET_BIND_SERVICE = 1 << 10


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.05)


class Service(Machine):
    """popgate as docs/install.md, step 6, starts it, on ports 110 and 25 of an address of its own."""

    def __init__(self, pop3: str, smtp: str, *units: str) -> None:
        self.host = server_host()
        state = "/var/lib/popgate"
        settings = merged(
            config(pop3, smtp, workers=2, user="popgate"),
            {
                "store": {"url": f"sqlite:{state}/leases.db"},
                "admin": {"control": f"{state}/popgate.sock"},
                "listener": {name: {"bind": [f"{self.host}:{port}"]} for name, port in (("pop3", 110), ("smtp", 25))},
            },
        )
        texts = {name: (UNITS / name).read_text() for name in units}
        if "popgate.socket" in texts:
            text = re.sub(r".*:(995|465)\n", "", texts["popgate.socket"])
            texts["popgate.socket"] = text.replace("0.0.0.0", self.host)
        super().__init__(texts, {"conf.d/99-local.toml": dumps(settings)})
        self.units = units

    def __enter__(self) -> Service:
        super().__enter__()
        done = self.run("systemctl", "start", *self.units)
        assert done.returncode == 0, done.stderr + self.run("systemctl", "status", "popgate.service").stdout
        return self

    def processes(self) -> list[dict[str, str]]:
        """/proc/PID/status of the first process and its workers."""
        script = "pid=$(systemctl show --value --property=MainPID popgate.service); for one in $pid $(cat "
        script += "/proc/$pid/task/$pid/children); do cat /proc/$one/status; echo; done"
        texts = self.run("sh", "-c", script).stdout.strip().split("\n\n")
        return [dict([re.split(r":\s*", line, maxsplit=1) for line in text.splitlines()]) for text in texts]


@pytest.fixture
def service(appliance: SampleAppliance) -> Iterator[Service]:
    with Service(appliance.pop3, appliance.smtp, "popgate.socket", "popgate.service") as machine:
        yield machine


def test_it_works_with_all_that_is_taken_from_it(service: Service) -> None:
    pop_login((service.host, 110))
    assert send((service.host, 25), [FRIEND]).startswith(b"250 ")
    assert service.popgate("status").stdout.startswith("serving: ")
    for process in service.processes():
        assert process["Uid"].split() == ["64999"] * 4
        assert process["Gid"].split() == ["64999"] * 4
        assert int(process["CapEff"], 16) | int(process["CapBnd"], 16) == CAP_NET_BIND_SERVICE
        assert process["NoNewPrivs"] == "1"
        assert process["Seccomp"] == "2"
    assert service.show("popgate.service", "StatusText") == "serving with 2 workers"


def test_without_the_socket_unit_it_binds_low_ports_itself(appliance: SampleAppliance) -> None:
    with Service(appliance.pop3, appliance.smtp, "popgate.service") as service:
        pop_login((service.host, 110))
        assert send((service.host, 25), [FRIEND]).startswith(b"250 ")


def test_N7_a_reload_that_is_refused_fails_and_changes_nothing(service: Service) -> None:
    assert service.run("systemctl", "reload", "popgate.service").returncode == 0
    service.run("sh", "-c", "echo workers = 7 >/etc/popgate/conf.d/98.toml; mv /etc/popgate/conf.d/9*.toml /tmp")
    service.run("sh", "-c", "cat /tmp/9*.toml | sed 's/workers = 2//' >/etc/popgate/conf.d/99.toml")
    assert service.run("systemctl", "reload", "popgate.service").returncode == 1
    assert "the last reload was refused" in service.show("popgate.service", "StatusText")
    assert service.show("popgate.service", "ActiveState") == "active"
    assert send((service.host, 25), [b"bob@example.com"]).startswith(b"250 ")


def test_N6_a_restart_refuses_nobody_and_lets_a_message_end(service: Service, appliance: SampleAppliance) -> None:
    with Dialogue((service.host, 25)) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
        smtp.ask(b"DATA", b"354")
        restarted: list[subprocess.CompletedProcess[str]] = []
        restart = threading.Thread(
            target=lambda: restarted.append(service.run("systemctl", "restart", "popgate.service"))
        )
        restart.start()
        until(lambda: service.show("popgate.service", "StatusText").startswith("draining"))
        with Dialogue((service.host, 25)) as waiting, Dialogue((service.host, 110)) as pop:
            smtp.say(b"Subject: over the restart\r\n\r\nbody\r\n.\r\n")
            smtp.expect(b"250")
            waiting.expect(b"220")
            pop.expect(b"+OK")
        restart.join(PATIENCE)
    assert restarted[0].returncode == 0
    assert len(appliance.appliance.mailboxes["bob"]) == 1


def test_N5_a_stuck_worker_gets_popgate_restarted_by_the_watchdog(appliance: SampleAppliance) -> None:
    with Service(appliance.pop3, appliance.smtp, "popgate.socket", "popgate.service") as service:
        folder = "/etc/systemd/system/popgate.service.d"
        service.run("sh", "-c", f"mkdir {folder}; printf '[Service]\\nWatchdogSec=2s\\n' >{folder}/soon.conf")
        service.run("systemctl", "daemon-reload")
        assert service.run("systemctl", "restart", "popgate.service").returncode == 0
        worker = service.processes()[1]["NSpid"].split()[-1]
        service.run("kill", "-STOP", worker)
        until(lambda: service.show("popgate.service", "NRestarts") == "1")
        with Dialogue((service.host, 25)) as smtp:
            smtp.expect(b"220")


def test_N5_a_killed_popgate_is_started_again(service: Service) -> None:
    service.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal.SIGKILL.value}", "popgate.service")
    with Dialogue((service.host, 25)) as smtp:
        smtp.expect(b"220")


def test_nothing_of_it_stays(appliance: SampleAppliance) -> None:
    before = set(os.listdir("/sys/fs/cgroup"))
    with Service(appliance.pop3, appliance.smtp, "popgate.service") as service:
        host = service.host
    assert set(os.listdir("/sys/fs/cgroup")) == before
    with pytest.raises(ConnectionRefusedError):
        Dialogue((host, 25))
