"""What a session asks for, apart from its two connections, and what becomes of what it tells.

A question goes to the policy, and its answer comes at once or later from the loop: by `reply` of the asker, which is
the link.  A fact goes to the journal (net/link/journal.py).

Promises: a verdict ends at the very second its lease ends, because the clock is compared each time before octets are
used (`check_verdict`; docs/architecture.md, promise 4).  After `stop` nothing is asked any more, and what is still
answered reaches no session.

Not here: who may relay and who gets a lease (gate/policy.py), what an answer does (the session), and the events that
concern the connections (net/link/link.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ...errors import StoreUnavailable
from ...gate.policy import FOREVER
from ...gate.verdict import Password, RelayAsked
from ...leases.base import login_octets
from ...session.events import LoggedIn, LoginFailed, ParametersDropped, PasswordGiven, Refused, Relayed
from ...session.upstream.pop3_login import PopLogin
from ..service import Connection
from .password_check import PasswordCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...gate.verdict import Verdict
    from ...session.contract import Answer, Session
    from ...session.events import Event, Question
    from ..service import Service, Shared
    from ..timers import Queue
    from .closing import Closing
    from .journal import Journal
    from .upstream_side import UpstreamSide

SLOWEST: Final = 20.0
"""Seconds that the answer to a failed login waits at most: a second for each failure over the limit (rule G13)."""


class Asker(Connection, Protocol):
    """The link, as far as its session's questions are concerned."""

    tls: str
    """Version and cipher of the client's TLS."""

    def reply(self, question: Question, result: Answer) -> None:
        """Answer the session, unless it has ended."""

    def take_password(self) -> tuple[bytes, bytes]:
        """Login and password of `PasswordGiven`, once: the session forgets them."""

    def end_for_client_left(self) -> None:
        """End the session: its client has left, and nothing more is to be done for it."""


class Requests:
    """Of one link."""

    __slots__ = ("_closing", "_journal", "_service", "_shared", "_upstream", "call_off", "open_login", "verdict_ends")

    def __init__(
        self, shared: Shared, service: Service, upstream: UpstreamSide, closing: Closing, journal: Journal
    ) -> None:
        self._shared, self._service = shared, service
        self._upstream, self._closing, self._journal = upstream, closing, journal
        self.call_off: Callable[[], None] | None = None
        """Stops the search for an answer that the session waits for, where it takes time."""
        self.verdict_ends: float | None = None
        """On the clock, where the session has a verdict that ends."""
        self.open_login: bytes | None = None
        """Whose mailbox is open in this session, once it is."""

    def take(self, event: Event, asker: Asker) -> None:
        """Treat an event that does not concern the connections."""
        match event:
            case RelayAsked():
                judged = partial(self._judged, event, asker)
                self.call_off = self._service.policy.judge(asker.address, event, judged)
            case LoggedIn():
                self._logged_in(event, asker)
            case PasswordGiven():
                self._password_given(event, asker)
            case LoginFailed():
                self._login_failed(event, asker)
            case Refused():
                self._journal.refused(event)
            case ParametersDropped():
                self._journal.parameters_dropped(event)
            case Relayed():
                self._journal.relayed(event, asker.tls.partition(":")[0])
                if event.accepted:
                    self._service.policy.charge(event.verdict, event.foreign)

    def check_verdict(self, session: Session) -> None:
        """Take the verdict from the session if it has ended.

        Called before any octet is used, of the upstream too: a reply may release lines that waited for it.
        """
        if self.verdict_ends is not None and self._shared.clock() >= self.verdict_ends:
            self.verdict_ends = None
            session.verdict_lapsed()

    def stop(self) -> None:
        """The session is over: no answer is needed any more."""
        if self.call_off is not None:
            self.call_off()
            self.call_off = None

    def close(self) -> None:
        """The link is closed, and with it the mailbox."""
        if self.open_login is not None:
            self._shared.counters.logins.remove(self._shared.worker, self.open_login)

    # May it relay?

    def _judged(self, event: RelayAsked, asker: Asker, verdict: Verdict, seconds: float) -> None:
        self.call_off = None
        self._journal.judged(event, verdict)
        if self._closing.final is None:
            self.verdict_ends = self._shared.clock() + seconds if seconds < FOREVER else None
            asker.reply(event, verdict)

    # A POP login

    def _logged_in(self, event: LoggedIn, asker: Asker) -> None:
        shared, policy, login, address = self._shared, self._service.policy, event.login, asker.address
        self._journal.logged_in(login, asker.tls.partition(":")[0])
        self.open_login = login_octets(login)
        shared.counters.logins.add(shared.worker, self.open_login)
        if why := policy.no_lease_reason(address, login, shared.failures.of(policy.lease_key(address))):
            self._no_lease(event, asker, why)
        else:
            policy.grant(address, login, partial(self._granted, event, asker))

    def _granted(self, event: LoggedIn, asker: Asker, logins: int | StoreUnavailable) -> None:
        policy, login = self._service.policy, event.login
        if isinstance(logins, StoreUnavailable):
            self._journal.not_leased(login, logins)  # G7: a store that is down denies nobody the mailbox
        elif policy.is_crowded(logins):
            self._no_lease(event, asker, "max_logins_per_address")
            return
        else:
            self._journal.leased(login, policy.window, logins)
        if self._closing.final is None:
            if not self._closing.client_left:  # one that is late is kept alive too, once it is there
                self._shared.leased(asker, policy.key(asker.address, login))
            asker.reply(event, None)

    def _no_lease(self, event: LoggedIn, asker: Asker, why: str) -> None:
        of_login = not self._service.policy.unattributable_reason(asker.address)
        self._journal.no_lease(event.login, why, of_login=of_login)
        asker.reply(event, None)

    # A login that failed

    def _login_failed(self, event: LoginFailed, asker: Asker) -> None:
        shared, limit, policy = self._shared, self._service.failed_logins_per_address, self._service.policy
        count = shared.failures.note(shared.worker, policy.lease_key(asker.address))
        self._journal.login_failed(event.login)
        over = count - limit
        if not limit or over <= 0 or policy.preauthorised(asker.address):  # a webmail host fails for many users
            asker.reply(event, False)
            return
        self._journal.slowed(count)
        if self._closing.client_left:
            asker.end_for_client_left()
        else:  # G13: the reply comes late, and ends the session
            shared.deadlines.arm(_LateReply(asker, event), min(float(over), SLOWEST))

    # A password that popgate checks itself

    def _password_given(self, event: PasswordGiven, asker: Asker) -> None:
        shared, upstream = self._shared, self._service.password_upstream
        assert upstream is not None
        octets = login_octets(event.login)
        check = PasswordCheck(
            shared,
            upstream,
            PopLogin(*asker.take_password(), lambda: shared.counters.logins.of(octets) > 0),
            partial(self._password_checked, event, asker),
            self._upstream.server_failed,
            self._upstream.announcement(asker.tls) if upstream.announcing.announces else None,
        )
        self.call_off = check.stop
        check.begin()

    def _password_checked(self, event: PasswordGiven, asker: Asker, result: Password) -> None:
        self.call_off = None
        if self._closing.final is None:
            if result is Password.RIGHT:
                self._journal.authenticated(event.login)
            asker.reply(event, result)


class _LateReply:
    """The reply to a failed login that comes late; a `Timed` (net/timers.py)."""

    __slots__ = ("_asker", "_event", "queue")

    def __init__(self, asker: Asker, event: LoginFailed) -> None:
        self.queue: Queue | None = None
        """Of its deadline."""
        self._asker, self._event = asker, event

    def expired(self) -> None:
        self._asker.reply(self._event, True)
