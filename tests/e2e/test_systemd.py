"""popgate under what systemd does for it: sockets that outlive it, a restart that nobody notices, notification.

rules N4 to N7.  systemd itself is played by tests/support/systemd.py, and where it is installed by its own
systemd-socket-activate.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from proxy.net.accept.listener import ACCEPTS

from ..support.dialogue import Dialogue, pop_login, send
from ..support.folder import Folder
from ..support.needs import need
from ..support.popgate import Popgate, config
from ..support.ports import free, server_host
from ..support.process import PATIENCE, Process
from ..support.steady import Steady
from ..support.systemd import Activator, Listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
RESTARTS = 3
PROGRAM = (sys.executable, "-m", "proxy")


@pytest.fixture
def activator() -> Iterator[Activator]:
    with Activator("pop3", "smtp") as made:
        yield made


def in_mid_body(smtp: Dialogue, subject: bytes) -> None:
    smtp.expect(b"220")
    smtp.ask(b"HELO x", b"250")
    smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
    smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
    smtp.ask(b"DATA", b"354")
    smtp.say(b"Subject: " + subject + b"\r\n\r\nfirst half\r\n")


# --- socket activation


def test_N4_it_serves_on_the_sockets_that_it_is_given(appliance: SampleAppliance, activator: Activator) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2), activator=activator) as gate:
        assert gate.address("smtp") == activator.address("smtp")
        assert gate.address("pop3") == activator.address("pop3")
        gate.process.expect("listening listener=smtp .* by=systemd")
        pop_login(gate.address("pop3"))
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_N4_a_listener_that_is_given_none_binds_itself(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp)
    with Activator("pop3") as activator, Popgate(settings, activator=activator) as gate:
        assert gate.address("pop3") == activator.address("pop3")
        pop_login(gate.address("pop3"))
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_N4_a_socket_for_nobody_stops_the_start(appliance: SampleAppliance) -> None:
    with Activator("pop3", "imap") as activator, pytest.raises(AssertionError) as caught:
        Popgate(config(appliance.pop3, appliance.smtp), activator=activator)
    assert "(named imap), and no listener wants it; give it FileDescriptorName= pop3 or smtp" in str(caught.value)


def test_N6_who_waits_in_a_kept_queue_is_the_successor_s(appliance: SampleAppliance, activator: Activator) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp), activator=activator) as gate, contextlib.ExitStack() as held:
        (worker,) = gate.workers()
        os.kill(worker, signal.SIGSTOP)
        waiting = [held.enter_context(Dialogue(gate.address("smtp"))) for _ in range(6 * ACCEPTS)]
        gate.process.signal(signal.SIGTERM)
        gate.process.expect("draining")
        os.kill(worker, signal.SIGCONT)
        assert gate.process.wait() == 0
        waiting.append(held.enter_context(Dialogue(activator.address("smtp"))))
        gate.restart()
        served = 0
        for client in waiting:
            client.say(b"QUIT\r\n")
            with contextlib.suppress(ConnectionError):  # it was told to come again, and did not read it
                served += client.line().startswith(b"220") and client.line().startswith(b"221")
        # Some turns of the loop may accept before it hears of the drain; ACCEPTS each.
        assert served > 3 * ACCEPTS


def test_promise_8_restarts_that_nobody_notices(appliance: SampleAppliance, activator: Activator) -> None:
    """POP3 and SMTP sessions all the while, and a message in mid-body over each restart: none refused, none reset,
    none lost."""
    settings = config(appliance.pop3, appliance.smtp, workers=2, limits={"connections_per_client": 1000})
    with (
        Popgate(settings, activator=activator) as gate,
        Steady(activator.address("pop3"), activator.address("smtp")) as steady,
    ):
        for number in range(RESTARTS):
            before = sum(steady.outcomes.values())
            with Dialogue(activator.address("smtp")) as smtp:
                in_mid_body(smtp, b"over-restart-%d" % number)
                gate.process.signal(signal.SIGTERM)
                gate.process.expect("draining")
                smtp.say(b"second half\r\n.\r\n")
                smtp.expect(b"250")
            assert gate.process.wait() == 0
            gate.restart()
            assert_serves(steady, before)
        steady.stop()
    told = {name: count for name, count in steady.outcomes.items() if name.endswith("told to come again")}
    assert set(steady.outcomes) - set(told) == {"pop3", "smtp"}, steady.outcomes
    assert sum(told.values()) <= RESTARTS * 12, "at most those who were connected, once each"
    assert steady.longest < PATIENCE / 2
    arrived = [subject(message) for message in appliance.appliance.mailboxes["bob"]]
    assert len(arrived) == len(set(arrived)), "none twice"
    assert set(arrived) >= steady.sent | {b"over-restart-%d" % number for number in range(RESTARTS)}


def subject(octets: bytes) -> bytes:
    return octets.partition(b"\r\n")[0].removeprefix(b"Subject: ")


def assert_serves(steady: Steady, before: int) -> None:
    """Clients are content again after a restart."""
    end = time.monotonic() + PATIENCE
    while sum(steady.outcomes.values()) < before + 50:
        assert time.monotonic() < end, steady.outcomes
        time.sleep(0.02)


def test_systemd_s_own_activator(appliance: SampleAppliance) -> None:
    (program,) = need("systemd-socket-activate")
    host = server_host()
    port = free(host)
    with Folder("activate") as name, Popgate(config(appliance.pop3, appliance.smtp)) as other:
        argv = [program, "-l", f"{host}:{port}", "--fdname=smtp"]
        for key in ("PATH", "POPGATE_LOOP", "PYTHONPATH"):
            argv += ["-E", key] if key in os.environ else []
        settings = other.folder / "conf.d" / "test.toml"
        text = settings.read_text() + f'[admin]\ncontrol = "{name}/popgate.sock"\n'
        settings.write_text(text)
        with Process([*argv, *PROGRAM, "run", "-c", str(settings.parent)]) as process:
            process.expect("Listening on")
            with Dialogue((host, port)) as smtp:
                smtp.expect(b"220")
            process.expect(f"listening listener=smtp address={re.escape(host)}:{port} by=systemd")


# --- notification


@pytest.fixture
def systemd() -> Iterator[Listening]:
    with Folder("notify") as name, Listening(f"{name}/notify") as made:
        yield made


def test_N5_systemd_hears_of_start_reload_and_end(appliance: SampleAppliance, systemd: Listening) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2), env=systemd.environ) as gate:
        assert systemd.wait("STATUS=serving with 2 workers")
        assert systemd.wait("READY=1")
        gate.reload("reloaded")
        assert systemd.wait("RELOADING=1")
        assert systemd.wait("READY=1")
        gate.stop()
        assert systemd.wait("STOPPING=1")


def test_N5_the_watchdog_hears_no_more_of_a_stuck_worker(appliance: SampleAppliance, systemd: Listening) -> None:
    environ = {**systemd.environ, "WATCHDOG_USEC": "400000"}
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2), env=environ) as gate:
        for _ in range(3):
            assert systemd.wait("WATCHDOG=1")
        stuck = gate.workers()[1]
        os.kill(stuck, signal.SIGSTOP)
        try:
            assert systemd.wait("STATUS=serving with 2 workers; worker 1 is stuck")
            systemd.heard()
            assert not systemd.wait("WATCHDOG=1", 1.0)
        finally:
            os.kill(stuck, signal.SIGCONT)
        assert systemd.wait("WATCHDOG=1")
