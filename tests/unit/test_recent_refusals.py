"""shared_memory/recent_refusals.py: the last refusals of all workers, in memory that they share."""

from __future__ import annotations

import os

from proxy.shared_memory.recent_refusals import HEAD, KEPT, SIZE, RecentRefusals, RefusalRow
from proxy.shared_memory.rows import rows


def row(refusals: RecentRefusals, worker: int, clock: list[float]) -> RefusalRow:
    return refusals.row(worker, lambda: clock[0])


def note(to: RefusalRow, number: int, word: str = "x") -> None:
    to.note("smtp", "192.0.2.7", word, f"{number}@far.test", "no lease")


def test_N5_those_of_all_workers_the_newest_first() -> None:
    refusals, clock = RecentRefusals(2), [1000.0]
    rows = [row(refusals, 0, clock), row(refusals, 1, clock)]
    for number in range(4):
        clock[0] += 1
        note(rows[number % 2], number)
    assert refusals.newest() == [], "not shown yet"
    for one in rows:
        one.publish()
    found = refusals.newest()
    assert [one["recipient"] for one in found] == [f"{number}@far.test" for number in (3, 2, 1, 0)]
    assert found[0] == {
        "time": 1004.0, "listener": "smtp", "client": "192.0.2.7", "sender": "x", "recipient": "3@far.test",
        "why": "no lease",
    }  # fmt: skip


def test_N5_what_a_child_shows_the_parent_sees() -> None:
    refusals = RecentRefusals(2)
    child = os.fork()
    if child == 0:
        one = refusals.row(1)
        note(one, 5)
        one.publish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [one["recipient"] for one in refusals.newest()] == ["5@far.test"]


def test_so_many_are_kept() -> None:
    refusals, clock = RecentRefusals(1), [0.0]
    one = row(refusals, 0, clock)
    for number in range(3 * KEPT):
        clock[0] += 1
        note(one, number)
    one.publish()
    found = refusals.newest()
    assert len(found) == KEPT
    assert (found[0]["recipient"], found[-1]["recipient"]) == (f"{3 * KEPT - 1}@far.test", f"{2 * KEPT}@far.test")


def test_what_peers_chose_has_a_bound() -> None:
    """Surrogates (octets that are no UTF-8) take six octets each in JSON."""
    refusals, clock = RecentRefusals(1), [0.0]
    one = row(refusals, 0, clock)
    for number in range(KEPT):
        clock[0] += 1
        one.note("smtp", "\udcff" * 9999, "\udcff" * 9999, f"{number}" + "\udcff" * 9999, "\udcff" * 9999)
    one.publish()
    found = refusals.newest()
    assert 10 < len(found) < KEPT
    assert found[0]["recipient"].startswith(f"{KEPT - 1}\udcff")
    assert len(found[0]["recipient"]) == 100


def test_a_worker_that_comes_back_goes_on() -> None:
    refusals = RecentRefusals(1)
    for number in (1, 2):
        one = refusals.row(0)
        note(one, number)
        one.publish()
    assert [one["recipient"] for one in refusals.newest()] == ["2@far.test", "1@far.test"]


def test_what_a_killed_worker_left_half_written_is_not_read_and_mended_by_the_next() -> None:
    [part] = rows("B", SIZE, 1)
    refusals = RecentRefusals(1, [part])
    one = refusals.row(0)
    note(one, 1)
    one.publish()
    number, length = HEAD.unpack_from(part)
    HEAD.pack_into(part, 0, number + 1, length)
    part[HEAD.size : HEAD.size + 4] = b"}}}}"
    assert refusals.newest() == []
    one = refusals.row(0)
    note(one, 2)
    one.publish()
    assert [one["recipient"] for one in refusals.newest()] == ["2@far.test"]


def test_what_is_not_new_is_not_written_again() -> None:
    [part] = rows("B", SIZE, 1)
    refusals = RecentRefusals(1, [part])
    one = refusals.row(0)
    note(one, 1)
    one.publish()
    before = HEAD.unpack_from(part)
    one.publish()
    assert HEAD.unpack_from(part) == before
