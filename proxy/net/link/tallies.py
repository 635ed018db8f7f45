"""What a link adds to the node's figures (metrics.py), beside what the log says of it: functions of a link.

Sessions, octets, messages and seconds are counted at the end of a session, in a few increments, and nothing on the way:
a session that stays for hours is seen late, and costs as much as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ... import metrics
from ...gate.verdict import Outcome

if TYPE_CHECKING:
    from ...session.events import Refused
    from .link import Link

_OUTCOMES: Final = {
    Outcome.REFUSE: metrics.RELAYS["refused"],
    Outcome.DEFER: metrics.RELAYS["deferred"],
    Outcome.SPENT: metrics.RELAYS["spent"],
}
_IN, _OUT = metrics.OCTETS["in"], metrics.OCTETS["out"]
_OTHER: Final = metrics.REFUSALS["other"]


def began(link: Link) -> None:
    figures = link.figures
    figures[metrics.SESSIONS] += 1
    figures[metrics.SESSIONS_NOW] += 1


def ended(link: Link, received: int, sent: int, seconds: float) -> None:
    """The link is closed; octets from and to the client."""
    figures = link.figures
    figures[metrics.SESSIONS_NOW] -= 1
    figures[_IN] += received
    figures[_OUT] += sent
    figures[metrics.MESSAGES] += link.session.messages
    metrics.SESSION_SECONDS.note(figures, seconds)


def tls_established(link: Link) -> None:
    cell = metrics.TLS_SESSIONS.get(link.tls.partition(":")[0])
    if cell is not None:
        link.figures[cell] += 1


def judged(link: Link, outcome: Outcome, *, shadowed: bool) -> None:
    """The gate has answered; what is allowed counts when the message has its final reply (`relayed`)."""
    if shadowed:
        link.figures[metrics.RELAYS["shadowed"]] += 1
    elif outcome is not Outcome.ALLOW:
        link.figures[_OUTCOMES[outcome]] += 1


def refused(link: Link, event: Refused) -> None:
    link.figures[metrics.REFUSALS.get(reason(event.why), _OTHER)] += 1
    link.shared.refusals.note(link.service.name, link.shown, event.sender, event.recipient, event.why)


def reason(why: str) -> str:
    """A refusal's reason without what is this client's own: "store down", not the error behind it."""
    if why.endswith(" recipients at once"):
        return "budget spent"
    return why.partition(":")[0].partition(",")[0]
