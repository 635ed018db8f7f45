"""health.py: when a server is asked, what is said, and what the log and the pools hear of it."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from proxy import health
from proxy.health import Prober
from proxy.net.tls.contexts import upstream_context
from proxy.net.upstream.announcement import Announcing
from proxy.net.upstream.pool import Pools
from proxy.net.upstream.upstream import ORIGINAL, UNANNOUNCED, Server, Upstream
from proxy.shared_memory.server_health import ServerHealth, keys_of
from proxy.wire.proxyheader import LOCAL_V2

from ..support.legacy import Legacy, greets, silent
from ..support.workshop import Workshop, refused_port

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.legacy import Call


@pytest.fixture(autouse=True)
def punctual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter is for several nodes; here it would only blur."""
    monkeypatch.setattr(health, "JITTER", 0.0)


@pytest.fixture
def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Watcher:
    """A prober of one upstream, by the workshop's clock; `tick` gives it its time."""

    def __init__(self, workshop: Workshop, *servers: Server, interval: float = 5.0, **words: Any) -> None:
        self.workshop = workshop
        given: dict[str, Any] = {"protocol": "smtp", "tls": None, "implicit": False, "limit": 0, **words}
        self.board = ServerHealth(2)
        own, keys = keys_of("up", servers)
        self.board.enlist([own, *keys])
        pools = Pools(self.board.row(0), workshop.clock.now)
        self.upstream = Upstream(
            "up",
            given["protocol"],
            servers,
            tls=given["tls"],
            implicit=given["implicit"],
            connect_timeout=given.get("patience", 10.0),
            is_ours=lambda host, port: False,
            announcing=given.get("announcing", UNANNOUNCED),
            pool=pools.pool("up", servers, "first", given["limit"], 1000.0),
            health_interval=interval,
        )
        self.prober = Prober(workshop.log, workshop.clock.now, workshop.loop)
        self.prober.watch([self.upstream])
        workshop.at_end.append(lambda: workshop.loop.run_until_complete(self.prober.close()))

    @property
    def pool(self) -> Any:
        return self.upstream.pool

    def busy(self) -> bool:
        return any(watch.task is not None for watch in self.prober._watches.values())

    def tick(self, seconds: float = 0.0) -> None:
        """Let time go by, and what is begun then come to its end."""
        self.workshop.clock.advance(seconds)
        self.workshop.run(self.prober.tick)
        self.workshop.until(lambda: not self.busy())
        self.workshop.clock.advance(health.LOOK)
        self.workshop.run(self.prober.tick)
        self.workshop.until(lambda: not self.busy())

    def state(self, server: int = 0) -> str:
        return str(self.pool.condition(server).state)


def at(legacy: Legacy) -> Server:
    return Server(*legacy.address)


async def smtp(call: Call) -> None:
    await call.ask(b"220 hi\r\n")
    await call.ask(b"250-box\r\n250 SIZE\r\n")
    await call.say(b"221 bye\r\n")


async def pop3(call: Call) -> None:
    await call.ask(b"+OK hi <1@box>\r\n")
    await call.ask(b"+OK\r\nUSER\r\n.\r\n")
    await call.say(b"+OK bye\r\n")


async def old_pop3(call: Call) -> None:
    await call.ask(b"+OK hi\r\n")
    await call.ask(b"-ERR what?\r\n")
    await call.say(b"+OK bye\r\n")


def test_smtp_is_spoken_to_its_end(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server))
        watcher.tick()
        lines = bytes(server.call().received).split(b"\r\n")
    assert watcher.state() == "up"
    assert lines[0].startswith(b"EHLO ")
    assert lines[1:] == [b"QUIT", b""]
    assert watcher.workshop.log.lines == [], "a server that is up at the start is no news"
    assert watcher.board.connections(watcher.board.slot(f"up {at(server)}")) == 0


@pytest.mark.parametrize("play", [pop3, old_pop3])
def test_pop3_is_spoken_to_its_end(workshop: Workshop, play: Any) -> None:
    with Legacy(play) as server:
        watcher = Watcher(workshop, at(server), protocol="pop3")
        watcher.tick()
        assert bytes(server.call().received) == b"CAPA\r\nQUIT\r\n"
    assert watcher.state() == "up"


def test_through_tls_as_it_is_configured(workshop: Workshop, server_context: ssl.SSLContext) -> None:
    with Legacy(smtp, tls=server_context) as server:
        watcher = Watcher(workshop, at(server), tls=upstream_context(tls_verify=False), implicit=True)
        watcher.tick()
        assert watcher.state() == "up"
        refusing = Watcher(workshop, at(server), tls=upstream_context(), implicit=True)
        refusing.tick()
        assert refusing.state() == "down"
        assert "certificate" in refusing.pool.condition(0).why


def test_starttls_is_asked_for_and_a_server_without_it_is_down(
    workshop: Workshop, server_context: ssl.SSLContext
) -> None:
    async def starttls(call: Call) -> None:
        await call.ask(b"220 hi\r\n")
        await call.ask(b"250-box\r\n250 STARTTLS\r\n")
        await call.say(b"220 go\r\n")
        await call.starttls(server_context)
        await call.line()
        await call.ask(b"250 box\r\n")
        await call.say(b"221 bye\r\n")

    tls = upstream_context(tls_verify=False)
    with Legacy(starttls) as server, Legacy(smtp) as plain:
        watcher = Watcher(workshop, at(server), at(plain), tls=tls)
        watcher.tick()
    assert [watcher.state(0), watcher.state(1)] == ["up", "down"]
    assert "STARTTLS" in watcher.pool.condition(1).why


def test_a_server_that_wants_a_proxy_header_gets_one_that_says_local(workshop: Workshop) -> None:
    async def behind_header(call: Call) -> None:
        call.received += await call.reader.readexactly(len(LOCAL_V2))
        await smtp(call)

    with Legacy(behind_header) as server:
        watcher = Watcher(workshop, at(server), announcing=Announcing(proxy="v2"))
        watcher.tick()
        assert server.call().received.startswith(LOCAL_V2 + b"EHLO ")
    assert watcher.state() == "up"


def test_a_server_that_was_never_up_is_down_at_its_first_failure(workshop: Workshop) -> None:
    watcher = Watcher(workshop, Server("127.0.0.1", refused_port()))
    watcher.tick()
    assert watcher.state() == "down"
    [line] = workshop.log.of("upstream-down")
    assert (line["upstream"], line["server"]) == ("up", str(watcher.upstream.servers[0]))
    assert "refused" in line["why"]
    watcher.tick(5)
    watcher.tick(5)
    assert len(workshop.log.lines) == 1, "said once"


@pytest.mark.parametrize(
    ("greeting", "why"), [(b"421 busy\r\n", "421 busy"), (b"hello\r\n", ""), (b"", "hung up"), (b"554 no\r\n", "554")]
)
def test_who_greets_with_a_refusal_or_nonsense_is_down(workshop: Workshop, greeting: bytes, why: str) -> None:
    async def play(call: Call) -> None:
        await call.say(greeting)

    with Legacy(play) as server:
        watcher = Watcher(workshop, at(server))
        watcher.tick()
    assert watcher.state() == "down"
    assert why in watcher.pool.condition(0).why


def test_who_is_silent_is_given_up_after_connect_timeout(workshop: Workshop) -> None:
    with Legacy(silent) as server, Legacy(greets(b"220-")) as dripping:
        watcher = Watcher(workshop, at(server), at(dripping), patience=0.2)
        watcher.tick()
    assert [watcher.state(0), watcher.state(1)] == ["down", "down"]


def test_down_after_two_failures_and_up_after_one_success(workshop: Workshop) -> None:
    answers = [True, False, False, True]

    async def play(call: Call) -> None:
        if answers.pop(0):
            await smtp(call)

    with Legacy(play) as server:
        watcher = Watcher(workshop, at(server))
        states = []
        for _ in range(4):
            watcher.tick()
            states.append(watcher.state())
            workshop.clock.advance(10)
    assert states == ["up", "up", "down", "up"]
    assert [kind for _, _, kind, _ in workshop.log.lines] == ["upstream-down", "upstream-up"]
    assert [level for level, *_ in workshop.log.lines] == ["warning", "info"]
    assert workshop.log.of("upstream-up")[0]["seconds"] > 0


def calls(server: Legacy) -> int:
    return len(server.calls)


def test_it_is_asked_once_an_interval(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server))
        watcher.tick()
        for _ in range(9):
            watcher.tick(0.5)
        assert calls(server) == 2
        for _ in range(10):
            watcher.tick(0.5)
        assert calls(server) == 4


def test_a_server_where_clients_come_is_not_probed(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server))
        row = watcher.board.row(1)
        slot = watcher.board.slot(f"up {at(server)}")
        for _ in range(30):
            row.succeeded(slot, workshop.clock.now())
            watcher.tick(0.5)
        assert calls(server) == 0
        watcher.tick(5)
        assert calls(server) == 1


def test_what_a_client_found_out_is_said_and_looked_into_at_once(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server))
        watcher.tick()
        workshop.clock.advance(1)
        slot = watcher.board.slot(f"up {at(server)}")
        watcher.board.row(1).failed(slot, workshop.clock.now(), "Connection reset by peer")
        workshop.clock.advance(0.5)
        watcher.tick()
        assert calls(server) == 2
    assert watcher.state() == "up", "it was that connection's bad luck"
    assert workshop.log.of("upstream-down")[0]["why"] == "Connection reset by peer"
    assert len(workshop.log.of("upstream-up")) == 1


def test_without_an_interval_nothing_is_asked_and_all_is_said(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server), interval=0.0)
        slot = watcher.board.slot(f"up {at(server)}")
        watcher.board.row(1).failed(slot, workshop.clock.now(), "x")
        watcher.tick(1)
        workshop.clock.advance(100)
        watcher.tick()
        assert calls(server) == 0
    assert len(workshop.log.of("upstream-down")) == 1


def test_a_probe_takes_a_place_and_a_full_server_is_not_probed(workshop: Workshop) -> None:
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server), limit=1)
        assert watcher.pool.enter(0)
        watcher.tick()
        assert calls(server) == 0
        watcher.pool.leave(0)
        watcher.tick(5)
        assert calls(server) == 1


def test_N7_a_reload_keeps_what_is_known(workshop: Workshop) -> None:
    watcher = Watcher(workshop, Server("127.0.0.1", refused_port()))
    watcher.prober.watch([watcher.upstream, watcher.upstream])  # of two listeners
    watcher.tick()
    for _ in range(2):
        watcher.prober.watch([watcher.upstream, watcher.upstream])
        watcher.tick(5)
    assert len(workshop.log.of("upstream-down")) == 1


def test_N7_a_reload_forgets_who_left(workshop: Workshop) -> None:
    stays = Server("127.0.0.1", refused_port())
    with Legacy(silent) as server:
        watcher = Watcher(workshop, stays, at(server))
        workshop.run(watcher.prober.tick)
        workshop.until(lambda: server.calls)
        workshop.run(lambda: watcher.prober.watch([Watcher(workshop, stays).upstream]))
        workshop.until(lambda: server.call().ended.is_set())
    assert list(watcher.prober._watches) == [("up", str(stays))]
    assert watcher.pool.condition(1).state == "unknown", "its probe was broken off by us"


def test_it_can_be_closed_in_the_midst_of_a_probe(workshop: Workshop) -> None:
    with Legacy(silent) as server:
        watcher = Watcher(workshop, at(server))
        workshop.run(watcher.prober.tick)
        workshop.until(lambda: server.calls)
        workshop.loop.run_until_complete(watcher.prober.close())
        assert not watcher.busy()
    assert watcher.state() == "unknown", "nobody is to blame"
    assert not asyncio.all_tasks(workshop.loop)


def test_a_name_without_an_address_is_down(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(workshop, Server("127.0.0.1", 25))
    monkeypatch.setattr(watcher.upstream, "addresses", lambda then: then([]))
    watcher.tick()
    assert watcher.pool.condition(0).why == "its name can't be looked up"


def test_intervals_vary_by_a_tenth(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "JITTER", 0.1)
    with Legacy(smtp) as server:
        watcher = Watcher(workshop, at(server), interval=100.0)
        pauses = []
        for _ in range(6):
            workshop.clock.advance(200)
            workshop.run(watcher.prober.tick)
            [watch] = watcher.prober._watches.values()
            pauses.append(watch.due - workshop.clock.now())
            workshop.until(lambda: not watcher.busy())
    assert all(90 <= pause <= 110 for pause in pauses)
    assert len(set(pauses)) > 1


def test_where_each_client_names_its_server_nobody_is_probed(workshop: Workshop) -> None:
    watcher = Watcher(workshop, ORIGINAL)
    watcher.tick()
    watcher.tick(100)
    assert list(watcher.prober._watches) == []
    assert watcher.upstream.healthy
