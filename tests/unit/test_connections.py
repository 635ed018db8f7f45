"""shared_memory/connections.py: counts that several processes share."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.shared_memory.connections import ConnectionCounters
from proxy.shared_memory.count_sketch import CELLS, cells_of

ADDRESSES = [bytes((192, 0, 2, last)) for last in range(8)] + [bytes(15) + bytes((last,)) for last in range(1, 5)]


def test_a_connection_counts_in_all_and_at_its_address() -> None:
    counters = ConnectionCounters(2)
    counters.enter(0, ADDRESSES[0])
    counters.enter(1, ADDRESSES[0])
    counters.enter(1, ADDRESSES[1])
    assert counters.connections() == 3
    assert counters.of(ADDRESSES[0]) == 2
    assert counters.of(ADDRESSES[1]) == 1
    assert counters.of(ADDRESSES[2]) == 0
    counters.leave(1, ADDRESSES[0])
    assert (counters.connections(), counters.of(ADDRESSES[0])) == (2, 1)


def test_N5_a_dead_worker_is_forgotten_and_the_others_count() -> None:
    counters = ConnectionCounters(2)
    counters.enter(0, ADDRESSES[0])
    counters.enter(1, ADDRESSES[0])
    counters.beat(0)
    counters.forget(0)
    assert (counters.connections(), counters.of(ADDRESSES[0]), counters.beats(0)) == (1, 1, 0)


def test_N5_workers_share_the_memory() -> None:
    """What a child counts the parent sees: the memory is made before the fork."""
    counters = ConnectionCounters(2)
    child = os.fork()
    if child == 0:
        counters.enter(1, ADDRESSES[0])
        counters.beat(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (counters.connections(), counters.of(ADDRESSES[0]), counters.beats(1)) == (1, 1, 1)


def test_G7_what_one_worker_owes_the_store_all_see_until_it_dies() -> None:
    counters = ConnectionCounters(2)
    one, two = counters.unwritten(0), counters.unwritten(1)
    one.note(3)
    two.note(1)
    assert (one.total(), two.total()) == (4, 4)
    counters.forget(0)
    assert (one.total(), two.total()) == (1, 1)
    assert (counters.connections(), counters.beats(0)) == (0, 0)


def test_beats_wrap() -> None:
    counters = ConnectionCounters(1)
    counters._beats[0] = 0xFFFFFFFF
    counters.beat(0)
    assert counters.beats(0) == 0


def test_a_cell_neither_overflows_nor_goes_below_nothing() -> None:
    counters = ConnectionCounters(1)
    for _ in range(65_540):
        counters.enter(0, ADDRESSES[0])
    assert counters.of(ADDRESSES[0]) == 65535
    counters.forget(0)
    counters.enter(0, ADDRESSES[0])
    counters.leave(0, ADDRESSES[0])
    assert counters.of(ADDRESSES[0]) == 0


def test_who_is_not_admitted_is_not_counted() -> None:
    counters = ConnectionCounters(2)
    assert [counters.admit(worker, ADDRESSES[0], 2) for worker in (0, 1, 1)] == [True, True, False]
    assert (counters.connections(), counters.of(ADDRESSES[0])) == (2, 2)
    assert counters.admit(1, ADDRESSES[1], 2)
    assert counters.connections_of(1) == 2


def test_a_crowd_in_one_row_does_not_count_against_an_address() -> None:
    counters = ConnectionCounters(1)
    mine = cells_of(ADDRESSES[0])
    crowd = next(
        number.to_bytes(16) for number in range(1, 1 << 20)
        if (where := cells_of(number.to_bytes(16)))[0] == mine[0] and where[1] != mine[1]
    )  # fmt: skip
    for _ in range(50):
        counters.enter(0, crowd)
    counters.enter(0, ADDRESSES[0])
    assert counters.of(ADDRESSES[0]) == 1


def test_both_rows_are_used_in_full() -> None:
    cells = [cells_of(number.to_bytes(4)) for number in range(2000)]
    assert all(0 <= first < CELLS <= second < 2 * CELLS for first, second in cells)
    assert len({first for first, _ in cells}) > 1800
    assert len({second for _, second in cells}) > 1800


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.sampled_from(ADDRESSES)), max_size=60))
def test_never_too_low_and_exact_in_all(steps: list[tuple[bool, int, bytes]]) -> None:
    counters = ConnectionCounters(2)
    there: list[tuple[int, bytes]] = []
    for enter, worker, address in steps:
        if enter:
            counters.enter(worker, address)
            there.append((worker, address))
        elif (worker, address) in there:
            counters.leave(worker, address)
            there.remove((worker, address))
    assert counters.connections() == len(there)
    for address in ADDRESSES:
        assert counters.of(address) >= sum(1 for _, other in there if other == address)
