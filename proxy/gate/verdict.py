"""What the gate is asked, and what it answers: values, which sessions and the policy share.

The policy makes them (policy.py), the SMTP session applies them; nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class RelayAsked:
    """May the client send to this recipient, which is not local?  Answer: a `Verdict`."""

    sender: str
    recipient: str
    authenticated: bool = False
    """By AUTH in this session."""
    login: str = ""
    """Whose AUTH it was."""


class Outcome(Enum):
    """What the gate says to a recipient."""

    ALLOW = "allow"
    REFUSE = "refuse"
    """5xx: the client must do something first."""
    DEFER = "defer"
    """451: popgate can't tell now; the client tries again."""
    OVER_QUOTA = "spent"
    """452: what the lease may send in its window has been sent (rule G11)."""


class Reason(Enum):
    """Why a recipient gets its answer; the value is for the log, and in short for the client."""

    TRUSTED = "trusted network"
    LEASE = "lease of"
    """Of the login in the verdict's detail."""
    AUTHENTICATED = "authenticated"
    PEER = "whoson"
    """Another server knows of a login at the address (`[whoson] ask`)."""
    NO_LEASE = "no lease"
    SENDER = "sender does not match"
    BARRED = "login may not relay"
    SPENT = "budget spent"
    STORE_DOWN = "store down"
    PEER_DOWN = "whoson unknown"
    """Another server could not be asked."""
    BOUNCE = "a bounce has one recipient"
    NOT_BESIDE = "others were accepted on an announced connection"
    NOT_MOVED = "no unannounced connection"


# How a reason and its detail are put together; where it is not here: "reason: detail".
_WORDS = {Reason.LEASE: "lease of {}", Reason.PEER: "whoson {}", Reason.PEER_DOWN: "whoson: {}"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """May this client relay?  Made by gate/policy.py, applied by the SMTP session."""

    outcome: Outcome
    reason: Reason
    detail: str = ""
    """What belongs to the reason: whose lease, what is wrong with the store."""
    login: str = ""
    """Whose lease allows it; empty where no login does."""
    recipients: int | None = None
    """How many recipients that are not local one transaction may have; None: any number."""
    lease: tuple[bytes, str, str] | None = None
    """The lease to be charged (leases/base.py's key); the session only hands it back."""
    shadowed: bool = False
    """It would be a refusal, if the gate did not only watch (rule G12); the reason says which."""
    unmatched: bool = False
    """The sender is not the login's own, which is only logged (`sender = "log"`, rule G10)."""

    @property
    def why(self) -> str:
        """The reason in words, for the log: "lease of anna", "no lease", "store down: busy"."""
        words = self.reason.value
        if self.detail:
            words = _WORDS.get(self.reason, words + ": {}").replace("{}", self.detail)
        if self.unmatched:
            words += f", {Reason.SENDER.value}"
        return f"shadow: {words}" if self.shadowed else words


class Password(Enum):
    """What came of a password that popgate checked itself (rule G15)."""

    RIGHT = "right"
    WRONG = "wrong"
    IN_USE = "in use"
    """The server says no and not why, and the mailbox is open: it may be right.  Counts as a failure all the same: else
    an open mailbox would let everybody guess."""
    UNKNOWN = "unknown"
    """It can't be told now: the server says that it is busy, or nobody answers."""
