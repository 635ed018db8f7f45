"""leases/renewals.py on a clock turned by hand, in front of a memory store (rule G4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.memory import MemoryStore
from proxy.leases.renewals import MARGIN, Renewals
from proxy.wire.address import packed

from ..support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.leases.base import Lease

ADDRESS = packed("192.0.2.7")
KEY = (ADDRESS, "alice", "pop3")
HOUR = 3600.0


class CountingStore(MemoryStore):
    """Keeps what it was asked to renew."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.batches: list[list[tuple[bytes, str, str, float]]] = []

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        self.batches.append(list(batch))
        super().renew(batch)


class House:
    """A worker's renewals and their store; `live` moves the clock as the worker ticks."""

    def __init__(self, window: float, max_age: float = 12 * HOUR) -> None:
        self.clock = FakeClock()
        self.store = CountingStore(self.clock)
        self.renewals = Renewals(self.store, self.clock.now)
        self.window, self.max_age = window, max_age

    def login(self, session: str = "session", login: str = "alice") -> None:
        self.store.grant(ADDRESS, login, "pop3", self.window, lambda problem: None)
        self.renewals.begin(session, (ADDRESS, login, "pop3"), self.window, self.max_age)

    def left(self) -> float:
        """Seconds left of the address's lease; 0 without one."""
        found: list[Sequence[Lease] | StoreUnavailable] = []
        self.store.find(ADDRESS, found.append)
        (leases,) = found
        assert not isinstance(leases, StoreUnavailable)
        return leases[0].left if leases else 0.0

    def live(self, seconds: float, step: float = 0.5) -> list[float]:
        """What was left after each step."""
        seen = []
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.renewals.tick()
            seen.append(self.left())
        return seen


def test_G4_an_open_session_keeps_its_lease() -> None:
    house = House(window=1800)
    house.login()
    assert min(house.live(3 * HOUR)) > 0


def test_G4_a_renewal_reaches_the_margin_and_no_further() -> None:
    """A killed worker's leases end within the margin."""
    house = House(window=1800)
    house.login()
    house.live(1800)
    assert max(house.live(HOUR)) <= MARGIN == 60.0


def test_G4_nothing_is_written_while_the_window_lasts() -> None:
    house = House(window=1800)
    house.login()
    house.live(1800 - MARGIN)
    assert house.store.batches == []


def test_G4_a_session_writes_seldom() -> None:
    house = House(window=1800)
    house.login()
    house.live(1800 + HOUR)
    assert HOUR / MARGIN <= len(house.store.batches) <= 5 * HOUR / MARGIN


@pytest.mark.parametrize("window", [1.0, 2.0, 3.0, 30.0, 119.0])
def test_G4_the_margin_of_a_short_window_is_half_of_it(window: float) -> None:
    house = House(window=window)
    house.login()
    house.live(window, step=0.1)
    left = house.live(10 * window, step=0.1)
    assert min(left) > 0
    assert max(left) <= window / 2 + 1e-6


@pytest.mark.parametrize("late", [0.9, 1.7])
def test_G4_a_tick_that_comes_late_finds_the_lease_alive(late: float) -> None:
    """The loop of a busy worker turns slowly; margins of seconds bear that."""
    house = House(window=10)
    house.login()
    assert min(house.live(60, step=late)) > 0


def test_G4_never_past_max_age_after_the_login() -> None:
    house = House(window=1800, max_age=2 * HOUR)
    house.login()
    assert house.live(2 * HOUR - 0.5)[-1] == pytest.approx(0.5)
    assert set(house.live(HOUR)) == {0.0}


def test_G4_at_its_max_age_nothing_more_is_written() -> None:
    house = House(window=1800, max_age=HOUR)
    house.login()
    house.live(HOUR)
    written = len(house.store.batches)
    house.live(HOUR)
    assert len(house.store.batches) == written


def test_G4_closing_writes_nothing_and_the_lease_runs_out() -> None:
    house = House(window=1800)
    house.login()
    house.live(HOUR)
    written, left = len(house.store.batches), house.left()
    house.renewals.end("session")
    assert len(house.renewals) == 0
    assert house.left() == left > 0
    assert house.live(MARGIN)[-1] == 0.0
    assert len(house.store.batches) == written


def test_G4_closing_at_once_leaves_the_window() -> None:
    house = House(window=1800)
    house.login()
    house.renewals.end("session")
    assert house.live(1799.5)[-1] == pytest.approx(0.5)
    assert house.live(0.5) == [0.0]


def test_G4_an_update_never_an_insert() -> None:
    house = House(window=1800)
    house.login()
    house.store.revoke(ADDRESS, None, lambda count: None)
    assert set(house.live(HOUR)) == {0.0}


def test_G4_a_renewal_never_shortens_another_session_s_lease() -> None:
    house = House(window=1800)
    house.login("first")
    house.live(1700)
    house.login("second")
    house.renewals.end("second")
    assert house.live(100)[-1] == pytest.approx(1700)


def test_G4_all_that_is_due_goes_in_one_batch() -> None:
    house = House(window=1800)
    for number in range(100):
        house.login(f"session-{number}", f"user-{number}")
    house.live(1800)
    assert {len(batch) for batch in house.store.batches} == {100}


def test_ending_what_never_began_is_no_error() -> None:
    """A session that made no lease ends like any other."""
    house = House(window=1800)
    house.renewals.end("stranger")
    house.renewals.tick()
    assert house.store.batches == []
