"""shared_memory/count_sketch.py: a number for each of very many things, in memory that workers share."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.shared_memory.count_sketch import CELLS, CountMinSketch

THINGS = [b"anna", b"bert", b"", b"\xff" * 256, bytes(4), bytes(16)]


def test_each_thing_has_its_own_figure_the_sum_of_all_workers() -> None:
    crowd = CountMinSketch(3)
    for worker, thing in ((0, b"anna"), (1, b"anna"), (2, b"anna"), (1, b"bert")):
        crowd.add(worker, thing)
    assert [crowd.of(thing) for thing in (b"anna", b"bert", b"carl")] == [3, 1, 0]
    crowd.remove(2, b"anna")
    assert crowd.of(b"anna") == 2


def test_N5_a_dead_worker_s_things_are_forgotten_and_no_other_s() -> None:
    crowd = CountMinSketch(2)
    for worker in (0, 1, 1):
        crowd.add(worker, b"anna")
    crowd.forget(1)
    assert crowd.of(b"anna") == 1
    crowd.add(1, b"anna")
    assert crowd.of(b"anna") == 2


def test_N5_a_child_counts_in_the_same_cells() -> None:
    """The hash has a secret, which children share."""
    crowd = CountMinSketch(2)
    crowd.add(0, b"anna")
    child = os.fork()
    if child == 0:
        crowd.add(1, b"anna")
        os._exit(0 if crowd.of(b"anna") == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert crowd.of(b"anna") == 2


def test_ten_thousand_things_hardly_disturb_each_other() -> None:
    crowd = CountMinSketch(1)
    for number in range(10_000):
        crowd.add(0, number.to_bytes(4))
    assert CELLS > 3 * 10_000
    high = [number for number in range(10_000) if crowd.of(number.to_bytes(4)) > 1]
    assert len(high) < 1500
    assert sum([crowd.of(b"stranger %d" % number) for number in range(1000)]) < 300


def test_what_was_never_there_can_t_be_taken_away() -> None:
    crowd = CountMinSketch(1)
    crowd.remove(0, b"anna")
    crowd.add(0, b"anna")
    assert crowd.of(b"anna") == 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(THINGS)), max_size=60), st.integers(0, 5))
def test_who_joins_is_counted_unless_there_are_enough(steps: list[tuple[int, bytes]], most: int) -> None:
    crowd = CountMinSketch(2)
    for worker, thing in steps:
        before = crowd.of(thing)
        assert crowd.join(worker, thing, most) is (before < most)
        assert crowd.of(thing) == min(before + 1, most)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.sampled_from(THINGS)), max_size=60))
def test_never_too_low(steps: list[tuple[bool, int, bytes]]) -> None:
    crowd = CountMinSketch(2)
    there: list[tuple[int, bytes]] = []
    for adds, worker, thing in steps:
        if adds:
            crowd.add(worker, thing)
            there.append((worker, thing))
        elif (worker, thing) in there:
            crowd.remove(worker, thing)
            there.remove((worker, thing))
    for thing in THINGS:
        assert crowd.of(thing) >= sum(1 for _, other in there if other == thing)
