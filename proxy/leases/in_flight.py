"""Questions under way to a store that some other thread or machine answers, each answered once and in time (rule G7).

Promises: `then` is called once, at most `timeout` seconds (and a timer's grain) after it was asked; `completed` is
called once, with what really came of it, however late; no more than WAITING_MAX are under way.  A write that got no
answer in time counts as late (retry_queue.py) until it is completed.  Questions without a `then` have no limit in time.

Not here: how a question gets to the store and back (`writer.py`, `redis/`).
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
    """One question on its way.  The loop makes and answers it."""

    __slots__ = ("completed", "due", "then", "timed_out", "writes")

    def __init__(
        self,
        then: Callable[[T | StoreUnavailable], None] | None,
        *,
        writes: bool,
        completed: Callable[[T | StoreUnavailable], None] | None = None,
    ) -> None:
        self.then = then
        """Who asked, told once, perhaps early ("no answer in time"); None: has been told."""
        self.writes = writes
        """Whether it changes the store: then nobody knows what came of it while it is late."""
        self.completed = completed
        """Learns what really came of it, however late."""
        self.due = 0.0
        """Loop time by which `then` is told."""
        self.timed_out = False
        """Whether `then` was told that it takes too long."""

    def answer(self, answer: T | StoreUnavailable) -> None:
        """Give the answer to the one that asked, unless there has been one."""
        then, self.then = self.then, None
        if then is not None:
            then(answer)

    def refuse(self, why: str) -> None:
        """It can't even be asked."""
        answer = StoreUnavailable(why)
        if self.completed is not None:
            self.completed(answer)
        self.answer(answer)


class InFlightRequests:
    """The questions of one store that are under way."""

    def __init__(self, timeout: float, retries: WriteRetryQueue, slow: Callable[[], None] | None = None) -> None:
        """`timeout`: seconds; `slow` is told when a question has got no answer in time."""
        self._timeout = timeout
        self._retries = retries
        self._slow = slow
        self._loop: asyncio.AbstractEventLoop
        self.asked = 0
        """Under way and not yet delivered."""
        # Any, here and below: one queue carries questions with different kinds of answers, each for its own `then`.
        self._unanswered: deque[Question[Any]] = deque()  # oldest first, so that one timer serves all
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another."""
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
        if question.completed is not None:
            question.completed(answer)
        if question.timed_out:
            self._retries.timed_out(-1)
        try:
            question.answer(answer)
        finally:
            while self._unanswered and self._unanswered[0].then is None:
                self._unanswered.popleft()

    def close(self) -> None:
        """Answer what is still unanswered; what is delivered after this changes nothing for the one that asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._unanswered:
            self._unanswered.popleft().answer(StoreUnavailable("the store is closed"))

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
                    question.timed_out = True
                    self._retries.timed_out(+1)
                if self._slow is not None:
                    self._slow()
                question.answer(StoreUnavailable(text))
        finally:
            if self._unanswered and self._timer is None:
                self._timer = self._loop.call_at(self._unanswered[0].due, self._out_of_time)
