"""Leases in a Redis (or Valkey) server, shared by the nodes of a pool (rules G5, G7, G8, N8).

Every question is one round trip and one atomic script (`scripts.py`) on one connection, on which the questions
that come side by side share writes and reads; no task, no thread, no lock.  Only the server's clock counts.

Promises: every question is answered exactly once, within `timeout` seconds (`leases/in_flight.py`; `all` asks in steps,
each of which has that time); grants and renewals that the server could not take are written when it is back
(`leases/retry_queue.py`); the connection comes back by itself (`connection.py`).  No lease is lost while a node lives
that made it: whenever the connection has been made anew, and whenever the store is found to be another one than before,
each worker brings back the live leases that it made, but for what was revoked since (`own_leases.py`).  "No lease" is
answered only where that is a fact.  It is none, and the answer is StoreUnavailable,
- while anybody on this machine has leases that wait to be written,
- for GRACE seconds after the store could not be asked: other nodes may have late ones, too,
- for `window` after the store was emptied (rule G7).  A worker knows that by `popgate:state`, whose id is gone or
  another than the one that it knew; who never knew one makes it, and takes the store for new.
Once a second each worker asks for that state, so that a loss, a revocation or a dead peer is noticed without traffic.

Limits: a charge that the server did not take is forgotten.  A node that is cut off alone can't tell the others what it
could not write.  A store that forgets nodes and leases at one moment, as a whole pool that starts anew with an empty
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
from . import codec as words
from . import scripts
from .codec import STATE, micro
from .connection import CONNECT, Connection, Server
from .own_leases import OwnLeases
from .watch import Watch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ..clock import Clock
    from ..retry_queue import Landed
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._late = WriteRetryQueue(clock, unwritten or UnwrittenLeases(), self._write_late)
        self._pending = InFlightRequests(timeout, self._late, self._in_doubt)
        self._channel = f"popgate:granted:{server.database}"
        self._watch = Watch(self._channel)
        self._line = Connection(server, came=self._came, went=self._went, published=self._watch.published)
        self._held_back: list[tuple[Script, Arguments, Question[Any]]] = []  # asked while there is no connection
        self._made = OwnLeases(clock)
        self._known = b""  # the store's id, b"" before the first answer
        self._revocations = 0  # of this id, as far as we know them
        self._news = news or (lambda _event, _why: None)
        self._down = False
        self._settled = False  # this connection has answered
        self._noticing = False
        self._noticed_at = 0.0  # loop time of that question
        self._sure_from = 0.0  # loop time from which "no lease" is a fact
        self._beat_timer: asyncio.TimerHandle | None = None

    @property
    def late(self) -> int:
        """Grants that wait for the store to come back; for the metrics."""
        return len(self._late.grants)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._loop is None
        self._loop = loop
        self._late.start(loop)
        self._pending.start(loop)
        self._line.start(loop)
        self._beat_timer = loop.call_later(_BEAT, self._beat)

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        def found(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                then(reply)
            elif len(reply) == STATE:
                then(self._nothing(reply))
            else:
                leases = words.leases(address, reply[STATE:], self._clock)
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

        def landed(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                self._late.grant_failed(term)
            else:
                if not limit or reply[STATE] <= limit:
                    self._made.remember(term, reply[0], reply[2])
                self._late.granted(term.key)

        arguments = (shown(address), words.name(source, login), micro(window), limit, self._channel)
        self._ask(scripts.GRANT, arguments, Question(_count(then), writes=True, landed=landed))

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        terms = [Term.starting(self._clock, *renewal) for renewal in batch]
        for term in terms:
            self._made.renewed(term)

        def landed(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                self._late.renewals_failed(terms)

        self._renew(words.in_batches(terms), landed)

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        arguments = (shown(address), words.name(source, login), messages, recipients, micro(span))
        self._ask(scripts.CHARGE, arguments, Question(None, writes=True))

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        self._watch.begin(changed, self._line)

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        check_revocation(address, login)

        def landed(reply: list[Any] | StoreUnavailable) -> None:
            self._late.revoked(address, login)
            if not isinstance(reply, StoreUnavailable):
                self._made.forget(lambda term: address in (None, term.key[0]) and login in (None, term.key[1]))

        self._late.revoking()
        self._ask(scripts.REVOKE, words.whom(address, login), Question(_count(then), writes=True, landed=landed))

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        """In steps, each of them bounded by the timeout: a pool's leases may be more than one answer should hold."""
        found: dict[Key, Lease] = {}  # SCAN may show a key twice

        def step(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                then(reply)
                return
            for lease in words.listed(reply[STATE + 1 :], self._clock):
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
        self._late.close()
        self._loop = None
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._line.close()
        self._refuse_held_back("the store is closed")
        self._pending.close()

    # Questions and replies

    def _ask(self, script: Script, arguments: Arguments, question: Question[Any]) -> None:
        if self._loop is None:
            question.refuse("the store is closed")
        elif self._pending.full:
            question.refuse("too many questions are waiting")
        elif not self._line.up and self._line.why:
            question.refuse(f"{self._server}: {self._line.why}")
        else:
            self._pending.add(question)
            if self._line.up:
                self._send(script, arguments, question)
            else:
                self._held_back.append((script, arguments, question))

    def _send(self, script: Script, arguments: Arguments, question: Question[Any], known: bool = True) -> None:
        def replied(reply: Any) -> None:
            if known and isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                if self._line.up:
                    self._send(script, arguments, question, known=False)
                    return
                reply = None
            self._pending.deliver(question, self._judged(reply))

        how = ("EVALSHA", script.digest, 0) if known else ("EVAL", script.text, 0)
        self._line.send((*how, *arguments), replied)

    def _judged(self, reply: Any) -> list[Any] | StoreUnavailable:
        if reply is None:
            return StoreUnavailable(f"{self._server}: the connection broke")
        if not isinstance(reply, list):
            return StoreUnavailable(f"{self._server}: {reply}")
        if reply[0] != self._known or reply[2] != self._revocations:
            self._notice()
        return reply

    def _nothing(self, state: list[Any]) -> Sequence[Lease] | StoreUnavailable:
        """The answer where the server knows no lease."""
        assert self._loop is not None
        if state[0] != self._known or state[1]:
            return StoreUnavailable("the store was emptied a short while ago")
        if self._loop.time() < self._sure_from:
            return StoreUnavailable("the store could not be asked a moment ago")
        return self._late.nothing()

    # The line

    def _came(self) -> None:
        self._noticing, self._settled = False, False
        if self._sure_from:
            self._in_doubt()
        # Now, and not at the first NOSCRIPT: what is sent a second time may be overtaken.
        for script in scripts.ALL:
            self._line.send(("SCRIPT", "LOAD", script.text), lambda _reply: None)
        self._notice()
        self._watch.came(self._line)
        held_back, self._held_back = self._held_back, []
        for script, arguments, question in held_back:
            if question.then is None and question.landed is not None:  # has become late, and is reckoned anew
                self._pending.deliver(question, StoreUnavailable("no connection in time"))
            else:
                self._send(script, arguments, question)

    def _went(self) -> None:
        self._in_doubt()
        if not self._down:
            self._down = True
            self._news("store-down", f"{self._server}: {self._line.why or 'the connection broke'}")
        if self._line.why:
            self._refuse_held_back(f"{self._server}: {self._line.why}")

    def _refuse_held_back(self, why: str) -> None:
        held_back, self._held_back = self._held_back, []
        for _, _, question in held_back:
            self._pending.deliver(question, StoreUnavailable(why))

    def _in_doubt(self) -> None:
        """The store could not be asked: others may have made leases meanwhile that they could not write."""
        if self._loop is not None:
            self._sure_from = self._loop.time() + GRACE

    # The state of the store

    def _beat(self) -> None:
        assert self._loop is not None
        self._beat_timer = self._loop.call_later(_BEAT, self._beat)
        if not self._noticing:
            self._notice()
            return
        self._in_doubt()
        if self._loop.time() - self._noticed_at > _DEAD:
            self._line.drop(f"no answer for {_DEAD:g} s")

    def _notice(self) -> None:
        """Ask what has happened to the store.  Without a limit in time: `_beat` gives the connection up."""
        if self._noticing or not self._line.up or self._loop is None:
            return
        self._noticing, self._noticed_at = True, self._loop.time()

        def answered(reply: list[Any] | StoreUnavailable) -> None:
            self._noticing = False
            if isinstance(reply, StoreUnavailable):
                return
            emptied = self._learn(reply)
            first, self._settled = not self._settled, True
            if emptied:
                self._news("store-emptied", f"{self._server}: bringing back {len(self._made)} leases made here")
            if first:
                self._line.settled()
                if self._down:
                    self._down = False
                    self._news("store-back", str(self._server))
                self._late.retry()
            if first or emptied:
                self._bring_back()

        arguments = (self._known, secrets.token_hex(8), micro(self._window), self._revocations)
        question: Question[list[Any]] = Question(None, writes=False, landed=answered)
        self._pending.add(question)
        self._send(scripts.NOTICE, arguments, question)

    def _learn(self, reply: list[Any]) -> bool:
        """Whether the store is another one than before."""
        name, _, revocations, forgotten, *entries = reply
        if forgotten:
            self._made.forget()
        for revocation in words.revocations(name, revocations, entries, self._clock):
            self._made.forget(revocation.ends)
            self._late.drop(revocation.ends)
        emptied = self._known not in (b"", name)
        self._known, self._revocations = name, revocations
        return emptied

    # Leases that we made

    def _bring_back(self) -> None:
        def done(answer: StoreUnavailable | None) -> None:
            if answer is not None:
                for term in self._made.live():
                    self._late.grant_failed(term)

        self._bring(words.in_batches(self._made.live()), None, done)

    def _write_late(self, grants: list[Term], renewals: list[Term], landed: Landed) -> None:
        def done(answer: StoreUnavailable | None) -> None:
            if answer is None:
                self._renew(words.in_batches(renewals), landed)
            else:
                landed(answer)

        self._bring(words.in_batches(grants), self._made.remember, done)

    def _bring(self, batches: Batches, made: Callable[[Term, bytes, int], None] | None, landed: Landed) -> None:
        """One batch after the other, into the store as we know it now; `landed` once: at the first that fails, or at
        the end, which is no success if something may have been revoked meanwhile."""
        store, heard = self._known, self._revocations
        doubt: StoreUnavailable | None = None

        def step(number: int) -> None:
            if number == len(batches):
                landed(doubt)
                return
            batch = batches[number]

            def done(reply: list[Any] | StoreUnavailable) -> None:
                nonlocal doubt
                if isinstance(reply, StoreUnavailable):
                    landed(reply)
                    return
                for term, fate in zip(batch, reply[STATE:], strict=True):
                    if fate == scripts.THERE and made is not None:
                        made(term, reply[0], reply[2])
                    elif fate == scripts.REVOKED:
                        doubt = StoreUnavailable("revoked meanwhile, perhaps")
                step(number + 1)

            arguments = (self._channel, store, heard, *words.grants(batch, self._clock))
            self._ask(scripts.BRING_BACK, arguments, Question(None, writes=True, landed=done))

        step(0)

    def _renew(self, batches: Batches, landed: Landed) -> None:
        """One after the other; `landed` once, when all are done or one has failed."""
        if not batches:
            landed(None)
            return

        def done(reply: list[Any] | StoreUnavailable) -> None:
            if isinstance(reply, StoreUnavailable):
                landed(reply)
            else:
                self._renew(batches[1:], landed)

        arguments = words.renewals(batches[0], self._clock)
        self._ask(scripts.RENEW, arguments, Question(None, writes=True, landed=done))


def _count(then: Callable[[int | StoreUnavailable], None]) -> Callable[[list[Any] | StoreUnavailable], None]:
    """Who asks wants the one number behind the state."""
    return lambda reply: then(reply if isinstance(reply, StoreUnavailable) else reply[STATE])
