"""proxy/leases/history.py: who held which address, from when till when; what ends where, and the bounds."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from proxy.leases import history
from proxy.leases.base import Term
from proxy.leases.history import tenancies
from proxy.leases.table import LeaseTable
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
DAY = 86400.0
START = 1_800_000_000.0  # the fake wall clock at the start of a test

Row = tuple[str, float, float, str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=START)


@pytest.fixture
def table(path: Path, clock: FakeClock) -> Iterator[LeaseTable]:
    table = LeaseTable(path, clock, kept=30 * DAY)
    yield table
    table.close()


def revoke(table: LeaseTable, address: bytes | None, login: str | None = None) -> int:
    with table.transaction():
        return table.revoke(address, login)


def held(table: LeaseTable, *addresses: bytes, since: float | None = None, until: float | None = None) -> list[Row]:
    """Login, beginning and end (seconds after START), and how, of each."""
    return [
        (one.login, one.began - START, one.ended - START, one.how)
        for one in tenancies(
            table, addresses, None if since is None else START + since, None if until is None else START + until
        )
    ]


def test_a_lease_that_lives_is_in_its_own_history(table: LeaseTable, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(40)
    assert held(table, HOME) == [("al", 0, 100, "live")]
    assert held(table, OFFICE) == []


@pytest.mark.parametrize("purged", [False, True])
def test_what_has_ended_is_told_before_and_after_it_is_purged(
    table: LeaseTable, clock: FakeClock, purged: bool
) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(250)
    if purged:
        assert table.purge(10) == 1
    assert held(table, HOME) == [("al", 0, 100, "ended")]


def test_logins_again_and_again_are_one_tenancy(table: LeaseTable, clock: FakeClock) -> None:
    for _ in range(10):
        table.grant(HOME, "al", "pop3", 100.0)
        clock.advance(60)
    table.renew([Term.starting(clock, HOME, "al", "pop3", 90.0)])
    clock.advance(500)
    table.purge(10)
    assert held(table, HOME) == [("al", 0, 690, "ended")]


@pytest.mark.parametrize("purged", [False, True])
def test_a_gap_makes_it_two(table: LeaseTable, clock: FakeClock, purged: bool) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(100)
    if purged:
        table.purge(10)
    table.grant(HOME, "al", "pop3", 50.0)
    clock.advance(10)
    assert held(table, HOME) == [("al", 100, 150, "live"), ("al", 0, 100, "ended")]
    assert tenancies(table, [HOME])[0].source == "pop3"


def test_a_late_grant_over_a_row_that_has_ended_loses_nothing(table: LeaseTable, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(150)
    late = Term.starting(clock, HOME, "al", "pop3", 100.0)
    clock.advance(10)
    table.write_late(late)
    assert held(table, HOME) == [("al", 150, 250, "live"), ("al", 0, 100, "ended")]


def test_a_revocation_ends_it_at_once_and_says_so(table: LeaseTable, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    table.grant(HOME, "bo", "pop3", 10.0)
    clock.advance(30)
    assert revoke(table, HOME) == 1
    assert held(table, HOME) == [("al", 0, 30, "revoked"), ("bo", 0, 10, "ended")]


def test_it_is_written_in_the_commit_of_what_ends_it(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    with pytest.raises(RuntimeError), table.transaction():
        table.revoke(HOME, None)
        raise RuntimeError
    assert held(table, HOME) == [("al", 0, 100, "live")]
    other = LeaseTable(path, clock, read_only=True)
    with table.transaction():
        table.revoke(HOME, None)
        assert held(other, HOME) == [("al", 0, 100, "live")]
    assert held(other, HOME) == [("al", 0, 0, "revoked")]
    other.close()


@pytest.mark.parametrize(
    ("since", "until", "logins"),
    [
        (None, None, ["cy", "bo", "al"]),
        (50, 110, ["al"]),
        (199, 260, ["cy", "al"]),
        (200, 260, ["cy"]),
        (250, 300, ["cy"]),
        (250, 310, ["cy", "bo"]),
        (300, 301, ["cy", "bo"]),
        (400, 460, ["bo"]),
        (500, 510, []),
        (0, 0, []),
    ],
)
def test_who_was_behind_the_address_then(
    table: LeaseTable, clock: FakeClock, since: float | None, until: float | None, logins: list[str]
) -> None:
    """al from 0 till 200; cy from 250 till 350; bo from 300 till 500; each half open."""
    table.grant(HOME, "al", "pop3", 200.0)
    clock.advance(250)
    table.grant(HOME, "cy", "pop3", 100.0)
    clock.advance(50)
    table.purge(10)
    table.grant(HOME, "bo", "pop3", 200.0)
    table.grant(OFFICE, "di", "pop3", 200.0)
    assert sorted([row[0] for row in held(table, HOME, since=since, until=until)]) == sorted(logins)


def test_several_addresses_or_all_the_newest_end_first_and_a_bound(table: LeaseTable, clock: FakeClock) -> None:
    for number in range(5):
        table.grant(bytes([192, 0, 2, number]), f"u{number}", "pop3", 10.0 + number)
    clock.advance(12)
    table.purge(100)
    assert [row[0] for row in held(table)] == ["u4", "u3", "u2", "u1", "u0"]
    assert [row[0] for row in held(table, bytes([192, 0, 2, 1]), bytes([192, 0, 2, 4]))] == ["u4", "u1"]
    assert [one.login for one in tenancies(table, limit=2)] == ["u4", "u3"]


def test_it_is_kept_so_long_and_no_longer(table: LeaseTable, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(100)
    table.grant(HOME, "bo", "pop3", 100.0)
    clock.advance(100)
    table.purge(10)
    clock.advance(30 * DAY - 101)
    table.purge(10)
    assert [row[0] for row in held(table, HOME)] == ["bo", "al"]
    clock.advance(1)
    table.purge(10)
    assert [row[0] for row in held(table, HOME)] == ["bo"]


def test_the_oldest_beyond_the_maximum_go(table: LeaseTable, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAXIMUM", 3)
    for number in range(10):
        table.grant(HOME, f"u{number}", "pop3", 1.0 + number)
    clock.advance(60)
    assert [table.purge(4) for _ in range(4)] == [4, 4, 2, 0]
    assert [row[0] for row in held(table, HOME)] == ["u9", "u8", "u7"]


@pytest.mark.parametrize("end", ["purge", "revoke", "grant", "reboot"])
def test_without_history_nothing_is_written_down_and_what_there_was_goes(
    path: Path, clock: FakeClock, end: str
) -> None:
    before = LeaseTable(path, clock, kept=DAY)
    before.grant(OFFICE, "old", "pop3", 1.0)
    clock.advance(1)
    before.purge(10)
    before.close()
    table = LeaseTable(path, clock)
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(100)
    actions: dict[str, Callable[[], object]] = {
        "purge": lambda: table.purge(10),
        "revoke": lambda: revoke(table, HOME),
        "grant": lambda: table.grant(HOME, "al", "pop3", 100.0),
        "reboot": lambda: clock.reboot(100, "boot-2"),
    }
    actions[end]()
    table.close()
    table = LeaseTable(path, clock)
    table.purge(10)
    table.close()
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM history").fetchall() == [(0,)]
    database.close()


def test_G8_what_ended_while_the_machine_was_off(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    table.grant(HOME, "bo", "pop3", 1000.0)
    table.close()
    clock.reboot(down=500, boot_id="boot-2")
    table = LeaseTable(path, clock, kept=DAY)
    assert held(table, HOME) == [("bo", 0, 1000, "live"), ("al", 0, 100, "ended")]
    table.close()


def test_the_end_is_by_the_wall_clock_of_now(table: LeaseTable, clock: FakeClock) -> None:
    """It was an hour behind when the lease was made, and was set right since."""
    table.grant(HOME, "al", "pop3", 100.0)
    clock.step_wall(3600)
    clock.advance(150)
    table.purge(10)
    assert held(table, HOME) == [("al", 0, 3700, "ended")]


def test_logins_come_back_octet_for_octet(table: LeaseTable, clock: FakeClock) -> None:
    table.grant(HOME, "J\udcfcrgen", "pop3", 10.0)
    clock.advance(10)
    table.purge(10)
    assert held(table, HOME)[0][0] == "J\udcfcrgen"
