"""What a session asks for, beside its two connections, and what becomes of what it tells.

A question goes to the policy; its answer comes at once or later from the loop, by a call of the session (`link.call`),
unless the link has ended meanwhile.  A fact becomes a line in the log (its words: net/link/journal.py).  Functions of a
link, which holds all state; the events that concern its connections are treated in net/link/link.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import StoreUnavailable
from ...gate.policy import CROWD, FOREVER
from ...gate.verdict import Password, RelayAsked
from ...leases.base import login_octets
from ...metrics import LEASES_GRANTED, LOGINS, RELAYS, UNLEASED
from ...session.events import LoggedIn, LoginFailed, PasswordGiven, Refused, Relayed
from ...session.upstream.pop3_login import PopLogin
from . import journal as account
from . import tallies
from . import upstream_side as announcing
from .password_check import PasswordCheck

if TYPE_CHECKING:
    from ...gate.verdict import Verdict
    from ...session.events import Event
    from ..timers import Queue
    from .link import Link

SLOWEST: Final = 20.0
"""Seconds that the answer to a failed login waits at most: a second for each failure over the limit (rule G13)."""


def answer(link: Link, event: Event) -> None:
    """Treat an event that does not concern the connections."""
    match event:
        case RelayAsked():
            policy = link.service.policy
            link.call_off = policy.judge(link.address, event, lambda verdict, left: _judged(link, event, verdict, left))
        case LoggedIn():
            _observe(link, event.login)
            _logged_in(link, event)
        case PasswordGiven():
            _password_given(link, event)
        case LoginFailed():
            _login_failed(link, event)
        case Refused():
            tallies.refused(link, event)
            link.say("info", "refused", *account.refused(event))
        case Relayed():
            link.figures[RELAYS["allowed"]] += 1
            link.say("info", "relayed", *account.relayed(event))
            if event.accepted:
                verdict = event.verdict
                _observe(link, verdict.login, lease=verdict.lease is not None)
                link.service.policy.charge(verdict, event.foreign)


def _observe(link: Link, login: str, *, lease: bool = False) -> None:
    """What this client needs, for the day when it is to be done without (`popgate report`)."""
    version = link.tls.partition(":")[0]
    link.shared.notes.note(link.address, login, link.service.protocol, tls=version, lease=lease)


# May it relay?


def _judged(link: Link, event: RelayAsked, verdict: Verdict, seconds: float) -> None:
    link.call_off = None
    tallies.judged(link, verdict.outcome, shadowed=verdict.shadowed)
    if verdict.shadowed:
        what = account.sender(event.sender), ("recipient", event.recipient)
        link.say("info", "would-refuse", *what, ("why", verdict.why))
        link.shared.notes.would_refuse(link.address, event.login, link.service.protocol)
    if link.final is None:
        link.verdict_ends = link.shared.clock() + seconds if seconds < FOREVER else None
        link.call(link.session.answer, event, verdict)


# A POP login


def _logged_in(link: Link, event: LoggedIn) -> None:
    login = event.login
    shared, policy = link.shared, link.service.policy
    link.figures[LOGINS["accepted"]] += 1
    link.open_login = login_octets(login)
    shared.counters.logins.add(shared.worker, link.open_login)
    if why := policy.unleasable(link.address, login, shared.failures.of(policy.place(link.address))):
        _no_lease(link, event, why)
    else:
        policy.grant(link.address, login, lambda logins: _granted(link, event, logins))


def _granted(link: Link, event: LoggedIn, logins: int | StoreUnavailable) -> None:
    policy, login = link.service.policy, event.login
    if isinstance(logins, StoreUnavailable):
        link.figures[UNLEASED] += 1
        link.say("warning", "not-leased", ("login", login), ("why", str(logins)))
    elif policy.is_crowded(logins):
        _no_lease(link, event, "max_logins_per_address")
        return
    else:
        link.figures[LEASES_GRANTED] += 1
        link.say("info", "leased", ("login", login), ("seconds", round(policy.window)))
        if logins >= CROWD and link.shared.log.first_this_hour((link.address, "crowd")):
            link.say("warning", "crowded", ("logins", logins))
    if link.final is None:
        if not link.left:  # one that is late is kept alive too, once it is there
            link.shared.leased(link, policy.key(link.address, login))
        _go_on(link, event)


def _no_lease(link: Link, event: LoggedIn, why: str) -> None:
    login = event.login
    link.figures[UNLEASED] += 1
    level = "warning" if link.shared.log.first_this_hour((link.address, why)) else "debug"
    link.say(level, "no-lease", ("login", login), ("why", why))
    if not link.service.policy.nobodys(link.address):  # it is this login's, not the address's: worth a note
        link.shared.notes.unleased(link.address, login, link.service.protocol, why)
    _go_on(link, event)


def _go_on(link: Link, event: LoggedIn) -> None:
    """The client may see its +OK."""
    if link.final is None:
        link.call(link.session.answer, event, None)


# A login that failed


def _login_failed(link: Link, event: LoginFailed) -> None:
    login = event.login
    shared, limit = link.shared, link.service.failed_logins_per_address
    count = shared.failures.note(shared.worker, link.service.policy.place(link.address))
    link.figures[LOGINS["failed"]] += 1
    link.say("info", "login-failed", ("login", login))
    over = count - limit
    if not limit or over <= 0 or link.service.policy.standing(link.address):  # a webmail host fails for many users
        link.call(link.session.answer, event, False)
        return
    if shared.log.first_this_hour((link.address, "failures")):
        link.say("warning", "slowed", ("failures", count), ("why", "limits.failed_logins_per_address"))
    if link.left:  # nobody waits for it
        link.call(link.session.client_eof)
    else:
        shared.deadlines.arm(_Slowness(link, event), min(float(over), SLOWEST))


class _Slowness:
    """The reply to a failed login, held back; the session ends with it."""

    __slots__ = ("_event", "_link", "queue")

    def __init__(self, link: Link, event: LoginFailed) -> None:
        self.queue: Queue | None = None
        self._link, self._event = link, event

    def expired(self) -> None:
        if self._link.final is None:
            self._link.call(self._link.session.answer, self._event, True)


# A password that popgate checks itself


def _password_given(link: Link, event: PasswordGiven) -> None:
    shared, upstream = link.shared, link.service.password_upstream
    assert upstream is not None
    octets = login_octets(event.login)
    attempt = PopLogin(*link.session.take_password(), lambda: shared.counters.logins.of(octets) > 0)
    check = PasswordCheck(
        shared,
        upstream,
        attempt,
        lambda result: _password_checked(link, event, result),
        link.upstream_failed,
        announcing.announcement(link) if upstream.announcing.announces else None,
    )
    link.call_off = check.stop
    check.begin()


def _password_checked(link: Link, event: PasswordGiven, result: Password) -> None:
    link.call_off = None
    if link.final is None:
        if result is Password.RIGHT:
            link.figures[LOGINS["accepted"]] += 1
            link.say("info", "authenticated", ("login", event.login))
        link.call(link.session.answer, event, result)
