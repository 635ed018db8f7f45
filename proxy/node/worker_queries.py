"""Questions of the command line, and orders, that workers answer: which worker has which, and what waits for the
answer.

A question goes to one worker, one that seems alive, or to all of them.  It is given up when a worker dies or is silent
for `STALLED` seconds; an answer that comes later is nobody's.  What the questions mean is ../queries/ and
sessions.py, the control socket itself control.py.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .workers import STALLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Message
    from .control import Asker, ControlServer
    from .workers import WorkerProcess


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that a worker has not answered yet."""

    worker: WorkerProcess
    """That was asked."""
    then: Callable[[Message], None]
    """Told the answer, or an error."""
    until: float
    """When it is given up."""


class WorkerQueries:
    """All questions under way."""

    def __init__(self, control: ControlServer, clock: Callable[[], float]) -> None:
        self._control, self._clock = control, clock
        self._asked: dict[int, _Asked] = {}
        self._tags = itertools.count(1)

    @property
    def under_way(self) -> int:
        """Questions that wait for an answer."""
        return len(self._asked)

    def ask(self, workers: list[WorkerProcess], question: Message, asker: Asker) -> None:
        """Pass it to the first of `workers` that takes it."""
        order = _asking(question)
        for worker in workers:
            if worker.ready and self._passed(worker, order, lambda answer: self._control.answer(asker, answer)):
                return
        self._control.answer(asker, {"error": "no worker is running"})

    def ask_all(
        self, workers: list[WorkerProcess], question: Message, asker: Asker, merged: Callable[[list[Message]], Message]
    ) -> None:
        """Pass it to all that take it, and answer with what `merged` makes of the answers: as many as were asked, an
        `error` from those that give none."""

        def answered(answers: list[Message]) -> None:
            self._control.answer(asker, merged(answers) if answers else {"error": "no worker is running"})

        self.order([worker for worker in workers if worker.ready], _asking(question), answered)

    def order(self, workers: list[WorkerProcess], order: Message, then: Callable[[list[Message]], None]) -> None:
        """Tell it to all that take it.  `then` is called once all of these have answered, with as many answers, an
        `error` from those that give none."""
        answers: list[Message] = []

        def answered(answer: Message) -> None:
            answers.append(answer)
            if len(answers) == told:
                then(answers)

        told = sum([self._passed(worker, order, answered) for worker in workers])
        if not told:
            then([])

    def _passed(self, worker: WorkerProcess, order: Message, then: Callable[[Message], None]) -> bool:
        tag = next(self._tags)
        if worker.channel is None or not worker.channel.tell(order | {"tag": tag}):
            return False
        self._asked[tag] = _Asked(worker, then, self._clock() + STALLED)
        return True

    def answered(self, worker: WorkerProcess, message: Message) -> None:
        """What a worker said; what is no answer of its own to a question under way is passed over."""
        tag, answer = message.get("tag"), message.get("answer")
        if not isinstance(tag, int) or not isinstance(answer, dict):
            return
        asked = self._asked.get(tag)  # None: it came too late
        if asked is not None and asked.worker is worker:
            del self._asked[tag]
            asked.then(answer)

    def lost(self, worker: WorkerProcess) -> None:
        """A worker says nothing more."""
        self._give_up([tag for tag, asked in self._asked.items() if asked.worker is worker], "has died")

    def tick(self, now: float) -> None:
        """Give up what takes too long; call about once a second."""
        self._give_up([tag for tag, asked in self._asked.items() if asked.until <= now], "does not answer")

    def _give_up(self, tags: list[int], why: str) -> None:
        for tag in tags:
            self._asked.pop(tag).then({"error": f"the worker that was asked {why}"})


def _asking(question: Message) -> Message:
    return {"order": "ask", "question": question}
