"""proxy/leases/usage_report.py: what clients need, gathered, kept, told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.leases import usage_report as observations
from proxy.leases.table import LeaseTable
from proxy.leases.usage_report import Observation, UsageRecorder, seen, unleased
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOME = b"\xc0\x00\x02\x01"
DAY = 86400.0
START = 1_800_000_000.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=START)


@pytest.fixture
def table(tmp_path: Path, clock: FakeClock) -> Iterator[LeaseTable]:
    table = LeaseTable(tmp_path / "leases.db", clock, kept=30 * DAY)
    yield table
    table.close()


def enter(table: LeaseTable, *batch: Observation) -> None:
    with table.transaction():
        table.observe(batch)


def one(login: str, need: str = "clear", times: int = 1, at: float = 0.0, address: bytes = HOME) -> Observation:
    return Observation(address, login, "pop3", need, times, START + at, START + at)


@pytest.mark.parametrize(
    ("tls", "lease", "needs"),
    [
        ("", True, ["lease", "clear"]),
        ("", False, ["clear"]),
        ("TLSv1", True, ["lease", "TLSv1"]),
        ("TLSv1.1", False, ["TLSv1.1"]),
        ("TLSv1.2", True, ["lease"]),
        ("TLSv1.3", False, []),
    ],
)
def test_what_is_to_be_retired_is_noted_and_nothing_else(
    clock: FakeClock, tls: str, lease: bool, needs: list[str]
) -> None:
    notes = UsageRecorder(clock.wall)
    notes.note(HOME, "al", "smtp", tls=tls, lease=lease)
    assert [(noted.need, noted.protocol, noted.login) for noted in notes.take()] == [
        (need, "smtp", "al") for need in needs
    ]


def test_the_same_is_counted_and_taken_once(clock: FakeClock) -> None:
    notes = UsageRecorder(clock.wall)
    notes.note(HOME, "al", "pop3", tls="")
    clock.advance(10)
    notes.note(HOME, "al", "pop3", tls="")
    notes.note(HOME, "al", "smtp", tls="")
    assert len(notes) == 2
    first, second = notes.take()
    assert (first.times, first.first, first.last) == (2, START, START + 10)
    assert (second.protocol, second.times) == ("smtp", 1)
    assert notes.take() == []


def test_a_batch_has_a_bound_and_the_rest_comes_next(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "BATCH", 2)
    notes = UsageRecorder(clock.wall)
    for login in "abc":
        notes.note(HOME, login, "pop3", tls="")
    assert [[noted.login for noted in notes.take()] for _ in range(3)] == [["a", "b"], ["c"], []]


def test_what_waits_has_a_bound_and_the_newest_stay(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "WAITING", 3)
    notes = UsageRecorder(clock.wall)
    for number in range(10):
        notes.note(HOME, str(number), "pop3", tls="")
    assert [noted.login for noted in notes.take()] == ["7", "8", "9"]


def test_batches_add_up_whichever_comes_first(table: LeaseTable) -> None:
    enter(table, one("al", times=3, at=100), one("bo", at=50))
    enter(table, one("al", times=2, at=40), one("al", "TLSv1", at=60))
    assert [(o.login, o.need, o.times, o.first - START, o.last - START) for o in seen(table, 0)] == [
        ("al", "clear", 5, 40, 100),
        ("al", "TLSv1", 1, 60, 60),
        ("bo", "clear", 1, 50, 50),
    ]


def test_those_seen_since_the_last_first_and_a_bound(table: LeaseTable) -> None:
    enter(table, *[one(str(number), at=number) for number in range(5)])
    assert [o.login for o in seen(table, START + 2)] == ["4", "3", "2"]
    assert [o.login for o in seen(table, 0, limit=1)] == ["4"]


def test_logins_without_a_lease_are_told_of_their_address_and_not_in_the_report(
    table: LeaseTable, clock: FakeClock
) -> None:
    notes = UsageRecorder(clock.wall)
    notes.unleased(HOME, "al", "pop3", "no_relay_logins")
    clock.advance(10)
    notes.unleased(HOME, "bo", "pop3", "failed logins before it")
    notes.unleased(b"\xc0\x00\x02\x02", "cy", "pop3", "no_relay_logins")
    enter(table, *notes.take())
    assert seen(table, 0) == []
    assert [(o.login, o.need) for o in unleased(table, HOME, 3)] == [
        ("bo", "no lease: failed logins before it"),
        ("al", "no lease: no_relay_logins"),
    ]
    assert len(unleased(table, HOME, 1)) == 1


def test_what_was_not_seen_for_long_is_forgotten(table: LeaseTable, clock: FakeClock) -> None:
    enter(table, one("al"), one("bo", at=10))
    clock.advance(30 * DAY)
    table.purge(10)
    assert [o.login for o in seen(table, 0)] == ["bo"]


def test_the_longest_unseen_beyond_the_maximum_go(table: LeaseTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "MAXIMUM", 2)
    enter(table, *[one(str(number), at=number) for number in range(9)])
    assert [table.purge(4), table.purge(4), table.purge(4)] == [4, 3, 0]
    assert [o.login for o in seen(table, 0)] == ["8", "7"]


def test_without_history_nothing_is_observed_and_what_there_was_goes(tmp_path: Path, clock: FakeClock) -> None:
    table = LeaseTable(tmp_path / "leases.db", clock, kept=DAY)
    enter(table, one("al"))
    table.close()
    table = LeaseTable(tmp_path / "leases.db", clock)
    enter(table, one("bo"))
    assert [o.login for o in seen(table, 0)] == ["al"]
    table.purge(10)
    assert seen(table, 0) == []
    table.close()


def test_logins_come_back_octet_for_octet(table: LeaseTable) -> None:
    enter(table, one("J\udcfcrgen"))
    assert [o.login for o in seen(table, 0)] == ["J\udcfcrgen"]
