"""proxy/leases/made.py: what a worker could bring back into an emptied store."""

from __future__ import annotations

from proxy.leases.base import Term
from proxy.leases.made import Made
from tests.support.clocks import FakeClock

HOME = b"\xc0\x00\x02\x01"


def term(clock: FakeClock, login: str, length: float = 100.0) -> Term:
    return Term.starting(clock, HOME, login, "pop3", length)


def logins(made: Made) -> list[str]:
    return sorted(found.key[1] for found in made.live())


def test_what_was_made_is_known_until_it_ends() -> None:
    clock = FakeClock()
    made = Made(clock)
    made.remember(term(clock, "al", 10.0))
    made.remember(term(clock, "bo", 20.0))
    assert logins(made) == ["al", "bo"]
    clock.advance(10.0)
    assert logins(made) == ["bo"]


def test_a_login_that_comes_again_counts_once_and_anew() -> None:
    clock = FakeClock()
    made = Made(clock)
    made.remember(term(clock, "al", 10.0))
    clock.advance(5.0)
    made.remember(term(clock, "al", 10.0))
    clock.advance(9.0)
    assert logins(made) == ["al"]
    assert len(made) == 1


def test_a_renewal_lengthens_what_we_made_and_nothing_else() -> None:
    clock = FakeClock()
    made = Made(clock)
    made.remember(term(clock, "al", 10.0))
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
    made = Made(clock)
    for number in range(1000):
        made.remember(term(clock, str(number), 10.0))
        clock.advance(1.0)
        assert len(made) <= 20
    assert len(made.live()) == 9


def test_it_has_a_bound() -> None:
    clock = FakeClock()
    made = Made(clock, maximum=5)
    for number in range(100):
        made.remember(term(clock, str(number)))
        assert len(made) <= 5
    assert "99" in logins(made)


def test_forgetting_some_and_all() -> None:
    clock = FakeClock()
    made = Made(clock)
    for login in ("al", "bo", "cy"):
        made.remember(term(clock, login))
    made.forget(lambda found: found.key[1] == "bo")
    assert logins(made) == ["al", "cy"]
    made.forget()
    assert logins(made) == []
