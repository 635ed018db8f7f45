"""Several servers behind one upstream: failover, balance, places, probes; as clients and servers see it."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from ..support.appliance import SampleAppliance
from ..support.dialogue import Dialogue, pop_login, send
from ..support.legacy import Legacy
from ..support.popgate import Config, Popgate, config
from ..support.ports import server_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.legacy import Call

BOB = b"bob@example.com"


def pooled(pop3: list[str], smtp: list[str], workers: int = 2, **keys: Any) -> Config:
    """A gate in front of several servers; keys: of both upstreams."""
    given = {"health_interval": "1s", "balance": "roundrobin", **keys}
    settings = config(pop3[0], smtp[0], workers=workers)
    settings["upstream"] = {"pop3": {"servers": pop3, **given}, "smtp": {"servers": smtp, **given}}
    return settings


@pytest.fixture
def pair() -> Iterator[list[SampleAppliance]]:
    """Two appliances; a test may close them, and put others in their place."""
    both = [SampleAppliance(server_host()), SampleAppliance(server_host())]
    yield both
    for one in both:
        one.close()


def in_front(pair: list[SampleAppliance], **keys: Any) -> Popgate:
    return Popgate(pooled([one.pop3 for one in pair], [one.smtp for one in pair], **keys))


def servers(gate: Popgate) -> list[dict[str, Any]]:
    """What `popgate status` says of the SMTP servers."""
    answer = json.loads(gate.command("status", "--json").stdout)
    return [one for one in answer["upstreams"] if one["upstream"] == "smtp"]


def expect_of(gate: Popgate, event: str, server: str, since: int = 0) -> None:
    gate.process.expect(rf"{event} upstream=\w+ server={server}\b", since=since)


def got(appliance: SampleAppliance) -> int:
    """Messages that have come to it."""
    return len(appliance.appliance.mailboxes["bob"])


def test_clients_do_not_notice_a_server_that_dies_and_comes_back(pair: list[SampleAppliance]) -> None:
    first, second = pair
    with in_front(pair) as gate:
        for _ in range(6):
            assert send(gate.address("smtp"), [BOB]).startswith(b"250 ")
        assert (got(first), got(second)) == (3, 3), "the workers take turns together"
        first.close()
        for _ in range(10):
            assert send(gate.address("smtp"), [BOB]).startswith(b"250 ")
            pop_login(gate.address("pop3"))
        assert (got(first), got(second)) == (3, 13)
        expect_of(gate, "upstream-down", first.smtp)
        expect_of(gate, "upstream-down", first.pop3)
        assert [one["state"] for one in servers(gate)] == ["down", "up"]
        assert "refused" in servers(gate)[0]["why"]
        pair[0] = back = first.again()
        expect_of(gate, "upstream-up", back.smtp)
        for _ in range(6):
            assert send(gate.address("smtp"), [BOB]).startswith(b"250 ")
        assert got(back) == 3
        lines = [line for line in gate.process.lines if "upstream-down" in line and back.smtp in line]
        assert len(lines) == 1, "one process says it, once"


def test_with_none_left_clients_are_told_to_come_again_and_may(pair: list[SampleAppliance]) -> None:
    with in_front(pair) as gate:
        for one in pair:
            one.close()
        for _ in range(3):  # what is down is tried all the same
            with Dialogue(gate.address("smtp")) as smtp:
                smtp.expect(b"421 4.3.2")
                assert smtp.closed()
            with Dialogue(gate.address("pop3")) as pop:
                pop.expect(b"-ERR [SYS/TEMP]")
                assert pop.closed()
        for number, one in enumerate(pair):
            expect_of(gate, "upstream-down", one.smtp)
            pair[number] = one.again()
        assert send(gate.address("smtp"), [BOB]).startswith(b"250 "), "no need to wait for a probe"


# --- servers that keep their clients


async def patient(call: Call) -> None:
    """Greets, and stays until the client goes."""
    await call.say(b"220 hello\r\n")
    await call.to_the_end()


def here(server: Legacy) -> int:
    """Connections to it that have not ended."""
    return sum(not call.ended.is_set() for call in server.calls)


def greeted(gate: Popgate) -> Dialogue:
    client = Dialogue(gate.address("smtp"))
    client.expect(b"220")
    return client


def test_leastconn_fills_up_who_has_fewest() -> None:
    with Legacy(patient) as one, Legacy(patient) as two:
        settings = pooled([one.endpoint], [one.endpoint, two.endpoint], balance="leastconn", health_interval="0s")
        with Popgate(settings) as gate:
            clients = [greeted(gate) for _ in range(6)]
            assert (here(one), here(two)) == (3, 3)
            at_one = [client for number, client in enumerate(clients) if number % 2 == 0]
            for client in at_one[:2]:
                client.close()
            for call in (one.calls[0], one.calls[1]):
                assert call.ended.wait(10)
            clients += [greeted(gate), greeted(gate)]
            assert (len(one.calls), len(two.calls)) == (5, 3)
            assert [server["connections"] for server in servers(gate)] == [3, 3]
            for client in clients:
                client.close()


def test_max_connections_holds_for_all_workers_and_who_waits_gets_in() -> None:
    with Legacy(patient) as server:
        settings = pooled([server.endpoint], [server.endpoint], max_connections=2, health_interval="0s", workers=3)
        with Popgate(settings) as gate:
            inside = [greeted(gate), greeted(gate)]
            waiting = [Dialogue(gate.address("smtp")) for _ in range(4)]
            for number in range(3, 7):
                inside.pop(0).close()
                ready, _, _ = select.select([client.socket for client in waiting], [], [], 10)
                [next_one] = [client for client in waiting if client.socket in ready]
                next_one.expect(b"220")
                waiting.remove(next_one)
                inside.append(next_one)
                assert len(server.calls) == number, "one went, one came"
            for client in inside:
                client.close()


def test_who_waits_too_long_is_told_to_come_again() -> None:
    with Legacy(patient) as server:
        settings = pooled(
            [server.endpoint], [server.endpoint], max_connections=1, connect_timeout="1s", health_interval="0s"
        )
        with Popgate(settings) as gate, greeted(gate):
            begun = time.monotonic()
            with Dialogue(gate.address("smtp")) as late:
                late.expect(b"421 4.3.2")
                assert late.closed()
            assert time.monotonic() - begun >= 0.9
            gate.process.expect("upstream-failed .*no place became free in time")
            assert len(server.calls) == 1


# --- probes


async def probed(call: Call) -> None:
    await call.ask(b"220 hello\r\n")
    await call.ask(b"250 hello\r\n")
    await call.say(b"221 bye\r\n")


def test_one_process_probes_and_another_takes_over() -> None:
    with Legacy(probed) as server, Legacy(patient) as pop:
        settings = pooled([pop.endpoint], [server.endpoint], workers=4)
        settings["upstream"]["pop3"]["health_interval"] = "0s"
        with Popgate(settings) as gate:
            server.call(0).ended.wait(10)
            begun = time.monotonic()
            server.call(4).ended.wait(10)
            assert time.monotonic() - begun > 3.0, "four workers, and yet one probe a second, a tenth sooner at most"
            os.kill(gate.workers()[0], signal.SIGKILL)
            gate.process.expect("worker-died")
            seen = len(server.calls)
            server.call(seen + 2)
        assert bytes(server.call(0).received).endswith(b"\r\nQUIT\r\n")
        assert "end client" not in gate.process.output, "a probe is no session of ours"
