"""proxy/leases/sqlite.py and writer.py: trouble, timeouts, late grants, workers side by side.

Answers in good weather are in test_leases_contract.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import proxy
from proxy.errors import StoreUnavailable
from proxy.leases import in_flight as pending_module
from proxy.leases import retry_queue as late_module
from proxy.leases import sqlite as sqlite_module
from proxy.leases import watch as watch_module
from proxy.leases import writer as writer_module
from proxy.leases.base import Lease, Term
from proxy.leases.clock import Clock
from proxy.leases.file import StoreBusy
from proxy.leases.sqlite import SqliteStore
from proxy.leases.table import LeaseTable
from proxy.leases.usage_report import Observation
from proxy.shared_memory.connections import ConnectionCounters
from tests.support.clocks import LOOPS, PATIENCE, FakeClock, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.shared_memory.unwritten_leases import UnwrittenLeases

ROOT = Path(proxy.__file__).parents[1]
HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
WINDOW = 1800.0
SLACK = 2.0  # s that a loaded machine may add to a timeout
SHORT = 0.25  # s, timeout of a store that will not answer; one that is there does, on a loaded machine as well


class Worker:
    """A store on a loop, and its methods as plain calls."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        clock: FakeClock,
        timeout: float,
        unwritten: UnwrittenLeases | None = None,
        kept: float = 0.0,
    ) -> None:
        self.loop = loop
        self.store = SqliteStore(path, clock, timeout, unwritten, kept)
        self.store.start(loop)

    def find(self, address: bytes) -> Lease | StoreUnavailable | None:
        """The first one, if there is one."""
        found = answer(self.loop, lambda then: self.store.find(address, then))
        return next(iter(found), None) if isinstance(found, list) else found

    def grant(self, address: bytes, login: str, window: float = WINDOW, limit: int = 0) -> StoreUnavailable | None:
        """None: it is in the store."""
        found = answer(self.loop, lambda then: self.store.grant(address, login, "pop3", window, then, limit))
        return found if isinstance(found, StoreUnavailable) else None

    def revoke(self, address: bytes | None, login: str | None) -> int | StoreUnavailable:
        return answer(self.loop, lambda then: self.store.revoke(address, login, then))

    def all(self) -> list[Lease] | StoreUnavailable:
        return answer(self.loop, self.store.all)

    def logins(self) -> list[tuple[str, float]]:
        """All leases; a short timeout that a loaded machine does not keep is no answer, and asked again."""
        deadline = time.monotonic() + PATIENCE
        while isinstance(leases := self.all(), StoreUnavailable):
            assert time.monotonic() < deadline, leases
        return [(lease.login, lease.left) for lease in leases]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.loop.run_until_complete(asyncio.sleep(0))

    def settled(self) -> None:
        """Wait until the loop has a reader of its own: the thread opens it after the writer."""
        self.logins()
        self.until(lambda: self.store.is_ready)


Start = Any  # Callable with a default argument; see `start`


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    errors: list[object] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    yield loop
    loop.close()
    assert errors == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def start(loop: asyncio.AbstractEventLoop, path: Path, clock: FakeClock) -> Iterator[Start]:
    workers: list[Worker] = []

    def start(timeout: float = 5.0, unwritten: UnwrittenLeases | None = None) -> Worker:
        workers.append(Worker(loop, path, clock, timeout, unwritten))
        return workers[-1]

    yield start
    for worker in workers:
        worker.store.close()


@pytest.fixture
def lock(path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Another process's write lock (SQLite treats another connection the same)."""
    connections: list[sqlite3.Connection] = []

    def lock() -> sqlite3.Connection:
        connections.append(sqlite3.connect(path, isolation_level=None))
        connections[-1].execute("BEGIN EXCLUSIVE")
        return connections[-1]

    yield lock
    for connection in connections:
        connection.close()


# Workers side by side


def test_G5_a_grant_that_was_answered_is_found_by_every_worker_at_once(start: Start) -> None:
    one, two = start(), start()
    one.settled()
    two.settled()
    for number in range(1000):
        giver, asker = (one, two) if number % 2 else (two, one)
        address = number.to_bytes(4, "big")
        assert giver.grant(address, "al") is None
        found: list[object] = []
        asker.store.find(address, found.append)
        assert isinstance(found[0], list), number
        assert [lease.login for lease in found[0]] == ["al"], number  # at once: no turn of the loop lies between


def test_G5_nothing_is_answered_before_its_commit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start()
    worker.settled()
    reached, may_commit = threading.Event(), threading.Event()
    plain = LeaseTable.write

    def slow(table: LeaseTable, term: Term) -> int:
        count = plain(table, term)
        reached.set()
        may_commit.wait(10)
        return count

    monkeypatch.setattr(LeaseTable, "write", slow)
    answers: list[object] = []
    worker.store.grant(HOME, "al", "pop3", WINDOW, answers.append)
    worker.until(reached.is_set)
    assert worker.find(HOME) is None
    assert answers == []
    may_commit.set()
    assert worker.grant(OFFICE, "bo") is None
    assert answers == [1]
    assert isinstance(worker.find(HOME), Lease)


class CountingLoop:
    """A loop that counts how often another thread wakes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.wakes = loop, 0

    def __getattr__(self, name: str) -> Any:
        self.wakes += name == "call_soon_threadsafe"
        return getattr(self.loop, name)


def test_N8_waiting_grants_share_a_commit_and_a_wake_up(
    loop: asyncio.AbstractEventLoop, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting: Any = CountingLoop(loop)
    worker = Worker(counting, path, clock, PATIENCE)
    worker.settled()
    commits, transaction = 0, LeaseTable.transaction
    reached, go_on = threading.Event(), threading.Event()

    def counted(table: LeaseTable) -> Any:
        nonlocal commits
        commits += 1
        return transaction(table)

    def hold(table: LeaseTable, terms: Sequence[Term]) -> None:
        reached.set()
        go_on.wait(10)

    monkeypatch.setattr(LeaseTable, "transaction", counted)
    monkeypatch.setattr(LeaseTable, "renew", hold)
    worker.store.renew([])
    worker.until(reached.is_set)
    counting.wakes = 0
    answers: list[object] = []
    for number in range(100):
        worker.store.grant(number.to_bytes(4, "big"), "al", "pop3", WINDOW, answers.append)
    go_on.set()
    assert worker.grant(HOME, "bo") is None
    assert answers == [1] * 100
    assert commits <= 3  # the one that held, the hundred, and perhaps the last
    assert counting.wakes <= 3
    worker.store.close()


def test_N8_who_comes_alone_is_written_at_once_and_the_next_ones_gather(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "GATHERING", 3600.0)
    worker = start()
    assert worker.grant(HOME, "al") is None
    batches: list[int] = []
    transaction, write = LeaseTable.transaction, LeaseTable.write

    def begun(table: LeaseTable) -> Any:
        batches.append(0)
        return transaction(table)

    def written(table: LeaseTable, term: Term) -> int:
        batches[-1] += 1
        return write(table, term)

    monkeypatch.setattr(LeaseTable, "transaction", begun)
    monkeypatch.setattr(LeaseTable, "write", written)
    answers: list[object] = []
    for number in range(100):
        worker.store.grant(number.to_bytes(4, "big"), "al", "pop3", WINDOW, answers.append)
    worker.loop.run_until_complete(asyncio.sleep(0))
    assert (answers, batches) == ([], [])
    worker.store.close()
    assert answers == [1] * 100
    assert [count for count in batches if count] == [100]


def test_N8_what_was_gathered_is_handed_over_in_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "GATHERING", 0.05)
    worker = start()
    for number in range(3):
        assert worker.grant(number.to_bytes(4, "big"), "al") is None


def test_N8_a_store_opens_nothing_before_start(path: Path) -> None:
    threads = threading.active_count()
    SqliteStore(path, FakeClock())
    assert not path.exists()
    assert threading.active_count() == threads


def test_N8_a_look_up_that_meets_a_lock_goes_to_the_thread(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start()
    worker.settled()
    assert worker.grant(HOME, "al") is None
    plain, main = LeaseTable.find, threading.current_thread()

    def busy_in_the_loop(table: LeaseTable, address: bytes) -> list[Lease]:
        if threading.current_thread() is main:
            raise StoreBusy("database is locked")
        return plain(table, address)

    monkeypatch.setattr(LeaseTable, "find", busy_in_the_loop)
    reader = worker.store.reader
    assert isinstance(worker.find(HOME), Lease)
    assert worker.store.reader is reader  # it was sound


def test_N8_the_loops_reader_never_waits(start: Start) -> None:
    worker = start()
    worker.settled()
    assert worker.store.reader is not None
    assert worker.store.reader.rows("PRAGMA busy_timeout", {}) == [(0,)]


def test_N8_a_broken_reader_is_opened_anew(start: Start) -> None:
    worker = start()
    worker.settled()
    assert worker.grant(HOME, "al") is None
    broken = worker.store.reader
    assert broken is not None
    broken.close()
    assert isinstance(worker.find(HOME), Lease)
    worker.settled()
    assert worker.store.reader is not broken


# Timeouts


def test_G7_a_locked_store_is_unavailable_in_time_and_comes_back(
    start: Start, lock: Callable[[], sqlite3.Connection]
) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    assert worker.grant(HOME, "al") is None
    holder = lock()
    asked = time.monotonic()
    assert isinstance(worker.grant(OFFICE, "bo"), StoreUnavailable)
    assert isinstance(worker.revoke(HOME, None), StoreUnavailable)
    assert time.monotonic() - asked < 2 * SHORT + SLACK
    assert isinstance(worker.find(HOME), Lease)  # WAL: reading goes on
    holder.execute("ROLLBACK")
    assert worker.grant(HOME, "al") is None


def test_G7_a_stuck_thread_is_unavailable_in_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(timeout=0.1)
    worker.settled()
    stuck = threading.Event()
    plain = LeaseTable.write

    def slow(table: LeaseTable, term: Term) -> int:
        stuck.wait(20)
        return plain(table, term)

    monkeypatch.setattr(LeaseTable, "write", slow)
    asked = time.monotonic()
    for ask in (lambda: worker.grant(HOME, "al"), worker.all, lambda: worker.revoke(OFFICE, None)):
        found = ask()
        assert isinstance(found, StoreUnavailable)
        assert str(found) == "no answer within 100 ms"
    assert 0.29 < time.monotonic() - asked < 0.3 + SLACK
    stuck.set()
    assert worker.grant(OFFICE, "bo") is None
    assert isinstance(worker.find(HOME), Lease)  # a grant may land late, and is told of once


def test_G7_questions_asked_together_time_out_together(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(timeout=0.1)
    worker.settled()
    stuck = threading.Event()
    monkeypatch.setattr(LeaseTable, "write", lambda table, term: stuck.wait(20))
    answers: list[object] = []
    for number in range(500):
        worker.store.grant(number.to_bytes(4, "big"), "al", "pop3", WINDOW, answers.append)
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert len(answers) == 500
    stuck.set()


def test_G7_what_waits_for_the_thread_has_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "WAITING_MAX", 3)
    worker = start()
    worker.settled()
    reached, stuck = threading.Event(), threading.Event()
    plain = LeaseTable.write

    def slow(table: LeaseTable, term: Term) -> int:
        reached.set()
        stuck.wait(20)
        return plain(table, term)

    monkeypatch.setattr(LeaseTable, "write", slow)
    answers: list[object] = []
    for number in range(4):
        worker.store.grant(number.to_bytes(4, "big"), "al", "pop3", WINDOW, answers.append)
    assert [str(found) for found in answers] == ["too many questions are waiting"]
    assert worker.store.late == 1  # and even that grant is not lost
    stuck.set()
    worker.until(lambda: worker.store.late == 0 and len(answers) == 4)
    assert answers[1:] == [1] * 3
    assert worker.grant(HOME, "bo") is None
    assert len(worker.logins()) == 5


# Late grants


def test_G7_a_grant_that_failed_is_written_when_the_store_is_back_with_its_own_end(
    start: Start, lock: Callable[[], sqlite3.Connection], clock: FakeClock
) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al", 100.0), StoreUnavailable)
    assert isinstance(worker.grant(HOME, "bo", 30.0), StoreUnavailable)
    clock.advance(40)
    assert isinstance(worker.grant(OFFICE, "cy", 100.0), StoreUnavailable)
    clock.advance(10)
    holder.execute("ROLLBACK")
    worker.until(lambda: worker.store.late == 0 and worker.logins() == [("al", 50.0), ("cy", 90.0)])
    assert worker.find(HOME) == Lease(HOME, "al", "pop3", clock.wall() - 50, clock.wall() + 50, 50.0)


def test_G7_no_worker_says_no_lease_while_one_waits_to_be_written(
    start: Start, lock: Callable[[], sqlite3.Connection]
) -> None:
    """A locked store can be read and knows nothing of the login: who has just logged in is deferred, never refused."""
    counters = ConnectionCounters(2)
    one, two = (
        start(timeout=SHORT, unwritten=counters.unwritten(0)),
        start(timeout=SHORT, unwritten=counters.unwritten(1)),
    )
    one.settled()
    two.settled()
    assert one.grant(OFFICE, "bo") is None
    holder = lock()
    assert two.find(HOME) is None, "nobody is owed a lease yet: that there is none is a fact"
    seen: list[object] = []
    one.store.grant(HOME, "al", "pop3", WINDOW, lambda _: two.store.find(HOME, seen.append))
    one.until(lambda: bool(seen))
    assert isinstance(seen[0], StoreUnavailable), "from the very moment at which the login is answered"
    for worker in (one, two):
        assert isinstance(worker.find(HOME), StoreUnavailable)
        assert isinstance(worker.find(OFFICE), Lease), "a lease that is there is a fact"
    holder.execute("ROLLBACK")
    one.until(lambda: isinstance(two.find(HOME), Lease))
    one.until(lambda: two.find(b"\xc0\x00\x02\x09") is None)  # all is written: no lease is a fact again


def test_G7_a_write_that_is_stuck_in_the_thread_is_owed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    stuck = threading.Event()
    plain = LeaseTable.write

    def slow(table: LeaseTable, term: Term) -> int:
        stuck.wait(20)
        return plain(table, term)

    monkeypatch.setattr(LeaseTable, "write", slow)
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert worker.store.late == 0, "it may still land by itself"
    assert isinstance(worker.find(HOME), StoreUnavailable)
    stuck.set()
    worker.until(lambda: isinstance(worker.find(HOME), Lease))
    worker.until(lambda: worker.find(OFFICE) is None)


def test_G7_what_is_owed_and_has_ended_or_was_revoked_is_owed_no_more(
    start: Start, lock: Callable[[], sqlite3.Connection], clock: FakeClock
) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al", 10.0), StoreUnavailable)
    assert isinstance(worker.find(OFFICE), StoreUnavailable)
    clock.advance(11)
    worker.until(lambda: worker.find(OFFICE) is None)
    assert isinstance(worker.grant(HOME, "al", 10.0), StoreUnavailable)
    holder.execute("ROLLBACK")
    assert worker.revoke(HOME, None) in (0, 1)
    worker.until(lambda: worker.find(HOME) is None)


def test_G7_the_newest_of_several_late_grants_of_one_login_counts(
    start: Start, lock: Callable[[], sqlite3.Connection], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "RETRY", 3600.0)  # only a success of another grant brings them back
    worker = start(timeout=SHORT)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al", 100.0), StoreUnavailable)
    clock.advance(10)
    assert isinstance(worker.grant(HOME, "al", 100.0), StoreUnavailable)
    worker.until(lambda: worker.store.in_flight.asked == 0)
    assert worker.store.late == 1
    holder.execute("ROLLBACK")
    assert worker.grant(OFFICE, "bo") is None
    assert worker.grant(OFFICE, "bo") is None
    assert worker.logins() == [("al", 100.0), ("bo", WINDOW)]


def test_G7_a_late_grant_yields_to_a_newer_and_shorter_one(
    start: Start, lock: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "RETRY", 3600.0)
    worker = start(timeout=SHORT)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al", 100.0), StoreUnavailable)
    worker.until(lambda: worker.store.late == 1)
    holder.execute("ROLLBACK")
    assert worker.grant(HOME, "al", 10.0) is None
    assert worker.grant(OFFICE, "bo") is None
    assert worker.grant(OFFICE, "bo") is None
    assert worker.logins() == [("al", 10.0), ("bo", WINDOW)]


def test_G7_late_grants_have_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_module, "LATE_MAX", 3)
    worker = start()
    worker.store.close()
    for number in range(5):
        assert isinstance(worker.grant(HOME, str(number)), StoreUnavailable)
    assert [key[1] for key in worker.store.retries.grants] == ["2", "3", "4"]


@pytest.mark.parametrize("ended_first", [True, False])
def test_G7_a_late_grant_does_not_come_back_after_a_revocation(
    start: Start, lock: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch, ended_first: bool
) -> None:
    monkeypatch.setattr(late_module, "RETRY", 3600.0)
    worker = start(timeout=SHORT)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert isinstance(worker.grant(HOME, "bo"), StoreUnavailable)
    if ended_first:
        worker.until(lambda: worker.store.late == 2)
    holder.execute("ROLLBACK")
    assert worker.revoke(HOME, "al") in (0, 1)
    assert worker.grant(OFFICE, "cy") is None
    assert worker.grant(OFFICE, "cy") is None
    assert [login for login, _left in worker.logins()] == ["bo", "cy"]


def test_G4_a_renewal_that_failed_is_tried_again(
    start: Start, lock: Callable[[], sqlite3.Connection], clock: FakeClock
) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    assert worker.grant(HOME, "al", 100.0) is None
    clock.advance(90)
    holder = lock()
    worker.store.renew([(HOME, "al", "pop3", 60.0), (HOME, "bo", "pop3", 60.0)])
    assert isinstance(worker.grant(OFFICE, "cy"), StoreUnavailable)
    holder.execute("ROLLBACK")
    worker.until(lambda: worker.logins() == [("al", 60.0), ("cy", WINDOW)])


def test_G3_a_late_grant_is_bound_to_its_limit_and_the_first_come_is_served_first(
    start: Start, lock: Callable[[], sqlite3.Connection]
) -> None:
    worker = start(timeout=SHORT)
    worker.settled()
    assert worker.grant(HOME, "al") is None
    holder = lock()
    for login in ("bo", "cy", "di"):
        assert isinstance(worker.grant(HOME, login, limit=2), StoreUnavailable)
    worker.until(lambda: worker.store.late == 3)
    holder.execute("ROLLBACK")
    worker.until(lambda: len(worker.logins()) == 2)
    worker.until(lambda: worker.store.late == 0)
    assert [login for login, _left in worker.logins()] == ["al", "bo"]


# Watching


def test_G9_grants_of_other_workers_are_told_and_nobody_looks_without_a_watcher(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    plain = LeaseTable.changes

    def counted(table: LeaseTable) -> int:
        nonlocal looks
        looks += 1
        return plain(table)

    monkeypatch.setattr(LeaseTable, "changes", counted)
    monkeypatch.setattr(watch_module, "PACE", 0.01)
    one, two = start(), start()
    one.settled()
    two.settled()
    seen: list[bool] = []

    def changed(_address: bytes | None) -> None:
        one.store.find(HOME, lambda leases: seen.append(bool(leases)))

    one.store.watch(changed)
    one.until(lambda: bool(seen))
    two.grant(HOME, "al")
    one.until(lambda: seen[-1])
    told = len(seen)
    one.until(lambda: looks >= 10)
    assert len(seen) == told, "nothing changed"
    one.store.watch(None)
    before = looks
    one.loop.run_until_complete(asyncio.sleep(0.05))
    assert looks == before


def test_G9_a_lease_that_came_just_before_the_watch_is_not_missed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "PACE", 0.01)
    one, two = start(), start()
    one.settled()
    two.settled()
    assert one.find(HOME) is None
    assert two.grant(HOME, "al") is None
    told: list[bytes | None] = []
    one.store.watch(told.append)
    one.until(lambda: told == [None])


def test_G9_a_watcher_misses_nothing_while_the_reader_is_opened_anew(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "PACE", 0.01)
    one, two = start(), start()
    one.settled()
    two.settled()
    told: list[bytes | None] = []
    one.store.watch(told.append)
    one.until(lambda: told == [None])
    assert one.store.reader is not None
    one.store.reader.close()  # the next look finds it broken
    two.grant(HOME, "al")
    one.until(lambda: len(told) > 1)
    assert isinstance(one.find(HOME), Lease)


def test_G9_a_late_grant_is_told_when_it_is_written(
    start: Start, lock: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "PACE", 3600.0)
    worker = start(timeout=SHORT)
    worker.settled()
    told: list[bytes | None] = []
    worker.store.watch(told.append)
    holder = lock()
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert told == []
    holder.execute("ROLLBACK")
    worker.until(lambda: bool(told))
    assert isinstance(worker.find(HOME), Lease)


# History and observations


def test_what_one_worker_saw_another_one_tells(loop: asyncio.AbstractEventLoop, path: Path, clock: FakeClock) -> None:
    one, two = [Worker(loop, path, clock, 5.0, kept=86400.0) for _ in range(2)]
    assert one.grant(HOME, "al", 100.0) is None
    clock.advance(150)
    assert two.grant(HOME, "al", 100.0) is None
    assert one.revoke(HOME, None) == 1
    for worker in (one, two):
        found = answer(loop, lambda then, worker=worker: worker.store.tenancies([HOME], None, None, then))
        assert [(tenancy.how, tenancy.ended - tenancy.began) for tenancy in found] == [("revoked", 0), ("ended", 100)]
    for worker in (one, two):
        worker.store.observe([Observation(HOME, "al", "pop3", "clear", 2, 10.0, 20.0)])
        assert worker.revoke(HOME, None) == 0  # answered behind it
    for worker in (one, two):
        found = answer(loop, lambda then, worker=worker: worker.store.observed(20.0, then))
        assert [(seen.login, seen.times) for seen in found] == [("al", 4)]
    for worker in (one, two):
        worker.store.close()


def test_a_store_without_history_is_told_nothing(start: Start) -> None:
    worker = start()
    worker.store.observe([Observation(HOME, "al", "pop3", "clear", 2, 10.0, 20.0)])
    assert worker.revoke(HOME, None) == 0
    assert answer(worker.loop, lambda then: worker.store.observed(0.0, then)) == []


# Trouble with the file


def test_G7_a_full_disk_is_unavailable_and_mends(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    class SmallDisk(LeaseTable):
        full = True

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if self.full:
                self._db.execute("PRAGMA max_page_count = 8")

    monkeypatch.setattr(writer_module, "LeaseTable", SmallDisk)
    worker = start()
    written, failure = 0, None
    while failure is None:
        failure = worker.grant(written.to_bytes(4, "big"), "x" * 256)
        written += failure is None
        assert written < 1000
    assert "full" in str(failure)
    assert isinstance(worker.find(bytes(4)), Lease)  # reading goes on
    SmallDisk.full = False
    assert len(worker.logins()) == written  # what was answered is kept
    assert worker.grant(HOME, "al") is None
    assert worker.grant(HOME, "al") is None
    assert len(worker.logins()) == written + 2  # with the one that was late


def test_G7_a_folder_that_is_missing_is_unavailable_and_mends(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "leases.db"
    worker = Worker(loop, path, FakeClock(), 5.0)
    assert isinstance(worker.find(HOME), StoreUnavailable)
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert isinstance(worker.all(), StoreUnavailable)
    path.parent.mkdir()
    assert worker.grant(OFFICE, "bo") is None
    worker.settled()
    worker.until(lambda: len(worker.logins()) == 2)  # with the late one
    worker.store.close()


def test_G7_a_store_of_rubbish_is_unavailable_and_mends(start: Start, path: Path) -> None:
    path.write_bytes(b"rubbish" * 1000)
    worker = start()
    assert isinstance(worker.find(HOME), StoreUnavailable)
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    assert path.read_bytes() == b"rubbish" * 1000
    path.unlink()
    assert worker.grant(OFFICE, "bo") is None
    worker.settled()
    assert isinstance(worker.find(OFFICE), Lease)


def test_G7_a_store_replaced_by_rubbish_in_mid_run(start: Start, path: Path, tmp_path: Path) -> None:
    worker = start()
    worker.settled()
    assert worker.grant(HOME, "al") is None
    (tmp_path / "new").write_bytes(b"rubbish" * 1000)
    for name in ("leases.db-wal", "leases.db-shm"):  # with its WAL in place SQLite would mend the store from that
        (tmp_path / name).unlink()
    os.replace(tmp_path / "new", path)
    assert isinstance(worker.grant(OFFICE, "bo"), StoreUnavailable)
    for name in ("leases.db", "leases.db-wal", "leases.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert worker.grant(OFFICE, "cy") is None
    worker.settled()
    assert isinstance(worker.find(OFFICE), Lease)


def test_G7_a_store_overwritten_in_place_never_raises(start: Start, path: Path, tmp_path: Path) -> None:
    worker = start(timeout=0.5)
    worker.settled()
    for number in range(200):
        assert worker.grant(number.to_bytes(4, "big"), "al") is None
    path.write_bytes(b"rubbish" * 1000)
    for number in range(200):
        worker.find(number.to_bytes(4, "big"))  # any answer, but one answer
        worker.grant(number.to_bytes(4, "big"), "bo")
    for name in ("leases.db", "leases.db-wal", "leases.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert worker.grant(HOME, "al") is None
    worker.settled()
    assert isinstance(worker.find(HOME), Lease)


def test_a_store_that_was_removed_is_made_anew_for_all_workers(start: Start, path: Path, tmp_path: Path) -> None:
    one, two = start(), start()
    one.settled()
    two.settled()
    assert one.grant(HOME, "al") is None
    for name in ("leases.db", "leases.db-wal", "leases.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert one.grant(OFFICE, "bo") is None
    two.until(lambda: isinstance(two.find(OFFICE), Lease))  # within a tick of its thread


def test_G5_a_login_into_the_new_store_is_seen_by_a_worker_that_had_not_noticed_yet(
    start: Start, path: Path, tmp_path: Path
) -> None:
    one, two = start(), start()
    one.settled()
    two.settled()
    for name in ("leases.db", "leases.db-wal", "leases.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert one.grant(OFFICE, "bo") is None
    assert isinstance(two.find(OFFICE), Lease)  # not "no lease", from the file that is gone


def test_G7_another_file_in_its_place_that_is_no_store_is_a_store_down(start: Start, path: Path) -> None:
    """The old file is still open in the loop's reader, and knows nothing any more."""
    worker = start()
    worker.settled()
    assert worker.find(HOME) is None
    other = path.with_name("other")
    other.write_bytes(b"no database " * 1000)
    other.replace(path)
    for name in ("leases.db-wal", "leases.db-shm"):  # with them SQLite would mend the file
        path.with_name(name).unlink(missing_ok=True)
    worker.until(lambda: isinstance(worker.find(HOME), StoreUnavailable))


# Ends


def test_G8_a_restart_keeps_exact_deadlines(start: Start, clock: FakeClock) -> None:
    first = start()
    assert first.grant(HOME, "al") is None
    first.store.close()
    clock.advance(1799)
    second = start()
    assert second.logins() == [("al", 1.0)]
    clock.advance(1)
    assert second.logins() == []


def test_G8_a_lease_that_ended_does_not_live_again_after_a_reboot(start: Start, clock: FakeClock, path: Path) -> None:
    worker = start()
    for number in range(20):
        assert worker.grant(number.to_bytes(4, "big"), "al", 50.0) is None
    clock.step_wall(-30)  # the wall clock now believes that they end 30 s later than they do
    clock.advance(50)  # less than the minute after which it would have been purged anyhow
    assert worker.logins() == []
    worker.store.close()
    clock.reboot(down=0, boot_id="boot-2")
    assert start().logins() == []


def test_closing_answers_what_is_unanswered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start(timeout=0.1)
    worker.settled()
    stuck, written = threading.Event(), threading.Event()

    def slow(table: LeaseTable, term: Term) -> None:
        stuck.wait(20)
        written.set()

    monkeypatch.setattr(LeaseTable, "write", slow)
    answers: list[object] = []
    worker.store.grant(HOME, "al", "pop3", WINDOW, answers.append)
    worker.store.close()
    assert [str(found) for found in answers] == ["the store is closed"]
    stuck.set()
    assert written.wait(10)
    assert len(answers) == 1


def test_closing_writes_what_was_asked_and_what_is_late(
    start: Start, lock: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_module, "RETRY", 3600.0)
    worker = start(timeout=0.2)
    worker.settled()
    holder = lock()
    assert isinstance(worker.grant(HOME, "al"), StoreUnavailable)
    worker.until(lambda: worker.store.late == 1)
    holder.execute("ROLLBACK")
    answers: list[object] = []
    worker.store.grant(OFFICE, "bo", "pop3", WINDOW, answers.append)
    worker.store.close()
    assert answers == [1]
    assert [login for login, _left in start().logins()] == ["al", "bo"]


@pytest.mark.parametrize("method", ["write", "all", "revoke", "purge", "is_current"])
def test_G7_a_bug_in_the_thread_is_unavailable_and_the_thread_goes_on(
    start: Start, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    worker = start(timeout=PATIENCE)
    worker.settled()
    before, reached = worker.store.reader, threading.Event()

    def broken(*_arguments: object) -> None:
        reached.set()
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(LeaseTable, method, broken)
        clock.advance(60.0)  # a purge is due
        answers = [worker.grant(HOME, "al"), worker.all(), worker.revoke(OFFICE, None)]
        assert reached.wait(PATIENCE)
    told = [str(answer) for answer in answers if isinstance(answer, StoreUnavailable)]
    assert all("ZeroDivisionError" in text and "secret" not in text for text in told)
    assert bool(told) is (method != "purge")  # a purge is nobody's question
    assert worker.grant(HOME, "al") is None
    assert isinstance(worker.find(HOME), Lease)
    worker.until(lambda: worker.store.reader not in (None, before))  # all was opened anew


def test_a_then_that_raises_costs_nobody_else_the_answer(loop: asyncio.AbstractEventLoop, start: Start) -> None:
    worker = start()
    worker.settled()
    errors: list[object] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))

    def broken(_answer: object) -> None:
        raise ZeroDivisionError

    answers: list[object] = []
    worker.store.grant(HOME, "al", "pop3", WINDOW, answers.append)
    worker.store.grant(HOME, "bo", "pop3", WINDOW, broken)
    worker.store.grant(HOME, "cy", "pop3", WINDOW, answers.append)
    assert worker.grant(HOME, "di") is None
    assert answers == [1, 3]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_ended_rows_are_purged_once_a_minute(
    start: Start, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_PURGE_MAX", 7)

    def rows() -> int:
        database = sqlite3.connect(path)
        ((count,),) = database.execute("SELECT count(*) FROM lease").fetchall()
        database.close()
        return int(count)

    worker = start()
    worker.settled()
    for number in range(20):
        assert worker.grant(number.to_bytes(4, "big"), "al", 10.0) is None
    clock.advance(59)
    assert worker.grant(HOME, "bo") is None
    assert rows() == 21
    clock.advance(1)
    assert worker.grant(HOME, "bo") is None
    worker.until(lambda: rows() == 1)


_GRANT_FOR_EVER = """
import asyncio, itertools, sys
from proxy.leases.clock import Clock
from proxy.leases.usage_report import Observation
from proxy.leases.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1], Clock())
    store.start(asyncio.get_running_loop())
    for number in itertools.count():
        completed = asyncio.get_running_loop().create_future()
        store.grant(number.to_bytes(4, "big"), "al", "pop3", 1800.0, completed.set_result)
        assert await completed == 1
        print(number, flush=True)

asyncio.run(main())
"""


def test_G5_a_killed_worker_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    worker = subprocess.Popen([sys.executable, "-c", _GRANT_FOR_EVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    printed = [int(worker.stdout.readline()) for _ in range(300)]
    worker.send_signal(signal.SIGKILL)
    printed += [int(line) for line in worker.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    worker.stdout.close()
    assert worker.wait(10) == -signal.SIGKILL
    table = LeaseTable(path, Clock())
    kept = {int.from_bytes(lease.address, "big") for lease in table.all()}
    table.close()
    assert kept >= set(printed)
    assert len(kept) <= len(printed) + 1  # at most the one that was committed and not yet printed
