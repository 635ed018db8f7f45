"""The shape of a session: what net/ knows of SMTP and POP3, and all that it knows.

A session is synchronous and knows no socket, clock, log or store.  Octets of either side go in by a call; octets for
either side and events come out in `output`.  A *question* among the events is answered by `answer`; the session holds
until then.  There is no base class: a protocol is a class of this shape.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..gate.verdict import Password, Verdict

if TYPE_CHECKING:
    from .events import Question
    from .output import Output

Answer: TypeAlias = Verdict | Password | bytes | bool | None
"""What answers a question; which of them: events.py says it with each."""


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


class Session(Protocol):
    """The shape of `SmtpSession` and `PopSession`."""

    @property
    def output(self) -> Output:
        """Octets and events; take them after every call."""

    @property
    def step(self) -> int:
        """Grows with every command, reply and block of a body: the present wait began when it last changed."""

    @property
    def holding(self) -> bool:
        """No octet of the client can be used now: stop reading it."""

    @property
    def streaming(self) -> bool:
        """Message text or a mailbox is passing: read in large chunks, and ask whether it `can_forward_raw`."""

    @property
    def raw_forever(self) -> bool:
        """All of what is streaming can be forwarded raw, and nobody looks at it (rule P5)."""

    @property
    def doing(self) -> str:
        """A phrase for the log: "waiting for the reply to RCPT"."""

    @property
    def wait(self) -> Wait:
        """What is waited for now."""

    @property
    def messages(self) -> int:
        """How many messages the upstream has taken."""

    def facts(self) -> list[tuple[str, str | int]]:
        """What the session did, as words for its log line."""

    def forward_raw(self, text: memoryview, *, from_client: bool) -> bool:
        """Whether octets of a side go to the other one just as they are; then they count as used.

        False says nothing about them: `client_bytes` or `upstream_bytes` does.
        """

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client."""

    def upstream_bytes(self, data: bytes) -> None:
        """Octets of the upstream."""

    def client_eof(self) -> None:
        """The client will say no more; it may still listen."""

    def client_lost(self, why: str) -> None:
        """The client's connection broke, for this reason: nothing reaches it any more."""

    def upstream_eof(self) -> None:
        """The upstream will say no more."""

    def upstream_failed(self) -> None:
        """There is no upstream connection; said before the greeting."""

    def upstream_announced(self) -> None:
        """The upstream is shown the client's address, and judges it itself (rule S12)."""

    def out_of_time(self, *, session: bool = False) -> None:
        """The present wait is over its limit; `session`: what is over is session_timeout, the limit of the whole."""

    def drain(self) -> None:
        """Finish if that cuts nothing; may be called again."""

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        """Finish, whatever is under way."""

    def answer(self, question: Question, result: Answer) -> None:
        """The answer to a question among the events; one that comes too late is ignored."""

    def take_password(self) -> tuple[bytes, bytes]:
        """Login and password of `PasswordGiven`, once: they are forgotten here."""

    def verdict_lapsed(self) -> None:
        """The lease behind the verdict has ended: the next recipient that is not local is asked about (rule G6)."""
