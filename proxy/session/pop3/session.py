"""The POP3 conversation of one client with one upstream, without I/O.

Before the login one command at a time goes upstream, parsed and written afresh (rule P2).  The upstream's positive
reply to PASS, APOP or the end of AUTH is the login, and nothing else is (P3).  That `+OK` is held until the lease is
in the store (`LoggedIn`); what the client sent behind its password and what the upstream sent behind its `+OK` wait in
order.  From then on both directions pass untouched (P5, mailbox.py).

The greeting goes through octet for octet, because APOP and CRAM-MD5 prove knowledge of what it says (P1).

`VERBS` at the end of the file is what a client may say; each command names the method that takes its reply.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from ...errors import ProtocolError
from ...wire.clienthello import TLS_RECORD
from ...wire.lines import BARE_LF, TOO_LONG, LineBuffer
from ...wire.pop3 import (
    MAX_LINE,
    MAX_REPLY_LINES,
    ReplyLines,
    Status,
    edited_capabilities,
    has_control,
    status,
)
from ...wire.sasl import MAX_LINE as MAX_SASL_LINE
from ...wire.sasl import MECHANISMS, Exchange, shown_login, split_auth
from ..contract import Cut, Wait
from ..events import Finished, LoggedIn, LoginFailed, TlsAsked
from ..mailbox import MAX_HELD, Mailbox
from ..output import Output
from . import texts
from .settings import PopSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..contract import Answer
    from ..events import Question
    from ..observer import Observer

__all__ = ["VERBS", "PopSession", "PopSettings"]

MAX_BAD_COMMANDS: Final = 3
"""Rule P6, as Dovecot before the login."""
_CUT = {Cut.DRAIN: texts.DRAINING, Cut.KICK: texts.KICKED, Cut.TOO_LONG: texts.TIMEOUT}


class State(Enum):
    """Where the session is; before OPEN only one command is out at a time."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    REPLY = "waiting for a reply"
    SASL = "waiting for an AUTH response"
    LEASE = "waiting for the lease"
    REFUSED = "waiting for the gate"
    """The upstream has refused a login, and the link has not noted it yet."""
    OPEN = "reading mail"
    TLS = "starting TLS"
    CLOSED = "closed"


# Members by name: a look-up in an Enum class costs as much as the comparison it is for.
GREETING, COMMANDS, REPLY, SASL, LEASE, REFUSED, OPEN, TLS, CLOSED = State


class Refused:
    """A login that the upstream has refused, until the link has noted it (G13)."""

    __slots__ = ("reply", "upstream_left")

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        """What the client gets then."""
        self.upstream_left = False
        """Whether the upstream's end was read behind it."""


class PopSession:
    """One client's POP3 session; the shape is `contract.Session`."""

    __slots__ = (
        "_awaited", "_client_left", "_closing", "_commands", "_errors", "_exchange", "_failed_logins", "_lines",
        "_list", "_login", "_mailbox", "_observer", "_refused", "_replies", "_settings", "_state", "_step", "_tls",
        "_user", "output",
    )  # fmt: skip

    def __init__(self, settings: PopSettings, *, tls: bool = False, observer: Observer | None = None) -> None:
        self._settings = settings
        self._observer = observer
        """Is told what passes here; None in all but traced sessions."""
        self.output = Output()
        self._state = GREETING
        self._step = 0
        """See `Session.step`."""
        self._tls = tls
        """Whether the client speaks TLS."""
        self._lines = LineBuffer(MAX_SASL_LINE)
        """The client's octets that were not used yet."""
        self._replies = ReplyLines()
        """The upstream's."""
        self._awaited = NOTHING
        """The command whose reply is awaited."""
        self._list: list[bytes] | None = None
        """A multi-line reply so far, its first line included."""
        self._user: str | None = None
        """The name of an accepted USER."""
        self._login = ""
        """Who is logged in; while a login is under way, who tries."""
        self._exchange: Exchange | None = None
        """An AUTH under way."""
        self._mailbox: Mailbox | None = None
        """Once a login was accepted."""
        self._refused: Refused | None = None
        """Once a login was refused, until that is noted."""
        self._commands = self._errors = self._failed_logins = 0
        """What the client did, for its limits and its line in the log; errors are bad commands."""
        self._client_left = False
        """The client's end was read; a login is waited for."""
        self._closing: tuple[str, bytes] | None = None
        """Why the session ends, and its last words, once the TLS handshake is over."""

    # What the link sees

    @property
    def step(self) -> int:
        return self._step

    @property
    def holding(self) -> bool:
        return self._lines.waiting != b"" and self._state in (GREETING, REPLY, LEASE, REFUSED)

    @property
    def streaming(self) -> bool:
        return self._state is OPEN

    @property
    def raw_forever(self) -> bool:
        return self._state is OPEN and self._observer is None

    @property
    def messages(self) -> int:
        return 0  # nobody sends by POP3

    @property
    def wait(self) -> Wait:
        if self._state is OPEN:
            return Wait.MAILBOX
        if self._state is GREETING:
            return Wait.GREETING
        return Wait.COMMAND if self._state is REPLY else Wait.LOGIN

    @property
    def doing(self) -> str:
        return "waiting for the reply to " + self._awaited.verb if self._state is REPLY else self._state.value

    def facts(self) -> list[tuple[str, str | int]]:
        return [("login", self._login), ("cmds", self._commands), ("failed", self._failed_logins)]

    def client_bytes(self, data: bytes) -> None:
        state = self._state
        if state is OPEN:
            assert self._mailbox is not None
            self._step += 1
            if self._observer is not None:
                self._observer.mailbox_commands(data)
            self._mailbox.client_bytes(data)
        elif state is TLS:
            self._finish("client sent in the clear behind STLS")
        elif state is not CLOSED:
            if not self._commands and not self._lines.waiting and data.startswith(TLS_RECORD):
                self._finish("client speaks TLS")  # words in the clear would be noise to it
                return
            self._lines.feed(data)
            self._run()

    def forward_raw(self, text: memoryview, *, from_client: bool) -> bool:
        if not self.raw_forever:
            return False
        self._step += 1
        return True

    def upstream_bytes(self, data: bytes) -> None:
        state = self._state
        if state is OPEN or state is LEASE:
            assert self._mailbox is not None
            if state is OPEN:
                self._step += 1
                if self._observer is not None:
                    self._observer.mailbox_octets(data)
            if not self._mailbox.upstream_bytes(data):
                self._finish("upstream: more than may be held behind its +OK")
        elif state is not CLOSED:
            self._replies.feed(data)
            if state is REFUSED and len(self._replies) > MAX_HELD:
                self._finish("upstream: more than may be held behind its -ERR")
            self._use_replies()

    def client_eof(self) -> None:
        self._client_gone("")

    def client_lost(self, why: str) -> None:
        # P5: a client that closes with replies unread resets its connection; its login may be under way all the same.
        if self._state is OPEN:
            self._finish(f"client lost: {why}")
        else:
            self._client_gone(why)

    def _client_gone(self, lost: str) -> None:
        """P5: a client that hangs up at once has logged in all the same: its login is waited for.

        Not so the reply that is held back from a client that failed too often (G13): it would keep its place until
        then.
        """
        if self._state is OPEN:
            assert self._mailbox is not None
            self._mailbox.client_eof()
        elif self._state in (REPLY, LEASE) or (self._state is GREETING and self._lines.waiting):
            self._client_left = True
        else:
            self._finish(f"client lost: {lost}" if lost else "client left", clean=not lost)

    def upstream_eof(self) -> None:
        if self._state is OPEN:
            self._finish("upstream closed", clean=True)
        elif self._state is LEASE:
            assert self._mailbox is not None
            self._mailbox.upstream_eof()
        elif self._refused is not None:
            self._refused.upstream_left = True
        elif self._state is GREETING:
            self.upstream_failed()
        elif self._awaited is QUIT:
            self._finish("quit", clean=True)
        elif self._state is COMMANDS and self._awaited in (PASS, APOP, AUTH):
            self._finish("upstream left")  # behind its -ERR to a login: the client has had its answer
        else:
            self._finish("upstream left", texts.LOST)

    def upstream_failed(self) -> None:
        self._finish("no upstream", texts.UNAVAILABLE)

    def upstream_announced(self) -> None:
        """It relays nothing, so it makes no difference here."""

    def out_of_time(self, *, session: bool = False) -> None:
        wait = self.wait
        if wait is Wait.MAILBOX:
            self._finish("idle")  # RFC 1939 3: without entering UPDATE; a line of ours could land inside a message
        elif wait is Wait.GREETING:
            self.upstream_failed()
        elif self._state is REPLY:
            self._finish("upstream silent", texts.UNAVAILABLE)
        elif self._state is TLS:
            self._finish("client too slow in the TLS handshake")
        else:
            self._finish("no login in time", texts.TIMEOUT)

    def drain(self) -> None:
        if self._state is COMMANDS:
            self._finish("draining", texts.DRAINING)

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        self._finish(why.value, b"" if self._state in (OPEN, TLS) else _CUT[why])

    def answer(self, question: Question, result: Answer) -> None:
        if isinstance(question, LoggedIn):
            self._lease_settled()
        elif isinstance(question, LoginFailed):
            self._failure_noted(bool(result))
        elif isinstance(question, TlsAsked):
            self._tls_started()

    def take_password(self) -> tuple[bytes, bytes]:
        raise AssertionError("a POP3 session gives no password away")

    def verdict_lapsed(self) -> None:
        """There is none."""

    # Answers

    def _tls_started(self) -> None:
        """P6: a USER from before is forgotten."""
        if self._state is not TLS:
            return
        if self._observer is not None:
            self._observer.tls_started()
        self._tls = True
        self._state = COMMANDS
        self._user = None
        self._login = ""
        self._lines.clear()
        if self._closing is not None:  # the upstream has left in the meantime
            self._finish(*self._closing)

    def _lease_settled(self) -> None:
        """G5: the lease is in the store, or can't be: let the held +OK go, and pass octets from now on."""
        mailbox = self._mailbox
        if self._state is not LEASE or mailbox is None:
            return
        behind = self._lines.rest()
        self._state = OPEN
        if self._observer is not None:
            self._observer.client_reply(mailbox.reply)
            self._observer.mailbox_commands(behind)
        mailbox.open(behind)
        if self._client_left:
            mailbox.client_eof()
        if mailbox.upstream_left:
            self.upstream_eof()

    def _failure_noted(self, close: bool) -> None:
        """`close`: this address fails too often (G13)."""
        refused = self._refused
        if self._state is not REFUSED or refused is None:
            return
        self._state = COMMANDS
        self._refused = None
        self._say(refused.reply)
        if close or self._failed_logins >= self._settings.max_failed_logins:
            self._finish("too many failed logins", texts.TOO_MANY_LOGINS)
            return
        self._use_replies()
        if refused.upstream_left:
            self.upstream_eof()

    # The client's commands

    def _run(self) -> None:
        while self._state in (COMMANDS, SASL):
            line = self._lines.take()
            if line is None:
                if self._client_left:
                    self._finish("client left", clean=True)
                return
            self._step += 1
            if self._observer is not None:
                self._observer.command(line, secret=self._state is SASL)
            if self._state is SASL:
                self._sasl_response(line)
            else:
                self._command(line)

    def _command(self, line: bytes) -> None:
        self._commands += 1
        if line is TOO_LONG or len(line) > MAX_LINE:
            return self._error(texts.LINE_TOO_LONG)
        if line is BARE_LF:  # P2: a lax server would have read a line here
            return self._finish("client ended a line by LF alone", texts.BARE_LF)
        word, _, argument = line.partition(b" ")
        verb = VERBS.get(word.upper())
        raw = verb is not None and verb.raw
        # P2: a server may take a control octet for the end of the line; in a password a TAB is a character.
        if has_control(line.replace(b"\t", b"") if verb is _PASS_VERB else line):
            return self._finish("client sent a control octet", texts.BAD_OCTETS)
        if verb is None:
            return self._error(texts.UNKNOWN)
        if not raw:
            argument = argument.strip(b" ")
        if self._settings.tls_required and not self._tls and verb.logs_in:
            return self._error(texts.TLS_REQUIRED)
        return verb.action(self, argument)

    def _capa(self, argument: bytes) -> None:
        self._error(texts.SYNTAX) if argument else self._send(CAPA, b"CAPA\r\n")

    def _stls(self, argument: bytes) -> None:
        if argument:
            self._error(texts.SYNTAX)
        elif self._tls:
            self._error(texts.TLS_ACTIVE)
        elif not self._settings.stls:
            self._error(texts.TLS_NOT_OFFERED)
        elif self._lines.waiting:  # P6
            self._finish("client sent in the clear behind STLS")
        else:
            self._state = TLS
            self._say(texts.TLS_READY)
            self.output.events.append(TlsAsked())

    def _user_command(self, argument: bytes) -> None:
        if not argument:
            return self._error(texts.SYNTAX)
        self._user = None
        self._login = shown_login(argument)
        return self._send(USER, b"USER %b\r\n" % argument)

    def _pass(self, argument: bytes) -> None:
        if self._user is None:
            return self._error(texts.USER_FIRST)
        return self._send(PASS, b"PASS %b\r\n" % argument)

    def _apop(self, argument: bytes) -> None:
        name, _, digest = argument.rpartition(b" ")
        if not name or not digest:
            return self._error(texts.SYNTAX)
        self._login = shown_login(name)
        return self._send(APOP, b"APOP %b %b\r\n" % (name, digest))

    def _auth(self, argument: bytes) -> None:
        mechanism, initial = split_auth(argument)
        if not mechanism:  # the old form that asks for a list: Outlook Express does, and goes on with USER
            return self._say(texts.SYNTAX)
        if mechanism not in MECHANISMS:  # S10; programs try one after the other before they fall back to USER
            return self._say(texts.BAD_MECHANISM)
        exchange = self._exchange = Exchange(mechanism)
        if initial:
            initial = exchange.response(initial)
            if initial == b"*":
                return self._error(texts.SYNTAX)
            initial = b" " + initial
        return self._send(AUTH, b"AUTH %b%b\r\n" % (mechanism, initial))

    def _sasl_response(self, line: bytes) -> None:
        assert self._exchange is not None
        line = self._exchange.response(b"*" if line is TOO_LONG or line is BARE_LF else line)
        self._send(AUTH, line + b"\r\n")

    def _utf8(self, argument: bytes) -> None:
        self._error(texts.SYNTAX) if argument else self._send(UTF8, b"UTF8\r\n")

    def _lang(self, argument: bytes) -> None:
        if argument:
            self._send(LANG, b"LANG %b\r\n" % argument)
        else:
            self._send(LANG_LIST, b"LANG\r\n")

    def _noop(self, argument: bytes) -> None:
        self._send(NOOP, b"NOOP\r\n")

    def _quit(self, argument: bytes) -> None:
        self._send(QUIT, b"QUIT\r\n")

    # The upstream's replies

    def _use_replies(self) -> None:
        try:
            self._take_replies()
        except ProtocolError as error:
            self._finish(f"upstream: {error}", texts.UPSTREAM_PROTOCOL)
        if self._lines.waiting or self._client_left:
            self._run()

    def _take_replies(self) -> None:
        while self._state not in (LEASE, REFUSED, OPEN, CLOSED):
            line = self._replies.take()
            if line is None:
                return
            self._step += 1
            if self._observer is not None:
                unasked = self._state not in (GREETING, REPLY)
                self._observer.upstream_reply(line + b"\r\n", secret=unasked and self._failed_logins > 0)
            if self._state is GREETING:
                self._greeted(line)
            elif self._state is not REPLY:
                self._unsolicited(line)
            elif self._list is not None:
                self._list_line(self._list, line)
            else:
                self._awaited.on_reply(self, status(line), line)

    def _unsolicited(self, line: bytes) -> None:
        """Only a farewell may come without a command (autologout)."""
        if status(line) is not Status.ERR:
            raise ProtocolError("a reply that answers nothing")
        # After a failed login it may quote what it did not like: the password.
        quote = "" if self._failed_logins else ": " + line[:200].decode("ascii", "backslashreplace")
        self._finish("upstream closed" + quote, line + b"\r\n")

    def _greeted(self, line: bytes) -> None:
        said = status(line)
        if said is Status.CONTINUE:
            raise ProtocolError("a challenge for a greeting")
        self._say(line + b"\r\n")
        if said is Status.ERR:
            return self._finish("upstream refused: " + line[:200].decode("ascii", "backslashreplace"))
        self._state = COMMANDS
        return None

    def _pass_on(self, said: Status, line: bytes) -> None:
        if said is Status.CONTINUE:
            raise ProtocolError("a challenge that nothing asked for")
        self._state = COMMANDS
        self._say(line + b"\r\n")

    def _user_replied(self, said: Status, line: bytes) -> None:
        if said is Status.OK:
            self._user = self._login
        self._pass_on(said, line)

    def _login_replied(self, said: Status, line: bytes) -> None:
        """P3: this +OK is the login, and nothing else is."""
        if said is Status.OK:
            self._state = LEASE
            self._mailbox = Mailbox(self.output, line + b"\r\n" + self._replies.rest())
            self.output.events.append(LoggedIn(self._login))
            return
        if said is Status.CONTINUE:
            raise ProtocolError("a challenge that nothing asked for")
        self._user = None
        self._failed_logins += 1
        self._state = REFUSED
        self._refused = Refused(line + b"\r\n")
        self.output.events.append(LoginFailed(self._login))

    def _auth_replied(self, said: Status, line: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        if exchange.cancelled and said is not Status.ERR:  # S10: a success after `*` is none
            raise ProtocolError("no refusal of an AUTH that was cancelled")
        if said is Status.CONTINUE:
            self._state = SASL
            self._say(line + b"\r\n")
            return
        self._login = exchange.login
        self._exchange = None
        self._login_replied(said, line)

    def _quit_replied(self, said: Status, line: bytes) -> None:
        self._pass_on(said, line)
        self._finish("quit", clean=True)

    def _capa_replied(self, said: Status, line: bytes) -> None:
        if said is Status.ERR and self._offers_stls():  # a server older than CAPA: STLS is ours to offer all the same
            self._end_list([b"+OK Capability list follows"])
        else:
            self._list_replied(said, line)

    def _list_replied(self, said: Status, line: bytes) -> None:
        """The client gets the list when it is whole: behind half of one an -ERR would be one of its lines."""
        if said is Status.OK:
            self._list = [line]
        else:
            self._pass_on(said, line)

    def _list_line(self, so_far: list[bytes], line: bytes) -> None:
        if line == b".":
            self._end_list(so_far)
        elif len(so_far) > MAX_REPLY_LINES:
            raise ProtocolError("a list without end")
        else:
            so_far.append(line)

    def _end_list(self, whole: list[bytes]) -> None:
        first, *lines = whole
        self._list = None
        if self._awaited.verb == "CAPA":
            lines = edited_capabilities(lines, self._offers_stls(), self._tls or not self._settings.tls_required)
        self._state = COMMANDS
        self._say(b"\r\n".join([first, *lines, b".", b""]))

    # What commands and replies do

    def _offers_stls(self) -> bool:
        return self._settings.stls and not self._tls

    def _say(self, octets: bytes) -> None:
        """Whole lines, for the client; what passes once the mailbox is open does not come this way."""
        if self._observer is not None:
            self._observer.client_reply(octets)
        self.output.for_client(octets)

    def _send(self, awaited: Awaited, line: bytes) -> None:
        """Send a line to the upstream, whose reply is awaited then."""
        if self._observer is not None:
            self._observer.forwarded(line, secret=awaited is AUTH and not line.startswith(b"AUTH "))
        self._awaited = awaited
        self._state = REPLY
        self.output.for_upstream(line)

    def _error(self, reply: bytes) -> None:
        """A reply of ours to a bad command; too many of those end the session (P6)."""
        self._say(reply)
        self._errors += 1
        if self._errors >= MAX_BAD_COMMANDS:
            self._finish("too many bad commands", texts.TOO_MANY_ERRORS)

    def _finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        """End the session with these last words; while TLS starts nothing can be said: then behind its handshake."""
        if self._state is CLOSED:
            return
        if reply and self._state is TLS:
            self._closing = self._closing or (why, reply)
            return
        if reply:
            self._say(reply)
        if self._observer is not None:
            self._observer.finished()
        self.output.events.append(Finished(why if clean else f"{why} ({self.doing})", clean))
        self._state = CLOSED
        self._lines.clear()


class Verb(NamedTuple):
    """What a command is."""

    action: Callable[[PopSession, bytes], None]
    """Is given the argument."""
    logs_in: bool = False
    """Whether it is a step of a login: not in the clear where TLS is required."""
    secret: bool = False
    """Whether its argument may hold a password, and must not be shown."""
    raw: bool = False
    """Whether blanks belong to its argument, wherever they stand."""


class Awaited(NamedTuple):
    """A command that is out."""

    verb: str
    on_reply: Callable[[PopSession, Status, bytes], None]
    """Takes the first line of its reply."""


NOTHING: Final = Awaited("", PopSession._pass_on)
"""No command has been sent yet."""
CAPA: Final = Awaited("CAPA", PopSession._capa_replied)
USER: Final = Awaited("USER", PopSession._user_replied)
PASS: Final = Awaited("PASS", PopSession._login_replied)
APOP: Final = Awaited("APOP", PopSession._login_replied)
AUTH: Final = Awaited("AUTH", PopSession._auth_replied)
UTF8: Final = Awaited("UTF8", PopSession._pass_on)
LANG: Final = Awaited("LANG", PopSession._pass_on)
LANG_LIST: Final = Awaited("LANG", PopSession._list_replied)
NOOP: Final = Awaited("NOOP", PopSession._pass_on)
QUIT: Final = Awaited("QUIT", PopSession._quit_replied)

VERBS: Final[dict[bytes, Verb]] = {
    b"CAPA": Verb(PopSession._capa),
    b"STLS": Verb(PopSession._stls),
    b"USER": Verb(PopSession._user_command, logs_in=True, raw=True),
    b"PASS": Verb(PopSession._pass, logs_in=True, secret=True, raw=True),
    b"APOP": Verb(PopSession._apop, logs_in=True, secret=True),
    b"AUTH": Verb(PopSession._auth, logs_in=True, secret=True),
    b"UTF8": Verb(PopSession._utf8),
    b"LANG": Verb(PopSession._lang),
    b"NOOP": Verb(PopSession._noop),
    b"QUIT": Verb(PopSession._quit),
}
"""What a client may say before its login (P2); anything else is unknown."""
_PASS_VERB: Final = VERBS[b"PASS"]
