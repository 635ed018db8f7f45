"""One mail transaction, from MAIL to the reply to its end of data (RFC 5321 3.3).

A reply may come when the client is already a transaction further (pipelining), so every reply expected holds the
transaction that it belongs to, and what is known about recipients stands there and not in the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...gate.verdict import Verdict

MAX_RECIPIENTS: Final = 1000  # as Postfix; RFC 5321 4.5.3.1.8 wants 100 at least


class Transaction:
    """The envelope so far.  The session calls its methods; nobody else changes it."""

    __slots__ = (
        "accepted", "allowed", "deferred", "foreign", "line", "octets", "relaying", "sender", "smtputf8", "unanswered",
        "verdict",
    )  # fmt: skip

    def __init__(self, sender: bytes, smtputf8: bool, line: bytes = b"", verdict: Verdict | None = None) -> None:
        self.sender = sender
        """The reverse-path, as it was sent on."""
        self.smtputf8 = smtputf8
        self.line = line
        """MAIL, as it was sent on."""
        self.unanswered: list[bytes] = []
        """Recipients that were sent on and have no reply yet, in order."""
        self.accepted: list[bytes] = []
        """Recipients that the upstream took."""
        self.relaying = 0
        """Recipients that are not local, sent on or accepted."""
        self.foreign = 0
        """How many of the accepted ones are not local: above 0 the message is relayed."""
        self.verdict = verdict
        """The gate's answer for this transaction; None: not asked, or the lease that it came from has ended."""
        self.allowed: Verdict | None = None
        """The verdict by which a recipient was let through; it stays when `verdict` lapses, for the audit trail."""
        self.deferred = b""
        """The last temporary answer of ours to one of its recipients; the log was told of the first."""
        self.octets = 0
        """Length of the message as it was sent on, its end of data included."""

    @property
    def room(self) -> int:
        """How many more recipients it may have."""
        return MAX_RECIPIENTS - len(self.unanswered) - len(self.accepted)

    def judge(self, verdict: Verdict) -> None:
        """G6: the verdict holds until the transaction or the lease ends."""
        self.verdict = verdict

    def lapse(self) -> None:
        """G6: the lease has ended; the next recipient that is not local is asked about."""
        self.verdict = None

    def forward(self, paths: list[bytes], *, foreign: bool) -> None:
        """These recipients are sent on; `foreign`: they are not local, and the verdict allows them."""
        self.unanswered += paths
        if foreign:
            self.relaying += len(paths)
            self.allowed = self.verdict

    def accept(self, count: int, *, foreign: bool) -> None:
        """The upstream takes the next `count` recipients."""
        self.accepted += self.unanswered[:count]
        del self.unanswered[:count]
        if foreign:
            self.foreign += count

    def reject(self, *, foreign: bool) -> None:
        """The upstream refuses the next recipient."""
        del self.unanswered[0]
        if foreign:
            self.relaying -= 1

    def defer(self, reply: bytes) -> bool:
        """A recipient gets a temporary answer of ours; returns whether it is the transaction's first."""
        first = not self.deferred
        self.deferred = reply
        return first

    def measure(self, octets: int) -> None:
        """So much of the message has been sent on."""
        self.octets = octets
