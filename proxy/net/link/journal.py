"""What a link writes: its lines in the log (rule N11), the node's metrics, and what `popgate report` will want to know.

One method for each thing that happens; nothing else in a link writes any of the three.  Sessions, octets, messages and
seconds are counted at the end of a session, in a few increments, and nothing on the way: a session that stays for hours
is seen late, and costs as much as any other.

Not here: the grammar of a line (log.py), the metrics' names (metrics.py), which facts there are (session/events.py).
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final, NamedTuple

from ... import metrics
from ...gate.policy import CROWD
from ...gate.verdict import Outcome, Reason
from ...log import Whole

if TYPE_CHECKING:
    import ssl

    from ...errors import StoreUnavailable
    from ...gate.verdict import RelayAsked, Verdict
    from ...session.events import ParametersDropped, Refused, Relayed
    from ..service import Service, Shared

Word = tuple[str, str | float | None]
"""A word of a line: its key and value."""

_OUTCOMES: Final = {
    Outcome.REFUSE: metrics.RELAYS["refused"],
    Outcome.DEFER: metrics.RELAYS["deferred"],
    Outcome.OVER_QUOTA: metrics.RELAYS["spent"],
}
_IN, _OUT = metrics.OCTETS["in"], metrics.OCTETS["out"]
_OTHER: Final = metrics.REFUSALS["other"]
_REASONS: Final = {
    reason: metrics.REFUSALS[reason.value]
    for reason in (Reason.NO_LEASE, Reason.SENDER, Reason.SPENT, Reason.STORE_DOWN)
}
"""Of a refusal; all else is counted as "other"."""


class Totals(NamedTuple):
    """Of a session that has ended."""

    received: int
    """Octets from the client."""
    sent: int
    """Octets to it."""
    messages: int
    """That the upstream has taken."""
    seconds: float
    """Since the client came."""


class Journal:
    """Of one link."""

    __slots__ = ("_address", "_id", "_service", "_shared", "_shown")

    def __init__(self, shared: Shared, service: Service, address: bytes, shown: str, id_: str) -> None:
        self._shared, self._service = shared, service
        self._address, self._shown = address, shown
        """The client's, as octets and as text."""
        self._id = id_
        """The link's name in the log."""

    @property
    def _figures(self) -> metrics.Figures:
        """The listener's metrics."""
        return self._shared.figures[self._service.name]

    def _line(self, level: str, event: str, *words: Word) -> None:
        """A line in the log, with the client and the link."""
        self._shared.log.line(level, self._service.protocol, event, ("client", self._shown), ("id", self._id), *words)

    # The connections

    def began(self) -> None:
        figures = self._figures
        figures[metrics.SESSIONS] += 1
        figures[metrics.SESSIONS_NOW] += 1

    def ended(self, why: str, facts: list[Word], totals: Totals, *, silent: bool) -> None:
        """The link is closed.  `facts`: the words of its line; `silent`: it was a mere check."""
        figures = self._figures
        figures[metrics.SESSIONS_NOW] -= 1
        figures[_IN] += totals.received
        figures[_OUT] += totals.sent
        figures[metrics.MESSAGES] += totals.messages
        metrics.SESSION_SECONDS.note(figures, totals.seconds)
        self._line("debug" if silent else "info", "end", *facts, ("why", why))
        traces = self._shared.traces
        if self._address in traces.clients:
            traces.note(self._shown, self._id, self._service.protocol, "--", f"end: {why}")

    def tls_established(self, version: str) -> None:
        cell = metrics.TLS_SESSIONS.get(version)
        if cell is not None:
            self._figures[cell] += 1

    def tls_failed(self) -> None:
        self._figures[metrics.TLS_FAILURES] += 1

    def connected(self, seconds: float) -> None:
        """An upstream connection was found; `seconds`: from the first attempt at that server until its greeting."""
        metrics.CONNECT_SECONDS.note(self._figures, seconds)

    def server_failed(self, server: str, why: str) -> None:
        """A server of an upstream does not serve."""
        self._line("warning", "upstream-failed", ("upstream", server), ("why", why))

    def bug(self, error: Exception) -> None:
        self._line("error", "bug", *bug(error))

    # The gate

    def judged(self, event: RelayAsked, verdict: Verdict) -> None:
        """The gate has answered.  What it allows counts when the message has its final reply (`relayed`)."""
        if verdict.shadowed:  # G12: it would have been a refusal
            self._figures[metrics.RELAYS["shadowed"]] += 1
            message = sender(event.sender), ("recipient", event.recipient)
            self._line("info", "would-refuse", *message, ("why", verdict.why))
            self._shared.notes.would_refuse(self._address, event.login, self._service.protocol)
        elif verdict.outcome is not Outcome.ALLOW:
            self._figures[_OUTCOMES[verdict.outcome]] += 1

    def refused(self, event: Refused) -> None:
        """A recipient was answered here."""
        self._figures[_REASONS.get(event.reason, _OTHER)] += 1
        self._shared.refusals.note(self._service.name, self._shown, event.sender, event.recipient, event.why)
        self._line(
            "info", "refused",
            sender(event.sender), ("recipient", event.recipient), ("reply", event.reply), ("why", event.why),
        )  # fmt: skip

    def parameters_dropped(self, event: ParametersDropped) -> None:
        """S2: malformed parameters were left out of a command."""
        self._line("info", "parameters-dropped", ("command", event.command), ("names", ",".join(event.names)))

    def relayed(self, event: Relayed, tls: str) -> None:
        """A message with foreign recipients has its final reply (N11: the audit trail); `tls`: the client's version."""
        verdict = event.verdict
        self._figures[metrics.RELAYS["allowed"]] += 1
        self._line(
            "info", "relayed", ("login", verdict.login), ("why", verdict.why), sender(event.sender),
            ("recipients", Whole(",".join(event.recipients))), ("octets", event.octets), ("reply", event.reply),
        )  # fmt: skip
        if event.accepted:
            self._used(verdict.login, tls, lease=verdict.lease is not None)

    # Logins

    def logged_in(self, login: str, tls: str) -> None:
        self._figures[metrics.LOGINS["accepted"]] += 1
        self._used(login, tls)

    def authenticated(self, login: str) -> None:
        """By a password that popgate checked (G15)."""
        self._figures[metrics.LOGINS["accepted"]] += 1
        self._line("info", "authenticated", ("login", login))

    def login_failed(self, login: str) -> None:
        self._figures[metrics.LOGINS["failed"]] += 1
        self._line("info", "login-failed", ("login", login))

    def slowed(self, failures: int) -> None:
        """Its next replies to failed logins come late (G13)."""
        if self._shared.log.first_this_hour((self._address, "failures")):
            self._line("warning", "slowed", ("failures", failures), ("why", "limits.failed_logins_per_address"))

    def leased(self, login: str, seconds: float, logins: int) -> None:
        """It has a lease; `logins`: how many have one at its address."""
        self._figures[metrics.LEASES_GRANTED] += 1
        self._line("info", "leased", ("login", login), ("seconds", round(seconds)))
        if logins >= CROWD and self._shared.log.first_this_hour((self._address, "crowd")):
            self._line("warning", "crowded", ("logins", logins))

    def not_leased(self, login: str, error: StoreUnavailable) -> None:
        """The store did not take its lease."""
        self._figures[metrics.UNLEASED] += 1
        self._line("warning", "not-leased", ("login", login), ("why", str(error)))

    def no_lease(self, login: str, why: str, *, of_login: bool) -> None:
        """It gets none; `of_login`: because of this login, not of its address."""
        self._figures[metrics.UNLEASED] += 1
        level = "warning" if self._shared.log.first_this_hour((self._address, why)) else "debug"
        self._line(level, "no-lease", ("login", login), ("why", why))
        if of_login:
            self._shared.notes.unleased(self._address, login, self._service.protocol, why)

    def _used(self, login: str, tls: str, *, lease: bool = False) -> None:
        """What this client needs, for the day when it is to be done without (`popgate report`)."""
        self._shared.notes.note(self._address, login, self._service.protocol, tls=tls, lease=lease)


def sender(address: str) -> Word:
    """The sender of a message; a bounce has none, and an empty value would not be seen."""
    return "sender", address or "<>"


def bug(error: Exception) -> list[Word]:
    """Where an exception came from: its class and the functions, never its text, which may hold what a peer sent."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return [("error", type(error).__name__), ("at", " < ".join([f"{frame.name}:{frame.lineno}" for frame in frames]))]


def tls_words(side: ssl.SSLObject) -> str:
    """Version and cipher of a connection: "TLSv1.3:TLS_AES_256_GCM_SHA384"."""
    cipher = side.cipher()
    return f"{side.version()}:{cipher[0]}" if cipher is not None else ""
