"""What every lease store promises (proxy/leases/base.py), on every store and both event loops."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.base import Lease, LeaseStore
from proxy.leases.memory import MemoryStore
from proxy.leases.redis.store import RedisStore
from proxy.leases.sqlite import SqliteStore
from tests.support.clocks import LOOPS, PATIENCE, FakeClock, answer
from tests.support.redis import ServerClock, let_go, turn_by_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.redis import RedisServer

TIMEOUT = 5.0  # s: no answer here may be "not in time" because the machine that tests is loaded
HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
SIX = bytes.fromhex("20010db8000000000000000000000001")


@dataclass
class House:
    """A store with its clock and loop, and its methods as plain calls."""

    store: LeaseStore
    clock: FakeClock
    loop: asyncio.AbstractEventLoop

    def leases(self, address: bytes) -> list[Lease]:
        found = answer(self.loop, lambda then: self.store.find(address, then))
        assert isinstance(found, list), found
        return found

    def find(self, address: bytes) -> Lease | None:
        """The first of them."""
        return next(iter(self.leases(address)), None)

    def grant(self, address: bytes, login: str, source: str = "pop3", window: float = 1800.0, limit: int = 0) -> int:
        found = answer(self.loop, lambda then: self.store.grant(address, login, source, window, then, limit))
        assert isinstance(found, int), found
        return found

    def renew(self, *batch: tuple[bytes, str, str, float]) -> None:
        self.store.renew(batch)
        self.barrier()

    def charge(self, login: str, messages: int, recipients: int, span: float = 1800.0, source: str = "pop3") -> None:
        self.store.charge(HOME, login, source, messages, recipients, span)
        self.barrier()

    def used(self, login: str, source: str = "pop3") -> tuple[int, int]:
        """What was charged to a lease of HOME; `find` and `all` agree on it."""
        (lease,) = [lease for lease in self.leases(HOME) if (lease.login, lease.source) == (login, source)]
        assert lease in self.all()
        return lease.messages, lease.recipients

    def barrier(self) -> None:
        """Renewals and charges have no answer; what is asked after them is answered after them."""
        self.grant(bytes(4), "barrier")
        self.revoke(bytes(4), None)

    def revoke(self, address: bytes | None, login: str | None) -> int | StoreUnavailable:
        return answer(self.loop, lambda then: self.store.revoke(address, login, then))

    def all(self) -> list[Lease]:
        return answer(self.loop, lambda then: self.store.all(then))

    def left(self, address: bytes) -> float | None:
        found = self.find(address)
        return found and found.left


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    errors: list[object] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    yield loop
    loop.close()
    assert errors == []


@pytest.fixture
def memory(loop: asyncio.AbstractEventLoop) -> Iterator[House]:
    clock = FakeClock()
    yield from opened(MemoryStore(clock), clock, loop)


@pytest.fixture
def sqlite(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[House]:
    clock = FakeClock()
    yield from opened(SqliteStore(tmp_path / "l.db", clock, TIMEOUT), clock, loop)


@pytest.fixture
def redis(
    emptied_redis: RedisServer, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    turn_by_hand(monkeypatch)
    clock = ServerClock(emptied_redis)
    yield from opened(RedisStore(emptied_redis.server, clock, TIMEOUT), clock, loop)
    clock.close()


def opened(store: LeaseStore, clock: FakeClock, loop: asyncio.AbstractEventLoop) -> Iterator[House]:
    store.start(loop)
    yield House(store, clock, loop)
    store.close()
    let_go(loop)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def house(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> House:
    found: House = request.getfixturevalue(request.param)
    return found


def test_an_empty_store_finds_nothing(house: House) -> None:
    assert house.find(HOME) is None
    assert house.all() == []
    assert house.revoke(HOME, None) == 0


def test_G1_a_lease_has_all_its_figures(house: House) -> None:
    start = house.clock.wall()
    house.grant(HOME, "al", window=1800.0)
    house.clock.advance(100)
    expected = Lease(HOME, "al", "pop3", granted=start, expires=start + 1800, left=1700.0)
    assert house.find(HOME) == expected
    assert house.all() == [expected]


def test_G1_several_logins_hold_one_address_each_with_its_own_clock(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.grant(HOME, "bo", window=300.0)
    house.grant(HOME, "al", source="admin", window=200.0)
    assert [(lease.login, lease.source, lease.left) for lease in house.all()] == [
        ("al", "admin", 200.0),
        ("al", "pop3", 100.0),
        ("bo", "pop3", 300.0),
    ]
    assert [(lease.login, lease.source) for lease in house.leases(HOME)] == [
        ("bo", "pop3"),
        ("al", "admin"),
        ("al", "pop3"),
    ]
    house.clock.advance(250)
    assert [lease.login for lease in house.leases(HOME)] == ["bo"]
    assert house.left(HOME) == 50.0
    house.clock.advance(50)
    assert house.left(HOME) is None


def test_G1_the_address_is_open_while_the_longer_lease_of_two_is_live(house: House) -> None:
    house.grant(HOME, "bo", window=300.0)
    house.grant(HOME, "al", window=100.0)
    assert house.left(HOME) == 300.0


def test_G2_addresses_of_both_families_are_apart(house: House) -> None:
    house.grant(SIX, "al")
    house.grant(HOME, "bo")
    assert house.left(SIX) == 1800.0
    assert house.left(SIX[-4:]) is None
    assert house.left(OFFICE) is None
    assert [lease.address for lease in house.all()] == [HOME, SIX]


def test_G3_a_grant_says_how_many_logins_hold_the_address(house: House) -> None:
    assert [house.grant(HOME, login) for login in ("al", "bo", "al")] == [1, 2, 2]
    assert house.grant(HOME, "al", source="admin") == 2, "one login, whatever its sources"
    assert house.grant(OFFICE, "cy") == 1
    assert house.grant(HOME, "cy", window=10.0) == 3
    house.clock.advance(10)
    assert house.grant(HOME, "bo") == 2, "live ones"


def test_G3_over_its_limit_nothing_is_granted(house: House) -> None:
    assert house.grant(HOME, "al", window=100.0, limit=2) == 1
    assert house.grant(HOME, "bo", window=200.0, limit=2) == 2
    assert house.grant(HOME, "cy", limit=2) == 3
    assert [lease.login for lease in house.leases(HOME)] == ["bo", "al"]
    assert house.grant(OFFICE, "cy", limit=2) == 1
    house.clock.advance(100)
    assert house.grant(HOME, "cy", limit=2) == 2, "a place that became free"


def test_G3_who_holds_the_address_may_do_so_again_also_over_a_limit_that_was_lowered(house: House) -> None:
    for login in ("al", "bo", "cy"):
        house.grant(HOME, login, window=100.0, limit=3)
    assert house.grant(HOME, "bo", window=300.0, limit=2) <= 2
    assert house.left(HOME) == 300.0
    assert house.grant(HOME, "bo", source="admin", window=400.0, limit=2) <= 2
    assert house.left(HOME) == 400.0
    assert house.grant(HOME, "di", limit=2) > 2


@pytest.mark.parametrize("window", [1.0, 1800.0, 43200.0])
def test_G4_a_lease_ends_at_its_second(house: House, window: float) -> None:
    house.grant(HOME, "al", window=window)
    house.clock.advance(window - 0.5)
    assert house.left(HOME) == 0.5
    house.clock.advance(0.5)
    assert house.left(HOME) is None
    assert house.all() == []


def test_G4_each_login_starts_its_lease_anew(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.clock.advance(60)
    house.grant(HOME, "al", window=100.0)
    assert house.left(HOME) == 100.0
    (lease,) = house.all()
    assert lease.granted == house.clock.wall()
    house.grant(HOME, "al", window=10.0)  # the window was made shorter: so is the lease
    assert house.left(HOME) == 10.0


def test_G4_a_renewal_moves_the_end_and_keeps_the_start(house: House) -> None:
    start = house.clock.wall()
    house.grant(HOME, "al", window=100.0)
    house.grant(OFFICE, "bo", window=100.0)
    house.clock.advance(60)
    house.renew((HOME, "al", "pop3", 60.0), (OFFICE, "bo", "pop3", 300.0))
    assert house.find(HOME) == Lease(HOME, "al", "pop3", start, start + 120, 60.0)
    assert house.left(OFFICE) == 300.0  # further than the lease was long
    house.clock.advance(299)
    assert house.left(OFFICE) == 1.0


def test_G4_a_renewal_never_shortens(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.renew((HOME, "al", "pop3", 60.0))
    assert house.left(HOME) == 100.0


def test_G4_a_renewal_is_never_an_insert(house: House) -> None:
    house.renew((HOME, "al", "pop3", 60.0))
    assert house.left(HOME) is None
    house.grant(HOME, "al")
    house.renew((HOME, "bo", "pop3", 9000.0), (HOME, "al", "admin", 9000.0), (OFFICE, "al", "pop3", 9000.0))
    assert house.left(HOME) == 1800.0
    assert len(house.all()) == 1


def test_G4_a_revoked_lease_stays_revoked(house: House) -> None:
    house.grant(HOME, "al")
    assert house.revoke(HOME, None) == 1
    house.renew((HOME, "al", "pop3", 60.0))
    assert house.left(HOME) is None


def test_G4_an_ended_lease_stays_ended(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.clock.advance(100)
    house.renew((HOME, "al", "pop3", 60.0))
    assert house.left(HOME) is None


def test_an_empty_batch_of_renewals_is_nothing(house: House) -> None:
    house.renew()
    assert house.all() == []


def test_revoking_by_address_by_login_and_by_both(house: House) -> None:
    def fill() -> None:
        for address in (HOME, OFFICE):
            for login in ("al", "bo"):
                house.grant(address, login)
        house.grant(HOME, "al", source="admin")

    def kept() -> list[tuple[bytes, str, str]]:
        return [(lease.address, lease.login, lease.source) for lease in house.all()]

    fill()
    assert house.revoke(HOME, None) == 3
    assert kept() == [(OFFICE, "al", "pop3"), (OFFICE, "bo", "pop3")]
    fill()
    assert house.revoke(None, "al") == 3
    assert kept() == [(HOME, "bo", "pop3"), (OFFICE, "bo", "pop3")]
    fill()
    assert house.revoke(HOME, "al") == 2
    assert kept() == [(HOME, "bo", "pop3"), (OFFICE, "al", "pop3"), (OFFICE, "bo", "pop3")]
    assert house.revoke(HOME, "nobody") == 0


def test_revoking_counts_live_leases_only(house: House) -> None:
    house.grant(HOME, "al", window=10.0)
    house.grant(HOME, "bo", window=100.0)
    house.clock.advance(10)
    assert house.revoke(HOME, None) == 1
    assert house.revoke(HOME, None) == 0


def test_revoking_nothing_in_particular_is_an_error(house: House) -> None:
    with pytest.raises(ValueError, match="revoke what"):
        house.store.revoke(None, None, print)


def test_G8_steps_of_the_wall_clock_change_nothing(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.clock.step_wall(+86400)
    assert house.left(HOME) == 100.0
    house.clock.step_wall(-10 * 86400)
    house.clock.advance(99)
    assert house.left(HOME) == 1.0
    found = house.find(HOME)
    assert isinstance(found, Lease)
    assert found.expires == house.clock.wall() + 1.0  # people read it beside the clock as it is now
    house.clock.advance(1)
    assert house.left(HOME) is None


@pytest.mark.parametrize("login", ["", "Jürgen", "J\udcfcrgen", "a'b\"c;--", "nul\0in it", "x" * 256])
def test_a_login_comes_back_as_it_went_in(house: House, login: str) -> None:
    house.grant(HOME, login)
    found = house.find(HOME)
    assert isinstance(found, Lease)
    assert found.login == login
    assert house.all() == [found]
    assert house.revoke(None, login) == 1


def test_logins_that_differ_in_case_differ(house: House) -> None:
    house.grant(HOME, "al")
    house.grant(HOME, "AL")
    assert len(house.all()) == 2


def test_an_impossible_login_is_the_callers_error(house: House) -> None:
    with pytest.raises(UnicodeEncodeError):
        house.store.grant(HOME, "\ud800", "pop3", 10.0, print)
    with pytest.raises(UnicodeEncodeError):
        house.store.revoke(None, "\ud800", print)
    house.grant(HOME, "al")  # and the store goes on


def test_a_closed_store_is_unavailable_and_not_empty(house: House) -> None:
    house.grant(HOME, "al")
    house.store.close()
    house.store.close()
    answers = [
        answer(house.loop, lambda then: house.store.find(HOME, then)),
        answer(house.loop, lambda then: house.store.grant(HOME, "al", "pop3", 1.0, then)),
        house.revoke(HOME, None),
        house.all(),
    ]
    assert [type(found) for found in answers] == [StoreUnavailable] * 4
    house.store.renew([(HOME, "al", "pop3", 60.0)])
    house.store.charge(HOME, "al", "pop3", 1, 1, 60.0)
    house.store.watch(lambda address: None)
    house.store.watch(None)


# Charges


def test_G11_charges_add_up_for_each_lease(house: House) -> None:
    house.grant(HOME, "al")
    house.grant(HOME, "al", source="admin")
    house.grant(HOME, "bo")
    house.charge("al", 1, 3)
    house.clock.advance(1)
    house.charge("al", 2, 4)
    house.charge("bo", 1, 1)
    assert (house.used("al"), house.used("bo"), house.used("al", "admin")) == ((3, 7), (1, 1), (0, 0))


def test_G11_the_next_look_up_knows_of_a_charge(house: House) -> None:
    """A session's next message must not be judged by what was before its last one."""
    house.grant(HOME, "al")
    house.grant(HOME, "bo")
    house.barrier()
    for number in range(1, 31):
        house.store.charge(HOME, "al", "pop3", 1, 2, 1800.0)
        assert {lease.login: (lease.messages, lease.recipients) for lease in house.leases(HOME)} == {
            "al": (number, 2 * number),
            "bo": (0, 0),
        }
    house.barrier()
    assert house.used("al") == (30, 60)


def test_G11_a_new_login_or_a_renewal_is_no_new_count(house: House) -> None:
    house.grant(HOME, "al", window=100.0)
    house.charge("al", 1, 1, span=1800.0)
    house.grant(HOME, "al", window=1000.0)
    house.renew((HOME, "al", "pop3", 1500.0))
    assert house.used("al") == (1, 1)


def test_G11_counting_starts_anew_when_its_span_is_over(house: House) -> None:
    house.grant(HOME, "al", window=1000.0)
    house.charge("al", 5, 5, span=100.0)
    house.clock.advance(60)
    house.charge("al", 1, 2, span=100.0)
    house.clock.advance(39)
    assert house.used("al") == (6, 7)
    house.clock.advance(1)
    assert house.used("al") == (0, 0)
    house.charge("al", 1, 1, span=100.0)
    house.clock.advance(99)
    assert house.used("al") == (1, 1)


def test_G8_the_wall_clock_has_no_say_in_a_count(house: House) -> None:
    house.grant(HOME, "al", window=1000.0)
    house.charge("al", 1, 1, span=100.0)
    house.clock.step_wall(+86400)
    assert house.used("al") == (1, 1)
    house.clock.step_wall(-2 * 86400)
    house.clock.advance(100)
    assert house.used("al") == (0, 0)


def test_G11_nothing_is_charged_to_a_lease_that_is_not_there(house: House) -> None:
    house.charge("al", 1, 1)
    house.grant(HOME, "al", window=10.0)
    assert house.used("al") == (0, 0)
    house.clock.advance(10)
    house.charge("al", 1, 1)
    house.grant(HOME, "al", window=10.0)
    assert house.used("al") == (0, 0)
    house.charge("al", 1, 1)
    house.revoke(HOME, None)
    house.grant(HOME, "al")
    assert house.used("al") == (0, 0), "a count ends with its row"


# Watching


def watched(house: House) -> list[bytes | None]:
    told: list[bytes | None] = []
    house.store.watch(told.append)
    return told


def until(house: House, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        house.loop.run_until_complete(asyncio.sleep(0.001))


def test_G9_a_watcher_is_told_of_grants_after_they_are_in_the_store(house: House) -> None:
    found: list[tuple[bytes | None, bool]] = []

    def told(address: bytes | None) -> None:
        if address is not None:
            house.store.find(address, lambda leases: found.append((address, bool(leases))))

    house.store.watch(told)
    house.grant(HOME, "al")
    house.grant(OFFICE, "bo")
    until(house, lambda: len(found) == 2)
    assert found == [(HOME, True), (OFFICE, True)]


def test_G9_a_watcher_is_not_told_of_a_grant_that_made_nothing(house: House) -> None:
    house.grant(HOME, "al")
    told = watched(house)
    assert house.grant(HOME, "bo", limit=1) == 2
    house.grant(OFFICE, "bo")
    until(house, lambda: OFFICE in told)
    assert HOME not in told


def test_G9_there_is_one_watcher_and_none_after_it_was_taken_away(house: House) -> None:
    first = watched(house)
    second = watched(house)
    house.grant(HOME, "al")
    until(house, lambda: HOME in second)
    house.store.watch(None)
    count = len(second)
    house.grant(HOME, "al")
    house.loop.run_until_complete(asyncio.sleep(0.01))
    assert (HOME in first, len(second)) == (False, count)
