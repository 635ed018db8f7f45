"""What a session asks for and tells of, beside the octets for either side.

A *question* is answered by `Session.answer(question, result)`, and the session holds until then: `LoggedIn`,
`LoginFailed`, `PasswordGiven`, `RelayAsked` (gate/verdict.py), `UnannouncedAsked`, `TlsAsked`.  A *fact* is for the
log: `Refused`, `Relayed`.  `ClientDone`, `UpstreamAborted` and `Finished` end connections.  No event carries a
password.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..gate.verdict import Reason, RelayAsked, Verdict


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The upstream's positive reply to a POP login; it is held until the lease is in the store, or can't be.  Answer:
    None."""

    login: str


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """The upstream said no to a login, by POP or by SMTP AUTH; its reply is held.  Answer: whether the session must
    end, because this address fails too often (rule G13)."""

    login: str


@dataclass(frozen=True, slots=True)
class PasswordGiven:
    """A login whose password popgate checks itself; `Session.take_password` has it.  Answer: a `Password`."""

    login: str


@dataclass(frozen=True, slots=True)
class UnannouncedAsked:
    """Another connection to the upstream is wanted, one that does not show the client's address (rule S12), on which
    these lines have been said and accepted.  Answer: its reply to EHLO (empty for HELO), or None where there is no such
    connection."""

    hello: bytes
    """EHLO or HELO with its CRLF; empty if the client has said neither."""
    mail: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A recipient was answered by the gate and not by the upstream; of temporary answers only a message's first."""

    sender: str
    recipient: str
    reply: str
    reason: Reason
    why: str
    """The reason and what belongs to it, for the log."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """A message with at least one recipient that is not local has its final reply, or will get none: the audit trail
    (rule N11)."""

    sender: str
    recipients: tuple[str, ...]
    """Every recipient that the upstream accepted, local ones too."""
    octets: int
    reply: str
    """The upstream's final reply, with its queue id; "none": the session ends before it."""
    verdict: Verdict
    """By which it was let through."""
    foreign: int
    """How many of the recipients are not local."""

    @property
    def accepted(self) -> bool:
        """Whether the upstream took the message."""
        return self.reply.startswith("2")


@dataclass(frozen=True, slots=True)
class TlsAsked:
    """The reply to STARTTLS or STLS is in the output; TLS comes behind it.  Answer, when it has started: None."""


@dataclass(frozen=True, slots=True)
class ClientDone:
    """The client of an open mailbox will say no more: half-close the upstream connection behind its last octets."""


@dataclass(frozen=True, slots=True)
class UpstreamAborted:
    """The upstream connection must end at once and without an end of data; the client is still talked to."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The session is over once its output has gone out."""

    why: str
    clean: bool = False
    """The client took its leave (QUIT, or its end after everything was said): no need to linger for unread octets."""


Question: TypeAlias = LoggedIn | LoginFailed | PasswordGiven | RelayAsked | UnannouncedAsked | TlsAsked
Event: TypeAlias = Question | Refused | Relayed | ClientDone | UpstreamAborted | Finished
