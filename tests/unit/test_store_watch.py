"""store_watch.py: what is said of a store, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.memory import MemoryStore
from proxy.leases.sqlite import SqliteStore
from proxy.node.store_watch import StoreWatch

from ..support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Desk:
    """A watch, its store, its loop and its figures: all in one."""

    def __init__(self, store: Any, *, first: bool = True) -> None:
        self.said: list[tuple[str, str]] = []
        self.seen_down: list[bool] = []
        self.later: list[Callable[[], None]] = []
        self.answer: Any = []
        store.find = lambda _address, then: then(self.answer)
        self.watch = StoreWatch(store, cast("Any", self), lambda *news: self.said.append(news), first=first)

    def seen(self, *, is_down: bool) -> None:
        self.seen_down.append(is_down)

    def call_later(self, _seconds: float, action: Callable[[], None]) -> None:
        self.later.append(action)

    def start(self) -> None:
        self.watch.start(cast("Any", self))

    def again(self) -> None:
        self.later.pop()()


def sqlite(tmp_path: Path) -> Any:
    return SqliteStore(tmp_path / "leases.db", FakeClock())


BROKEN = StoreUnavailable("leases.db: file is not a database")


def test_G7_a_store_that_is_none_is_said_at_the_start_and_once(tmp_path: Path) -> None:
    desk = Desk(sqlite(tmp_path))
    desk.answer = BROKEN
    desk.start()
    assert desk.said == []
    desk.again()
    assert desk.said == [("store-down", "leases.db: file is not a database")]
    for _ in range(5):
        desk.watch.ask()
    assert (len(desk.said), desk.later) == (1, [])
    desk.answer = []
    for _ in range(5):
        desk.watch.ask()
    assert desk.said[1:] == [("store-back", "")]
    assert desk.seen_down == [True] * 7 + [False] * 5


def test_G7_one_answer_that_takes_too_long_is_no_alarm(tmp_path: Path) -> None:
    desk = Desk(sqlite(tmp_path))
    desk.start()
    for _ in range(3):
        desk.answer = StoreUnavailable("no answer within 500 ms")
        desk.watch.ask()
        desk.answer = []
        desk.again()
    assert desk.said == []
    assert desk.seen_down == [False] + [True, False] * 3


@pytest.mark.parametrize("kind", ["another worker", "no file"])
def test_only_one_worker_tells_and_of_files_alone(tmp_path: Path, kind: str) -> None:
    desk = Desk(MemoryStore(FakeClock()) if kind == "no file" else sqlite(tmp_path), first=kind == "no file")
    desk.answer = BROKEN
    desk.start()
    desk.watch.ask()
    desk.watch.ask()
    assert desk.said == desk.later == []
    assert desk.seen_down == [True, True], "the figures know it all the same"
