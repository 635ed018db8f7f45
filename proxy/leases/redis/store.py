"""Leases in a Redis (or Valkey) server, shared by the nodes of a pool (rules G5, G7, G8, N8).

Every question is one round trip and one atomic script (`scripts.py`) on one connection, on which the questions
that come side by side share writes and reads; no task, no thread, no lock.  Only the server's clock counts.

Promises: every question is answered exactly once, within `timeout` seconds (`leases/in_flight.py`; `all` asks in steps,
each of which has that time); grants and renewals that the server could not take are written when it is back
(`leases/retry_queue.py`); the connection comes back by itself (`connection.py`).  No lease is lost while a node lives
that made it: whenever the connection has been made again, and whenever the store is found to be another one than
before, each worker brings back the live leases that it made, but for what was revoked since (`own_leases.py`).  "No
lease" is answered only where that is a fact.  It is none, and the answer is StoreUnavailable,
- while anybody on this machine has leases that wait to be written,
- for GRACE seconds after the store could not be asked: other nodes may have late ones, too,
- for `window` after the store was emptied (rule G7).  A worker knows that by `popgate:state`, whose id is gone or
  another than the one that it knew; one that never knew one makes it, and takes the store for new.
Once a second each worker asks for that state, so that a loss, a revocation or a dead peer is noticed without traffic.

Limits: a charge that the server did not take is forgotten.  A node that is cut off alone can't tell the others what it
could not write.  A store that forgets nodes and leases at one moment, as a whole pool that starts again with an empty
server, is a first start.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import hiredis

from ...errors import StoreUnavailable
from ...shared_memory.unwritten_leases import UnwrittenLeases
from ...wire.address import shown
from ..base import Key, Lease, Term, check_revocation, in_order
from ..in_flight import InFlightRequests, Question
from ..retry_queue import WriteRetryQueue
from . import codec, scripts
from .codec import STATE, micro
from .connection import CONNECT, Connection, Server
from .own_leases import OwnLeases
from .watch import Watch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..clock import Clock
    from ..retry_queue import Completed
    from .codec import Arguments
    from .scripts import Script

    Batches = list[Sequence[Term]]

_BEAT = 1.0  # s between two questions for the state of the store
_DEAD = 2.0  # s without an answer to it: the connection is given up
GRACE: Final = _BEAT + _DEAD + CONNECT
"""Seconds until every node has noticed that the store was away, is connected again and has written what is late."""
_STEP = 500  # keys that a step of `all` looks at


class RedisStore:
    """A LeaseStore on a server.  May be constructed before the fork; connects to nothing until `start`."""

    def __init__(
        self,
        server: Server,
        clock: Clock,
        timeout: float = 0.5,
        unwritten: UnwrittenLeases | None = None,
        window: float = 1800.0,
        news: Callable[[str, str], None] | None = None,
    ) -> None:
        """`timeout`: seconds, `[store] timeout`; `unwritten`: of all workers of this node; `window`: seconds, the
        longest life that a login gives to a lease; `news` is told "store-down", "store-back" and "store-emptied", and
        why."""
        self._server = server
        self._clock = clock
        self._window = window
        self._loop: asyncio.AbstractEventLoop | None = None  # while it is open
        self.retries = WriteRetryQueue(clock, unwritten or UnwrittenLeases(), self._write_late)
        """Grants and renewals that the server could not take."""
        self.in_flight = InFlightRequests(timeout, self.retries, self._in_doubt)
        """Questions under way."""
        self._channel = f"popgate:granted:{server.database}"
        self._watch = Watch(self._channel)
        self._connection = Connection(server, came=self._came, went=self._went, published=self._watch.published)
        self._held_back: list[tuple[Script, Arguments, Question[Any]]] = []  # asked while there is no connection
        self._own = OwnLeases(clock)
        self._known = b""  # the store's id, b"" before the first answer
        self.revocations = 0
        """Of the store with this id, as far as we know them."""
        self._news = news or (lambda _event, _why: None)
        self._down = False
        self._answered = False  # this connection has answered
        self._checking = False  # a question for the store's state is under way
        self._checked_at = 0.0  # loop time of that question
        self._sure_from = 0.0  # loop time from which "no lease" is a fact
        self._beat_timer: asyncio.TimerHandle | None = None  # of the next question for the store's state

    @property
    def late(self) -> int:
        """Grants that wait for the store to come back; for the metrics."""
        return len(self.retries.grants)

    @property
    def own(self) -> int:
        """Live leases that were made here, to be brought back if the store loses them."""
        return len(self._own)

    @property
    def is_ready(self) -> bool:
        """Whether the store was asked for its state on this connection, and has answered."""
        return self._answered and not self._checking

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._loop is None
        self._loop = loop
        self.retries.start(loop)
        self.in_flight.start(loop)
        self._connection.start(loop)
        self._beat_timer = loop.call_later(_BEAT, self._beat)

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        def found(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                then(reply)
            elif len(reply) == STATE:
                then(self._nothing(reply))
            else:
                leases = codec.leases(address, reply[STATE:], self._clock)
                then(leases if len(leases) == 1 else sorted(leases, key=lambda lease: -lease.left))

        self._ask(scripts.FIND, (shown(address),), Question(found, writes=False))

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

        def completed(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                self.retries.grant_failed(term)
            else:
                if not limit or reply[STATE] <= limit:
                    self._own.remember(term, reply[0], reply[2])
                self.retries.granted(term.key)

        arguments = (shown(address), codec.name(source, login), micro(window), limit, self._channel)
        self._ask(scripts.GRANT, arguments, Question(_count(then), writes=True, completed=completed))

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        terms = [Term.starting(self._clock, *renewal) for renewal in batch]
        for term in terms:
            self._own.renewed(term)

        def completed(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                self.retries.renewals_failed(terms)

        self._renew(codec.in_batches(terms), completed)

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        arguments = (shown(address), codec.name(source, login), messages, recipients, micro(span))
        self._ask(scripts.CHARGE, arguments, Question(None, writes=True))

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        self._watch.begin(changed, self._connection)

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        check_revocation(address, login)

        def completed(reply: list[Any] | StoreUnavailable) -> None:
            self.retries.revoked(address, login)
            if not isinstance(reply, StoreUnavailable):
                self._own.forget(lambda term: address in (None, term.key[0]) and login in (None, term.key[1]))

        self.retries.revoking()
        self._ask(scripts.REVOKE, codec.whom(address, login), Question(_count(then), writes=True, completed=completed))

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        """In steps, each of them bounded by the timeout: a pool's leases may be more than one answer should hold."""
        found: dict[Key, Lease] = {}  # SCAN may show a key twice

        def step(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                then(reply)
                return
            for lease in codec.listed(reply[STATE + 1 :], self._clock):
                found[lease.address, lease.login, lease.source] = lease
            if reply[STATE] == b"0":
                then(in_order(found.values()))
            else:
                self._ask(scripts.LIST, (reply[STATE], _STEP), Question(step, writes=False))

        self._ask(scripts.LIST, (b"0", _STEP), Question(step, writes=False))

    def close(self) -> None:
        """What the server has not answered yet may be in the store, or not."""
        if self._loop is None:
            return
        self.retries.close()
        self._loop = None
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._connection.close()
        self._refuse_held_back("the store is closed")
        self.in_flight.close()

    # Questions and replies

    def _ask(self, script: Script, arguments: Arguments, question: Question[Any]) -> None:
        if self._loop is None:
            question.refuse("the store is closed")
        elif self.in_flight.full:
            question.refuse("too many questions are waiting")
        elif not self._connection.up and self._connection.why:
            question.refuse(f"{self._server}: {self._connection.why}")
        else:
            self.in_flight.add(question)
            if self._connection.up:
                self._send(script, arguments, question)
            else:
                self._held_back.append((script, arguments, question))

    def _send(self, script: Script, arguments: Arguments, question: Question[Any], known: bool = True) -> None:
        def replied(reply: Any) -> None:
            if known and isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                if self._connection.up:
                    self._send(script, arguments, question, known=False)
                    return
                reply = None
            self.in_flight.deliver(question, self._judged(reply))

        how = ("EVALSHA", script.digest, 0) if known else ("EVAL", script.text, 0)
        self._connection.send((*how, *arguments), replied)

    def _judged(self, reply: Any) -> list[Any] | StoreUnavailable:
        if reply is None:
            return StoreUnavailable(f"{self._server}: the connection broke")
        if not isinstance(reply, list):
            return StoreUnavailable(f"{self._server}: {reply}")
        if reply[0] != self._known or reply[2] != self.revocations:
            self.check_state()
        return reply

    def _nothing(self, state: list[Any]) -> Sequence[Lease] | StoreUnavailable:
        """The answer where the server knows no lease."""
        assert self._loop is not None
        if state[0] != self._known or state[1]:
            return StoreUnavailable("the store was emptied a short while ago")
        if self._loop.time() < self._sure_from:
            return StoreUnavailable("the store could not be asked a moment ago")
        return self.retries.nothing()

    # The connection

    def _came(self) -> None:
        self._checking, self._answered = False, False
        if self._sure_from:
            self._in_doubt()
        # Now, and not at the first NOSCRIPT: what is sent a second time may be overtaken.
        for script in scripts.ALL:
            self._connection.send(("SCRIPT", "LOAD", script.text), lambda _reply: None)
        self.check_state()
        self._watch.came(self._connection)
        held_back, self._held_back = self._held_back, []
        for script, arguments, question in held_back:
            if question.then is None and question.completed is not None:  # has become late, and is reckoned again
                self.in_flight.deliver(question, StoreUnavailable("no connection in time"))
            else:
                self._send(script, arguments, question)

    def _went(self) -> None:
        self._in_doubt()
        if not self._down:
            self._down = True
            self._news("store-down", f"{self._server}: {self._connection.why or 'the connection broke'}")
        if self._connection.why:
            self._refuse_held_back(f"{self._server}: {self._connection.why}")

    def _refuse_held_back(self, why: str) -> None:
        held_back, self._held_back = self._held_back, []
        for _, _, question in held_back:
            self.in_flight.deliver(question, StoreUnavailable(why))

    def _in_doubt(self) -> None:
        """The store could not be asked: others may have made leases in the meantime that they could not write."""
        if self._loop is not None:
            self._sure_from = self._loop.time() + GRACE

    # The state of the store

    def _beat(self) -> None:
        assert self._loop is not None
        self._beat_timer = self._loop.call_later(_BEAT, self._beat)
        if not self._checking:
            self.check_state()
            return
        self._in_doubt()
        if self._loop.time() - self._checked_at > _DEAD:
            self._connection.drop(f"no answer for {_DEAD:g} s")

    def check_state(self) -> None:
        """Ask what has happened to the store.  Without a limit in time: `_beat` gives the connection up."""
        if self._checking or not self._connection.up or self._loop is None:
            return
        self._checking, self._checked_at = True, self._loop.time()

        def answered(reply: list[Any] | StoreUnavailable) -> None:
            self._checking = False
            if isinstance(reply, StoreUnavailable):
                return
            emptied = self._learn(reply)
            first, self._answered = not self._answered, True
            if emptied:
                self._news("store-emptied", f"{self._server}: bringing back {len(self._own)} leases made here")
            if first:
                self._connection.settled()
                if self._down:
                    self._down = False
                    self._news("store-back", str(self._server))
                self.retries.retry()
            if first or emptied:
                self.bring_back()

        arguments = (self._known, secrets.token_hex(8), micro(self._window), self.revocations)
        question: Question[list[Any]] = Question(None, writes=False, completed=answered)
        self.in_flight.add(question)
        self._send(scripts.NOTICE, arguments, question)

    def _learn(self, reply: list[Any]) -> bool:
        """Whether the store is another one than before."""
        name, _, revocations, forgotten, *entries = reply
        if forgotten:
            self._own.forget()
        for revocation in codec.revocations(name, revocations, entries, self._clock):
            self._own.forget(revocation.ends)
            self.retries.drop(revocation.ends)
        emptied = self._known not in (b"", name)
        self._known, self.revocations = name, revocations
        return emptied

    # Leases that we made

    def bring_back(self) -> None:
        """Write the live leases that were made here again."""

        def done(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                for term in self._own.live():
                    self.retries.grant_failed(term)

        self._bring(codec.in_batches(self._own.live()), None, done)

    def _write_late(self, grants: list[Term], renewals: list[Term], completed: Completed) -> None:
        def done(answer: StoreUnavailable | None) -> None:
            if answer is None:
                self._renew(codec.in_batches(renewals), completed)
            else:
                completed(answer)

        self._bring(codec.in_batches(grants), self._own.remember, done)

    def _bring(self, batches: Batches, made: Callable[[Term, bytes, int], None] | None, completed: Completed) -> None:
        """One batch after the other, into the store as we know it now; `completed` once: at the first that fails, or at
        the end, which is no success if something may have been revoked in the meantime."""
        store, heard = self._known, self.revocations
        doubt: StoreUnavailable | None = None

        def step(number: int) -> None:
            if number == len(batches):
                completed(doubt)
                return
            batch = batches[number]

            def done(reply: list[Any] | StoreUnavailable) -> None:
                nonlocal doubt
                if isinstance(reply, StoreUnavailable):
                    completed(reply)
                    return
                for term, fate in zip(batch, reply[STATE:], strict=True):
                    if fate == scripts.THERE and made is not None:
                        made(term, reply[0], reply[2])
                    elif fate == scripts.REVOKED:
                        doubt = StoreUnavailable("revoked meanwhile, perhaps")
                step(number + 1)

            arguments = (self._channel, store, heard, *codec.grants(batch, self._clock))
            self._ask(scripts.BRING_BACK, arguments, Question(None, writes=True, completed=done))

        step(0)

    def _renew(self, batches: Batches, completed: Completed) -> None:
        """One after the other; `completed` once, when all are done or one has failed."""
        if not batches:
            completed(None)
            return

        def done(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                completed(reply)
            else:
                self._renew(batches[1:], completed)

        arguments = codec.renewals(batches[0], self._clock)
        self._ask(scripts.RENEW, arguments, Question(None, writes=True, completed=done))


def _count(then: Callable[[int | StoreUnavailable], None]) -> Callable[[list[Any] | StoreUnavailable], None]:
    """Who asks wants the one number behind the state."""
    return lambda reply: then(reply if isinstance(reply, StoreUnavailable) else reply[STATE])
