"""Leases in this process's memory: for one worker, for tests, for the demo (`[store] url = "memory:"`).

Promises: answers at once, before the method returns; never more than `maximum` leases, beyond which the one that would
end first goes; what has ended is forgotten without a timer, a few at every question.
A restart forgets everything and a second worker sees nothing: with more than one worker the configuration refuses it.

The ends are kept in a heap whose outdated items are left in place and skipped later ("lazy deletion"): a renewal costs
a push, not a search.  A sorted list was rejected (a dependency), a sweep over all leases too (it stops the loop).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StoreUnavailable
from .base import Key, Lease, Term, check_revocation, in_order

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .clock import Clock

MAXIMUM = 1_000_000  # leases; some 750 MB.  Reached only by someone who can log in from a million addresses
_SWEEP = 16  # ended leases forgotten per question: more than one, so that forgetting outruns granting
_SLACK = 1024  # outdated heap items that are not worth a rebuild


@dataclass(slots=True)
class Used:
    """What was charged to a lease, and when counting starts again."""

    messages: int
    """In the present span of counting."""
    recipients: int
    """As of messages."""
    ends: float
    """When the span is over, on the clock's time line."""


class MemoryStore:
    """A LeaseStore that is never unavailable until it is closed."""

    def __init__(self, clock: Clock, maximum: int = MAXIMUM) -> None:
        self._clock = clock
        self._maximum = maximum
        self._terms: dict[bytes, dict[tuple[str, str], Term]] = {}
        self._count = 0
        self._used: dict[Key, Used] = {}
        self._ends: list[tuple[float, Key]] = []
        self._watcher: Callable[[bytes | None], None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Leases held, ended ones that are not yet forgotten included."""
        return self._count

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to open."""

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        if self._closed:
            then(StoreUnavailable("the store is closed"))
            return
        self._sweep()
        live = self._live(self._terms.get(address, {}).values())
        then(sorted(live, key=lambda lease: -lease.left))

    def grant(
        self,
        address: bytes,
        login: str,
        source: str,
        window: float,
        then: Callable[[int | StoreUnavailable], None],
        limit: int = 0,
    ) -> None:
        if self._closed:
            then(StoreUnavailable("the store is closed"))
            return
        logins = {lease.login for lease in self._live(self._terms.get(address, {}).values())}
        if limit and login not in logins and len(logins) >= limit:
            then(len(logins) + 1)
            return
        logins.add(login)
        self._put(Term.starting(self._clock, address, login, source, window))
        self._sweep()
        while self._count > self._maximum:
            self._forget_first()
        then(min(len(logins), limit) if limit else len(logins))
        if self._watcher is not None:
            self._watcher(address)

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        now = self._clock.now()
        for address, login, source, ahead in batch:
            old = self._terms.get(address, {}).get((login, source))
            new = Term.starting(self._clock, address, login, source, ahead)
            if old is not None and now < old.deadline < new.deadline:
                length = max(old.length, ahead)
                self._put(Term(old.key, old.granted, new.expires, length, new.deadline))

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        key, now = (address, login, source), self._clock.now()
        term = self._terms.get(address, {}).get((login, source))
        if term is None or term.deadline <= now:
            return
        used = self._used.get(key)
        if used is None or used.ends <= now:
            used = self._used[key] = Used(0, 0, now + span)
        used.messages += messages
        used.recipients += recipients

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        self._watcher = changed

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        check_revocation(address, login)
        if self._closed:
            then(StoreUnavailable("the store is closed"))
            return
        # By login alone this walks all leases: an administrator's rare question, not worth a second index.
        places = [address] if address is not None else list(self._terms)
        ended = [
            term
            for place in places
            for term in self._terms.get(place, {}).values()
            if login is None or term.key[1] == login
        ]
        live = sum(1 for _ in self._live(ended))
        for term in ended:
            self._forget(term.key)
        then(live)

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        if self._closed:
            then(StoreUnavailable("the store is closed"))
            return
        then(in_order(self._live(term for terms in self._terms.values() for term in terms.values())))

    def close(self) -> None:
        self._closed = True
        self._terms.clear()
        self._used.clear()
        self._ends.clear()
        self._count = 0

    def _live(self, terms: Iterable[Term]) -> Iterator[Lease]:
        now, wall = self._clock.now(), self._clock.wall()
        for term in terms:
            left = min(term.deadline - now, term.length)
            if left > 0:
                used = self._used.get(term.key)
                messages, recipients = (used.messages, used.recipients) if used and used.ends > now else (0, 0)
                yield Lease(
                    *term.key, granted=term.granted, expires=wall + left, left=left, messages=messages,
                    recipients=recipients,
                )  # fmt: skip

    def _put(self, term: Term) -> None:
        address, login, source = term.key
        terms = self._terms.setdefault(address, {})
        self._count += (login, source) not in terms
        terms[login, source] = term
        heapq.heappush(self._ends, (term.deadline, term.key))
        if len(self._ends) > 2 * self._count + _SLACK:
            self._ends = [(t.deadline, t.key) for of_address in self._terms.values() for t in of_address.values()]
            heapq.heapify(self._ends)

    def _forget(self, key: Key) -> None:
        address, login, source = key
        terms = self._terms[address]
        del terms[login, source]
        self._used.pop(key, None)
        self._count -= 1
        if not terms:
            del self._terms[address]

    def _forget_first(self) -> None:
        """Forget the lease at the top of the heap, unless that item is outdated."""
        deadline, key = heapq.heappop(self._ends)
        term = self._terms.get(key[0], {}).get(key[1:])
        if term is not None and term.deadline == deadline:
            self._forget(key)

    def _sweep(self) -> None:
        now = self._clock.now()
        for _ in range(_SWEEP):
            if not self._ends or self._ends[0][0] > now:
                return
            self._forget_first()
