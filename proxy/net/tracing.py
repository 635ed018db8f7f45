"""Whose sessions are traced in this worker, and the lines of their transcripts that wait for the supervisor.

A link gets its session from `new_session`: with a transcript (session/transcript.py) where the client's address is on
the list at that moment.  The lines wait in a queue with a bound: beyond it they are lost and counted, so
that a trace that nobody reads costs a bound of memory and no mail.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ..session.pop3.session import PopSession
from ..session.smtp.session import SmtpSession, SmtpSettings
from ..session.transcript import POP3_VERBS, SMTP_VERBS, Transcript
from ..wire.address import literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..session.contract import Session
    from ..session.observer import Observer
    from .service import Service

MAX_WAITING: Final = 1000
"""Lines that wait for the supervisor."""
BATCH: Final = 16_384
"""Characters of lines handed over at once, and one line: the socket to the supervisor takes that without a wait."""


class Traces:
    """See the module."""

    __slots__ = ("_clock", "_lines", "_lost", "clients")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clients: frozenset[bytes] = frozenset()
        """Addresses."""
        self._clock = clock
        self._lines: list[list[Any]] = []
        self._lost = 0

    def note(self, shown: str, id_: str, protocol: str, who: str, text: str) -> None:
        """A line of the session `id_` of the client whose address is `shown`."""
        if len(self._lines) < MAX_WAITING:
            self._lines.append([round(self._clock(), 3), shown, id_, protocol, who, text])
        else:
            self._lost += 1

    def take(self) -> dict[str, Any] | None:
        """The next batch, as a message for the supervisor; None where nothing waits."""
        if not self._lines:
            return None
        size = count = 0
        while count < len(self._lines) and size < BATCH:
            size += len(self._lines[count][-1])
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        lost, self._lost = self._lost, 0
        return {"trace": lines, "lost": lost}


def new_session(service: Service, traces: Traces, address: bytes, shown: str, id_: str) -> Session:
    """The session of a link with this client."""
    settings, tls = service.settings, service.implicit_tls
    observer = _transcript(service, traces, shown, id_) if address in traces.clients else None
    if isinstance(settings, SmtpSettings):
        preauthorised = service.policy.standing(address)
        return SmtpSession(settings, shown, literal(shown), tls=tls, preauthorised=preauthorised, observer=observer)
    return PopSession(settings, tls=tls, observer=observer)


def _transcript(service: Service, traces: Traces, shown: str, id_: str) -> Observer:
    protocol = service.protocol
    traces.note(shown, id_, protocol, "--", f"{shown} at listener {service.name}")
    verbs = SMTP_VERBS if protocol == "smtp" else POP3_VERBS
    return Transcript(lambda who, text: traces.note(shown, id_, protocol, who, text), verbs)
