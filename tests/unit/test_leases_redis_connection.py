"""proxy/leases/redis/connection.py: connecting, reconnecting, replies in their order; against servers that
misbehave."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.leases.redis import connection as module
from proxy.leases.redis.connection import Connection, Server
from tests.support.clocks import LOOPS, PATIENCE
from tests.support.legacy import Call, Legacy
from tests.support.redis import RedisServer, let_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WELCOME = b"%1\r\n+server\r\n+redis\r\n+OK\r\n"


class Bench:
    """A line whose news are noted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server) -> None:
        self.loop = loop
        self.news: list[str] = []
        self.published: list[Any] = []
        self.replies: list[Any] = []
        self.line = Connection(
            server,
            came=lambda: self.news.append("up"),
            went=lambda: self.news.append(self.line.why or "broke"),
            published=self.published.append,
        )
        self.line.start(loop)

    def ask(self, *command: str | int) -> None:
        self.line.send(command, self.replies.append)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.news
            self.loop.run_until_complete(asyncio.sleep(0.002))


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    errors: list[object] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    yield loop
    let_go(loop)
    loop.close()
    assert errors == []


def opened(loop: asyncio.AbstractEventLoop, server: Server) -> Bench:
    bench = Bench(loop, server)
    bench.until(lambda: bench.news)
    return bench


def test_replies_come_in_the_order_of_the_questions(
    loop: asyncio.AbstractEventLoop, emptied_redis: RedisServer
) -> None:
    bench = opened(loop, emptied_redis.server)
    for number in range(100):
        bench.ask("ECHO", number)
    bench.ask("NONSENSE")
    bench.ask("GET", "nothing")
    bench.until(lambda: len(bench.replies) == 102)
    assert bench.replies[:100] == [str(number).encode() for number in range(100)]
    assert "unknown command" in str(bench.replies[100])
    assert bench.replies[101] is None
    bench.line.close()


def test_a_subscription_answers_in_its_turn_and_brings_what_is_published(
    loop: asyncio.AbstractEventLoop, emptied_redis: RedisServer
) -> None:
    bench = opened(loop, emptied_redis.server)
    bench.ask("SUBSCRIBE", "news")
    bench.ask("PUBLISH", "news", "hello")
    bench.ask("UNSUBSCRIBE", "news")
    bench.ask("PING")
    bench.until(lambda: len(bench.replies) == 4)
    assert bench.replies == [[b"subscribe", b"news", 1], 1, [b"unsubscribe", b"news", 0], b"PONG"]
    assert bench.published == [[b"message", b"news", b"hello"]]
    bench.line.close()


def test_who_waits_when_the_line_breaks_is_told_and_the_line_comes_back(loop: asyncio.AbstractEventLoop) -> None:
    calls = []

    async def play(call: Call) -> None:
        calls.append(call)
        await call.until(b"SELECT")
        await call.say(WELCOME)
        await call.until(b"PING")
        call.reset()

    with Legacy(play) as server:
        bench = opened(loop, Server(*server.address))
        bench.ask("PING")
        bench.ask("PING")
        bench.until(lambda: bench.news == ["up", "broke", "up"])
        assert bench.replies == [None, None]
        assert len(calls) == 2
        bench.line.close()
        let_go(loop)


def test_attempts_are_made_further_and_further_apart(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, emptied_redis: RedisServer
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.random, "uniform", lambda _low, high: high)
    bench = Bench(loop, Server(emptied_redis.host, 1))
    later = loop.call_later

    def noted(delay: float, *rest: Any, **more: Any) -> Any:
        if rest[0] == bench.line._begin:
            pauses.append(delay)
            return later(0, *rest, **more)
        return later(delay, *rest, **more)

    class Quick:
        def __getattr__(self, name: str) -> Any:
            return noted if name == "call_later" else getattr(loop, name)

    bench.line._loop = Quick()  # type: ignore[assignment]
    bench.until(lambda: len(pauses) >= 7)
    assert pauses[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert bench.news[0] == "Connection refused"
    bench.line.close()


def test_a_server_that_says_nothing_is_given_up(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT", 0.05)

    async def mute(call: Call) -> None:
        await call.reader.read()

    with Legacy(mute) as server:
        bench = opened(loop, Server(*server.address))
        assert bench.news[0] == "no connection within 0.05 s"
        assert not bench.line.up
        bench.line.close()
        let_go(loop)


@pytest.mark.parametrize(
    ("greeting", "why"),
    [
        (b"220 mail.example.com ESMTP\r\n", "not Redis's protocol"),
        (b"-ERR unknown command 'HELLO'\r\n+OK\r\n", "unknown command"),
        (b"%0\r\n-ERR DB index is out of range\r\n", "DB index"),
        (b"-LOADING Redis is loading the dataset in memory\r\n+OK\r\n", "LOADING"),
        (b"", "closed by the server"),
    ],
)
def test_what_is_not_our_server_is_named(loop: asyncio.AbstractEventLoop, greeting: bytes, why: str) -> None:
    async def play(call: Call) -> None:
        await call.until(b"SELECT")
        await call.say(greeting)

    with Legacy(play) as server:
        bench = opened(loop, Server(*server.address, password="sEcReT"))
        assert why in bench.news[0]
        assert "sEcReT" not in bench.news[0]
        bench.line.close()
        let_go(loop)


def test_a_server_that_becomes_a_replica_is_left(loop: asyncio.AbstractEventLoop) -> None:
    async def play(call: Call) -> None:
        await call.until(b"SELECT")
        await call.say(WELCOME)
        await call.until(b"PING")
        await call.say(b"-READONLY You can't write against a read only replica.\r\n")
        await call.reader.read()

    with Legacy(play) as server:
        bench = opened(loop, Server(*server.address))
        bench.ask("PING")
        bench.until(lambda: len(bench.news) >= 2)
        assert bench.news[:2] == ["up", "broke"]
        assert "READONLY" in str(bench.replies[0])
        bench.line.close()
        let_go(loop)


def test_a_name_is_resolved_anew_at_each_attempt(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, emptied_redis: RedisServer
) -> None:
    asked: list[str] = []
    plain = loop.create_connection

    async def moved(factory: Any, host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        return await plain(factory, emptied_redis.host if len(asked) > 2 else "127.0.0.1", port, **more)

    class Moving:
        def __getattr__(self, name: str) -> Any:
            return moved if name == "create_connection" else getattr(loop, name)

    bench = Bench(loop, Server("redis.example.com", emptied_redis.port))
    bench.line.close()
    let_go(loop)
    bench.news.clear()
    bench.line = Connection(
        bench.line._server, came=lambda: bench.news.append("up"), went=lambda: None, published=print
    )
    bench.line.start(Moving())  # type: ignore[arg-type]
    bench.until(lambda: "up" in bench.news)
    assert asked == ["redis.example.com"] * 3
    bench.line.close()


def test_what_a_reply_sets_off_may_fail_and_the_others_get_theirs(emptied_redis: RedisServer) -> None:
    loop = asyncio.new_event_loop()
    errors: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))
    bench = opened(loop, emptied_redis.server)

    def fails(_reply: Any) -> None:
        raise ZeroDivisionError

    bench.ask("ECHO", 1)
    bench.line.send(("ECHO", 2), fails)
    bench.ask("ECHO", 3)
    bench.until(lambda: len(bench.replies) == 2)
    assert bench.replies == [b"1", b"3"]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    bench.line.close()
    let_go(loop)
    loop.close()


def test_a_server_as_people_see_it() -> None:
    assert str(Server("2001:db8::1", 1, password="x")) == "redis [2001:db8::1]:1"
    assert "sEcReT" not in repr(Server("h", password="sEcReT"))
