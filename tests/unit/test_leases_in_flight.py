"""proxy/leases/in_flight.py: each question is answered once, and in time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases import in_flight as module
from proxy.leases.in_flight import InFlightRequests, Question
from proxy.leases.retry_queue import WriteRetryQueue
from proxy.shared_memory.unwritten_leases import UnwrittenLeases
from tests.support.clocks import LOOPS, PATIENCE, FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 0.2


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


class Bench:
    """Questions whose answers are noted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.unwritten = UnwrittenLeases()
        self.slow = 0
        self.pending = InFlightRequests(
            TIMEOUT, WriteRetryQueue(FakeClock(), self.unwritten, lambda *_: None), self.was_slow
        )
        self.pending.start(loop)
        self.told: list[Any] = []
        self.completed: list[Any] = []

    def was_slow(self) -> None:
        self.slow += 1

    def ask(self, writes: bool = False) -> Question[Any]:
        question: Question[Any] = Question(self.told.append, writes=writes, completed=self.completed.append)
        self.pending.add(question)
        return question

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.told) < count:
            assert time.monotonic() < deadline
            self.loop.run_until_complete(asyncio.sleep(0.001))


@pytest.fixture
def bench(loop: asyncio.AbstractEventLoop) -> Bench:
    return Bench(loop)


def test_an_answer_goes_to_who_asked_and_once(bench: Bench) -> None:
    question = bench.ask()
    bench.pending.deliver(question, "yes")
    bench.wait(1)
    question.answer("again")
    assert (bench.told, bench.completed, bench.pending.asked) == (["yes"], ["yes"], 0)


def test_G7_no_answer_in_time_is_told_in_time_and_what_lands_later_only_lands(bench: Bench) -> None:
    begun = bench.loop.time()
    question = bench.ask()
    bench.wait(1)
    assert bench.loop.time() - begun >= TIMEOUT - 0.003
    assert str(bench.told[0]) == "no answer within 200 ms"
    assert bench.slow == 1
    bench.pending.deliver(question, "late")
    assert (len(bench.told), bench.completed) == (1, ["late"])


def test_G7_a_write_without_an_answer_is_owed_until_it_lands(bench: Bench) -> None:
    question = bench.ask(writes=True)
    bench.ask()
    bench.wait(2)
    assert bench.unwritten.total() == 1, "what only reads owes nothing"
    bench.pending.deliver(question, StoreUnavailable("lost"))
    assert bench.unwritten.total() == 0


def test_G7_one_timer_serves_questions_that_came_one_after_the_other(bench: Bench) -> None:
    first = bench.ask()
    bench.loop.run_until_complete(asyncio.sleep(TIMEOUT / 20))
    bench.ask()
    bench.pending.deliver(first, "in time")
    bench.wait(2)
    assert bench.told[0] == "in time"
    assert isinstance(bench.told[1], StoreUnavailable)


def test_G7_there_is_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    bench.ask()
    assert not bench.pending.full
    bench.ask()
    assert bench.pending.full


def test_a_question_that_can_not_be_asked_has_completed_and_is_answered(bench: Bench) -> None:
    Question(bench.told.append, writes=True, completed=bench.completed.append).refuse("closed")
    assert [str(found) for found in bench.told + bench.completed] == ["closed", "closed"]


def test_closing_answers_everybody(bench: Bench) -> None:
    question = bench.ask()
    bench.pending.close()
    assert [str(found) for found in bench.told] == ["the store is closed"]
    bench.pending.deliver(question, "after all")
    assert bench.completed == ["after all"]
    assert len(bench.told) == 1
