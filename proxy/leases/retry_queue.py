"""What a store could not be told yet: grants and renewals that wait for it to come back (rule G7).

Promises: at most LATE_MAX grants and as many renewals are kept, the newest per lease; each is asked for again every
RETRY seconds until it is in the store or has ended, with the end that it would have had; what was revoked in the
meantime does not come back.  Until all of them are in the store "no lease" is no fact for anybody on this machine:
`nothing` says so.  A write whose asker was told "no answer in time" counts among them: nobody knows whether it is in
the store.

Shared by the stores that can be down (`sqlite.py`, `redis/`).  What late ones a closed store still held is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import StoreUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..shared_memory.unwritten_leases import UnwrittenLeases
    from .base import Key, Lease, Term
    from .clock import Clock

    Completed = Callable[[StoreUnavailable | None], None]
    Write = Callable[[list[Term], list[Term], Completed], None]

LATE_MAX: Final = 10_000
"""Grants, and as many renewals, kept for a store that is down: some minutes of logins, 5 MB."""
RETRY: Final = 1.0
"""Seconds between tries to write what is late."""


class WriteRetryQueue:
    """The late ones of one process."""

    def __init__(self, clock: Clock, unwritten: UnwrittenLeases, write: Write) -> None:
        """`write(grants, renewals, completed)` asks the store for them: a grant not over a lease that reaches further,
        a renewal as ever; `completed` learns what came of it.  `unwritten`: of all processes that use the store here.
        """
        self._clock = clock
        self._unwritten = unwritten
        self._write = write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.grants: dict[Key, Term] = {}
        self.renewals: dict[Key, Term] = {}
        self._timed_out = 0  # writes under way whose askers have been told "no answer in time"
        self._retrying = 0  # late ones under way
        self._attempts: list[list[list[Term]]] = []  # grants and renewals of each, but for what was dropped since
        self._revocations = 0  # asked and not yet delivered

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def close(self) -> None:
        """Ask once more, and no more."""
        self.retry()
        self._loop = None
        self._stop_timer()

    def nothing(self) -> Sequence[Lease] | StoreUnavailable:
        """The answer where the store knows no lease."""
        return StoreUnavailable("leases wait to be written") if self._unwritten.total() else []

    def grant_failed(self, term: Term) -> None:
        self._keep(self.grants, [term])

    def renewals_failed(self, terms: Sequence[Term]) -> None:
        self._keep(self.renewals, terms)

    def granted(self, key: Key) -> None:
        """The lease is in the store, which seems to be back."""
        if self.grants or self.renewals:
            self.grants.pop(key, None)
            self.retry()
            self._note()

    def timed_out(self, more: int) -> None:
        """As many more (or fewer) writes are under way of which nobody knows whether they are in the store."""
        self._timed_out += more
        self._note()

    def revoking(self) -> None:
        """A revocation is under way: until `revoked`, nothing late is asked for, so that it can't overtake."""
        self._revocations += 1

    def revoked(self, address: bytes | None, login: str | None) -> None:
        """A grant that failed before the revocation must not come back after it: its failure was delivered before
        this, and was not tried again since the revocation was asked for; what was under way then is dropped, too."""
        self._revocations -= 1
        self.drop(lambda term: address in (None, term.key[0]) and login in (None, term.key[1]))
        self.retry()
        self._note()

    def drop(self, unwanted: Callable[[Term], bool]) -> None:
        for waiting in (self.grants, self.renewals):
            for key in [key for key, term in waiting.items() if unwanted(term)]:
                del waiting[key]
        for attempt in self._attempts:  # if it fails they don't come back
            attempt[:] = [[term for term in terms if not unwanted(term)] for terms in attempt]
        self._note()

    def retry(self) -> None:
        """Ask again for everything that is late and has not ended in the meantime."""
        if self._revocations:
            return  # it calls again
        self._stop_timer()
        now = self._clock.now()
        grants = [term for term in self.grants.values() if term.deadline > now]
        renewals = [term for term in self.renewals.values() if term.deadline > now]
        self.grants.clear()
        self.renewals.clear()
        if not grants and not renewals:
            self._note()
            return
        asked = len(grants) + len(renewals)
        self._retrying += asked
        attempt = [grants, renewals]
        self._attempts.append(attempt)

        def completed(answer: StoreUnavailable | None) -> None:
            self._attempts = [other for other in self._attempts if other is not attempt]
            if answer is not None:
                # What has become late in the meantime is newer, and wins.
                for waiting, older in zip((self.grants, self.renewals), attempt, strict=True):
                    newer = list(waiting.values())
                    waiting.clear()
                    self._keep(waiting, older + newer)
            self._retrying -= asked  # last: the figure is never too low, not for a moment
            self._note()

        self._write(grants, renewals, completed)

    def _keep(self, waiting: dict[Key, Term], terms: Sequence[Term]) -> None:
        """Keep for later, the newest per lease; over the bound the oldest goes."""
        for term in terms:
            waiting.pop(term.key, None)
            waiting[term.key] = term
            if len(waiting) > LATE_MAX:
                del waiting[next(iter(waiting))]
        self._note()
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(RETRY, self.retry)

    def _note(self) -> None:
        self._unwritten.note(len(self.grants) + len(self.renewals) + self._timed_out + self._retrying)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
