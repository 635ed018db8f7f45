"""What a session tells the link beside octets, and the shape that both sessions have.

A session is synchronous and knows no socket, clock, log or store.  Octets come out in `to_client` and `to_upstream`;
decisions and facts come out in `events`, in the order in which they happened; the link answers with a method call.
Nothing here carries a password.

Kinds of event: a *question* (`LoggedIn`, `LoginFailed`, `PasswordGiven`, `RelayAsked`, `UnannouncedAsked`, `TlsAsked`)
is answered by the link, the session holds until then; a *fact* (`Refused`, `Relayed`) is logged; `UpstreamAborted` and
`Finished` end connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..gate.verdict import RelayAsked, Verdict


class Wait(Enum):
    """What a session waits for: says which limit of [limits] bounds the wait (net/timers.py)."""

    GREETING = "greeting"
    COMMAND = "command"
    LOGIN = "login"
    MESSAGE = "message"
    """The next block of a message body."""
    MESSAGE_REPLY = "message reply"
    """The upstream's reply to the end of data."""
    MAILBOX = "mailbox"
    """Anything at all, after a POP login."""


class Cut(Enum):
    """Why a session is ended whatever is under way; the value is for the log."""

    DRAIN = "cut by a drain"
    """The limit of a drain."""
    KICK = "kicked by the administrator"
    TOO_LONG = "session too long"
    """[limits] session_timeout."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The upstream's positive reply to a POP login; it is held until `lease_settled()`."""

    login: str


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """The upstream said no to a login, by POP or by SMTP AUTH.  The reply is held until `failure_noted()`."""

    login: str


@dataclass(frozen=True, slots=True)
class PasswordGiven:
    """A login whose password popgate checks itself.  The link takes it by `smtp_auth.take_password`, which forgets
    it; answer: `smtp_auth.password_checked`."""

    login: str


@dataclass(frozen=True, slots=True)
class UnannouncedAsked:
    """Another connection to the upstream is wanted, one that does not show the client's address (rule S12), on which
    these lines have been said and accepted.  Answer: `moved(offer)`: its reply to EHLO (empty for HELO), or None where
    there is no such connection."""

    hello: bytes
    """EHLO or HELO with its CRLF; empty if the client has said neither."""
    mail: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A recipient was answered by the gate and not by the upstream; of temporary answers only a message's first."""

    sender: str
    recipient: str
    reply: str
    why: str


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
    """The reply to STARTTLS or STLS is in `to_client`; TLS comes behind it.  Answer: `tls_started()`."""


@dataclass(frozen=True, slots=True)
class UpstreamAborted:
    """The upstream connection must end at once and without an end of data; the client is still talked to."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The session is over once what is in `to_client` and `to_upstream` has gone out."""

    why: str
    clean: bool = False
    """The client took its leave (QUIT, or its end after everything was said): no need to linger for unread octets."""


Event = (
    LoggedIn | LoginFailed | PasswordGiven | RelayAsked | UnannouncedAsked | Refused | Relayed | TlsAsked
    | UpstreamAborted | Finished
)  # fmt: skip


class Session(Protocol):
    """The shape of `SmtpSession` and `PopSession`: two protocols on one link, no base class."""

    to_client: list[bytes]
    """Octets for the client; the link takes them after every call."""
    to_upstream: list[bytes]
    events: list[Event]
    step: int
    """Grows with every command, reply and block of a body: the present wait began when it last changed."""
    upstream_done: bool
    """Nothing more will come for the upstream: half-close that side."""

    @property
    def holding(self) -> bool:
        """No octet of the client can be used now: stop reading it."""

    @property
    def streaming(self) -> bool:
        """Message text is passing: read in large chunks, and ask whether it `passes`."""

    @property
    def doing(self) -> str:
        """A phrase for the log: "waiting for the reply to RCPT"."""

    @property
    def wait(self) -> Wait:
        """What is waited for now."""

    def passes(self, text: memoryview, client: bool) -> bool:
        """Whether octets of a side, the client or the upstream, go to the other one just as they are: they are used.

        False says nothing about them: `client_bytes` or `upstream_bytes` does.
        """

    @property
    def untouched(self) -> bool:
        """All of what is streaming passes, and nobody looks at it (rule P5)."""

    def client_bytes(self, data: bytes) -> None: ...
    def upstream_bytes(self, data: bytes) -> None: ...
    def client_eof(self) -> None: ...
    def upstream_eof(self) -> None: ...
    def upstream_failed(self) -> None:
        """There is no upstream connection; said before the greeting."""

    def out_of_time(self) -> None:
        """The present wait is over its limit."""

    def drain(self) -> None:
        """Finish if that cuts nothing; may be called again."""

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        """Finish, whatever is under way."""

    def tls_started(self) -> None: ...
    def failure_noted(self, close: bool) -> None:
        """The answer to `LoginFailed`: let the client know; `close`: and end the session."""

    def facts(self) -> list[tuple[str, str | int]]:
        """What the session did, as words for its log line."""
