"""How long a link may wait: the limits of [limits], one at a time (net/timers.py).

The present wait is the session's (`wait`, `step`): it began when one of them last changed, so a peer's octets alone do
not prolong it.  A wait that begins is recorded once a tick; the tick asks `limit` what is still waited for then.

Not here: what a limit does when it is over (net/link/link.py), and the end of a verdict, which is exact
(net/link/requests.py).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from ...session.contract import Wait

if TYPE_CHECKING:
    from ...session.contract import Session
    from ..service import Service, Shared
    from ..timers import Deadlines, Queue

ROUNDING: Final = 1.0
"""Seconds to which the rest of a session is rounded, so that its deadlines share a few queues."""


class Limit(Enum):
    """Which limit is over."""

    HANDSHAKE = "handshake"
    """Of the TLS handshake before a session."""
    WAIT = "wait"
    """Of what the session waits for now."""
    SESSION = "session"
    """Of the whole session."""
    CLOSING = "closing"
    """Of the end: the client neither takes the last words nor closes."""


class TimeoutEvents(Protocol):
    """The link, as far as its limits are concerned."""

    def timed_out(self, limit: Limit) -> None:
        """The present wait is over."""


class Timeouts:
    """Of one link; a `Waiting` (net/timers.py)."""

    __slots__ = (
        "_closing", "_events", "_service", "_session", "_step", "_wait", "began", "deadlines", "queue", "recorded",
    )  # fmt: skip

    def __init__(self, shared: Shared, service: Service, session: Session, events: TimeoutEvents) -> None:
        self.queue: Queue | None = None
        """Of the present deadline; only `Deadlines` changes it."""
        self.deadlines: Deadlines = shared.deadlines
        """The worker's."""
        self.began = shared.deadlines.clock()
        """When the client came, on the clock."""
        self.recorded = 0.0
        """The tick after which a wait was last recorded."""
        self._service, self._session = service, session
        self._events: TimeoutEvents | None = events
        """None once it is stopped: nothing is called after that."""
        self._step = -1
        """The session's step and wait when its limit was armed."""
        self._wait: Wait | None = None
        self._closing = False
        """The session is over; the last words have a limit of their own."""

    @property
    def lasted(self) -> float:
        """Seconds since the client came."""
        return self.deadlines.clock() - self.began

    def record(self) -> None:
        """The session may wait for something else now; for a call in which `recorded` is not the present tick."""
        self.recorded = self.deadlines.now
        self.deadlines.wait_began(self)

    def handshake(self) -> None:
        """A TLS handshake begins: it has a limit of its own."""
        self.deadlines.arm(self, self._service.handshake_timeout)

    def handshake_in_session(self) -> None:
        """As `handshake`, after STARTTLS: the session's present wait is this one."""
        self.handshake()
        self._step, self._wait = self._session.step, self._session.wait

    def handshake_over(self) -> None:
        """That limit does not hold any more."""
        self.deadlines.disarm(self)

    def close_within(self, seconds: float) -> None:
        """The session is over: its connection may stay so long."""
        self._closing = True
        self.deadlines.arm(self, seconds)

    def stop(self) -> None:
        """The link is closed."""
        self._events = None
        self.deadlines.disarm(self)

    def limit(self) -> float | None:
        """Seconds for the present wait; None: what is armed stays as it is."""
        session = self._session
        wait = session.wait
        if self._closing or self._events is None or (wait is self._wait and session.step == self._step):
            return None
        self._step, self._wait = session.step, wait
        if wait is Wait.MAILBOX:  # it may stay open: G4 renews its lease for hours
            return self._service.waits[wait]
        left = self._left(self.deadlines.now)
        if left < ROUNDING and self.queue is not None:
            return None  # what was armed last is the session's end: no octet moves it any more
        return min(self._service.waits[wait], max(ROUNDING, round(left)))

    def expired(self) -> None:
        """The armed limit is over."""
        if self._closing:
            limit = Limit.CLOSING
        elif self._wait is None:
            limit = Limit.HANDSHAKE
        elif self._left(self.deadlines.clock()) < ROUNDING / 2:  # `limit` has rounded it
            limit = Limit.SESSION
        else:
            limit = Limit.WAIT
        if self._events is not None:
            self._events.timed_out(limit)

    def _left(self, now: float) -> float:
        """Seconds of the session's own limit."""
        return self.began + self._service.session_timeout - now
