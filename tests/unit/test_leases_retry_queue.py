"""proxy/leases/retry_queue.py: what waits for a store to come back.  With real stores: test_leases_sqlite.py and
_redis.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases import retry_queue as module
from proxy.leases.base import Term
from proxy.leases.retry_queue import WriteRetryQueue
from proxy.shared_memory.unwritten_leases import UnwrittenLeases
from tests.support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.leases.retry_queue import Completed

HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
DOWN = StoreUnavailable("down")


class Bench:
    """A Late whose writes are noted and answered by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.unwritten = UnwrittenLeases()
        self.asked: list[tuple[list[str], list[str], Completed]] = []
        self.late = WriteRetryQueue(self.clock, self.unwritten, self.write)

    def write(self, grants: list[Term], renewals: list[Term], completed: Completed) -> None:
        self.asked.append(([term.key[1] for term in grants], [term.key[1] for term in renewals], completed))

    def term(self, login: str, length: float = 100.0, address: bytes = HOME) -> Term:
        return Term.starting(self.clock, address, login, "pop3", length)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_G7_no_lease_is_no_fact_while_anything_is_late(bench: Bench) -> None:
    assert bench.late.nothing() == []
    bench.late.grant_failed(bench.term("al"))
    assert str(bench.late.nothing()) == "leases wait to be written"
    bench.late.retry()
    [(grants, renewals, completed)] = bench.asked
    assert (grants, renewals) == (["al"], [])
    assert bench.unwritten.total() == 1, "asked for is not yet written"
    completed(None)
    assert bench.late.nothing() == []


def test_G7_what_fails_again_waits_on_and_yields_to_what_is_newer(bench: Bench) -> None:
    bench.late.grant_failed(bench.term("al", 100.0))
    bench.late.renewals_failed([bench.term("bo")])
    bench.late.retry()
    newer = bench.term("al", 50.0)
    bench.late.grant_failed(newer)
    bench.asked[0][2](DOWN)
    assert list(bench.late.grants.values()) == [newer]
    assert bench.unwritten.total() == 2
    bench.late.retry()
    assert bench.asked[1][:2] == (["al"], ["bo"])


def test_G4_what_has_ended_meanwhile_is_not_written(bench: Bench) -> None:
    bench.late.grant_failed(bench.term("al", 10.0))
    bench.late.grant_failed(bench.term("bo", 100.0))
    bench.clock.advance(10.0)
    bench.late.retry()
    assert bench.asked[0][0] == ["bo"]
    bench.clock.advance(90.0)
    bench.asked[0][2](DOWN)
    bench.late.retry()
    assert len(bench.asked) == 1
    assert bench.late.nothing() == []


def test_G7_a_revocation_is_not_overtaken(bench: Bench) -> None:
    for login, address in (("al", HOME), ("bo", HOME), ("al", OFFICE)):
        bench.late.grant_failed(bench.term(login, address=address))
    bench.late.revoking()
    bench.late.retry()
    assert bench.asked == []
    bench.late.revoked(HOME, "al")
    assert bench.asked[0][0] == ["bo", "al"]


def test_G7_what_is_revoked_while_it_is_under_way_does_not_come_back_when_it_fails(bench: Bench) -> None:
    for login in ("al", "bo"):
        bench.late.grant_failed(bench.term(login))
        bench.late.renewals_failed([bench.term(login)])
    bench.late.retry()
    bench.late.drop(lambda term: term.key[1] == "al")
    assert bench.asked[0][:2] == (["al", "bo"], ["al", "bo"]), "what was asked for is the store's, and stays as it is"
    bench.asked[0][2](DOWN)
    bench.late.retry()
    assert bench.asked[1][:2] == (["bo"], ["bo"])
    bench.asked[1][2](None)
    assert bench.late.nothing() == []


def test_a_write_of_which_nobody_knows_is_owed(bench: Bench) -> None:
    bench.late.timed_out(+1)
    assert isinstance(bench.late.nothing(), StoreUnavailable)
    bench.late.timed_out(-1)
    assert bench.late.nothing() == []


def test_G7_a_grant_that_came_through_brings_the_others(bench: Bench) -> None:
    bench.late.grant_failed(bench.term("al"))
    bench.late.grant_failed(bench.term("bo"))
    bench.late.granted(bench.term("al").key)
    assert bench.asked[0][0] == ["bo"]


def test_G7_tries_again_by_itself_until_it_is_closed(
    bench: Bench, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.001)
    bench.late.start(loop)
    bench.late.grant_failed(bench.term("al"))
    while len(bench.asked) < 3:
        loop.run_until_complete(asyncio.sleep(0.001))
        if bench.asked[-1:] and not bench.late.grants:
            bench.asked[-1][2](DOWN)
    bench.late.close()
    tries = len(bench.asked)
    bench.late.grant_failed(bench.term("bo"))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert len(bench.asked) == tries


def test_late_ones_have_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_MAX", 2)
    for login in "abc":
        bench.late.grant_failed(bench.term(login))
        bench.late.renewals_failed([bench.term(login)])
    assert [key[1] for key in bench.late.grants] == ["b", "c"]
    assert [key[1] for key in bench.late.renewals] == ["b", "c"]
