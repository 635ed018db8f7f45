"""Questions of the command line that a worker answers: which worker has which, and who waits for the answer.

A question goes to one worker, one that seems alive.  It is given up when that worker dies or is silent for `STALLED`
seconds; an answer that comes later is nobody's.  What the questions mean is questions.py, the control socket itself
control.py.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .children import STALLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Message
    from .children import Child
    from .control import Asker, ControlServer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that a worker has not answered yet."""

    child: Child
    asker: Asker
    until: float


class Inquiries:
    """All questions under way."""

    def __init__(self, control: ControlServer, clock: Callable[[], float]) -> None:
        self._control, self._clock = control, clock
        self._asked: dict[int, _Asked] = {}
        self._tags = itertools.count(1)

    def ask(self, children: list[Child], question: Message, asker: Asker) -> None:
        """Pass it to the first of `children` that takes it."""
        tag = next(self._tags)
        for child in children:
            channel = child.channel
            if child.ready and channel and channel.tell({"order": "ask", "tag": tag, "question": question}):
                self._asked[tag] = _Asked(child, asker, self._clock() + STALLED)
                return
        self._control.answer(asker, {"error": "no worker is running"})

    def answered(self, child: Child, message: Message) -> None:
        """What a worker said; what is no answer of its own to a question under way is passed over."""
        tag, answer = message.get("tag"), message.get("answer")
        if not isinstance(tag, int) or not isinstance(answer, dict):
            return
        asked = self._asked.get(tag)  # None: it came too late
        if asked is not None and asked.child is child:
            del self._asked[tag]
            self._control.answer(asked.asker, answer)

    def lost(self, child: Child) -> None:
        """A worker says nothing more."""
        self._give_up([tag for tag, asked in self._asked.items() if asked.child is child], "has died")

    def tick(self, now: float) -> None:
        """Give up what takes too long; call about once a second."""
        self._give_up([tag for tag, asked in self._asked.items() if asked.until <= now], "does not answer")

    def _give_up(self, tags: list[int], why: str) -> None:
        for tag in tags:
            self._control.answer(self._asked.pop(tag).asker, {"error": f"the worker that was asked {why}"})
