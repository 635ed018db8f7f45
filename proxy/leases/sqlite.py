"""Leases in a SQLite file, shared by the workers of one machine: the loop's side (rules G5, G7, N8).

Look-ups are made in the loop's own thread, on a connection that never waits (5 to 10 µs; a thread and back costs 35 and
more); everything else, and a look-up that meets a lock or an error, goes to the writer thread (`writer.py`), where
there is much of it gathered for GATHERING seconds.

Promises: every question is answered exactly once, within `timeout` seconds also when the thread is stuck in a dead disk
(`in_flight.py`); a grant or a renewal that failed is kept and written when the store is back, with the end it would
have had (`retry_queue.py`).  A grant that was answered "unavailable" may still be written: the client was let in to
read its mail, so the lease is due, and until it is written no worker says "no lease" to anybody (a locked file or a
full disk can still be read, and knows nothing of it).  A late grant is bound to its limit when it is written, and among
late ones the first come is served first.  A charge that failed is lost: a client that may relay by a lease that can be
read, in a store that can't be written, relays uncounted.  Nothing here raises into the loop for a store that is down.

What a kill or a power cut may lose is said in `file.py`; what late grants a closed store still held is lost.
Not here: what `StoreUnavailable` means for a recipient (451, `gate/policy.py`) or for a held `+OK`.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..errors import StoreUnavailable
from ..shared_memory.unwritten_leases import UnwrittenLeases
from . import history, usage_report
from .base import Lease, Term, check_revocation, login_octets
from .file import StoreBusy
from .in_flight import InFlightRequests
from .in_flight_usage import InFlightUsage
from .retry_queue import WriteRetryQueue
from .watch import Watch
from .writer import Answers, Question, Writer

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import Callable, Sequence

    from .clock import Clock
    from .history import Tenancy
    from .retry_queue import Completed
    from .table import LeaseTable
    from .usage_report import Observation

GATHERING: Final = 0.01
"""Seconds from one hand-over to the thread to the next: what is asked in the meantime shares a commit, what comes alone
waits for nothing.  Where a worker has a hundred logins a second, waking the thread for each would cost more than the
grants."""


class SqliteStore:
    """A LeaseStore on one file.  May be constructed before the fork; opens nothing until `start`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Clock,
        timeout: float = 0.5,
        unwritten: UnwrittenLeases | None = None,
        kept: float = 0.0,
    ) -> None:
        """`timeout`: seconds, `[store] timeout`; `unwritten`: shared by all who use this file; `kept`: seconds that
        what has ended is remembered, `[store] history`."""
        self._path = path
        self._clock = clock
        self._timeout = timeout
        self.kept = kept
        """Seconds of history; 0: none is written."""
        self._loop: asyncio.AbstractEventLoop
        self._writer: Writer | None = None  # while it is open
        self.reader: LeaseTable | None = None
        """The loop's own connection; None: all look-ups go to the thread."""
        # Any: one list carries questions with different kinds of answers, each for its own `then`.
        self._gathered: list[Question[Any]] = []  # for the thread
        self._timer: asyncio.TimerHandle | None = None  # runs while there are some
        self._handed_over = -math.inf  # loop time; the clock may begin at the boot, a moment ago
        self._answers: deque[tuple[Question[Any], Any]] = deque()  # filled by the thread, emptied by the loop
        self.retries = WriteRetryQueue(clock, unwritten or UnwrittenLeases(), self._write_late)
        """Grants and renewals that the file could not take."""
        self.in_flight = InFlightRequests(timeout, self.retries)
        """Questions under way."""
        self._watch = Watch(self._changes)
        self._usage = InFlightUsage()  # charges under way

    @property
    def is_ready(self) -> bool:
        """Whether look-ups are made in the loop: the thread has opened the file for it."""
        return self.reader is not None

    @property
    def late(self) -> int:
        """Grants that wait for the store to come back; for the metrics."""
        return len(self.retries.grants)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._writer is None
        self._loop = loop
        self.retries.start(loop)
        self.in_flight.start(loop)
        # The thread waits for locks no longer than its askers do.
        self._writer = Writer(self._path, self._clock, self._timeout, self._from_thread, self._new_reader, self.kept)

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        if self.reader is not None:
            try:
                leases = self.reader.find(address)
            except StoreBusy:
                pass
            except StoreUnavailable:
                self._reader_broke()
            else:
                if leases or self.reader.is_current():
                    then(self._found(leases))
                    return
                self._reader_broke()  # another file has its name: the thread of another worker may have noticed first
        self._ask(Question(lambda table: table.find(address), lambda found: then(self._found(found)), writes=False))

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

        def completed(answer: int | StoreUnavailable) -> None:
            if isinstance(answer, StoreUnavailable):
                self.retries.grant_failed(term)
                return
            if not limit or answer <= limit:
                self._watch.granted(self._loop, address)
            self.retries.granted(term.key)

        self._ask(Question(lambda table: table.write(term), then, writes=True, completed=completed))

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        terms = [Term.starting(self._clock, *renewal) for renewal in batch]

        def completed(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                self.retries.renewals_failed(terms)

        self._ask(Question(lambda table: table.renew(terms), None, writes=True, completed=completed))

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        def work(table: LeaseTable) -> None:
            table.charge(address, login, source, messages, recipients, span)

        login_octets(login)  # raised here, and not in the thread
        key = (address, login, source)
        self._usage.add(key, messages, recipients, self._read(address))
        self._ask(Question(work, None, writes=True, completed=lambda _answer: self._usage.completed(key)))
        self._hand_over()  # at once: the client's next message may come by another worker

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        if changed is None or self._writer is None:
            self._watch.end()
        else:
            self._watch.begin(self._loop, changed)

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        check_revocation(address, login)

        self.retries.revoking()
        self._ask(
            Question(
                lambda table: table.revoke(address, login),
                then,
                writes=True,
                completed=lambda _answer: self.retries.revoked(address, login),
            )
        )

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        self._ask(Question(lambda table: table.all(), then, writes=False))

    # What only this store remembers

    def tenancies(
        self,
        addresses: Sequence[bytes],
        since: float | None,
        until: float | None,
        then: Callable[[list[Tenancy] | StoreUnavailable], None],
    ) -> None:
        """Who held these addresses, or any; `history.tenancies`."""
        self._ask(Question(lambda table: history.tenancies(table, addresses, since, until), then, writes=False))

    def observe(self, batch: Sequence[Observation]) -> None:
        """Remember what clients need; no answer, and lost in a store that is down."""
        if self.kept and batch:
            self._ask(Question(lambda table: table.observe(batch), None, writes=True))

    def observed(self, since: float, then: Callable[[list[Observation] | StoreUnavailable], None]) -> None:
        """What clients needed at `since` (epoch seconds) or later; `usage_report.seen`."""
        self._ask(Question(lambda table: usage_report.seen(table, since), then, writes=False))

    def unleased(
        self, address: bytes, limit: int, then: Callable[[list[Observation] | StoreUnavailable], None]
    ) -> None:
        """Logins from there that made no lease; `usage_report.unleased`."""
        self._ask(Question(lambda table: usage_report.unleased(table, address, limit), then, writes=False))

    def close(self) -> None:
        """Waits for the thread to write what it was asked to: usually a moment, at most about three timeouts."""
        if self._writer is None:
            return
        self.retries.close()
        self._watch.end()
        self._hand_over()
        writer, self._writer = self._writer, None
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        writer.close(3 * self._timeout)
        self._deliver()
        self.in_flight.close()

    # The loop's own reader, and what the loop knows beside it

    def _read(self, address: bytes) -> Sequence[Lease]:
        """What can be read at once."""
        try:
            return () if self.reader is None else self.reader.find(address)
        except StoreUnavailable:
            return ()

    def _found(self, answer: Sequence[Lease] | StoreUnavailable) -> Sequence[Lease] | StoreUnavailable:
        if isinstance(answer, StoreUnavailable):
            return answer
        return self._usage.shown(answer) or self.retries.nothing()

    # Towards the thread

    def _ask(self, question: Question[Any]) -> None:
        if self._writer is None:
            question.refuse("the store is closed")
        elif self.in_flight.full:
            question.refuse("too many questions are waiting")
        else:
            self.in_flight.add(question)
            self._gathered.append(question)
            if self._timer is None:
                wait = self._handed_over + GATHERING - self._loop.time()
                if wait > 0:
                    self._timer = self._loop.call_later(wait, self._hand_over)
                else:
                    self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._handed_over = self._loop.time()
        gathered, self._gathered = self._gathered, []
        if self._writer is not None:
            for question in gathered:
                self._writer.ask(question)

    def _write_late(self, grants: list[Term], renewals: list[Term], completed: Completed) -> None:
        def work(table: LeaseTable) -> None:
            for term in grants:
                table.write_late(term)
            table.renew(renewals)

        def done(answer: StoreUnavailable | None) -> None:
            if answer is None:
                self._watch.granted(self._loop, None)
            completed(answer)

        self._ask(Question(work, None, writes=True, completed=done))

    def _reader_broke(self) -> None:
        if self.reader is not None and self._writer is not None:
            self.reader.close()
            self.reader = None
            self._writer.reopen()

    def _changes(self) -> int | None:
        try:
            return None if self.reader is None else self.reader.changes()
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

    def _new_reader(self, reader: LeaseTable | None) -> None:
        self._wake(lambda: self._adopt(reader))

    def _wake(self, callback: Callable[[], None]) -> None:
        # RuntimeError: the loop is closed; `close` delivers, and a reader goes with its last reference.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    # In the loop

    def _adopt(self, reader: LeaseTable | None) -> None:
        if self.reader is not None:
            self.reader.close()
        self.reader = reader
        self._watch.look_anew()
        if self._writer is None and reader is not None:
            reader.close()
            self.reader = None

    def _deliver(self) -> None:
        try:
            while self._answers:
                self.in_flight.deliver(*self._answers.popleft())
        finally:
            if self._answers:  # a `then` raised: that is the loop's to report, and the others get their answers
                self._loop.call_soon(self._deliver)
