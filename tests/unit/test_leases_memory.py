"""proxy/leases/memory.py: the bounds.  What it answers is in test_leases_contract.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.leases.memory import MemoryStore
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from proxy.errors import StoreUnavailable
    from proxy.leases.base import Lease


def granted(answer: int | StoreUnavailable) -> None:
    assert isinstance(answer, int)


def address(number: int) -> bytes:
    return number.to_bytes(4, "big")


def live(store: MemoryStore) -> list[tuple[bytes, str]]:
    answers: list[list[Lease] | StoreUnavailable] = []
    store.all(answers.append)
    (leases,) = answers
    assert isinstance(leases, list)
    return [(lease.address, lease.login) for lease in leases]


def test_answers_come_before_the_method_returns() -> None:
    store, answers = MemoryStore(FakeClock()), []
    store.grant(address(1), "al", "pop3", 10.0, answers.append)
    store.find(address(1), answers.append)
    store.revoke(address(1), None, answers.append)
    assert len(answers) == 3


def test_over_the_maximum_the_one_that_would_end_first_goes() -> None:
    store = MemoryStore(FakeClock(), maximum=3)
    for number, window in ((1, 50.0), (2, 10.0), (3, 90.0)):
        store.grant(address(number), "al", "pop3", window, granted)
    store.grant(address(2), "al", "pop3", 100.0, granted)  # anew: the first to end is now number 1
    assert len(store) == 3
    store.grant(address(4), "al", "pop3", 70.0, granted)
    assert live(store) == [(address(2), "al"), (address(3), "al"), (address(4), "al")]


def test_over_the_maximum_a_renewed_lease_is_judged_by_its_new_end() -> None:
    store = MemoryStore(FakeClock(), maximum=2)
    store.grant(address(1), "al", "pop3", 10.0, granted)
    store.grant(address(2), "al", "pop3", 20.0, granted)
    store.renew([(address(1), "al", "pop3", 60.0)])
    store.grant(address(3), "al", "pop3", 30.0, granted)
    assert live(store) == [(address(1), "al"), (address(3), "al")]


def test_ended_leases_are_forgotten_by_grants_and_by_questions() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    for number in range(1000):
        store.grant(address(number), "al", "pop3", 10.0, granted)
    clock.advance(10)
    for _ in range(50):
        store.find(address(0), lambda found: None)
    assert len(store) <= 200
    for number in range(1000, 1020):
        store.grant(address(number), "al", "pop3", 10.0, granted)
    assert len(store) == 20


def test_renewals_for_ever_do_not_grow_the_heap() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    for number in range(10):
        store.grant(address(number), "al", "pop3", 60.0, granted)
    for _ in range(5000):
        clock.advance(1)
        store.renew([(address(number), "al", "pop3", 60.0) for number in range(10)])
    assert len(store._ends) < 2000
    assert len(live(store)) == 10


def test_nothing_is_left_of_what_was_revoked() -> None:
    store = MemoryStore(FakeClock())
    for number in range(10):
        store.grant(address(number), "al", "pop3", 60.0, granted)
    store.revoke(None, "al", lambda count: None)
    assert len(store) == 0
    assert store._terms == {}
