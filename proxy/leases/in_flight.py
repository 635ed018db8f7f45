"""Questions under way to a store that some other thread or machine answers, each answered once and in time (rule G7).

Promises: `then` is called once, at most `timeout` seconds (and a timer's grain) after it was asked; `landed` is called
once, with what really came of it, however late; no more than WAITING_MAX are under way.  A write that got no answer in
time counts as late (retry_queue.py) until it lands.  Questions without a `then` have no limit in time.

Not here: how a question gets to the store and back (`writer.py`, `redis.py`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..errors import StoreUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from .retry_queue import WriteRetryQueue

T = TypeVar("T")

WAITING_MAX: Final = 10_000
"""Questions under way; more than a stuck disk or server collects in `timeout` at 10,000 logins/s."""
_EARLY = 0.002  # s; uvloop's timers and clock are in milliseconds, so a timer may ring that much before its time


class Question(Generic[T]):
    """One question on its way.  The loop makes and settles it."""

    __slots__ = ("due", "landed", "overdue", "then", "writes")

    def __init__(
        self,
        then: Callable[[T | StoreUnavailable], None] | None,
        *,
        writes: bool,
        landed: Callable[[T | StoreUnavailable], None] | None = None,
    ) -> None:
        """`then` is told once, perhaps early ("no answer in time"); `landed` learns what really came of it."""
        self.then = then
        self.writes = writes
        self.landed = landed
        self.due = 0.0  # loop time
        self.overdue = False  # who asked was told that it takes too long

    def settle(self, answer: T | StoreUnavailable) -> None:
        """Give the answer to who asked, unless there has been one."""
        then, self.then = self.then, None
        if then is not None:
            then(answer)

    def refuse(self, why: str) -> None:
        """It can't even be asked."""
        answer = StoreUnavailable(why)
        if self.landed is not None:
            self.landed(answer)
        self.settle(answer)


class InFlightRequests:
    """The questions of one store that are under way."""

    def __init__(self, timeout: float, late: WriteRetryQueue, slow: Callable[[], None] | None = None) -> None:
        """`timeout`: seconds; `slow` is told when a question has got no answer in time."""
        self._timeout = timeout
        self._late = late
        self._slow = slow
        self._loop: asyncio.AbstractEventLoop
        self.asked = 0
        """Under way and not yet delivered."""
        # Any, here and below: one queue carries questions with different kinds of answers, each for its own `then`.
        self._unanswered: deque[Question[Any]] = deque()  # oldest first, so that one timer serves all
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        return self.asked >= WAITING_MAX

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add(self, question: Question[Any]) -> None:
        """It is under way: `deliver` must come, once."""
        self.asked += 1
        if question.then is not None:
            question.due = self._loop.time() + self._timeout
            self._unanswered.append(question)
            if self._timer is None:
                self._timer = self._loop.call_at(question.due, self._out_of_time)

    def deliver(self, question: Question[Any], answer: Any) -> None:
        """What came of it: an answer of its kind, or StoreUnavailable."""
        self.asked -= 1
        if question.landed is not None:
            question.landed(answer)
        if question.overdue:
            self._late.overdue(-1)
        try:
            question.settle(answer)
        finally:
            while self._unanswered and self._unanswered[0].then is None:
                self._unanswered.popleft()

    def close(self) -> None:
        """Answer what is still unanswered; what is delivered after this changes nothing for who asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._unanswered:
            self._unanswered.popleft().settle(StoreUnavailable("the store is closed"))

    def _out_of_time(self) -> None:
        self._timer = None
        now = self._loop.time() + _EARLY
        text = f"no answer within {self._timeout * 1000:.0f} ms"
        try:
            while self._unanswered and (self._unanswered[0].then is None or self._unanswered[0].due <= now):
                question = self._unanswered.popleft()
                if question.then is None:
                    continue
                if question.writes:
                    question.overdue = True
                    self._late.overdue(+1)
                if self._slow is not None:
                    self._slow()
                question.settle(StoreUnavailable(text))
        finally:
            if self._unanswered and self._timer is None:
                self._timer = self._loop.call_at(self._unanswered[0].due, self._out_of_time)
