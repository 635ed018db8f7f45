"""What a session asks for, beside its two connections, and what becomes of what it tells.

A question goes to the policy; its answer comes at once or later from the loop, by a call of the session (`link.call`),
unless the link has ended meanwhile.  A fact becomes a line in the log (its words: net/account.py).  Functions of a
link, which holds all state; the events that concern its connections are treated in net/link.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StoreUnavailable
from ..policy import FOREVER
from ..session.events import LoggedIn, LoginFailed, Refused, RelayAsked, Relayed
from ..session.pop3 import PopSession
from . import account

if TYPE_CHECKING:
    from ..session.events import Event, Verdict
    from .link import Link


def answer(link: Link, event: Event) -> None:
    """Treat an event that does not concern the connections."""
    match event:
        case RelayAsked():
            link.service.policy.judge(link.address, lambda verdict, seconds: _judged(link, verdict, seconds))
        case LoggedIn():
            _observe(link, event.login)
            _logged_in(link, event.login)
        case Refused():
            link.say("info", "refused", *account.refused(event))
        case Relayed():
            link.say("info", "relayed", *account.relayed(event))
            if event.reply.startswith("2"):
                _observe(link, event.login, lease=event.why.startswith("lease of "))
        case LoginFailed():
            link.say("info", "login-failed", ("login", event.login))


def _observe(link: Link, login: str, *, lease: bool = False) -> None:
    """What this client needs, for the day when it is to be done without (`popgate report`)."""
    version = link.tls.partition(":")[0]
    link.shared.notes.note(link.address, login, link.service.protocol, tls=version, lease=lease)


def _judged(link: Link, verdict: Verdict, seconds: float) -> None:
    if link.final is None:
        link.verdict_ends = link.shared.clock() + seconds if seconds < FOREVER else None
        link.call(link.smtp().relay_answered, verdict)


def _logged_in(link: Link, login: str) -> None:
    policy = link.service.policy
    if why := policy.unleasable(link.address):
        level = "warning" if link.shared.log.is_hourly((link.address, why)) else "debug"
        link.say(level, "no-lease", ("login", login), ("why", why))
        _lease_settled(link, login, why)
        return
    policy.grant(link.address, login, lambda error: _lease_settled(link, login, error))


def _lease_settled(link: Link, login: str, problem: str | StoreUnavailable | None) -> None:
    if problem is None:
        link.say("info", "leased", ("login", login), ("seconds", round(link.service.policy.window)))
    elif isinstance(problem, StoreUnavailable):
        link.say("warning", "not-leased", ("login", login), ("why", str(problem)))
    if link.final is None:
        if not isinstance(problem, str):  # a lease that is late is kept alive too, once it is there
            link.shared.leased(link, login)
        session = link.session
        assert isinstance(session, PopSession)
        link.call(session.lease_settled)
