"""The agent, asked by a real HAProxy: what it makes of `ready`, of a share, of `down` and of `drain` (rule N6)."""

from __future__ import annotations

import csv
import io
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..support.appliance import SampleAppliance
from ..support.dialogue import Dialogue, send
from ..support.folder import Folder
from ..support.haproxy import HAProxy
from ..support.popgate import Popgate, config, start_fails
from ..support.ports import server_host

if TYPE_CHECKING:
    from collections.abc import Iterator

BOB = b"bob@example.com"
PATIENCE = 20.0  # s for what HAProxy does in a few of its intervals
ASKING = """
global
    stats socket {stats}

defaults
    mode tcp
    log global
    option log-health-checks
    timeout connect 5s
    timeout client 30s
    timeout server 30s

listen smtp
    bind :25
    default-server weight 100 check agent-check agent-inter 100ms
    server one {host}:{port} agent-addr {agent_host} agent-port {agent_port}
"""


class Balancer(HAProxy):
    """HAProxy in front of one popgate, which it knows by the agent alone."""

    def __init__(self, gate: Popgate, folder: Path) -> None:
        self._stats = folder / "stats"
        (host, port), (agent_host, agent_port) = gate.address("smtp"), gate.address("admin.agent")
        text = ASKING.format(stats=self._stats, host=host, port=port, agent_host=agent_host, agent_port=agent_port)
        super().__init__(text, ready="(?i)agent check for server {}/one")

    def shown(self) -> dict[str, str]:
        """HAProxy's own line on the server."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return next(row for row in rows if row["svname"] == "one")

    def until(self, **expected: str) -> dict[str, str]:
        """HAProxy's line, once it says so."""
        end = time.monotonic() + PATIENCE
        while True:
            shown = self.shown()
            if all(shown[key] == value for key, value in expected.items()):
                return shown
            assert time.monotonic() < end, {key: shown[key] for key in ("status", "weight", "last_agt")}
            time.sleep(0.05)  # HAProxy tells nobody of its own accord what we ask here


@pytest.fixture
def folder() -> Iterator[Path]:
    with Folder("stats") as name:
        yield Path(name)


@pytest.fixture
def single() -> Iterator[list[SampleAppliance]]:
    """The appliance; a test may put another in its place."""
    one = [SampleAppliance(server_host())]
    yield one
    one[0].close()


def asked(appliance: SampleAppliance, **changes: Any) -> Popgate:
    settings = config(appliance.pop3, appliance.smtp, workers=2, admin={"agent": "127.0.0.1:0"}, **changes)
    for upstream in settings["upstream"].values():
        upstream["health_interval"] = "1s"
    return Popgate(settings)


def test_ready_a_share_down_and_ready_again(single: list[SampleAppliance], folder: Path) -> None:
    with asked(single[0], limits={"connections": 4}) as gate, Balancer(gate, folder) as balancer:
        assert balancer.until(status="UP", weight="100")["agent_status"] == "L7OK"
        with Dialogue(balancer.doors["smtp"]) as smtp:
            smtp.expect(b"220")
            balancer.until(status="UP", weight="75")
        balancer.until(status="UP", weight="100")
        assert send(balancer.doors["smtp"], [BOB]).startswith(b"250 ")
        single[0].close()
        down = balancer.until(status="DOWN (agent)")
        assert "no mail server answers" in down["last_agt"] + down["agent_desc"] + balancer.process.output
        single[0] = single[0].again()
        balancer.until(status="UP", weight="100")
        assert send(balancer.doors["smtp"], [BOB]).startswith(b"250 ")


@pytest.mark.parametrize("order", ["drain", "SIGTERM"])
def test_N6_the_balancer_goes_elsewhere_before_anything_is_refused(
    single: list[SampleAppliance], folder: Path, order: str
) -> None:
    with asked(single[0]) as gate, Balancer(gate, folder) as balancer:
        balancer.until(status="UP")
        with Dialogue(balancer.doors["smtp"]) as old:
            old.expect(b"220")
            old.ask(b"EHLO x", b"250")
            old.ask(b"MAIL FROM:<alice@example.com>", b"250")
            old.ask(b"RCPT TO:<bob@example.com>", b"250")
            old.ask(b"DATA", b"354")
            if order == "drain":
                assert gate.command("drain").stdout == "draining\n"
            else:
                gate.process.signal(signal.SIGTERM)
            balancer.until(status="DRAIN (agent)")
            assert send(gate.address("smtp"), [BOB]).startswith(b"250 "), "who comes nevertheless is served"
            gate.process.expect("draining seconds")
            old.say(b"Subject: slow\r\n\r\nbut sure\r\n.\r\n")
            old.expect(b"250")
            assert old.rest()[:3] in (b"421", b"")
        assert gate.process.wait() == 0
    assert len(single[0].appliance.mailboxes["bob"]) == 2


def test_N6_a_second_signal_skips_the_pause(single: list[SampleAppliance]) -> None:
    with asked(single[0]) as gate:
        begun = time.monotonic()
        gate.process.signal(signal.SIGTERM)
        gate.process.expect("announcing")
        gate.process.signal(signal.SIGTERM)
        assert gate.process.wait() == 0
        assert time.monotonic() - begun < 4.5
    assert "draining seconds=10" in gate.process.output


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = start_fails(config("192.0.2.1:110", "192.0.2.1:25", admin={"agent": f"127.0.0.1:{port}"}))
    assert code == 2
    assert f"admin.agent: can't listen on 127.0.0.1:{port}: Address already in use" in said
