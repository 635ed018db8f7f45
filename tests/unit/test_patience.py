"""patience.py: who waits, for how long, and who is looked at again when something changes (rule G9)."""

from __future__ import annotations

import pytest

from proxy.gate.patience import PER_PLACE, Patience, Waiting

from ..support.clocks import FakeClock
from ..support.gate import SlowStore

HOME, OTHER = b"\xc0\0\2\7", b"\xc0\0\2\x08"


class Bench:
    """Patience with a store that only keeps its watcher; `looks` is who was looked at, and whether for the last
    time."""

    def __init__(self, maximum: int = 200) -> None:
        self.store = SlowStore()
        self.clock = FakeClock()
        self.patience = Patience(self.store, self.clock.now, maximum)  # type: ignore[arg-type]  # nothing but `watch`
        self.looks: list[tuple[str, bool]] = []

    def enter(self, name: str, place: bytes = HOME, seconds: float = 3.0) -> Waiting | None:
        return self.patience.enter(place, seconds, lambda last: self.looks.append((name, last)))

    def waits(self, name: str, place: bytes = HOME, seconds: float = 3.0) -> Waiting:
        waiting = self.enter(name, place, seconds)
        assert waiting is not None
        return waiting

    def changed(self, place: bytes | None) -> list[str]:
        """Who is looked at when the store has news."""
        assert self.store.watcher is not None
        self.looks.clear()
        self.store.watcher(place)
        assert not any(last for _, last in self.looks)
        return [name for name, _ in self.looks]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_G9_at_most_five_wait_for_one_address(bench: Bench) -> None:
    assert PER_PLACE == 5
    waiting = [bench.waits(str(number)) for number in range(5)]
    assert bench.enter("sixth") is None
    assert bench.enter("elsewhere", OTHER) is not None
    bench.patience.leave(waiting[2])
    assert bench.enter("sixth") is not None
    assert bench.enter("seventh") is None


def test_G9_at_most_patience_waiting_wait_in_all() -> None:
    bench = Bench(maximum=3)
    waiting = [bench.waits(str(number), bytes([number])) for number in range(3)]
    assert bench.enter("fourth", OTHER) is None
    assert len(bench.patience) == 3
    bench.patience.leave(waiting[0])
    assert bench.enter("fourth", OTHER) is not None


def test_a_reload_may_raise_and_lower_the_maximum(bench: Bench) -> None:
    bench.patience.maximum = 1
    bench.waits("one")
    assert bench.enter("two") is None
    bench.patience.maximum = 2
    assert bench.enter("two") is not None
    bench.patience.maximum = 1
    assert len(bench.patience) == 2, "who waits goes on waiting"


def test_G9_there_is_one_watch_while_somebody_waits_and_none_else(bench: Bench) -> None:
    assert bench.store.watcher is None
    one = bench.waits("one")
    watcher = bench.store.watcher
    assert watcher is not None
    two = bench.waits("two", OTHER)
    assert bench.store.watcher is watcher
    bench.patience.leave(one)
    assert bench.store.watcher is watcher
    bench.patience.leave(two)
    assert bench.store.watcher is None
    bench.waits("three")
    assert bench.store.watcher is not None


def test_leaving_twice_frees_one_place(bench: Bench) -> None:
    one = bench.waits("one")
    bench.waits("two")
    bench.patience.leave(one)
    bench.patience.leave(one)
    assert len(bench.patience) == 1
    assert bench.changed(HOME) == ["two"]


def test_G9_a_lease_for_an_address_is_told_to_who_waits_there(bench: Bench) -> None:
    bench.waits("one")
    bench.waits("two")
    bench.waits("elsewhere", OTHER)
    assert bench.changed(HOME) == ["one", "two"]
    assert bench.changed(OTHER) == ["elsewhere"]
    assert bench.changed(b"\xc0\0\2\x09") == []
    assert bench.changed(None) == ["one", "two", "elsewhere"], "for whomever"


def test_who_leaves_or_enters_while_it_is_told_disturbs_nobody() -> None:
    bench = Bench()
    seen: list[str] = []

    def leave_both(_: bool) -> None:
        seen.append("first")
        bench.patience.leave(first)
        bench.patience.leave(second)
        bench.enter("late")

    first = bench.patience.enter(HOME, 3.0, leave_both)
    second = bench.waits("second")
    bench.waits("third")
    assert first is not None
    assert bench.changed(None) == ["third"], "who has left is not looked at, nor who came meanwhile"
    assert seen == ["first"]
    assert len(bench.patience) == 2


def test_G9_when_its_time_is_over_each_is_looked_at_once_for_the_last_time(bench: Bench) -> None:
    bench.waits("short", seconds=1.0)
    bench.waits("long", seconds=3.0)
    bench.patience.tick()
    bench.clock.advance(0.9)
    bench.patience.tick()
    assert bench.looks == []
    bench.clock.advance(0.1)
    bench.patience.tick()
    assert bench.looks == [("short", True)]
    bench.patience.tick()
    assert bench.looks == [("short", True)], "the store is asked once, however long it takes"
    bench.clock.advance(2.0)
    bench.patience.tick()
    assert bench.looks == [("short", True), ("long", True)]


def test_news_are_counted_from_the_moment_somebody_watches(bench: Bench) -> None:
    """Who has asked the store before, and gets its answer after, knows by them that it may be outdated."""
    before = bench.patience.news
    bench.waits("one")
    watched = bench.patience.news
    assert watched != before, "what happened while nobody watched is not known"
    bench.waits("two")
    assert bench.patience.news == watched
    bench.changed(OTHER)
    assert bench.patience.news != watched
