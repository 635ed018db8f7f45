"""Why a session can't use the client's next command yet.  At most one of these holds at a time.

`holds_input` tells two kinds apart.  Where it is true the client has done nothing wrong by sending more (RFC 2920):
it is not read until the answer is here.  Where it is false the command ends a pipelined group, and more octets before
its reply are a violation (rule S5), so the client goes on being read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from ...wire.path import Path
    from .transaction import Transaction


class AskingGate:
    """The gate is asked about a recipient (`RelayAsked`)."""

    __slots__ = ("line", "path", "transaction")
    holds_input: ClassVar[bool] = True
    doing: ClassVar[str] = "waiting for the gate"

    def __init__(self, transaction: Transaction, line: bytes, path: Path) -> None:
        self.transaction = transaction
        self.line = line
        """RCPT, as it will be sent on."""
        self.path = path


class SwitchingUpstream:
    """A recipient needs an unannounced upstream connection (`UnannouncedAsked`, rule S12).

    It is asked for when no reply is owed on the present connection any more, and only then `asked` for.
    """

    __slots__ = ("asked", "line", "path", "transaction")
    holds_input: ClassVar[bool] = True
    doing: ClassVar[str] = "waiting for another connection"

    def __init__(self, transaction: Transaction, line: bytes, path: Path, *, asked: bool = False) -> None:
        self.transaction = transaction
        self.line = line
        """RCPT, as it will be sent on."""
        self.path = path
        self.asked = asked


class StartingTls:
    """STARTTLS is answered when every earlier reply is out: TLS comes directly behind its 220."""

    __slots__ = ()
    holds_input: ClassVar[bool] = False
    doing: ClassVar[str] = "waiting for a command"


class CheckingPassword:
    """A password is being checked by a POP3 login (`PasswordGiven`, rule G15)."""

    __slots__ = ("_credentials",)
    holds_input: ClassVar[bool] = False
    doing: ClassVar[str] = "waiting for a command"

    def __init__(self, login: bytes, password: bytes) -> None:
        self._credentials: tuple[bytes, bytes] | None = (login, password)

    def take(self) -> tuple[bytes, bytes]:
        """Login and password, once: they are forgotten here."""
        credentials, self._credentials = self._credentials, None
        assert credentials is not None
        return credentials


class NotingFailure:
    """A login has failed (`LoginFailed`, rule G13); `reply` is said when that is noted."""

    __slots__ = ("reply",)
    holds_input: ClassVar[bool] = False
    doing: ClassVar[str] = "waiting for the gate"

    def __init__(self, reply: bytes) -> None:
        self.reply = reply


Blocked: TypeAlias = AskingGate | SwitchingUpstream | StartingTls | CheckingPassword | NotingFailure
