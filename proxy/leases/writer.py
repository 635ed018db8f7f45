"""The writer thread of a SQLite lease store: it opens, writes, waits for locks, purges and repairs (rules G5, N8).

Promises: whatever waits when the thread is free shares one commit, and the answers of one commit go back to the loop
with one wake-up; an answer to a write is given after its COMMIT; an error of SQLite or the file system answers the
questions of that turn and nothing else.  So does anything else that is raised, a bug among it: it becomes a
StoreUnavailable with the name of its class (this floor has no log), and the thread goes on.  After an error that is not
a lock, or when the path names another file than the one that is open (restored, or removed), everything is opened
again; a turn comes at least once a second.

Not here: timeouts, the queue of late grants, and what is answered when the thread is stuck: `sqlite.py`, on the loop's
side.  `concurrent.futures` was rejected: one future and one wake-up per question, and no way to gather a commit.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import StoreUnavailable
from . import in_flight
from .file import StoreBusy
from .table import LeaseTable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from .clock import Clock

T = TypeVar("T")

_TICK = 1.0  # s between turns when nobody asks: the file is looked at, a broken store is tried again
_COMMIT_MAX = 1000  # questions in one turn, so that one worker's backlog does not hold the lock for long
_PURGE_EVERY = 60.0  # s
_PURGE_MAX = 1000  # rows per turn; about 5 ms under the lock


class Question(in_flight.Question[T]):
    """One question on its way through the thread, which only does `work`."""

    __slots__ = ("work",)

    def __init__(
        self,
        work: Callable[[LeaseTable], T],
        then: Callable[[T | StoreUnavailable], None] | None,
        *,
        writes: bool,
        completed: Callable[[T | StoreUnavailable], None] | None = None,
    ) -> None:
        super().__init__(then, writes=writes, completed=completed)
        self.work = work


# Any: one queue carries questions with different kinds of answers, and each goes back to its own `then`.
Answers = list[tuple[Question[Any], Any]]


class Writer:
    """The thread.  `ask`, `reopen` and `close` are the loop's; `deliver` and `adopt` are called from the thread and
    must do nothing but pass on to the loop."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Clock,
        busy: float,
        deliver: Callable[[Answers], None],
        adopt: Callable[[LeaseTable | None], None],
        kept: float = 0.0,
    ) -> None:
        """`busy`: seconds to wait for another process's lock; `kept`: seconds of history (table.py).  `adopt` is given
        each new reader for the loop, and None when the last one is outdated."""
        self._kept = kept
        self._path = path
        self._clock = clock
        self._busy = busy
        self._deliver = deliver
        self._adopt = adopt
        self._queue: queue.SimpleQueue[Question[Any] | None] = queue.SimpleQueue()  # None: only wake up
        self._table: LeaseTable | None = None
        self._reopen = False
        self._closing = False
        self._purge_at = 0.0  # boot time
        # daemon: a thread that hangs in a dead disk must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="leases", daemon=True)
        self._thread.start()

    def ask(self, question: Question[Any]) -> None:
        self._queue.put(question)

    def reopen(self) -> None:
        """The loop's reader broke: open everything again."""
        self._reopen = True
        self._queue.put(None)

    def close(self, patience: float) -> None:
        """Do what was asked, let go of the file, end; wait at most `patience` seconds for it."""
        self._closing = True
        self._queue.put(None)
        self._thread.join(patience)

    def _serve(self) -> None:
        self._turn([])  # open at once, not at the first question
        while not (self._closing and self._queue.empty()):
            self._turn(self._waiting())
        self._purge_all()
        self._let_go()

    def _waiting(self) -> list[Question[Any]]:
        """What is asked now, or nothing after a tick."""
        batch: list[Question[Any]] = []
        try:
            item = self._queue.get(timeout=_TICK)
            while True:
                if item is not None:
                    batch.append(item)
                if len(batch) == _COMMIT_MAX:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _turn(self, batch: list[Question[Any]]) -> None:
        try:
            table = self._open()
        except Exception as caught:
            error = self._failed(caught)
            self._deliver([(question, error) for question in batch])
            return
        # Reads first: they need no lock, and every write that somebody was told of is already committed.
        self._deliver(self._read(table, [question for question in batch if not question.writes]))
        self._deliver(self._write(table, [question for question in batch if question.writes]))
        self._purge(table)

    def _read(self, table: LeaseTable, questions: list[Question[Any]]) -> Answers:
        """Answer each; after the first failure the rest fail alike, else each would wait for the same lock in turn."""
        answers: Answers = []
        failure: StoreUnavailable | None = None
        for question in questions:
            if failure is None and question.then is not None:  # None: out of time, nobody waits for it any more
                try:
                    answers.append((question, question.work(table)))
                    continue
                except Exception as caught:
                    failure = self._failed(caught)
            answers.append((question, failure))
        return answers

    def _write(self, table: LeaseTable, questions: list[Question[Any]]) -> Answers:
        if not questions:
            return []
        try:
            with table.transaction():
                answers: Answers = [(question, question.work(table)) for question in questions]
        except Exception as caught:
            error = self._failed(caught)
            return [(question, error) for question in questions]
        return answers

    def _purge(self, table: LeaseTable) -> None:
        now = self._clock.boottime()
        if now < self._purge_at or self._reopen:
            return
        try:
            deleted = table.purge(_PURGE_MAX)
        except Exception as caught:
            self._failed(caught)
            deleted = 0
        if deleted < _PURGE_MAX:
            self._purge_at = now + _PURGE_EVERY
        else:
            self._queue.put(None)  # more to do, after those who ask

    def _purge_all(self) -> None:
        """Leave nothing that has ended: after a reboot a row counts by the wall clock, and if that was set back since
        the lease began, it would live again (rule G8).  A crash leaves what ended since the last purge."""
        if self._table is not None and not self._reopen:
            with contextlib.suppress(Exception):
                while self._table.purge(_PURGE_MAX) == _PURGE_MAX:
                    pass

    def _open(self) -> LeaseTable:
        if self._table is not None and (self._reopen or not self._table.is_current()):
            self._let_go()
            self._adopt(None)  # the loop's reader holds the same file: what it says is of a store that is gone
        if self._table is None:
            self._reopen = False
            table = LeaseTable(self._path, self._clock, busy=self._busy, kept=self._kept)
            try:
                reader = LeaseTable(self._path, self._clock, busy=self._busy, read_only=True)
                reader.never_wait()
            except BaseException:
                table.close()
                raise
            self._table = table
            self._adopt(reader)
        return self._table

    def _failed(self, caught: Exception) -> StoreUnavailable:
        """What the askers are told of it; anything but a lock makes the next turn open everything again."""
        self._reopen = self._reopen or not isinstance(caught, StoreBusy)
        if isinstance(caught, StoreUnavailable):
            return caught
        return StoreUnavailable(f"{self._path}: a bug in popgate: {type(caught).__name__}")

    def _let_go(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None
