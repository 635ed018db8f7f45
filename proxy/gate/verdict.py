"""What the gate is asked, and what it answers: values, which sessions and the policy share.

The policy makes them (policy.py), the SMTP session applies them; nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

NO_LEASE: Final = "no lease"
"""The reason that the configured refusal is the text for; any other is said behind a text of our own."""


@dataclass(frozen=True, slots=True)
class RelayAsked:
    """May the client send to this recipient, which is not local?  Answer: `relay_answered(verdict)`."""

    sender: str
    recipient: str
    authenticated: bool = False
    """By AUTH in this session."""
    login: str = ""
    """Whose AUTH it was."""


class Outcome(Enum):
    """The three answers of the gate."""

    ALLOW = "allow"
    REFUSE = "refuse"
    """5xx: the client must do something first."""
    DEFER = "defer"
    """451: popgate can't tell now; the client tries again."""
    SPENT = "spent"
    """452: what the lease may send in its window has been sent (rule G11)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """May this client relay?  Made by gate/policy.py, applied by the SMTP session."""

    outcome: Outcome
    why: str
    """The reason, for the log and in short for the client: "lease of anna", "no lease", "store down"."""
    login: str = ""
    """Whose lease allows it; empty where no login does."""
    recipients: int | None = None
    """How many recipients that are not local one transaction may have; None: any number."""
    lease: tuple[bytes, str, str] | None = None
    """The lease to be charged (leases/base.py's key); the session only hands it back."""
    shadowed: bool = False
    """It would be a refusal, if the gate did not only watch (rule G12); `why` says which."""


class Password(Enum):
    """What came of a password that popgate checked itself (rule G15)."""

    RIGHT = "right"
    WRONG = "wrong"
    IN_USE = "in use"
    """The server says no and not why, and the mailbox is open: it may be right.  Counts as a failure all the same: else
    an open mailbox would let everybody guess."""
    UNKNOWN = "unknown"
    """It can't be told now: the server says that it is busy, or nobody answers."""
