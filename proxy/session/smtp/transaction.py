"""One mail transaction, from MAIL to the reply to its end of data (RFC 5321 3.3).

A reply may come when the client is already a transaction further (pipelining), so every reply owed holds the
transaction it belongs to, and what is known about recipients stands there and not in the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...gate.verdict import Verdict

MAX_RECIPIENTS: Final = 1000  # as Postfix; RFC 5321 4.5.3.1.8 wants 100 at least


@dataclass(slots=True)
class Transaction:
    """The envelope so far."""

    sender: bytes
    """The reverse-path, as it was sent on."""
    smtputf8: bool
    line: bytes = b""
    """MAIL, as it was sent on."""
    unanswered: list[bytes] = field(default_factory=list)
    """Recipients that were sent on and have no reply yet, in order."""
    accepted: list[bytes] = field(default_factory=list)
    """Recipients that the upstream took."""
    relaying: int = 0
    """Recipients that are not local, sent on or accepted."""
    foreign: int = 0
    """How many of the accepted ones are not local: above 0 the message is relayed."""
    verdict: Verdict | None = None
    """The gate's answer for this transaction; None: not asked, or the lease that it came from has ended."""
    allowed: Verdict | None = None
    """The verdict by which a recipient was let through; it stays when `verdict` lapses, for the audit trail."""
    deferred: bytes = b""
    """The last temporary answer of ours to one of its recipients; the log was told of the first."""
    octets: int = 0
    """Length of the message as it was sent on, its end of data included."""

    @property
    def room(self) -> int:
        """How many more recipients it may have."""
        return MAX_RECIPIENTS - len(self.unanswered) - len(self.accepted)
