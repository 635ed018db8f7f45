"""proxy/leases/redis/own_leases.py: what a worker could bring back into an emptied store."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.leases.base import Term
from proxy.leases.redis.own_leases import OwnLeases, Revocation
from tests.support.clocks import FakeClock

HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
STORE, OTHER = b"one life", b"another"


def term(clock: FakeClock, login: str, length: float = 100.0) -> Term:
    return Term.starting(clock, HOME, login, "pop3", length)


def logins(made: OwnLeases) -> list[str]:
    return sorted(found.key[1] for found in made.live())


def test_what_was_made_is_known_until_it_ends() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    made.remember(term(clock, "al", 10.0), STORE, 0)
    made.remember(term(clock, "bo", 20.0), STORE, 0)
    assert logins(made) == ["al", "bo"]
    clock.advance(10.0)
    assert logins(made) == ["bo"]


def test_a_login_that_comes_again_counts_once_and_anew() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    made.remember(term(clock, "al", 10.0), STORE, 0)
    clock.advance(5.0)
    made.remember(term(clock, "al", 10.0), STORE, 0)
    clock.advance(9.0)
    assert logins(made) == ["al"]
    assert len(made) == 1


def test_a_renewal_lengthens_what_we_made_and_nothing_else() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    made.remember(term(clock, "al", 10.0), STORE, 0)
    made.renewed(term(clock, "al", 5.0))
    made.renewed(term(clock, "bo", 50.0))
    (found,) = made.live()
    assert found.deadline - clock.now() == 10.0
    made.renewed(term(clock, "al", 50.0))
    (found,) = made.live()
    assert (found.deadline - clock.now(), found.length) == (50.0, 50.0)
    assert found.granted == clock.wall()
    clock.advance(50.0)
    made.renewed(term(clock, "al", 50.0))
    assert made.live() == []


def test_what_has_ended_goes_by_itself() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    for number in range(1000):
        made.remember(term(clock, str(number), 10.0), STORE, 0)
        clock.advance(1.0)
        assert len(made) <= 20
    assert len(made.live()) == 9


def test_it_has_a_bound() -> None:
    clock = FakeClock()
    made = OwnLeases(clock, maximum=5)
    for number in range(100):
        made.remember(term(clock, str(number)), STORE, 0)
        assert len(made) <= 5
    assert "99" in logins(made)


def test_forgetting_some_and_all() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    for login in ("al", "bo", "cy"):
        made.remember(term(clock, login), STORE, 0)
    made.forget(lambda found: found.key[1] == "bo")
    assert logins(made) == ["al", "cy"]
    made.forget()
    assert logins(made) == []


def test_what_had_its_place_in_the_store_keeps_it() -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    made.remember(dataclasses.replace(term(clock, "al"), limit=1), STORE, 7)
    (found,) = made.live()
    assert (found.limit, found.counted) == (0, (STORE, 7))


@pytest.mark.parametrize(
    ("address", "login", "hit"),
    [(HOME, None, True), (None, "al", True), (HOME, "al", True), (OFFICE, None, False), (HOME, "bo", False)],
)
def test_G7_a_revocation_ends_whom_it_names(address: bytes | None, login: str | None, hit: bool) -> None:
    clock = FakeClock()
    made = OwnLeases(clock)
    made.remember(term(clock, "al"), STORE, 7)
    made.forget(Revocation(STORE, 8, clock.now(), address, login).ends)
    assert logins(made) == ([] if hit else ["al"])


@pytest.mark.parametrize(
    ("counted", "hit"),
    [((STORE, 7), True), ((STORE, 8), False), ((STORE, 9), False), ((OTHER, 9), True), ((b"", 9), True)],
)
@pytest.mark.parametrize("age", [-1000.0, 1000.0])
def test_G7_the_count_says_which_grants_were_before_a_revocation_and_no_clock(
    counted: tuple[bytes, int], hit: bool, age: float
) -> None:
    clock = FakeClock()
    made = dataclasses.replace(term(clock, "al"), counted=counted)
    assert Revocation(STORE, 8, clock.now() - age, HOME, None).ends(made) is hit


def test_G7_of_what_no_store_has_taken_yet_the_clock_says_it_and_a_step_of_the_wall_nothing() -> None:
    clock = FakeClock()
    clock.advance(10.0)
    late = term(clock, "al")
    clock.step_wall(-3600.0)
    assert Revocation(STORE, 8, clock.now(), HOME, None).ends(late)
    assert not Revocation(STORE, 8, clock.now() - 1.0, HOME, None).ends(late)
