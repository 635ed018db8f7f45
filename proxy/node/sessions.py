"""What concerns all living sessions of a worker: `popgate sessions`, `popgate kick`, the end of mode "shadow".

Of the commands it is what a worker answers, and what the supervisor makes of all workers' answers.  A list is bounded:
the newest `MOST` sessions, and how many there are in all.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from ..net.link.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..net.accept.balancer_check import BalancerCheck
    from ..net.service import Service
    from .channel import Message
    from .workers import WorkerProcess

MOST: Final = 1000
"""Sessions in a list: more than a person reads, and a worker has it within a few milliseconds."""


def listed(links: Iterable[Link | BalancerCheck]) -> Message:
    """{"sessions": [...], "count": all of them}: one object each (net/link/link.py's `snapshot`), the newest first."""
    found = [link for link in links if isinstance(link, Link) and not link.has_ended]
    newest = heapq.nlargest(MOST, found, key=lambda link: link.began)
    return {"sessions": [link.snapshot() for link in newest], "count": len(found)}


def merged(answers: Sequence[Message]) -> Message:
    """Of several workers, as of one; `silent`: how many did not answer."""
    given = [answer for answer in answers if isinstance(answer.get("sessions"), list)]
    sessions: list[dict[str, Any]] = [one for answer in given for one in answer["sessions"] if isinstance(one, dict)]
    newest = heapq.nsmallest(MOST, sessions, key=lambda one: float(one.get("seconds") or 0.0))
    count = sum([int(answer.get("count", 0)) for answer in given])
    return {"sessions": newest, "count": count, "silent": len(answers) - len(given)}


def kick(links: Iterable[Link | BalancerCheck], id_: str) -> Message:
    """End the session of that id, whatever is under way in it."""
    for link in list(links):
        if link.id == id_ and isinstance(link, Link) and not link.has_ended:
            link.kick()
            return {"done": f"{id_}: the session of {link.shown} is ended"}
    return {"error": f"there is no session {id_}; `popgate sessions` lists them"}


def leave_shadow(links: Iterable[Link | BalancerCheck], services: Mapping[str, Service]) -> None:
    """Where a listener enforces now, living sessions do so, too, though else they keep their configuration (rule N7):
    its servers may have been found to relay for us (G12), and a session may last for hours."""
    for link in links:
        if isinstance(link, Link) and services[link.service.name].policy.gate.mode == "enforce":
            link.service.policy.enforce()


def concerned(workers: list[WorkerProcess], question: Message) -> list[WorkerProcess]:
    """Whom to ask: a session's id begins with the number of its worker.  All, where it is no question about one."""
    number, _, _ = str(question.get("id", "")).partition("-")
    return [worker for worker in workers if str(worker.number) == number] or workers
