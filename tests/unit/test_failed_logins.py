"""shared_memory/failed_logins.py: failed logins within ten minutes, counted in halves, by all workers (rule G13)."""

from __future__ import annotations

import copy

import pytest

from proxy.node.workers import PAUSES
from proxy.shared_memory.failed_logins import SPAN, FailedLogins

from ..support.clocks import FakeClock

HOME, OTHER = b"\xc0\0\2\7", b"\xc0\0\2\x08"


class Node:
    """Two workers, whose ticks come each second."""

    def __init__(self) -> None:
        self.clock = FakeClock(boottime=10_000 * SPAN)
        self.failures = FailedLogins(2, self.clock.now)
        self.workers = [copy.copy(self.failures), copy.copy(self.failures)]
        self.tick()

    def note(self, worker: int) -> int:
        return self.workers[worker].note(worker, HOME)

    def tick(self) -> None:
        for number, worker in enumerate(self.workers):
            worker.tick(number)

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.tick()

    def reborn(self, number: int) -> None:
        """A worker dies; what a fork of the supervisor gives its successor is the same memory."""
        self.workers[number] = copy.copy(self.failures)


@pytest.fixture
def node() -> Node:
    return Node()


def test_G13_failures_of_all_workers_count_for_their_address(node: Node) -> None:
    assert node.failures.of(HOME) == 0
    assert [node.note(worker) for worker in (0, 1, 1)] == [1, 2, 3]
    assert (node.failures.of(HOME), node.failures.of(OTHER)) == (3, 0)


def test_G13_they_count_for_five_minutes_at_least_and_ten_at_most(node: Node) -> None:
    half = SPAN / 2
    node.later(half - 1)
    node.note(0)  # at the end of a half
    node.later(1)
    node.note(1)  # at the beginning of the next
    assert node.failures.of(HOME) == 2
    node.later(half - 1)
    assert node.failures.of(HOME) == 2
    node.later(1)
    assert node.failures.of(HOME) == 1
    node.later(half - 1)
    assert node.failures.of(HOME) == 1
    node.later(1)
    assert node.failures.of(HOME) == 0


def test_G13_old_counts_do_not_come_back(node: Node) -> None:
    """A half's memory is used again after three halves."""
    for _ in range(7):
        node.note(0)
        node.later(SPAN)
        assert node.failures.of(HOME) == 0


def test_G13_not_even_after_a_suspend(node: Node) -> None:
    for halves in range(1, 9):
        node.note(0)
        node.note(1)
        node.clock.advance(halves * SPAN / 2)
        node.tick()
        assert node.failures.of(HOME) == (2 if halves == 1 else 0), halves
        node.later(SPAN)
        assert node.failures.of(HOME) == 0


def test_G13_what_a_dead_worker_has_noted_counts_on_and_ends_as_ever(node: Node) -> None:
    node.note(1)
    node.later(10)
    node.reborn(1)
    assert node.failures.of(HOME) == 1
    node.note(1)
    node.later(SPAN)
    assert node.failures.of(HOME) == 0
    node.later(SPAN)
    assert node.failures.of(HOME) == 0


@pytest.mark.parametrize("before", [0, 270, 285, 299])
def test_G13_a_worker_that_is_down_for_the_longest_pause_leaves_nothing_behind(node: Node, before: int) -> None:
    """Of a half that begins, or is cleared by the others, while it is down."""
    assert PAUSES[1] < SPAN / 2, "else its old counts would come round again"
    node.note(1)
    node.later(before)
    node.workers, workers = node.workers[:1], node.workers
    node.later(PAUSES[1])
    node.workers = workers
    node.reborn(1)
    node.tick()
    assert node.failures.of(HOME) == 1
    for _ in range(4):
        node.later(SPAN / 2)
    assert node.failures.of(HOME) == 0
    node.later(SPAN / 2)
    assert node.failures.of(HOME) == 0
