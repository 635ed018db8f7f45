"""known.py: what is known about an address, from a living store and from the file, which agree."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.memory import MemoryStore
from proxy.leases.sqlite import SqliteStore
from proxy.leases.table import LeaseTable
from proxy.leases.usage_report import Observation
from proxy.queries.address import UNKNOWN, ask, look
from proxy.queries.leases import ask_alone
from proxy.wire.address import packed

from ..support.clocks import FakeClock, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.queries.leases import Answer

HOME, NET = "2001:db8::7", "2001:db8::"
QUESTION = {"do": "why", "address": HOME, "places": [HOME, NET]}
DAY = 86400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path, clock: FakeClock) -> Path:
    """A store that has seen something."""
    path = tmp_path / "leases.db"
    table = LeaseTable(path, clock, kept=DAY)
    for number in range(5):
        table.grant(packed(HOME), f"gone{number}", "pop3", 10.0 + number)
    clock.advance(60)
    table.purge(10)
    table.grant(packed(HOME), "alice", "pop3", 1800.0)
    table.grant(packed(NET), "bob", "pop3", 900.0)
    table.grant(packed("2001:db8::8"), "eve", "pop3", 900.0)
    with table.transaction():
        table.observe(
            [
                Observation(packed(HOME), "carol", "pop3", "no lease: no_relay_logins", 1, clock.wall(), clock.wall()),
                Observation(packed(HOME), "carol", "pop3", "clear", 1, clock.wall(), clock.wall()),
            ]
        )
    table.close()
    return path


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def of_store(loop: asyncio.AbstractEventLoop, store: Any, question: Answer = QUESTION) -> Answer:
    """The answer, which goes through JSON as on the control socket."""
    whole: Answer = json.loads(json.dumps(answer(loop, lambda then: ask(store, question, then, lambda _: 4))))
    return whole


def test_everything_that_is_known(path: Path, clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
    table = LeaseTable(path, clock, read_only=True)
    from_file = look(table, QUESTION, DAY)
    table.close()
    store = SqliteStore(path, clock, 5.0, kept=DAY)
    store.start(loop)
    living = of_store(loop, store)
    store.close()
    assert [lease["login"] for lease in living["leases"]] == ["alice", "bob"]
    assert [one["login"] for one in living["past"]] == ["gone4", "gone3", "gone2"]
    assert [(one["login"], one["need"]) for one in living["unleased"]] == [("carol", "no lease: no_relay_logins")]
    assert (living["remembered"], living["failures"]) == (DAY, 4)
    assert from_file | {"failures": 4} == living


def test_without_history_the_leases_alone(path: Path, clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
    store = SqliteStore(path, clock, 5.0)
    store.start(loop)
    found = of_store(loop, store)
    store.close()
    assert len(found.pop("leases")) == 2
    assert found == {"past": [], "unleased": [], "remembered": 0, "failures": 4}
    table = LeaseTable(path, clock, read_only=True)
    assert look(table, QUESTION, 0.0)["past"] == []
    table.close()


def test_memory_remembers_nothing(clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
    store = MemoryStore(clock)
    store.grant(packed(HOME), "alice", "pop3", 60.0, lambda count: None)
    found = of_store(loop, store)
    assert ([lease["login"] for lease in found["leases"]], found["remembered"]) == (["alice"], 0)


def test_a_store_that_nobody_has_started(path: Path, clock: FakeClock) -> None:
    found = ask_alone(SqliteStore(path, clock, 5.0), QUESTION, ask)
    assert ([lease["login"] for lease in found["leases"]], found["failures"]) == (["alice", "bob"], 0)


def test_G7_a_store_that_is_down_is_known_to_be(clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
    store = MemoryStore(clock)
    store.close()
    assert of_store(loop, store) == UNKNOWN | {"failures": 4, "down": "the store is closed"}


class Forgetful(SqliteStore):
    """Its leases can be read, its memory can't."""

    def tenancies(self, *question: Any) -> None:
        question[-1](StoreUnavailable("no answer within 500 ms"))

    unleased = tenancies


def test_what_was_is_less_than_what_is(path: Path, clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
    store = Forgetful(path, clock, 5.0, kept=DAY)
    store.start(loop)
    found = of_store(loop, store)
    store.close()
    assert ([lease["login"] for lease in found["leases"]], found["past"]) == (["alice", "bob"], [])


@pytest.mark.parametrize(
    "question",
    [{"do": "why"}, {"do": "why", "address": "x", "places": []}, {"do": "why", "address": HOME, "places": 7},
     {"do": "why", "address": HOME, "places": ["x"]}, {"do": "why", "address": 7, "places": []}],
)  # fmt: skip
def test_nonsense_is_an_answer_too(clock: FakeClock, loop: asyncio.AbstractEventLoop, question: Answer) -> None:
    assert "not a question" in of_store(loop, MemoryStore(clock), question)["error"]
