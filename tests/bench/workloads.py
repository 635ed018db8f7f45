"""What is measured: each workload is a dialogue that one session plays (dialogue.h), and what is counted of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

_EHLO = ("<1", ">EHLO client.example", "<1")
_LOGIN = ("<1", ">USER user@example.org", "<1", ">PASS secret", "<1")
_QUIT = (">QUIT", "<1")
_TO_US, _TO_OTHERS = ">RCPT TO:<user@example.org>", ">RCPT TO:<user@example.net>"


def _mail(recipient: str, message: str) -> tuple[str, ...]:
    return (*_EHLO, ">MAIL FROM:<sender@example.com>", "<1", recipient, "<1", ">DATA", "<1", message, "<1", *_QUIT)


_PIPE = "|".join([">MAIL FROM:<sender@example.com>", *[f"RCPT TO:<user{n}@example.org>" for n in range(100)], "DATA"])
_STAT = (*_LOGIN, ">STAT", "<1", *_QUIT)
_SHORT = _mail(_TO_US, "*4096")
_KIB = 1024
_MIB = 1024 * _KIB
LOG_IN = (*_LOGIN, *_QUIT)
"""What makes a lease."""
LOCAL = "example.org"
"""The domain whose recipients need no lease."""


class Counted(Enum):
    """What the cost of a workload is; less is better."""

    SESSIONS = "µs CPU a session"
    OCTETS = "s CPU a GB"
    TRIPS = "µs a command"  # the median time, not CPU
    MEMORY = "KiB a session"


@dataclass(frozen=True)
class Workload:
    name: str
    what: str
    listener: str
    steps: tuple[str, ...]
    counted: Counted = Counted.SESSIONS
    parallel: int = 64
    resumed: bool = False
    """By TLS tickets."""
    leased: bool = False
    """All clients have logged in by POP3 before."""
    store: str = "sqlite:leases.db"
    workers: int = 1
    """Of popgate, like `store`; however many, they share the proxy's one core."""
    alone: bool = False
    """popgate beside itself, and no other proxy."""

    @property
    def tls(self) -> bool:
        return self.listener.endswith("s")

    def smaller(self) -> Workload:
        """The same with messages of some KiB instead of MiB, for a run that only shows that it runs."""
        steps = tuple(
            step.replace(str(20 * _MIB), str(64 * _KIB)).replace("RETR 20480", "RETR 64") for step in self.steps
        )
        steps = tuple("@65000" if step.startswith("@") else step for step in steps)
        return replace(self, steps=steps)


# nginx mail has no upstream connection before RCPT and answers NOOP itself until then.
_NOOPS = (*_EHLO, ">MAIL FROM:<sender@example.com>", "<1", _TO_US, "<1", ">NOOP", "<1", "~2", *_QUIT)
_RETR = (*_LOGIN, ">RETR 20480", "@20900000", *_QUIT)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("smtp", "SMTP sessions, a 4 KiB message each", "smtp", _SHORT),
        Workload(
            "smtp-leased",
            "SMTP sessions to outside, lease in SQLite",
            "smtp",
            _mail(_TO_OTHERS, "*4096"),
            leased=True,
        ),
        Workload("pop3", "POP3 sessions, leases in memory", "pop3", _STAT, store="memory:"),
        Workload("pop3-leases", "POP3 sessions, leases in SQLite, 2 workers", "pop3", _STAT, workers=2),
        Workload(
            "pipe",
            "MAIL, 100 RCPT and DATA in one write",
            "smtp",
            (*_EHLO, _PIPE, "<102", "*4096", "<1", *_QUIT),
        ),
        Workload("data", "messages of 20 MiB sent", "smtp", _mail(_TO_US, f"*{20 * _MIB}"), Counted.OCTETS, 16),
        Workload(
            "data-text",
            "messages of 20 MiB sent, text with dots",
            "smtp",
            _mail(_TO_US, f".{20 * _MIB}"),
            Counted.OCTETS,
            16,
        ),
        Workload("retr", "messages of 20 MiB fetched", "pop3", _RETR, Counted.OCTETS, 16),
        Workload("smtps", "SMTPS sessions, full handshakes", "smtps", _SHORT),
        Workload("pop3s", "POP3S sessions, full handshakes", "pop3s", _STAT, store="memory:"),
        Workload("tls-resumed", "POP3S sessions, resumed", "pop3s", _STAT, store="memory:", resumed=True),
        Workload(
            "tls-bulk",
            "messages of 20 MiB sent by SMTPS",
            "smtps",
            _mail(_TO_US, f"*{20 * _MIB}"),
            Counted.OCTETS,
            16,
        ),
        Workload("idle", "memory of an idle POP3 session", "pop3", (*_LOGIN, "!"), Counted.MEMORY),
        Workload("idle-tls", "memory of an idle POP3S session", "pop3s", (*_LOGIN, "!"), Counted.MEMORY),
        *[
            Workload(
                f"workers-{n}", f"SMTP sessions, workers: {n}", "smtp", _SHORT, workers=n, parallel=256, alone=True
            )
            for n in (1, 2, 4)
        ],
        Workload(
            "workers-tls", "SMTPS sessions, resumed, 4 workers", "smtps", _SHORT, resumed=True, workers=4, alone=True
        ),
        Workload("latency", "NOOP and its reply, all on one core", "smtp", _NOOPS, Counted.TRIPS, 1),
    )
}
