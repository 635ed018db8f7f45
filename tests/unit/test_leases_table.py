"""proxy/leases/table.py: the file, the schema, reboots.  What it answers is in test_leases_contract.py."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import proxy
from proxy.errors import StoreUnavailable
from proxy.leases import file as file_module
from proxy.leases import table as table_module
from proxy.leases.base import Term
from proxy.leases.file import StoreBusy
from proxy.leases.schema import SCHEMA, STEPS
from proxy.leases.table import LeaseTable
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(proxy.__file__).parents[1]
HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
WINDOW = 1800.0
FIRST_SCHEMA = Path(__file__).with_name("schema1.sqlite")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table(path: Path, clock: FakeClock) -> Iterator[LeaseTable]:
    table = LeaseTable(path, clock)
    yield table
    table.close()


def reopened(path: Path, clock: FakeClock) -> list[tuple[str, float]]:
    """Login and seconds left of each live lease, as a process that starts now sees them."""
    table = LeaseTable(path, clock)
    leases = table.all()
    assert all(lease in table.find(lease.address) for lease in leases)
    table.close()
    return [(lease.login, lease.left) for lease in leases]


def rows(path: Path) -> int:
    database = sqlite3.connect(path)
    ((count,),) = database.execute("SELECT count(*) FROM lease").fetchall()
    database.close()
    return int(count)


# The file


def test_N8_the_file_and_its_companions_are_for_the_owner_alone(path: Path, clock: FakeClock) -> None:
    old = os.umask(0)
    try:
        table = LeaseTable(path, clock)
        table.grant(HOME, "al", "pop3", WINDOW)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    table.close()
    assert modes == {"leases.db": 0o600, "leases.db-wal": 0o600, "leases.db-shm": 0o600}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_N8_root_leaves_the_store_to_its_owner(path: Path, clock: FakeClock) -> None:
    LeaseTable(path, clock).close()
    os.chown(path, 12345, 12345)
    table = LeaseTable(path, clock)
    table.grant(HOME, "al", "pop3", WINDOW)
    owners = {file.stat().st_uid for file in path.parent.iterdir()}
    table.close()
    assert owners == {12345}


def test_N8_wal_and_normal(table: LeaseTable) -> None:
    assert table._db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    assert table._db.execute("PRAGMA synchronous").fetchall() == [(1,)]


def test_listing_creates_no_store(path: Path, clock: FakeClock) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        LeaseTable(path, clock, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_a_read_only_table_reads_and_does_not_write(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    reader = LeaseTable(path, clock, read_only=True)
    assert reader.all() == table.all()
    assert reader.find(HOME) == table.find(HOME)
    with pytest.raises(StoreUnavailable, match="readonly"):
        reader.grant(HOME, "bo", "pop3", WINDOW)
    reader.close()


def test_odd_names_are_names(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "lea ses?mode=memory#100%.db"
    LeaseTable(path, clock).close()
    assert path.exists()


@pytest.mark.parametrize("content", [b"rubbish" * 1000, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_database(path: Path, clock: FakeClock, content: bytes) -> None:
    path.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match=r"leases\.db: "):
            LeaseTable(path, clock, read_only=read_only)
    assert path.read_bytes() == content


def test_a_database_of_another_program(path: Path, clock: FakeClock) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    with pytest.raises(StoreUnavailable, match="another program"):
        LeaseTable(path, clock)


def test_an_empty_file_becomes_a_store_but_not_by_listing(path: Path, clock: FakeClock) -> None:
    path.touch()
    with pytest.raises(StoreUnavailable, match="not a lease store"):
        LeaseTable(path, clock, read_only=True)
    assert reopened(path, clock) == []


def test_a_store_of_a_newer_popgate_is_named_and_left_alone(path: Path, clock: FakeClock) -> None:
    LeaseTable(path, clock).close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match=rf"newer popgate \(schema {SCHEMA + 1}, this one knows {SCHEMA}\)"):
            LeaseTable(path, clock, read_only=read_only)


@pytest.mark.parametrize("place", ["missing/leases.db", "file/leases.db", "folder"])
def test_a_place_where_no_file_can_be(tmp_path: Path, clock: FakeClock, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match=place):
        LeaseTable(tmp_path / place, clock)


def test_a_replaced_file_is_noticed(table: LeaseTable, path: Path) -> None:
    assert table.is_current()
    path.rename(path.with_name("old"))
    assert not table.is_current()
    path.touch()
    assert not table.is_current()


def test_a_locked_store_is_busy_and_sound(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    other = LeaseTable(path, clock, busy=0.0)
    with table.transaction():
        with pytest.raises(StoreBusy, match="locked"):
            other.grant(HOME, "al", "pop3", WINDOW)
        assert other.find(HOME) == []  # reading goes on
    other.grant(HOME, "al", "pop3", WINDOW)
    other.close()


def test_a_closed_table_is_unavailable(table: LeaseTable) -> None:
    table.close()
    for ask in (lambda: table.find(HOME), table.all, lambda: table.grant(HOME, "al", "pop3", WINDOW)):
        with pytest.raises(StoreUnavailable, match="closed database"):
            ask()


_OPEN_AND_GRANT = """
import sys
from proxy.leases.clock import Clock
from proxy.leases.table import LeaseTable
print("ready", flush=True)
sys.stdin.readline()
table = LeaseTable(sys.argv[1], Clock(), busy=20.0)
for number in range(50):
    table.grant(bytes(4), f"{sys.argv[2]}-{number}", "pop3", 1800.0)
"""


@pytest.mark.parametrize("older", [False, True])
def test_N8_workers_that_start_together_make_one_store(path: Path, older: bool) -> None:
    if older:
        path.write_bytes(FIRST_SCHEMA.read_bytes())
    command = [sys.executable, "-c", _OPEN_AND_GRANT, str(path)]
    workers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "abcd"
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 4
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM lease WHERE address = x'00000000'").fetchall() == [(200,)]
    database.close()


_TAKE_A_PLACE = """
import sys
from proxy.leases.base import Term
from proxy.leases.clock import Clock
from proxy.leases.table import LeaseTable
clock = Clock()
table = LeaseTable(sys.argv[1], clock, busy=20.0)
print("ready", flush=True)
sys.stdin.readline()
made = 0
for number in range(200):
    with table.transaction():
        login = f"{sys.argv[2]}-{number}"
        made += table.write(Term.starting(clock, number.to_bytes(4, "big"), login, "pop3", 1800.0, limit=2)) <= 2
print(made, flush=True)
"""


@pytest.mark.parametrize("source", ["pop3", "admin"])
@pytest.mark.parametrize("login", ["al", "bo"])
@pytest.mark.parametrize("held", list(itertools.product((None, 10.0, 100.0), repeat=3)))
def test_G3_one_row_is_counted_as_any_number_is(
    table: LeaseTable, clock: FakeClock, held: tuple[float | None, ...], login: str, source: str
) -> None:
    """For one row the general count is left out; both say the same of every row there can be."""
    for (other, other_source), window in zip((("al", "pop3"), ("al", "admin"), ("bo", "pop3")), held, strict=True):
        if window is not None:
            table.grant(HOME, other, other_source, window)
    clock.advance(10.0)
    row = table._row(Term.starting(clock, HOME, login, source, WINDOW))
    assert [table._holders(row)] == table.rows(table_module._HOLDERS, row)


def test_G3_two_processes_do_not_both_take_the_last_place(path: Path) -> None:
    """Three of them, for two places at each address."""
    command = [sys.executable, "-c", _TAKE_A_PLACE, str(path)]
    workers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "abc"
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    made = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(made) == 400
    assert rows(path) == 400


# An older file


def schema_of(path: Path) -> list[tuple[str, ...]]:
    """All columns of all tables, and the indices."""
    database = sqlite3.connect(path)
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    found = [row[1:] for (name,) in tables for row in database.execute(f"PRAGMA table_info({name})").fetchall()]
    found += database.execute("SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
    database.close()
    return found


def test_a_store_of_the_first_schema_keeps_its_leases_and_takes_charges(path: Path, clock: FakeClock) -> None:
    """A file that the popgate of that time has written."""
    path.write_bytes(FIRST_SCHEMA.read_bytes())
    clock.advance(99)
    assert reopened(path, clock) == [("J\udcfcrgen", 1.0), ("al", 1701.0), ("bo", 501.0)]
    table = LeaseTable(path, clock)
    table.charge(HOME, "al", "pop3", 2, 3, 60.0)
    assert [(lease.login, lease.messages, lease.recipients) for lease in table.find(HOME)] == [
        ("al", 2, 3),
        ("J\udcfcrgen", 0, 0),
    ]
    table.close()
    LeaseTable(path.with_name("new.db"), clock).close()
    assert schema_of(path) == schema_of(path.with_name("new.db"))


def test_a_step_to_a_new_schema_is_whole_or_not_at_all(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(FIRST_SCHEMA.read_bytes())
    before = schema_of(path)
    monkeypatch.setattr(file_module, "STEPS", (*STEPS[:-1], (*STEPS[-1], "SELECT raise_hell()")))
    with pytest.raises(StoreUnavailable, match="raise_hell"):
        LeaseTable(path, clock)
    assert schema_of(path) == before
    monkeypatch.undo()
    assert len(reopened(path, clock)) == 3


def test_listing_an_older_store_says_who_brings_it_up(path: Path, clock: FakeClock) -> None:
    path.write_bytes(FIRST_SCHEMA.read_bytes())
    with pytest.raises(StoreUnavailable, match="older popgate"):
        LeaseTable(path, clock, read_only=True)


# Writing


def test_a_transaction_is_all_or_nothing(table: LeaseTable) -> None:
    with pytest.raises(RuntimeError), table.transaction():
        table.grant(HOME, "al", "pop3", WINDOW)
        raise RuntimeError
    assert table.all() == []
    with table.transaction():
        table.grant(HOME, "al", "pop3", WINDOW)
    assert len(table.all()) == 1


def test_G7_a_late_grant_keeps_its_own_end_and_yields_to_one_that_reaches_further(
    table: LeaseTable, clock: FakeClock
) -> None:
    late = Term.starting(clock, HOME, "al", "pop3", 100.0)
    clock.advance(60)
    table.write_late(late)
    assert [lease.left for lease in table.find(HOME)] == [40.0]
    table.grant(HOME, "al", "pop3", 100.0)
    table.write_late(late)
    assert [lease.left for lease in table.find(HOME)] == [100.0]


def test_G7_a_late_grant_that_has_ended_is_not_written(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    late = Term.starting(clock, HOME, "al", "pop3", 100.0)
    clock.advance(100)
    table.write_late(late)
    assert rows(path) == 0


def test_purging_takes_what_has_ended_in_batches(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    for number in range(10):
        table.grant(number.to_bytes(4, "big"), "al", "pop3", 10.0)
    table.grant(HOME, "bo", "pop3", 11.0)
    assert table.purge(100) == 0
    clock.advance(10)
    assert [table.purge(6), table.purge(6), table.purge(6)] == [6, 4, 0]
    assert rows(path) == 1


# Restart and reboot


def test_G8_a_restart_keeps_exact_deadlines(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock.advance(1000)
    clock.step_wall(-86400)  # within one boot the wall clock has no say
    assert reopened(path, clock) == [("al", 800.0)]
    clock.step_wall(2 * 86400)
    assert reopened(path, clock) == [("al", 800.0)]
    clock.advance(800)
    assert reopened(path, clock) == []


def test_G8_a_deadline_survives_a_reboot(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.grant(OFFICE, "bo", "pop3", 100.0)
    table.close()
    clock.reboot(down=100, boot_id="boot-2")
    assert reopened(path, clock) == [("al", 1700.0)]
    assert rows(path) == 1
    clock.step_wall(-86400)  # from here on it is on the new boot's clock
    clock.advance(1699)
    assert reopened(path, clock) == [("al", 1.0)]


def test_G8_after_a_reboot_never_more_than_the_leases_own_length(
    table: LeaseTable, path: Path, clock: FakeClock
) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock.reboot(down=-30 * 86400, boot_id="boot-2")  # the battery of its clock is empty
    assert reopened(path, clock) == [("al", WINDOW)]
    clock.advance(1000)
    clock.reboot(down=300, boot_id="boot-3")  # and a second reboot does not give it anew
    assert reopened(path, clock) == [("al", 500.0)]


def test_G8_a_renewed_lease_survives_a_reboot_by_its_new_end(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", 100.0)
    clock.advance(60)
    table.renew([Term.starting(clock, HOME, "al", "pop3", 60.0)])
    table.close()
    clock.reboot(down=50, boot_id="boot-2")
    assert reopened(path, clock) == [("al", 10.0)]


def test_G11_a_count_survives_a_reboot_and_is_not_lengthened_by_it(
    table: LeaseTable, path: Path, clock: FakeClock
) -> None:
    def used() -> int:
        reader = LeaseTable(path, clock)
        (lease,) = reader.find(HOME)
        reader.close()
        return lease.messages

    table.grant(HOME, "al", "pop3", 10000.0)
    table.charge(HOME, "al", "pop3", 5, 5, 1000.0)
    table.close()
    clock.reboot(down=100, boot_id="boot-2")
    assert used() == 5
    clock.advance(899)
    clock.step_wall(-86400)
    assert used() == 5
    clock.advance(1)
    assert used() == 0
    clock.step_wall(+86400)
    table = LeaseTable(path, clock)
    table.charge(HOME, "al", "pop3", 5, 5, 1000.0)
    table.close()
    clock.reboot(down=-30 * 86400, boot_id="boot-3")
    assert used() == 5
    clock.advance(999)
    assert used() == 5
    clock.advance(1)
    assert used() == 0


def test_G8_reading_alone_understands_another_boot(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock.reboot(down=100, boot_id="boot-2")
    reader = LeaseTable(path, clock, read_only=True)
    assert [lease.left for lease in reader.all()] == [1700.0]
    assert [lease.left for lease in reader.find(HOME)] == [1700.0]
    reader.close()


def test_G8_a_boot_clock_that_went_back_lengthens_nothing(table: LeaseTable, path: Path, clock: FakeClock) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock._boottime -= 900  # a container with a time namespace of its own has the same boot id
    assert reopened(path, clock) == [("al", WINDOW)]


def test_G8_without_a_boot_id_the_wall_clock_decides(path: Path) -> None:
    clock = FakeClock(boot_id="")
    table = LeaseTable(path, clock)
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock.reboot(down=300, boot_id="")
    assert reopened(path, clock) == [("al", 1500.0)]
    clock.step_wall(-86400)
    assert reopened(path, clock) == [("al", WINDOW)]
    clock.step_wall(86400 + 1500)
    assert reopened(path, clock) == []


def test_G8_a_store_from_times_with_a_boot_id_is_read_without_one(
    table: LeaseTable, path: Path, clock: FakeClock
) -> None:
    table.grant(HOME, "al", "pop3", WINDOW)
    table.close()
    clock.boot_id = ""
    clock.advance(300)
    assert reopened(path, clock) == [("al", 1500.0)]
    clock.boot_id = "boot-1"
    assert reopened(path, clock) == [("al", 1500.0)]
