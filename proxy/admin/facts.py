"""What the process of the status page asks the rest of popgate, and how often at most.

Questions go through the control socket, as those of the command line do (node/control.py): the process that serves HTTP
has no other way into the supervisor than the administrator has.  However many look, popgate is asked once for all of
them: an answer is kept for a second, and a dear one for twenty times as long as it took, so that a page costs at most a
twentieth of a worker.

asyncio's streams are right here: we speak a dialogue ourselves.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from ..node.channel import MAX
from ..node.control import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

Answer = dict[str, Any]

FRESH: Final = 1.0
"""Seconds that an answer counts as true."""
SHARE: Final = 20
"""A question is asked again when this many times the time of its last answer has gone by."""
SHOWN: Final = 200
"""Leases in a list; more are only counted."""


async def ask(control: Path, question: Answer) -> Answer:
    """The running popgate's answer; what went wrong is its `error`."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(control, limit=MAX)
            try:
                writer.write(json.dumps(question).encode() + b"\n")
                answer = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        return {"error": f"the supervisor does not answer: {str(error) or 'too slow'}"}
    return answer if isinstance(answer, dict) else {"error": "the supervisor's answer is none"}


class Kept:
    """One question, asked when somebody wants to know and its answer is old."""

    def __init__(self, ask: Callable[[], Awaitable[Answer]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._lock = asyncio.Lock()
        self._answer: Answer = {}
        self._due = 0.0
        self.at = 0.0
        """When the answer was true."""

    async def answer(self) -> Answer:
        async with self._lock:  # whoever comes in the meantime gets the same answer
            begun = self._clock()
            if not self._answer or begun >= self._due:
                self._answer = await self._ask()
                self.at = now = self._clock()
                self._due = now + max(FRESH, SHARE * (now - begun))
            return self._answer

    def forget(self) -> None:
        """Something was done: ask again."""
        self._due = 0.0


class Facts:
    """What is asked again and again."""

    def __init__(self, ask: Callable[[Answer], Awaitable[Answer]], clock: Callable[[], float] = time.monotonic) -> None:
        """`ask(question)`: see the function."""
        self.ask = ask
        self._clock = clock
        self._status = Kept(lambda: ask({"do": "status"}), clock)
        self._leases = Kept(lambda: ask({"do": "leases", "limit": SHOWN}), clock)

    async def status(self) -> Answer:
        """As `popgate status` is told."""
        return await self._status.answer()

    async def leases(self) -> Answer:
        """{"leases": [the first SHOWN], "count": of all} or {"error": ...}, and "age": seconds since that was true."""
        return await self._leases.answer() | {"age": self._clock() - self._leases.at}

    def forget(self) -> None:
        self._status.forget()
        self._leases.forget()


def unready(status: Answer) -> str:
    """Why this node is not ready to serve, by what `status` says; empty when it is."""
    if "error" in status:
        return str(status["error"])
    agent: str = status["agent"]
    if agent.startswith("ready"):
        return ""
    return "draining" if agent == "drain" else agent.removeprefix("down # ")


def ill(status: Answer) -> str:
    """Why the loops of this node are not all well; empty when they are."""
    if "error" in status:
        return str(status["error"])
    stuck = [str(worker["number"]) for worker in status["workers"] if worker["stalled"]]
    if stuck:
        return f"the loop of worker {', '.join(stuck)} stands still"
    return "" if status["alive"] else "no worker is running"
