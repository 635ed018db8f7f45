"""Leases in a SQLite file, shared by the workers of one machine: the loop's side (RULES G5, G7, N8).

Look-ups are made in the loop's own thread, on a connection that never waits (5 to 10 µs; a thread and back costs 35 and
more); everything else, and a look-up that meets a lock or an error, goes to the writer thread (`writer.py`).

Promises: every question is answered exactly once, within `timeout` seconds also when the thread is stuck in a dead
disk; a grant that failed is kept (at most LATE_MAX, the newest per lease) and written when the store is back, with the
end it would have had; a failed renewal likewise.  A grant that was answered "unavailable" may still be written: the
client was let in to read its mail, so the lease is due, and until it is written no worker says "no lease" to anybody
(a locked file or a full disk can still be read, and knows nothing of it).  A late grant is bound to its limit when it
is written, and among late ones the first come is served first.  A charge that failed is lost: who may relay by a lease
that can be read, in a store that can't be written, relays uncounted.  Nothing here raises into the loop for a store
that is down.

What a kill or a power cut may lose is said in `file.py`; what late grants a closed store still held is lost.
Not here: what `StoreUnavailable` means for a recipient (451, `policy.py`) or for a held `+OK`.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import StoreUnavailable
from .base import Arrears, Key, Lease, Term, check_revocation, login_octets
from .file import StoreBusy
from .watch import Watch
from .writer import Answers, Question, Writer

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import Callable, Sequence

    from .clock import Clock
    from .table import LeaseTable

LATE_MAX = 10_000  # grants, and as many renewals, kept for a store that is down: some minutes of logins, 5 MB
WAITING_MAX = 10_000  # questions with the thread; more than a stuck disk collects in `timeout` at 10,000 logins/s
_RETRY = 1.0  # s between tries to write what is late
_EARLY = 0.002  # s; uvloop's timers and clock are in milliseconds, so a timer may ring that much before its time


class SqliteStore:
    """A LeaseStore on one file.  May be constructed before the fork; opens nothing until `start`."""

    def __init__(
        self, path: str | os.PathLike[str], clock: Clock, timeout: float = 0.5, arrears: Arrears | None = None
    ) -> None:
        """`timeout`: seconds, `[store] timeout`; `arrears`: shared by all who use this file."""
        self._path = path
        self._clock = clock
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop
        self._writer: Writer | None = None
        self._reader: LeaseTable | None = None
        self._answers: deque[tuple[Question[Any], Any]] = deque()  # filled by the thread, emptied by the loop
        self._with_thread = 0  # questions asked and not yet delivered
        self._unanswered: deque[Question[Any]] = deque()  # oldest first, so that one timer serves all
        self._timer: asyncio.TimerHandle | None = None
        self._late: dict[Key, Term] = {}
        self._late_renewals: dict[Key, Term] = {}
        self._retry_timer: asyncio.TimerHandle | None = None
        self._arrears = arrears or Arrears()
        self._overdue = 0  # writes with the thread whose askers have been told "no answer in time"
        self._retrying = 0  # late ones with the thread
        self._revocations = 0  # asked and not yet delivered
        self._watch = Watch(self._changes)

    @property
    def late(self) -> int:
        """Grants that wait for the store to come back; for the metrics."""
        return len(self._late)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._writer is None
        self._loop = loop
        # The thread waits for locks no longer than its askers do.
        self._writer = Writer(self._path, self._clock, self._timeout, self._from_thread, self._new_reader)

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        if self._reader is not None:
            try:
                leases = self._reader.find(address)
            except StoreBusy:
                pass
            except StoreUnavailable:
                self._reader_broke()
            else:
                then(leases or self._nothing())
                return
        self._ask(
            Question(lambda table: table.find(address), lambda found: then(found or self._nothing()), writes=False)
        )

    def grant(
        self,
        address: bytes,
        login: str,
        source: str,
        window: float,
        then: Callable[[int | StoreUnavailable], None],
        limit: int = 0,
    ) -> None:
        term = Term.starting(self._clock, address, login, source, window, limit)

        def landed(answer: int | StoreUnavailable) -> None:
            if isinstance(answer, StoreUnavailable):
                self._keep(self._late, [term])
                return
            if not limit or answer <= limit:
                self._watch.granted(self._loop, address)
            self._late.pop(term.key, None)
            self._retry()
            self._note()

        self._ask(Question(lambda table: table.write(term), then, writes=True, landed=landed))

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        terms = [Term.starting(self._clock, *renewal) for renewal in batch]

        def landed(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                self._keep(self._late_renewals, terms)

        self._ask(Question(lambda table: table.renew(terms), None, writes=True, landed=landed))

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        def work(table: LeaseTable) -> None:
            table.charge(address, login, source, messages, recipients, span)

        login_octets(login)  # raised here, and not in the thread
        self._ask(Question(work, None, writes=True))

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        if changed is None or self._writer is None:
            self._watch.end()
        else:
            self._watch.begin(self._loop, changed)

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        check_revocation(address, login)

        def landed(_answer: int | StoreUnavailable) -> None:
            # A grant that failed before the revocation must not come back after it: its failure was delivered before
            # this, and was not tried again since the revocation was asked for.
            self._revocations -= 1
            for waiting in (self._late, self._late_renewals):
                for key in [key for key in waiting if address in (None, key[0]) and login in (None, key[1])]:
                    del waiting[key]
            self._retry()
            self._note()

        self._revocations += 1
        self._ask(Question(lambda table: table.revoke(address, login), then, writes=True, landed=landed))

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        self._ask(Question(lambda table: table.all(), then, writes=False))

    def close(self) -> None:
        """Waits for the thread to write what it was asked to: usually a moment, at most about three timeouts."""
        if self._writer is None:
            return
        self._retry()
        self._watch.end()
        writer, self._writer = self._writer, None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        writer.close(3 * self._timeout)
        self._deliver()
        for timer in (self._timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._retry_timer = None
        while self._unanswered:
            self._unanswered.popleft().settle(StoreUnavailable("the store is closed"))

    # Towards the thread

    def _ask(self, question: Question[Any]) -> None:
        error = ""
        if self._writer is None:
            error = "the store is closed"
        elif self._with_thread >= WAITING_MAX:
            error = "too many questions are waiting"
        if error or self._writer is None:
            answer = StoreUnavailable(error)
            if question.landed is not None:
                question.landed(answer)
            question.settle(answer)
            return
        self._with_thread += 1
        self._writer.ask(question)
        if question.then is not None:
            question.due = self._loop.time() + self._timeout
            self._unanswered.append(question)
            if self._timer is None:
                self._timer = self._loop.call_at(question.due, self._out_of_time)

    def _reader_broke(self) -> None:
        if self._reader is not None and self._writer is not None:
            self._reader.close()
            self._reader = None
            self._writer.reopen()

    def _changes(self) -> int | None:
        try:
            return None if self._reader is None else self._reader.changes()
        except StoreBusy:
            return None
        except StoreUnavailable:
            self._reader_broke()
            return None

    # From the thread: only these two run in it, and only to pass on

    def _from_thread(self, answers: Answers) -> None:
        if answers:
            self._answers.extend(answers)
            self._wake(self._deliver)

    def _new_reader(self, reader: LeaseTable) -> None:
        self._wake(lambda: self._adopt(reader))

    def _wake(self, callback: Callable[[], None]) -> None:
        # RuntimeError: the loop is closed; `close` delivers, and a reader goes with its last reference.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    # In the loop

    def _adopt(self, reader: LeaseTable) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = reader
        self._watch.look_anew()
        if self._writer is None:
            reader.close()
            self._reader = None

    def _deliver(self) -> None:
        try:
            while self._answers:
                question, answer = self._answers.popleft()
                self._with_thread -= 1
                if question.landed is not None:
                    question.landed(answer)
                if question.overdue:
                    self._overdue -= 1
                    self._note()
                question.settle(answer)
        finally:
            if self._answers:  # a `then` raised: that is the loop's to report, and the others get their answers
                self._loop.call_soon(self._deliver)
        while self._unanswered and self._unanswered[0].then is None:
            self._unanswered.popleft()

    def _out_of_time(self) -> None:
        self._timer = None
        now = self._loop.time() + _EARLY
        text = f"no answer within {self._timeout * 1000:.0f} ms"
        try:
            while self._unanswered and (self._unanswered[0].then is None or self._unanswered[0].due <= now):
                question = self._unanswered.popleft()
                if question.writes and question.then is not None:
                    question.overdue = True
                    self._overdue += 1
                    self._note()
                question.settle(StoreUnavailable(text))
        finally:
            if self._unanswered and self._timer is None:
                self._timer = self._loop.call_at(self._unanswered[0].due, self._out_of_time)

    # What is late

    def _nothing(self) -> list[Lease] | StoreUnavailable:
        """The answer where the store knows no lease."""
        return StoreUnavailable("leases wait to be written") if self._arrears.total() else []

    def _note(self) -> None:
        self._arrears.note(len(self._late) + len(self._late_renewals) + self._overdue + self._retrying)

    def _keep(self, waiting: dict[Key, Term], terms: list[Term]) -> None:
        """Keep for later, the newest per lease; over the bound the oldest goes."""
        for term in terms:
            waiting.pop(term.key, None)
            waiting[term.key] = term
            if len(waiting) > LATE_MAX:
                del waiting[next(iter(waiting))]
        self._note()
        if self._retry_timer is None and self._writer is not None:
            self._retry_timer = self._loop.call_later(_RETRY, self._retry)

    def _retry(self) -> None:
        """Ask again for everything that is late and has not ended meanwhile."""
        if self._revocations:
            return  # it calls again
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        now = self._clock.now()
        grants = [term for term in self._late.values() if term.deadline > now]
        renewals = [term for term in self._late_renewals.values() if term.deadline > now]
        self._late.clear()
        self._late_renewals.clear()
        if not grants and not renewals:
            self._note()
            return
        asked = len(grants) + len(renewals)
        self._retrying += asked

        def work(table: LeaseTable) -> None:
            for term in grants:
                table.write_late(term)
            table.renew(renewals)

        def landed(answer: StoreUnavailable | None) -> None:
            if answer is None:
                self._watch.granted(self._loop, None)
            else:
                # What has become late meanwhile is newer, and wins.
                for waiting, older in ((self._late, grants), (self._late_renewals, renewals)):
                    newer = list(waiting.values())
                    waiting.clear()
                    self._keep(waiting, older + newer)
            self._retrying -= asked  # last: the figure is never too low, not for a moment
            self._note()

        self._ask(Question(work, None, writes=True, landed=landed))
