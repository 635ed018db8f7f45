"""shared_memory/server_health.py: what several processes know of the servers."""

from __future__ import annotations

import os
import select

import pytest

from proxy.errors import ConfigError
from proxy.shared_memory.server_health import SLOTS, ServerHealth, keys_of


def board(workers: int = 2, *keys: str) -> ServerHealth:
    made = ServerHealth(workers)
    made.enlist(keys or ("smtp", "smtp a:25", "smtp b:25"))
    return made


def test_keys_are_the_upstream_s_and_its_servers() -> None:
    assert keys_of("smtp", ["a:25", "b:25"]) == ("smtp", ["smtp a:25", "smtp b:25"])


def test_connections_are_the_node_s() -> None:
    made = board()
    slot = made.slot("smtp a:25")
    one, two = made.row(0), made.row(1)
    one.enter(slot)
    one.enter(slot)
    two.enter(slot)
    assert (made.connections(slot), one.connections(slot), made.connections(made.slot("smtp b:25"))) == (3, 3, 0)
    one.leave(slot)
    assert two.connections(slot) == 2


def test_a_count_never_goes_below_nothing() -> None:
    made = board()
    made.row(0).leave(0)
    assert made.connections(0) == 0


def test_N5_workers_share_the_memory_and_the_keys() -> None:
    made = board()
    child = os.fork()
    if child == 0:
        row = made.row(1)
        row.enter(row.slot("smtp b:25"))
        row.failed(row.slot("smtp b:25"), 5.0, "no")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    slot = made.slot("smtp b:25")
    assert made.connections(slot) == 1
    assert made.condition(slot) == (0.0, 5.0, "no")


def test_the_last_word_of_any_worker_counts() -> None:
    made = board()
    one, two = made.row(0), made.row(1)
    assert made.condition(1).state == "unknown"
    one.succeeded(1, 10.0)
    assert made.condition(1).state == "up"
    two.failed(1, 11.0, "Connection refused")
    assert (made.condition(1).state, made.condition(1).why) == ("down", "Connection refused")
    two.failed(1, 12.0, "no greeting in time")
    one.failed(1, 11.5, "x")
    assert made.condition(1).why == "no greeting in time"
    two.succeeded(1, 13.0)
    assert made.condition(1).state == "up"


def test_a_failure_is_forgiven_in_time() -> None:
    made = board()
    assert made.is_up(1, 0.0, 5.0)
    made.row(0).failed(1, 100.0, "x")
    assert not made.is_up(1, 104.9, 5.0)
    assert made.is_up(1, 105.0, 5.0)


def test_a_long_reason_is_cut_and_a_short_one_behind_it_is_whole() -> None:
    made = board()
    made.row(0).failed(1, 1.0, "ä" * 200)
    assert len(made.condition(1).why.encode()) <= 99
    assert made.condition(2).why == ""
    made.row(0).failed(1, 2.0, "short")
    assert made.condition(1).why == "short"


def test_N5_a_dead_worker_s_connections_are_gone_and_what_it_saw_stays() -> None:
    made = board()
    row = made.row(0)
    row.enter(1)
    row.waiting(0, 3.0)
    row.failed(1, 4.0, "x")
    made.forget(0)
    assert made.connections(1) == 0
    assert made.row(1).longest_waiting(0) is None
    assert made.condition(1).state == "down"


def test_turns_are_the_node_s() -> None:
    made = board()
    one, two = made.row(0), made.row(1)
    assert [one.turn(0), two.turn(0), two.turn(0), one.turn(0), one.turn(1)] == [0, 1, 2, 3, 0]


def test_who_has_waited_longest_is_woken() -> None:
    made = board(3)
    rows = [made.row(number) for number in range(3)]
    assert rows[0].longest_waiting(0) is None
    rows[2].waiting(0, 5.0)
    rows[1].waiting(0, 4.0)
    assert rows[0].longest_waiting(0) == 1
    assert rows[1].wake(1) is False, "that is itself"
    assert rows[0].wake(1) is True
    assert rows[0].wake(1) is True
    wake = rows[1].wake_fd
    assert wake is not None
    assert select.select([wake], [], [], 0)[0] == [wake]
    rows[1].slept()
    assert select.select([wake], [], [], 0)[0] == []
    rows[1].slept()
    rows[1].waiting(0, 0.0)
    assert rows[1].longest_waiting(0) == 2


def test_one_worker_alone_has_nobody_to_wake() -> None:
    row = board(1).row(0)
    assert row.wake_fd is None
    assert row.wake(0) is False


def test_N7_a_key_keeps_its_slot_over_a_reload_and_a_gone_one_until_its_connections_end() -> None:
    made = board()
    row = made.row(0)
    kept, left = made.slot("smtp a:25"), made.slot("smtp b:25")
    row.enter(left)
    row.failed(left, 1.0, "x")
    made.enlist(["smtp", "smtp a:25", "smtp c:25"])
    assert made.slot("smtp a:25") == kept
    assert made.connections(left) == 1
    assert left not in {made.slot(key) for key in ("smtp", "smtp a:25", "smtp c:25")}
    row.leave(left)
    made.enlist(["smtp", "smtp a:25", "smtp c:25", "smtp d:25"])
    assert made.slot("smtp d:25") == left
    assert made.condition(left).state == "unknown", "nothing of the one before it"
    with pytest.raises(ValueError):
        made.slot("smtp b:25")


def test_a_table_that_is_full_refuses_and_keeps_what_it_has() -> None:
    made = board(1, *[f"smtp {number}:25" for number in range(SLOTS)])
    row = made.row(0)
    for slot in range(SLOTS):
        row.enter(slot)
    with pytest.raises(ConfigError, match="too many servers"):
        made.enlist(["smtp new:25"])
    assert made.slot("smtp 7:25") >= 0
