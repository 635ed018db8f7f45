"""net/timers.py with a clock that the test moves."""

from __future__ import annotations

import pytest

from proxy.net.timers import TICK, Deadlines, Queue


class Item:
    def __init__(self, order: list[Item] | None = None) -> None:
        self.queue: Queue | None = None
        self.order = order if order is not None else []

    def expired(self) -> None:
        self.order.append(self)


class Waiter(Item):
    """Waits for `seconds` since its last `begins`."""

    def __init__(self, bench: Bench, seconds: float | None) -> None:
        super().__init__()
        self.bench, self.seconds = bench, seconds

    def begins(self) -> None:
        self.bench.deadlines.wait_began(self)

    def limit(self) -> float | None:
        return self.seconds


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.deadlines = Deadlines(lambda: self.now)

    def tick_at(self, now: float) -> None:
        self.now = now
        self.deadlines.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_N3_a_deadline_is_never_early_and_at_most_a_tick_late(bench: Bench) -> None:
    item = Item()
    bench.deadlines.arm(item, 5.0)
    bench.tick_at(104.999)
    assert item.order == []
    bench.tick_at(105.0)
    assert item.order == [item]
    bench.tick_at(200.0)
    assert item.order == [item], "once"
    assert TICK == 0.1


def test_arming_again_replaces(bench: Bench) -> None:
    item = Item()
    bench.deadlines.arm(item, 5.0)
    bench.tick_at(104.0)
    bench.deadlines.arm(item, 5.0)
    bench.tick_at(106.0)
    assert item.order == []
    bench.deadlines.arm(item, 60.0)
    bench.tick_at(165.9)
    assert item.order == []
    bench.tick_at(166.0)
    assert item.order == [item]


def test_disarmed_never_expires(bench: Bench) -> None:
    item = Item()
    bench.deadlines.disarm(item)
    bench.deadlines.arm(item, 1.0)
    bench.deadlines.disarm(item)
    bench.deadlines.disarm(item)
    bench.tick_at(500.0)
    assert item.order == []
    assert item.queue is None


def test_each_duration_in_order_of_time(bench: Bench) -> None:
    order: list[Item] = []
    items = [Item(order) for _ in range(5)]
    for item in items:
        bench.deadlines.arm(item, 10.0)
        bench.now += 1.0
    bench.deadlines.arm(items[0], 10.0)  # begins anew: now the last
    bench.tick_at(113.0)
    assert order == items[1:4]
    bench.tick_at(115.0)
    assert order == [*items[1:], items[0]]


def test_arming_within_expired(bench: Bench) -> None:
    class Again(Item):
        def expired(self) -> None:
            super().expired()
            bench.deadlines.arm(self, 5.0)

    item = Again()
    bench.deadlines.arm(item, 5.0)
    bench.tick_at(105.0)
    bench.tick_at(105.1)
    assert len(item.order) == 1
    bench.tick_at(110.0)
    assert len(item.order) == 2


def test_disarming_others_within_expired(bench: Bench) -> None:
    class Ender(Item):
        def expired(self) -> None:
            super().expired()
            bench.deadlines.disarm(other)

    first, other = Ender(), Item()
    for seconds in (5.0, 6.0):
        bench.deadlines.arm(first, 5.0)
        bench.deadlines.arm(other, seconds)
        bench.tick_at(bench.now + 10.0)
        assert other.order == []


def test_N3_a_wait_that_was_noted_is_at_most_two_ticks_late_and_never_early(bench: Bench) -> None:
    waiter = Waiter(bench, 5.0)
    waiter.begins()
    bench.tick_at(100.0 + TICK)
    bench.tick_at(105.0)
    assert waiter.order == []
    bench.tick_at(105.0 + TICK)
    assert waiter.order == [waiter]
    bench.tick_at(200.0)
    assert waiter.order == [waiter], "once"


def test_a_wait_that_is_over_before_the_tick_is_never_armed(bench: Bench) -> None:
    waiter = Waiter(bench, 5.0)
    waiter.begins()
    waiter.seconds = None
    bench.tick_at(100.0 + TICK)
    assert waiter.queue is None
    bench.tick_at(200.0)
    assert waiter.order == []


def test_a_wait_of_the_same_kind_keeps_what_is_armed(bench: Bench) -> None:
    waiter = Waiter(bench, 5.0)
    bench.deadlines.arm(waiter, 7.0)
    waiter.begins()
    waiter.seconds = None
    bench.tick_at(106.0)
    assert waiter.order == []
    bench.tick_at(107.0)
    assert waiter.order == [waiter]


def test_N3_an_empty_list_is_forgotten(bench: Bench) -> None:
    """Durations that are seldom used (what is left of a session) do not make the tick dearer for ever."""
    items = [Item() for _ in range(100)]
    for number, item in enumerate(items):
        bench.deadlines.arm(item, float(number + 1))
    bench.tick_at(1000.0)
    assert all(item.order for item in items)
    assert not bench.deadlines._queues
