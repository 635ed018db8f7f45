"""The POP3 conversation of one client with one upstream, without I/O.

Before the login one command at a time goes upstream, parsed and written afresh (RULES P2).  The upstream's positive
reply to PASS, APOP or the end of AUTH is the login, and nothing else is (P3).  That `+OK` is held until the lease is
in the store (`LoggedIn`, then `lease_settled()`); what the client sent behind its password and what the upstream sent
behind its `+OK` wait in order.  From then on both directions pass untouched (P5): the session only counts.

The greeting goes through octet for octet, because APOP and CRAM-MD5 prove knowledge of what it says (P1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from ..wire.lines import TOO_LONG, LineBuffer
from ..wire.pop3 import (
    MAX_LINE,
    MAX_REPLY_LINES,
    ReplyLines,
    Status,
    edited_capabilities,
    has_control,
    status,
)
from ..wire.sasl import MAX_LINE as MAX_SASL_LINE
from ..wire.sasl import MECHANISMS, Exchange, shown_login
from .events import Event, Finished, LoggedIn, LoginFailed, TlsAsked, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

UNAVAILABLE: Final = b"-ERR [SYS/TEMP] The mail server is not available, try again later\r\n"
LOST: Final = b"-ERR [SYS/TEMP] The connection to the mail server was lost\r\n"
UPSTREAM_PROTOCOL: Final = b"-ERR [SYS/TEMP] The mail server does not follow the protocol\r\n"
DRAINING: Final = b"-ERR [SYS/TEMP] Service is closing, try again later\r\n"
TIMEOUT: Final = b"-ERR Waited too long\r\n"
UNKNOWN: Final = b"-ERR Unknown command\r\n"
BAD_OCTETS: Final = b"-ERR A control octet in a command\r\n"
LINE_TOO_LONG: Final = b"-ERR Line too long\r\n"
SYNTAX: Final = b"-ERR Bad arguments\r\n"
USER_FIRST: Final = b"-ERR USER comes first\r\n"
TLS_REQUIRED: Final = b"-ERR Must issue STLS first\r\n"
TLS_READY: Final = b"+OK Begin TLS\r\n"
TLS_NOT_OFFERED: Final = b"-ERR TLS is not offered\r\n"
TLS_ACTIVE: Final = b"-ERR TLS is active already\r\n"
BAD_MECHANISM: Final = b"-ERR Unsupported authentication mechanism\r\n"
TOO_MANY_ERRORS: Final = b"-ERR Too many bad commands\r\n"
TOO_MANY_LOGINS: Final = b"-ERR [AUTH] Too many failed logins\r\n"

MAX_HELD = 65536  # octets behind a held +OK: nobody has asked for anything yet
MAX_BAD_COMMANDS = 3  # RULES P6, as Dovecot before the login


class State(Enum):
    """Where the session is; before OPEN only one command is out at a time."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    REPLY = "waiting for a reply"
    SASL = "waiting for an AUTH response"
    LEASE = "waiting for the lease"
    OPEN = "reading mail"
    TLS = "starting TLS"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PopSettings:
    """What all sessions of a listener share."""

    stls: bool = False
    tls_required: bool = False
    max_failed_logins: int = 5


class PopSession:
    """One client's POP3 session; the shape is `events.Session`."""

    __slots__ = (
        "_exchange", "_held", "_leaving", "_lines", "_list", "_replies", "_settings", "_settle", "_state", "_tls",
        "_upstream_left", "_user", "_verb", "bad_commands", "client_done", "commands", "events", "failed_logins",
        "login", "step", "to_client", "to_upstream", "upstream_done",
    )  # fmt: skip

    def __init__(self, settings: PopSettings, *, tls: bool = False) -> None:
        self.to_client: list[bytes] = []
        self.to_upstream: list[bytes] = []
        self.events: list[Event] = []
        self.client_done = self.upstream_done = False
        self.step = 0
        self.login = ""
        """Who is logged in; while a login is under way, who tries."""
        self.commands = self.bad_commands = self.failed_logins = 0
        self._settings = settings
        self._state = State.GREETING
        self._tls = tls
        self._lines = LineBuffer(MAX_SASL_LINE)
        self._replies = ReplyLines()
        self._verb = ""  # the command whose reply is awaited
        self._settle: Callable[[PopSession, Status, bytes], None] = PopSession._passed
        self._user: str | None = None  # the name of an accepted USER
        self._exchange: Exchange | None = None
        self._list: list[bytes] | None = None  # the lines of a multi-line reply so far
        self._held = b""  # the +OK of the login and what came behind it
        self._leaving = self._upstream_left = False

    # What the link sees

    @property
    def holding(self) -> bool:
        return self._state in (State.GREETING, State.REPLY, State.LEASE) and len(self._lines) > 0

    @property
    def streaming(self) -> bool:
        return self._state is State.OPEN

    @property
    def is_open(self) -> bool:
        """Whether a login has succeeded and its +OK is out."""
        return self._state is State.OPEN

    @property
    def wait(self) -> Wait:
        if self._state is State.OPEN:
            return Wait.MAILBOX
        if self._state is State.GREETING:
            return Wait.GREETING
        return Wait.COMMAND if self._state is State.REPLY else Wait.LOGIN

    @property
    def doing(self) -> str:
        return "waiting for the reply to " + self._verb if self._state is State.REPLY else self._state.value

    def facts(self) -> list[tuple[str, str | int]]:
        return [("login", self.login), ("cmds", self.commands), ("failed", self.failed_logins)]

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client."""
        state = self._state
        if state is State.OPEN:
            self.step += 1
            self.to_upstream.append(data)
        elif state is State.TLS:
            self._finish("client sent in the clear behind STLS")
        elif state is not State.CLOSED:
            self._lines.feed(data)
            self._run()

    def upstream_bytes(self, data: bytes) -> None:
        """Octets of the upstream."""
        state = self._state
        if state is State.OPEN:
            self.step += 1
            self.to_client.append(data)
        elif state is State.LEASE:
            self._held += data
            if len(self._held) > MAX_HELD:
                self._finish("upstream: more than may be held behind its +OK")
        elif state is not State.CLOSED:
            self._replies.feed(data)
            try:
                self._take_replies()
            except ProtocolError as error:
                self._finish(f"upstream: {error}", UPSTREAM_PROTOCOL)
            self._run()

    def client_eof(self) -> None:
        """A client that hangs up at once has logged in all the same (RULES P5): its login is waited for."""
        if self._state is State.OPEN:
            self._half_closed()
        elif self._state in (State.REPLY, State.LEASE) or (self._state is State.GREETING and len(self._lines)):
            self._leaving = True
        else:
            self._finish("client left", clean=True)

    def upstream_eof(self) -> None:
        if self._state is State.OPEN:
            self.client_done = True
            self._finish("upstream closed", clean=True)
        elif self._state is State.LEASE:
            self._upstream_left = True
        elif self._state is State.GREETING:
            self.upstream_failed()
        elif self._verb == "QUIT":
            self._finish("quit", clean=True)
        else:
            self._finish("upstream left", LOST)

    def upstream_failed(self) -> None:
        self._finish("no upstream", UNAVAILABLE)

    def out_of_time(self) -> None:
        wait = self.wait
        if wait is Wait.MAILBOX:
            self._finish(
                "idle"
            )  # RFC 1939 3: close without entering UPDATE; a line of ours could land inside a message
        elif wait is Wait.GREETING:
            self.upstream_failed()
        elif self._state is State.REPLY:
            self._finish("upstream silent", UNAVAILABLE)
        elif self._state is State.TLS:
            self._finish("client too slow in the TLS handshake")
        else:
            self._finish("client silent", TIMEOUT)

    def drain(self) -> None:
        if self._state is State.COMMANDS:
            self._finish("draining", DRAINING)

    def tls_started(self) -> None:
        """The client speaks TLS now: a USER from before is forgotten (RULES P6)."""
        self._tls = True
        self._state = State.COMMANDS
        self._user = None
        self.login = ""
        self._lines.clear()

    def lease_settled(self) -> None:
        """The lease is in the store, or can't be: let the held +OK go, and pass octets from now on."""
        if self._state is not State.LEASE:
            return
        self._state = State.OPEN
        self.to_client.append(self._held)
        self._held = b""
        if len(self._lines):
            self.to_upstream.append(self._lines.rest())
        if self._leaving:
            self._half_closed()
        if self._upstream_left:
            self.upstream_eof()

    # The client's side

    def _run(self) -> None:
        while self._state in (State.COMMANDS, State.SASL):
            line = self._lines.take()
            if line is None:
                if self._leaving:
                    self._finish("client left", clean=True)
                return
            self.step += 1
            if self._state is State.SASL:
                self._sasl_response(line)
            else:
                self._command(line)

    def _command(self, line: bytes) -> None:
        self.commands += 1
        if line is TOO_LONG or len(line) > MAX_LINE:
            return self._bad(LINE_TOO_LONG)
        if has_control(line):
            return self._finish("client sent a control octet", BAD_OCTETS)
        word, _, argument = line.partition(b" ")
        verb = word.upper()
        handler = _VERBS.get(verb)
        if handler is None:
            return self._bad(UNKNOWN)
        if self._settings.tls_required and not self._tls and verb in _LOGIN_VERBS:
            return self._bad(TLS_REQUIRED)
        return handler(self, argument)

    def _capa(self, argument: bytes) -> None:
        self._ask("CAPA", b"CAPA\r\n", PopSession._capa_replied) if not argument else self._bad(SYNTAX)

    def _stls(self, argument: bytes) -> None:
        if argument:
            self._bad(SYNTAX)
        elif self._tls:
            self._bad(TLS_ACTIVE)
        elif not self._settings.stls:
            self._bad(TLS_NOT_OFFERED)
        elif len(self._lines):
            self._finish("client sent in the clear behind STLS")
        else:
            self._state = State.TLS
            self.to_client.append(TLS_READY)
            self.events.append(TlsAsked())

    def _user_verb(self, argument: bytes) -> None:
        if not argument:
            return self._bad(SYNTAX)
        self._user = None
        self.login = shown_login(argument)
        return self._ask("USER", b"USER %b\r\n" % argument, PopSession._user_replied)

    def _pass(self, argument: bytes) -> None:
        if self._user is None:
            return self._bad(USER_FIRST)
        return self._ask("PASS", b"PASS %b\r\n" % argument, PopSession._login_replied)

    def _apop(self, argument: bytes) -> None:
        name, _, digest = argument.rpartition(b" ")
        if not name or not digest:
            return self._bad(SYNTAX)
        self.login = shown_login(name)
        return self._ask("APOP", b"APOP %b %b\r\n" % (name, digest), PopSession._login_replied)

    def _auth(self, argument: bytes) -> None:
        mechanism, _, initial = argument.partition(b" ")
        mechanism = mechanism.upper()
        if not mechanism:  # the old form that asks for a list; CAPA is the way
            return self._bad(SYNTAX)
        if mechanism not in MECHANISMS:
            return self._bad(BAD_MECHANISM)
        self._exchange = Exchange(mechanism)
        if initial:
            initial = self._exchange.response(initial)
            if initial == b"*":
                return self._bad(SYNTAX)
            initial = b" " + initial
        return self._ask("AUTH", b"AUTH %b%b\r\n" % (mechanism, initial), PopSession._auth_replied)

    def _sasl_response(self, line: bytes) -> None:
        assert self._exchange is not None
        line = b"*" if line is TOO_LONG else self._exchange.response(line)
        self._ask("AUTH", line + b"\r\n", PopSession._auth_replied)

    def _utf8(self, argument: bytes) -> None:
        self._ask("UTF8", b"UTF8\r\n", PopSession._passed) if not argument else self._bad(SYNTAX)

    def _lang(self, argument: bytes) -> None:
        if argument:
            self._ask("LANG", b"LANG %b\r\n" % argument, PopSession._passed)
        else:
            self._ask("LANG", b"LANG\r\n", PopSession._list_replied)

    def _noop(self, argument: bytes) -> None:
        self._ask("NOOP", b"NOOP\r\n", PopSession._passed)

    def _quit(self, argument: bytes) -> None:
        self._ask("QUIT", b"QUIT\r\n", PopSession._quit_replied)

    # The upstream's side

    def _take_replies(self) -> None:
        while self._state not in (State.LEASE, State.OPEN, State.CLOSED):
            line = self._replies.take()
            if line is None:
                return
            self.step += 1
            if self._state is State.GREETING:
                self._greeted(line)
            elif self._state is not State.REPLY:
                self._unsolicited(line)
            elif self._list is not None:
                self._list_line(line)
            else:
                self._settle(self, status(line), line)

    def _greeted(self, line: bytes) -> None:
        said = status(line)
        if said is Status.CONTINUE:
            raise ProtocolError("a challenge for a greeting")
        self.to_client.append(line + b"\r\n")
        if said is Status.ERR:
            return self._finish("upstream refused: " + line[:200].decode("ascii", "backslashreplace"))
        self._state = State.COMMANDS
        return None

    def _unsolicited(self, line: bytes) -> None:
        """Only a farewell may come without a command (autologout)."""
        if status(line) is not Status.ERR:
            raise ProtocolError("a reply that answers nothing")
        self._finish("upstream closed: " + line[:200].decode("ascii", "backslashreplace"), line + b"\r\n")

    def _passed(self, said: Status, line: bytes) -> None:
        if said is Status.CONTINUE:
            raise ProtocolError("a challenge that nothing asked for")
        self._state = State.COMMANDS
        self.to_client.append(line + b"\r\n")

    def _user_replied(self, said: Status, line: bytes) -> None:
        if said is Status.OK:
            self._user = self.login
        self._passed(said, line)

    def _login_replied(self, said: Status, line: bytes) -> None:
        if said is Status.OK:
            self._state = State.LEASE
            self._held = line + b"\r\n" + self._replies.rest()
            self.events.append(LoggedIn(self.login))
            return
        self._user = None
        self._passed(said, line)
        self.failed_logins += 1
        self.events.append(LoginFailed(self.login))
        if self.failed_logins >= self._settings.max_failed_logins:
            self._finish("too many failed logins", TOO_MANY_LOGINS)

    def _auth_replied(self, said: Status, line: bytes) -> None:
        assert self._exchange is not None
        if said is Status.CONTINUE:
            self._state = State.SASL
            self.to_client.append(line + b"\r\n")
            return
        self.login = self._exchange.login
        self._exchange = None
        self._login_replied(said, line)

    def _quit_replied(self, said: Status, line: bytes) -> None:
        self._passed(said, line)
        self._finish("quit", clean=True)

    def _capa_replied(self, said: Status, line: bytes) -> None:
        if said is Status.ERR and self._offers_stls():  # a server older than CAPA: STLS is ours to offer all the same
            self._list = []
            self.to_client.append(b"+OK Capability list follows\r\n")
            self._end_list()
        else:
            self._list_replied(said, line)

    def _list_replied(self, said: Status, line: bytes) -> None:
        self._passed(said, line)
        if said is Status.OK:
            self._state = State.REPLY
            self._list = []

    def _list_line(self, line: bytes) -> None:
        assert self._list is not None
        if line == b".":
            self._end_list()
        elif len(self._list) >= MAX_REPLY_LINES:
            raise ProtocolError("a list without end")
        else:
            self._list.append(line)

    def _end_list(self) -> None:
        lines, self._list = self._list or [], None
        if self._verb == "CAPA":
            lines = edited_capabilities(lines, self._offers_stls(), self._tls or not self._settings.tls_required)
        self._state = State.COMMANDS
        self.to_client.append(b"\r\n".join([*lines, b".", b""]))

    # Both sides

    def _offers_stls(self) -> bool:
        return self._settings.stls and not self._tls

    def _ask(self, verb: str, line: bytes, settle: Callable[[PopSession, Status, bytes], None]) -> None:
        self._verb, self._settle = verb, settle
        self._state = State.REPLY
        self.to_upstream.append(line)

    def _bad(self, reply: bytes) -> None:
        self.to_client.append(reply)
        self.bad_commands += 1
        if self.bad_commands >= MAX_BAD_COMMANDS:
            self._finish("too many bad commands", TOO_MANY_ERRORS)

    def _half_closed(self) -> None:
        """The client will say no more; the upstream may still have mail on its way to it."""
        self.upstream_done = True

    def _finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        if self._state is State.CLOSED:
            return
        if reply:
            self.to_client.append(reply)
        self.events.append(Finished(why if clean else f"{why} ({self.doing})", clean))
        self._state = State.CLOSED
        self._lines.clear()


_VERBS: dict[bytes, Callable[[PopSession, bytes], None]] = {
    b"CAPA": PopSession._capa,
    b"STLS": PopSession._stls,
    b"USER": PopSession._user_verb,
    b"PASS": PopSession._pass,
    b"APOP": PopSession._apop,
    b"AUTH": PopSession._auth,
    b"UTF8": PopSession._utf8,
    b"LANG": PopSession._lang,
    b"NOOP": PopSession._noop,
    b"QUIT": PopSession._quit,
}
_LOGIN_VERBS = frozenset({b"USER", b"PASS", b"APOP", b"AUTH"})
