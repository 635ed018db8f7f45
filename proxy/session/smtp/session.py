"""The SMTP conversation of one client with one upstream, without I/O.

No octet of a client's command reaches the upstream: a command is parsed by a strict grammar and written afresh,
refused, or answered here (rules S1 to S11).  Replies keep their order by the ledger; a question to the gate holds the
session until it is answered; a message passes in chunks, watched by `wire.dots.Body`.

Two tables at the end of the file are the protocol: `VERBS`, what each command does, and `ON_REPLY`, what each reply of
the upstream does.  The parts have their own state and change nobody else's: pipeline.py (commands in, replies out),
hello.py, auth.py, transaction.py, message.py, blocked.py.  Both sides are one object on purpose: what may be sent to
one of them always depends on what the other has said.

It does not know sockets, clocks, leases or logs: see net/link/link.py, gate/policy.py.

Rejected: a coroutine a side (each await would be a place where the other side runs, between "written" and "entered in
the ledger"), and forwarding the client's own line when it looks harmless (that is how every parser differential
begins).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from ...errors import ProtocolError
from ...gate.local import is_local
from ...gate.verdict import Outcome, Password, Reason, RelayAsked, Verdict
from ...wire import bulk
from ...wire.address import literal
from ...wire.clienthello import TLS_RECORD
from ...wire.esmtp import NO_OFFER
from ...wire.lines import BARE_LF, TOO_LONG, is_clean
from ...wire.replies import Reply, fold
from ...wire.sasl import MAX_LINE, MECHANISMS, BadResponse, Exchange, PasswordExchange, shown_login, split_auth
from ..contract import Cut, Wait
from ..events import (
    Finished,
    LoginFailed,
    ParametersDropped,
    PasswordGiven,
    Refused,
    Relayed,
    TlsAsked,
    UnannouncedAsked,
    UpstreamAborted,
)
from . import texts
from .auth import Auth
from .blocked import AskingGate, CheckingPassword, NotingFailure, StartingTls, SwitchingUpstream
from .envelope import BadCommand, mail_command, rcpt_command
from .hello import NO_EHLO, NOTHING_SAID, Hello
from .message import Message
from .pipeline import MESSAGE, RCPT, Expected, Kind, Pipeline
from .settings import SmtpSettings
from .transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.path import Path
    from ..contract import Answer
    from ..events import Question
    from ..observer import Observer
    from ..output import Output
    from .blocked import Blocked

__all__ = ["VERBS", "SmtpSession", "SmtpSettings"]

# Octets with CRLF: RFC 5321 4.5.3.1.4's 512, plus what the extensions add: SIZE 26, 8BITMIME 17, DSN 100 and 500, AUTH
# 500, SMTPUTF8 10 (RFC 1870, 6152, 3461, 4954, 6531).
LIMIT: Final = 512
MAIL_LIMIT: Final = 1165
RCPT_LIMIT: Final = 1012

NO_REPLY: Final = "none"
"""In the place of the upstream's final reply, in the audit trail."""

_BLANKS: Final = b" \t"
_BLANK = re.compile(rb"[ \t]+")
_HELO = re.compile(rb"[!-~]{1,255}")
_HTTP = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE", b"HOST:", b"PRI"},
)
_INTERMEDIATE = frozenset({(Kind.DATA, 354), (Kind.AUTH, 334)})
_CUT = {Cut.DRAIN: texts.DRAINING, Cut.KICK: texts.KICKED, Cut.TOO_LONG: texts.SESSION_TIMEOUT}
_CHALLENGES = {b"": texts.AUTH_EMPTY, b"Username:": texts.AUTH_USERNAME, b"Password:": texts.AUTH_PASSWORD}


class State(Enum):
    """How the client's octets are used."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    SASL = "waiting for an AUTH response"
    BODY = "receiving a message"
    TLS = "starting TLS"
    CLOSED = "closed"


# Members by name: a look-up in an Enum class costs as much as the comparison it is for, some forty times a session.
GREETING, COMMANDS, SASL, BODY, TLS, CLOSED = State

# Entries of the ledger that are always the same.
_EHLO: Final = Expected(Kind.EHLO)
_HELO_REPLY: Final = Expected(Kind.HELO)
_HELO_FOR_EHLO: Final = Expected(Kind.HELO_FOR_EHLO)
_AUTH: Final = Expected(Kind.AUTH)
_RSET: Final = Expected(Kind.RSET)
_OWN_RSET: Final = Expected(Kind.OWN_RSET)
_NOOP: Final = Expected(Kind.NOOP)
_QUIT: Final = Expected(Kind.QUIT)


class Counts:
    """What a session did, for its line in the log and for its limits."""

    __slots__ = ("commands", "errors", "messages", "recipients", "refused")

    def __init__(self) -> None:
        self.commands = 0
        self.errors = 0
        """Bad commands."""
        self.messages = 0
        """That the upstream has taken."""
        self.recipients = 0
        """That the upstream has accepted."""
        self.refused = 0
        """Recipients that the gate has refused."""


class SmtpSession:
    """One client's SMTP session; the shape is `contract.Session`."""

    __slots__ = (
        "_announced", "_auth", "_blocked", "_client", "_client_left", "_closing", "_hello", "_message",
        "_offered", "_preauthorised", "_settings", "_state", "_tls", "_transaction", "_verdict", "counts", "pipeline",
    )  # fmt: skip

    def __init__(
        self,
        settings: SmtpSettings,
        client: str,
        *,
        tls: bool = False,
        preauthorised: Verdict | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`client`: its address, as text; `preauthorised`: a verdict that always holds."""
        self._settings = settings
        self._client = client
        """Its address, as text."""
        self._preauthorised = preauthorised
        self._verdict = preauthorised
        """The last one, for the log."""
        self.pipeline = Pipeline(observer)
        self.counts = Counts()
        self._state = GREETING
        self._tls = tls
        """Whether the client speaks TLS."""
        self._announced = False
        """Whether the upstream was shown the client's address, and judges it itself (rule S12)."""
        self._hello = NOTHING_SAID
        self._offered: Reply | None = None
        """The upstream's positive reply to the last EHLO or HELO that it took on this connection."""
        self._auth: Auth | None = None
        """Made at the first AUTH."""
        self._transaction: Transaction | None = None
        """From MAIL to the end of data."""
        self._message: Message | None = None
        """In BODY only."""
        self._blocked: Blocked | None = None
        """Why the client's next command can't be used yet, if not for replies that are owed."""
        self._client_left = False
        """The client's end was read; replies are still owed to it."""
        self._closing: tuple[str, bytes] | None = None
        """Why the session ends, and its last words, once its message has its reply or its TLS handshake is over."""

    # What the link sees

    @property
    def output(self) -> Output:
        return self.pipeline

    @property
    def messages(self) -> int:
        return self.counts.messages

    @property
    def step(self) -> int:
        return self.counts.commands + self.pipeline.progress

    @property
    def holding(self) -> bool:
        blocked, pipeline = self._blocked, self.pipeline
        ledger = pipeline.ledger
        if ledger.full or (blocked is not None and blocked.holds_input):
            return True
        return ledger.awaited > 0 and pipeline.serial and pipeline.lines.waiting != b""

    @property
    def streaming(self) -> bool:
        return self._message is not None

    @property
    def raw_forever(self) -> bool:
        return False  # a message is looked at

    @property
    def authenticated(self) -> bool:
        """Whether AUTH was answered with 235 in this session (G14, G15)."""
        return self._auth is not None and self._auth.accepted

    @property
    def transaction(self) -> Transaction | None:
        """The envelope so far; nobody but the session changes it."""
        return self._transaction

    @property
    def wait(self) -> Wait:
        if self._state is GREETING:
            return Wait.GREETING
        if self._message is not None:
            return Wait.MESSAGE
        return Wait.MESSAGE_REPLY if self._awaits_message_reply() else Wait.COMMAND

    @property
    def doing(self) -> str:
        if self._state is COMMANDS:
            blocked = self._blocked
            if blocked is not None and not isinstance(blocked, (StartingTls, CheckingPassword)):
                return blocked.doing
            if self.pipeline.ledger.awaited:
                return "waiting for the reply to " + self.pipeline.ledger.front().kind.phrase
        return self._state.value

    def facts(self) -> list[tuple[str, str | int]]:
        counts, verdict = self.counts, self._verdict
        return [
            ("helo", self._hello.name.decode("ascii")), ("login", "" if self._auth is None else self._auth.login),
            ("cmds", counts.commands), ("msgs", counts.messages), ("rcpts", counts.recipients),
            ("refused", counts.refused), ("verdict", "" if verdict is None else verdict.outcome.value),
        ]  # fmt: skip

    def client_bytes(self, data: bytes) -> None:
        state = self._state
        if state is COMMANDS or state is SASL:
            lines = self.pipeline.lines
            if not self.counts.commands and not lines.waiting and data.startswith(TLS_RECORD):
                self._disconnect("client speaks TLS")
                return
            lines.feed(data)
            self._run()
        elif state is BODY:
            self._message_bytes(data)
        elif state is GREETING:
            if data.startswith(TLS_RECORD):
                self._disconnect("client speaks TLS")  # words in the clear would be noise to it
            else:
                self._protocol_violation("sent before the greeting")
        elif state is TLS:
            self._protocol_violation("sent in the clear behind STARTTLS")

    def forward_raw(self, text: memoryview, *, from_client: bool) -> bool:
        message = self._message
        if message is None or not from_client or self.pipeline.observer is not None or not message.forward_raw(text):
            return False
        self.pipeline.go_on()
        return True

    def upstream_bytes(self, data: bytes) -> None:
        message = self._message
        if self._state is CLOSED or (message is not None and message.dropped):
            return
        pipeline = self.pipeline
        replies = pipeline.replies
        try:
            reply = replies.whole(data)
            if reply is not None:
                self._take_reply(reply)
            else:
                replies.feed(data)
                while (reply := replies.take()) is not None:
                    self._take_reply(reply)
                    if pipeline.bulk and pipeline.ledger.awaited and len(replies):
                        self._take_positive_replies()
        except ProtocolError as error:
            self._finish(f"upstream: {error}", texts.UPSTREAM_PROTOCOL)
        if self._blocked is not None:
            self._go_on_if_settled()
        if pipeline.lines.waiting:
            self._run()
        if self._client_left and (self._message is not None or not pipeline.ledger):
            self._finish("client left")  # with a 354 too: there is no message to come

    def client_eof(self) -> None:
        if self._state is BODY:
            self._finish("client left in mid-message")
        elif self.pipeline.ledger.awaited and self._state is not GREETING:
            self._client_left = True  # it may still listen: `printf ... | nc`
        else:
            self._finish("client left", clean=self._state is COMMANDS)

    def client_lost(self, why: str) -> None:
        # N11: a message that may be delivered goes into the audit trail with its reply.
        self._disconnect(f"client lost: {why}")

    def upstream_eof(self) -> None:
        """What a message loses by it the client is told: nothing that the upstream has not answered was delivered."""
        ledger = self.pipeline.ledger
        if self._state is CLOSED:
            return
        if self._state is GREETING:
            self.upstream_failed()
        elif self._message is not None:
            self.pipeline.say(texts.MESSAGE_LOST)  # at once, for a client that waits
            self._drop_message("upstream left in mid-message", b"")
        elif self._awaits_message_reply():
            self._finish("upstream left before its reply to the message", texts.MESSAGE_LOST)
        elif ledger.awaited and ledger.front() is _QUIT:
            self._finish("quit", texts.BYE, clean=True)  # some close without a word
        else:
            self._finish("upstream left", texts.LOST)

    def upstream_failed(self) -> None:
        self._finish("no upstream", texts.UNAVAILABLE)

    def upstream_announced(self) -> None:
        self._announced = True

    def out_of_time(self, *, session: bool = False) -> None:
        message = self._message
        if session:
            self.cut(Cut.TOO_LONG)
        elif self._state is GREETING:
            self.upstream_failed()
        elif message is not None:
            # S8: old scanners end a message so, and wait.
            why = "client silent in its message"
            if message.has_other_end:
                why = "client ended its message with LF.LF instead of CRLF.CRLF"
            told = message.dropped and not message.reply  # the upstream was lost, and the client knows
            self._finish(why, b"" if told else texts.MESSAGE_TIMEOUT)
        elif self._awaits_message_reply():
            self._finish("upstream silent after the message", texts.MESSAGE_LOST)
        elif self.pipeline.ledger.awaited:
            self._finish("upstream silent", texts.UPSTREAM_TIMEOUT)
        elif self._state is TLS:
            self._finish("client too slow in the TLS handshake")
        else:
            self._finish("client silent", texts.CLIENT_TIMEOUT)

    def drain(self) -> None:
        pipeline = self.pipeline
        idle = self._state is COMMANDS and not pipeline.ledger and not pipeline.synchronising
        if idle and self._transaction is None and self._blocked is None:
            self._finish("draining", texts.DRAINING)

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        self._finish(why.value, b"" if self._state is TLS else _CUT[why])

    def answer(self, question: Question, result: Answer) -> None:
        if self._state is CLOSED:
            return
        if isinstance(question, RelayAsked):
            assert isinstance(result, Verdict)
            self._judged(result)
        elif isinstance(question, UnannouncedAsked):
            assert result is None or isinstance(result, bytes)
            self._switched(result)
        elif isinstance(question, LoginFailed):
            self._failure_noted(bool(result))
        elif isinstance(question, PasswordGiven):
            assert isinstance(result, Password)
            self._password_checked(question.login, result)
        elif isinstance(question, TlsAsked):
            self._tls_started()

    def take_password(self) -> tuple[bytes, bytes]:
        assert isinstance(self._blocked, CheckingPassword)
        return self._blocked.take()

    def verdict_lapsed(self) -> None:
        if self._transaction is not None:
            self._transaction.lapse()

    # Using the client's lines

    def _run(self) -> None:
        """Use the lines that are here, as far as they can be used now."""
        pipeline = self.pipeline
        lines, ledger = pipeline.lines, pipeline.ledger
        while lines.waiting:
            if pipeline.synchronising:
                if pipeline.discarding:
                    lines.clear()
                else:
                    self._protocol_violation("sent more before the reply")
                return
            if self._blocked is not None or ledger.full or (pipeline.serial and ledger.awaited):
                return
            if self._state is COMMANDS and pipeline.bulk and self._take_bulk():
                continue
            line = lines.take()
            if line is None:
                return
            if pipeline.observer is not None:
                pipeline.observer.command(line, secret=self._state is SASL)
            if self._state is COMMANDS:
                self._command(line)
            elif self._state is SASL:
                self._sasl_response(line)
            else:
                return

    def _command(self, line: bytes) -> None:
        """Do what one line asks."""
        self.counts.commands += 1
        name, argument = line, b""
        verb = VERBS.get(line)  # a bare verb, as it is in the table, needs no further look
        if verb is None:
            if line is TOO_LONG:
                return self._error(texts.LINE_TOO_LONG)
            if line is BARE_LF:
                return self._error(texts.BARE_LF)
            if not is_clean(line):  # S1: a server may take it for the end of the line
                return self._error(texts.BAD_OCTETS)
            # S2: blanks before and behind an argument can't be read in two ways, and devices send them.
            name, argument = line.rstrip(_BLANKS), b""
            blank = _BLANK.search(name)
            if blank is not None:
                name, argument = name[: blank.start()], name[blank.end() :]
            name = name.upper()
            verb = VERBS.get(name)
            if len(line) + 2 > LIMIT and len(line) + 2 > (LIMIT if verb is None else verb.limit) and name not in _HTTP:
                return self._error(texts.LINE_TOO_LONG)
            if verb is None:
                return self._unknown_command(name)
        if self._settings.tls_required and not self._tls and not verb.before_tls:
            return self._error(texts.TLS_REQUIRED)
        verb.action(self, argument)
        if verb.ends_group and self.pipeline.lines.waiting and not self.pipeline.discarding:  # S5
            where = "in the clear behind STARTTLS" if name == b"STARTTLS" else "more before the reply"
            if self._state is not CLOSED:
                self._protocol_violation("sent " + where)
        return None

    def _unknown_command(self, name: bytes) -> None:
        if name in _HTTP:
            self._disconnect("client speaks HTTP")
        elif name.startswith(b"BDAT"):  # what follows can't be told from commands (RFC 3030 2), a tab behind it or not
            self._disconnect("client sent BDAT", texts.UNKNOWN_COMMAND)
        else:
            self._error(texts.UNKNOWN_COMMAND if name else texts.EMPTY_LINE)

    def _ehlo(self, argument: bytes) -> None:
        self._introduce(b"EHLO", argument, _EHLO)

    def _helo(self, argument: bytes) -> None:
        self._introduce(b"HELO", argument, _HELO_REPLY)

    def _introduce(self, verb: bytes, argument: bytes, expected: Expected) -> None:
        # S2: what a server may read in its own way is replaced by the client's address literal.
        name = argument if _HELO.fullmatch(argument) else literal(self._client)
        line = b"%b %b\r\n" % (verb, name)
        self._transaction = None
        self._hello = Hello(name, line, self._hello.offer)
        self.pipeline.send_last(line, expected)

    def _mail(self, argument: bytes) -> None:
        settings, hello = self._settings, self._hello
        if self._transaction is not None:
            return self._error(texts.NESTED_MAIL)
        if not hello.name and self._tls and settings.starttls:
            return self._error(texts.EHLO_FIRST)  # S11: what was said before STARTTLS does not count
        try:
            line, sender, smtputf8, dropped = mail_command(
                argument,
                hello.offer.keywords,
                self._upstream_authenticated(),
                own_auth=settings.auth == "pop3",
                helo=hello.line.startswith(b"HELO"),
            )
        except BadCommand as bad:
            return self._error(bad.reply)
        if dropped:
            self._parameters_dropped("MAIL", dropped)
        return self._begin_transaction(line, sender, smtputf8)

    def _begin_transaction(self, line: bytes, sender: bytes, smtputf8: bool) -> None:
        """Send MAIL on; `line`: as it is written for the upstream."""
        transaction = self._transaction = Transaction(sender, smtputf8, line, self._preauthorised)
        self.pipeline.send(line, Expected(Kind.MAIL, transaction))

    def _rcpt(self, argument: bytes) -> None:
        transaction, settings = self._transaction, self._settings
        if transaction is None:
            return self._error(texts.MAIL_FIRST)
        try:
            line, path, dropped = rcpt_command(argument, self._hello.offer.keywords, transaction.smtputf8)
        except BadCommand as bad:
            return self._error(bad.reply)
        if dropped:
            self._parameters_dropped("RCPT", dropped)
        if transaction.room < 1:
            return self.pipeline.reply(texts.TOO_MANY_RECIPIENTS)
        if not settings.ask_local and is_local(path, transaction.smtputf8, settings.local_domains):
            return self._forward_recipient(transaction, line, path, foreign=False)
        return self._foreign_recipient(transaction, line, path)

    def _parameters_dropped(self, command: str, names: tuple[bytes, ...]) -> None:
        """S2: a malformed parameter costs nobody a message."""
        self.pipeline.events.append(ParametersDropped(command, tuple([name.decode("ascii") for name in names])))

    def _data(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            self._error(texts.NO_ARGUMENT)
        elif transaction is None:
            self._error(texts.MAIL_FIRST)
        elif not transaction.unanswered and not transaction.accepted:
            self._error(texts.NO_RECIPIENTS)
        else:
            self.pipeline.send_last(b"DATA\r\n", Expected(Kind.DATA, transaction))

    def _rset(self, argument: bytes) -> None:
        if argument:
            return self._error(texts.NO_ARGUMENT)
        self._transaction = None
        return self.pipeline.send(b"RSET\r\n", _RSET)

    def _noop(self, argument: bytes) -> None:
        """Its argument is a comment (RFC 5321 4.1.1.9) and stays here."""
        self.pipeline.send(b"NOOP\r\n", _NOOP)

    def _vrfy(self, argument: bytes) -> None:
        self.pipeline.reply(texts.VRFY)

    def _expn(self, argument: bytes) -> None:
        self._error(texts.UNKNOWN_COMMAND)

    def _help(self, argument: bytes) -> None:
        self.pipeline.reply(texts.HELP)

    def _quit(self, argument: bytes) -> None:
        if argument:
            return self._error(texts.NO_ARGUMENT)
        self.pipeline.discard_input()
        return self.pipeline.send(b"QUIT\r\n", _QUIT)

    def _starttls(self, argument: bytes) -> None:
        if argument:
            self._error(texts.NO_ARGUMENT)
        elif self._tls:
            self._error(texts.TLS_ACTIVE)
        elif not self._settings.starttls:
            self._error(texts.TLS_NOT_OFFERED)
        elif self._transaction is not None or self.authenticated:
            self._error(texts.TLS_TOO_LATE)
        else:
            self.pipeline.synchronise()
            self._blocked = StartingTls()
            self._go_on_if_settled()

    # AUTH: passed on to the upstream, or answered here by a POP3 login (G14, G15, S10)

    def _upstream_authenticated(self) -> bool:
        return self._auth is not None and self._auth.by_upstream

    def _auth_command(self, argument: bytes) -> None:
        """The AUTH command, with or without an initial response."""
        settings = self._settings
        mechanism, initial = split_auth(argument)
        by_pop3 = settings.auth == "pop3"
        offered = self._hello.offer.mechanisms
        if self._hello.line.startswith(b"HELO") and settings.auth != "off":
            # What is offered is a property of the server and of TLS, not of the word with which a client came.
            offered = PasswordExchange.MECHANISMS if by_pop3 else MECHANISMS
        if by_pop3 and not self._tls and settings.starttls:
            return self._error(texts.AUTH_NEEDS_TLS)
        if settings.auth == "off" or not offered:
            early = not self._hello.name and settings.auth != "off"
            return self._error(texts.EHLO_FIRST if early else texts.AUTH_NOT_OFFERED)
        if self.authenticated or self._transaction is not None:
            return self._error(texts.AUTH_TWICE)
        if mechanism not in offered:
            return self._error(texts.AUTH_UNKNOWN if mechanism else texts.SYNTAX_AUTH)
        if self._auth is None:
            self._auth = Auth()
        if by_pop3:
            own = PasswordExchange(mechanism)
            self._auth.begin(own)
            return self._answer_auth(self._auth, own, initial if initial else None)
        exchange = Exchange(mechanism)
        if initial:
            initial = exchange.response(initial)
            if initial == b"*":
                return self._error(texts.SYNTAX_AUTH)
            initial = b" " + initial
        self._auth.begin(exchange)
        return self.pipeline.send_last(b"AUTH %b%b\r\n" % (mechanism, initial), _AUTH)

    def _sasl_response(self, line: bytes) -> None:
        """A line of the client that belongs to AUTH, whatever it looks like."""
        auth = self._auth
        assert auth is not None
        exchange = auth.exchange
        assert exchange is not None
        self._state = COMMANDS
        if isinstance(exchange, PasswordExchange):
            self._answer_auth(auth, exchange, b"*" if line is TOO_LONG or line is BARE_LF else line)
        else:
            line = exchange.response(b"*" if line is TOO_LONG or line is BARE_LF else line)
            self.pipeline.send_last(line + b"\r\n", _AUTH)
        if self.pipeline.synchronising and self.pipeline.lines.waiting:
            self._protocol_violation("sent more before the reply")

    def _answer_auth(self, auth: Auth, exchange: PasswordExchange, response: bytes | None) -> None:
        """Take a response (None: there was none yet) in an exchange of our own, and go on with it."""
        try:
            challenge = exchange.answer(response)
        except BadResponse:
            auth.end()
            return self._error(texts.AUTH_CANCELLED if response == b"*" else texts.SYNTAX_AUTH)
        if challenge is not None:
            self._state = SASL
            return self.pipeline.reply(_CHALLENGES[challenge])
        auth.end()
        login = shown_login(exchange.login)
        if not exchange.plausible:  # G15: nothing is tried with it
            return self._login_failed(auth, login, texts.AUTH_BAD)
        self.pipeline.synchronise()
        self._blocked = CheckingPassword(exchange.login, exchange.password)
        return self.pipeline.events.append(PasswordGiven(login))

    def _password_checked(self, login: str, result: Password) -> None:
        auth = self._auth
        assert auth is not None
        self._blocked = None
        if result in (Password.WRONG, Password.IN_USE):
            return self._login_failed(
                auth, login, texts.AUTH_BAD if result is Password.WRONG else texts.AUTH_UNKNOWN_NOW
            )
        self.pipeline.resume()
        if result is Password.UNKNOWN:
            return self._error(texts.AUTH_UNKNOWN_NOW)  # counted: each try is a connection to the server
        auth.accept(login, by_upstream=False)
        return self.pipeline.reply(texts.AUTH_GOOD)

    def _login_failed(self, auth: Auth, login: str, reply: bytes) -> None:
        """G13: the reply is said when the link has noted the failure."""
        auth.fail()
        self.pipeline.synchronise()
        self._blocked = NotingFailure(reply)
        self.pipeline.events.append(LoginFailed(login))

    def _failure_noted(self, close: bool) -> None:
        """`close`: this address fails too often."""
        blocked, auth = self._blocked, self._auth
        if not isinstance(blocked, NotingFailure) or auth is None:
            return
        self._blocked = None
        self.pipeline.resume()
        self.pipeline.reply(blocked.reply)
        if close or auth.failures >= self._settings.max_failed_logins:
            self._finish("too many failed logins", texts.TOO_MANY_LOGINS)

    # Recipients and the gate

    def _foreign_recipient(self, transaction: Transaction, line: bytes, path: Path) -> None:
        """A recipient that is not local: by the verdict of this transaction, or by asking for it (G6)."""
        if transaction.verdict is None:
            auth = self._auth
            if auth is None or not auth.accepted or self._settings.doubts_authenticated:
                return self._ask_gate(transaction, line, path)
            self._verdict = Verdict(Outcome.ALLOW, Reason.AUTHENTICATED, login=auth.login)
            transaction.judge(self._verdict)
        return self._apply_verdict(transaction, line, path)

    def _ask_gate(self, transaction: Transaction, line: bytes, path: Path) -> None:
        """The gate decides; until then no further command is used."""
        self._blocked = AskingGate(transaction, line, path)
        login = "" if self._auth is None else self._auth.login
        question = RelayAsked(shown(transaction.sender), shown(path.text), self.authenticated, login)
        self.pipeline.events.append(question)

    def _judged(self, verdict: Verdict) -> None:
        """The answer to `RelayAsked`."""
        blocked = self._blocked
        if not isinstance(blocked, AskingGate):
            return
        self._blocked = None
        self._verdict = verdict
        transaction = blocked.transaction
        transaction.judge(verdict)
        if transaction is self._transaction:
            self._apply_verdict(transaction, blocked.line, blocked.path)
        else:  # the upstream has refused MAIL while the gate was asked
            self.pipeline.reply(texts.MAIL_FIRST)
        self._run()

    def _apply_verdict(self, transaction: Transaction, line: bytes, path: Path) -> None:
        """Apply the verdict of this transaction to a recipient that is not local."""
        verdict = transaction.verdict
        assert verdict is not None
        reason, why, most = verdict.reason, verdict.why, verdict.recipients
        if verdict.outcome is Outcome.ALLOW:
            if most is not None and transaction.relaying >= most:
                if not transaction.sender and most == 1:  # G10: a bounce has one recipient
                    why = f"{Reason.BOUNCE.value}: {why}"
                    return self._defer(transaction, path, texts.TOO_MANY_RECIPIENTS, Reason.BOUNCE, why)
                why = f"{why}, {most} recipients at once"
                return self._defer(transaction, path, texts.BUDGET_SPENT, Reason.SPENT, why)
            if (
                self._announced and not self._upstream_authenticated()
            ):  # S12: the server would judge the client's address
                self._blocked = SwitchingUpstream(transaction, line, path)
                return self._go_on_if_settled()
            return self._forward_recipient(transaction, line, path, foreign=True)
        if verdict.outcome is Outcome.OVER_QUOTA:  # G11
            return self._defer(transaction, path, texts.BUDGET_SPENT, reason, why)
        if verdict.outcome is Outcome.DEFER:  # G7: a store that does not answer never refuses
            return self._defer(transaction, path, texts.DEFERRED, reason, why)
        reply = texts.refusal(self._settings.refusal, path.text, self._client, reason)
        return self._refuse(transaction, path, reply, reason, why)

    def _forward_recipient(self, transaction: Transaction, line: bytes, path: Path, *, foreign: bool) -> None:
        transaction.forward([path.text], foreign=foreign)
        self.pipeline.send(line, Expected(RCPT, transaction, foreign))

    def _defer(self, transaction: Transaction, path: Path, reply: bytes, reason: Reason, why: str) -> None:
        """A temporary answer (G7, G11, S12): it is logged, and counts as a refusal, once a transaction.

        A client that was closed before its DATA would never get rid of the recipients that were accepted.  More such
        recipients cost us no more than a NOOP each; a client that begins a transaction for each of them is still
        closed at `max_refusals`.
        """
        if transaction.defer(reply):
            self._refuse(transaction, path, reply, reason, why)
        else:
            self.pipeline.reply(reply)

    def _refuse(self, transaction: Transaction, path: Path, reply: bytes, reason: Reason, why: str) -> None:
        """Answer a recipient here, and count it."""
        self.counts.refused += 1
        sender, recipient = shown(transaction.sender), shown(path.text)
        self.pipeline.events.append(Refused(sender, recipient, shown(reply[:-2]), reason, why))
        self.pipeline.reply(reply)
        if self.counts.refused >= self._settings.max_refusals:
            self._disconnect("too many refused recipients", texts.TOO_MANY_REFUSALS)

    # Another upstream connection in mid-transaction (S12)

    def _switch_upstream(self, wanted: SwitchingUpstream) -> None:
        """Ask for an unannounced connection for the recipient that waits; no reply is owed on the present one."""
        transaction = wanted.transaction
        if transaction is not self._transaction:  # the upstream has refused MAIL in the meantime
            self._blocked = None
            self.pipeline.reply(texts.MAIL_FIRST)
        elif transaction.accepted:
            # A recipient that was accepted can't be moved: it would have to be said again, and may be refused.
            self._not_switched(wanted, texts.NOT_BESIDE_OTHERS, Reason.NOT_BESIDE)
        elif transaction.deferred == texts.NOT_MOVED:  # one attempt a transaction, however many recipients it has
            self._not_switched(wanted, texts.NOT_MOVED, Reason.NOT_MOVED)
        else:
            self.pipeline.go_on()
            self._blocked = SwitchingUpstream(transaction, wanted.line, wanted.path, asked=True)
            self.pipeline.events.append(UnannouncedAsked(self._hello.line, transaction.line))

    def _switched(self, offer: bytes | None) -> None:
        """The answer to `UnannouncedAsked`: the new connection's reply to EHLO; None: there is none."""
        wanted, pipeline = self._blocked, self.pipeline
        if not isinstance(wanted, SwitchingUpstream) or not wanted.asked:
            return
        pipeline.go_on()
        if offer is None:
            self._not_switched(wanted, texts.NOT_MOVED, Reason.NOT_MOVED)
        else:
            self._blocked = None
            self._announced = False
            pipeline.replies.clear()
            self._hello = Hello(self._hello.name, self._hello.line, NO_OFFER)
            pipeline.set_serial(True)
            self._offered = Reply(250, offer) if offer else None
            if offer:
                self._take_offer(Reply(250, offer))
            # G6: the gate is asked again if the lease has ended in the meantime
            self._foreign_recipient(wanted.transaction, wanted.line, wanted.path)
        self._run()

    def _not_switched(self, wanted: SwitchingUpstream, reply: bytes, reason: Reason) -> None:
        """The recipient that waits is deferred; the session goes on with the connection that it has."""
        self._blocked = None
        self._defer(wanted.transaction, wanted.path, reply, reason, reason.value)

    # The bulk path: a shortcut for what is usual, proved by one match (wire/bulk.py)

    def _take_bulk(self) -> bool:
        """Send on the usual command at the head of the client's lines, or the run of them; whether there was one."""
        transaction = self._transaction
        return self._take_sender() if transaction is None else self._take_recipients(transaction)

    def _take_sender(self) -> bool:
        mail = self.pipeline.lines.match(bulk.SENDER)
        if mail is None:
            return False
        settings, offered = self._settings, self._hello.offer.keywords
        if self._tls:
            if settings.starttls and not self._hello.name:
                return False
        elif settings.tls_required:
            return False
        sender, parameters = mail["path"], mail["parameters"]
        if parameters and ((mail["size"] and b"SIZE" not in offered) or (mail["body"] and b"8BITMIME" not in offered)):
            return False
        self.pipeline.lines.used(mail.end() - mail.start())
        self.counts.commands += 1
        self._begin_transaction(b"MAIL FROM:<%b>%b\r\n" % (sender, parameters), sender, False)
        return True

    def _take_recipients(self, transaction: Transaction) -> bool:
        """A run is one line or more, to one domain: all have one fate, and one entry in the ledger."""
        pipeline, settings = self.pipeline, self._settings
        run = pipeline.lines.match(bulk.RECIPIENTS)
        if run is None:
            return False
        foreign = settings.ask_local or not settings.local_domains.covers(run["domain"], transaction.smtputf8)
        room = min(1 if pipeline.serial else pipeline.ledger.room, transaction.room)
        if foreign:
            room = min(room, self._foreign_room(transaction))
        if room < 1:
            return False
        paths = bulk.paths(run[0])
        if len(paths) > room:
            del paths[room:]
        count, octets = len(paths), bulk.recipients(paths)
        pipeline.lines.used(len(octets))
        self.counts.commands += count
        transaction.forward(paths, foreign=foreign)
        pipeline.send(octets, Expected(RCPT, transaction, foreign, count))
        return True

    def _foreign_room(self, transaction: Transaction) -> int:
        """How many recipients that are not local may go on without a question, a refusal or a move (G6, S12)."""
        verdict = transaction.verdict
        if verdict is None or verdict.outcome is not Outcome.ALLOW:
            return 0
        if self._announced and not self._upstream_authenticated():
            return 0
        return transaction.room if verdict.recipients is None else verdict.recipients - transaction.relaying

    def _take_positive_replies(self) -> None:
        """Take further positive replies that are here for the run of recipients in front."""
        if self._state is CLOSED:
            return
        taken = self.pipeline.take_positive_replies()
        if taken is not None:
            expected, count = taken
            self._recipients_accepted(expected, count)

    # Replies of the upstream

    def _take_reply(self, reply: Reply) -> None:
        pipeline = self.pipeline
        ledger = pipeline.ledger
        if pipeline.observer is not None:
            secret = not ledger.awaited and self._auth is not None and self._auth.failures > 0
            pipeline.observer.upstream_reply(reply.octets, secret=secret)
        if (reply.code >= 300 or not ledger.awaited or self._state is CLOSED) and self._dispatch_special(reply):
            return
        expected = ledger.pop()
        out = ON_REPLY[expected.kind](self, reply, expected)
        if out:
            pipeline.say(out)
        if ledger.injected:
            pipeline.release()
        if self._closing is not None and not self._awaits_message_reply():
            self._finish(*self._closing)

    def _dispatch_special(self, reply: Reply) -> bool:
        """Treat a reply that is not the one that is owed: the greeting, a farewell, a message's early refusal.

        Returns False where it is the one that is owed after all; raises ProtocolError where it is none (S6).
        """
        state, code, ledger = self._state, reply.code, self.pipeline.ledger
        if state is GREETING:
            self._greeted(reply)
        elif state is CLOSED:
            pass
        elif code == 421:
            # Old servers quote the line that they did not like: in an AUTH exchange that is the password.
            secret = self._auth is not None and self._auth.exchange is not None
            quote = "" if secret else ": " + shown(reply.octets[:200].strip())
            if self._awaits_message_reply():
                self._message_replied(reply, ledger.front())
                self._finish_quietly("upstream closed" + quote, reply.octets)
            else:
                self._finish("upstream closed" + quote, reply.octets)
        elif self._message is not None and code >= 400:
            self._refused_early(self._message, reply)
        elif not ledger.awaited or self._message is not None:
            raise ProtocolError("a reply that answers nothing")
        elif 300 <= code < 400 and (ledger.front().kind, code) not in _INTERMEDIATE:
            raise ProtocolError(f"{code} in reply to {ledger.front().kind.phrase}")
        else:
            return False
        return True

    def _greeted(self, reply: Reply) -> None:
        """The first reply of all; anything but 220 is passed on and ends the session."""
        self.pipeline.say(fold(reply))
        if reply.code == 220:
            self._state = COMMANDS
        else:
            self._finish("upstream refused: " + shown(reply.octets[:200].strip()))

    def _pass_on(self, reply: Reply, expected: Expected) -> bytes:
        return reply.octets

    def _absorb(self, reply: Reply, expected: Expected) -> bytes:
        """The reply to a command of ours."""
        return b""

    def _ehlo_replied(self, reply: Reply, expected: Expected) -> bytes:
        if reply.code == 503 and self._offered is not None:
            return self._introduced_again(self._offered, helo=False)
        if reply.code in NO_EHLO:  # S7: a server older than ESMTP; TLS and PIPELINING are ours to offer all the same
            self.pipeline.send(b"HELO %b\r\n" % self._hello.name, _HELO_FOR_EHLO)
            return b""
        return self._helo_for_ehlo_replied(reply, expected)

    def _helo_for_ehlo_replied(self, reply: Reply, expected: Expected) -> bytes:
        self.pipeline.resume()
        if reply.code != 250:
            return reply.octets
        self._offered = reply
        return self._take_offer(reply)

    def _introduced_again(self, offered: Reply, *, helo: bool) -> bytes:
        """S7: some servers take one EHLO a connection, and popgate's client says another behind STARTTLS.  It gets what
        was offered for the first one, and RSET does what else its EHLO would have done."""
        pipeline = self.pipeline
        pipeline.resume()
        pipeline.send(b"RSET\r\n", _OWN_RSET)
        if not helo:
            return self._take_offer(offered)
        self._hello = Hello(self._hello.name, self._hello.line, NO_OFFER)
        pipeline.set_serial(True)
        return b"250 %b\r\n" % offered.texts()[0]

    def _take_offer(self, reply: Reply) -> bytes:
        """The upstream's positive reply to EHLO: what holds from now on, and the octets for the client (S7)."""
        settings, clear = self._settings, not self._tls
        closed = clear and (settings.tls_required or settings.auth == "pop3")
        offer, octets = settings.editor.edit(reply, settings.starttls and clear, closed)
        self._hello = Hello(self._hello.name, self._hello.line, offer)
        self.pipeline.set_serial(not offer.pipelining)
        return octets

    def _helo_replied(self, reply: Reply, expected: Expected) -> bytes:
        if reply.code == 503 and self._offered is not None:
            return self._introduced_again(self._offered, helo=True)
        if reply.code == 250:
            self._offered = self._offered or reply
        self.pipeline.resume()
        self._hello = Hello(self._hello.name, self._hello.line, NO_OFFER)
        self.pipeline.set_serial(True)
        return reply.octets

    def _mail_replied(self, reply: Reply, expected: Expected) -> bytes:
        if reply.code >= 400 and self._transaction is expected.transaction:
            self._transaction = None
        return reply.octets

    def _rcpt_replied(self, reply: Reply, expected: Expected) -> bytes:
        if reply.code < 300:
            self._recipients_accepted(expected, 1)
        else:
            assert expected.transaction is not None
            expected.transaction.reject(foreign=expected.foreign)
        return reply.octets

    def _recipients_accepted(self, expected: Expected, count: int) -> None:
        """The upstream takes the next recipients of a transaction, `count` of those that one entry stands for."""
        assert expected.transaction is not None
        self.counts.recipients += count
        expected.transaction.accept(count, foreign=expected.foreign)

    def _data_replied(self, reply: Reply, expected: Expected) -> bytes:
        self.pipeline.resume()
        if reply.code == 354:
            assert expected.transaction is not None
            self._state = BODY
            self._message = Message(expected.transaction, self._settings.bare_newline)
            self._transaction = expected.transaction  # also where MAIL was refused: the message is about to come
        else:  # S4: reset the upstream too, so that no recipient of this transaction lives on there
            self._transaction = None
            self.pipeline.send(b"RSET\r\n", _OWN_RSET)
        return reply.octets

    def _auth_replied(self, reply: Reply, expected: Expected) -> bytes:
        auth = self._auth
        assert auth is not None
        exchange = auth.exchange
        assert isinstance(exchange, Exchange)
        if exchange.cancelled and reply.code in (235, 334):  # S10: a success after `*` is none
            raise ProtocolError("no refusal of an AUTH that was cancelled")
        if reply.code == 334:
            self.pipeline.resume()
            self._state = SASL
            return reply.octets
        auth.end()
        if reply.code == 535:
            self._login_failed(auth, exchange.login, reply.octets)
            return b""
        self.pipeline.resume()
        if reply.code == 235:  # G14
            auth.accept(exchange.login, by_upstream=True)
        return reply.octets

    def _quit_replied(self, reply: Reply, expected: Expected) -> bytes:
        self._finish("quit", reply.octets, clean=True)
        return b""

    # The message

    def _message_bytes(self, data: bytes) -> None:
        """Octets of the client in a message, and perhaps behind its end."""
        message, pipeline = self._message, self.pipeline
        assert message is not None
        pipeline.go_on()
        if pipeline.observer is not None:
            pipeline.observer.message(data)
        forward, used, rejected = message.feed(data)
        pipeline.for_upstream(forward)
        if rejected:
            self._drop_message("message has a bare CR or LF", texts.BARE_NEWLINE)
        if used is None:
            return
        if message.dropped:
            self._finish(message.why, message.reply)
            return
        transaction = message.transaction
        transaction.measure(message.octets)
        self._message = self._transaction = None
        self._state = COMMANDS
        pipeline.ledger.expect(Expected(MESSAGE, transaction))
        if used < len(data):
            pipeline.lines.feed(data[used:])
            self._run()

    def _drop_message(self, why: str, reply: bytes) -> None:
        """Drop the upstream without an end of data; read on to the client's, so that it sees `reply` there."""
        assert self._message is not None
        self._message.drop(why, reply)
        self.pipeline.drop_to_upstream()
        self.pipeline.replies.clear()
        self.pipeline.events.append(UpstreamAborted())

    def _refused_early(self, message: Message, reply: Reply) -> None:
        """The upstream takes no more of this message, for its size or a line's: that is the reply to it.

        The client reads no reply before its end of data, so it gets this one there, and the session ends.  The
        upstream is dropped at once, since it may take what follows for commands.  No 250 can come this way (S9).
        """
        message.transaction.measure(message.octets)
        self._tell_relayed(message.transaction, shown(reply.octets[:-2]))
        self._drop_message("upstream refused the message before its end", reply.octets)

    def _message_replied(self, reply: Reply, expected: Expected) -> bytes:
        """S9: a 250 is the upstream's."""
        assert expected.transaction is not None
        if reply.code < 300:
            self.counts.messages += 1
        self._tell_relayed(expected.transaction, shown(reply.octets[:-2]))
        return reply.octets

    def _awaits_message_reply(self) -> bool:
        """Whether a message has gone and its final reply is the next one."""
        ledger = self.pipeline.ledger
        return ledger.awaited > 0 and ledger.front().kind is MESSAGE

    def _tell_relayed(self, transaction: Transaction, reply: str) -> None:
        """N11: a line for the audit trail, if this is about somebody outside."""
        verdict = transaction.allowed
        if transaction.foreign and verdict is not None:
            recipients = tuple([shown(path) for path in transaction.accepted])
            sender, octets, foreign = shown(transaction.sender), transaction.octets, transaction.foreign
            self.pipeline.events.append(Relayed(sender, recipients, octets, reply, verdict, foreign))

    # TLS

    def _go_on_if_settled(self) -> None:
        """What waits for the replies that are owed goes on when they are out."""
        blocked, pipeline = self._blocked, self.pipeline
        if pipeline.ledger or self._state is not COMMANDS:
            return
        if isinstance(blocked, StartingTls):
            if not pipeline.lines.waiting:  # else they are a violation, which is about to be found
                self._blocked = None
                self._state = TLS
                pipeline.say(texts.TLS_READY)
                self.pipeline.events.append(TlsAsked())
        elif isinstance(blocked, SwitchingUpstream) and not blocked.asked:
            self._switch_upstream(blocked)

    def _tls_started(self) -> None:
        """S11: all that was said in the clear is forgotten (RFC 3207 4.2)."""
        if self._state is not TLS:
            return
        pipeline = self.pipeline
        if pipeline.observer is not None:
            pipeline.observer.tls_started()
        self._tls = True
        self._state = COMMANDS
        self._hello = NOTHING_SAID
        pipeline.resume()
        pipeline.set_serial(True)
        pipeline.lines.clear()
        if self._closing is not None:  # the upstream has left in the meantime
            self._finish(*self._closing)

    # The end

    def _error(self, reply: bytes) -> None:
        """A reply of ours to a bad command; too many of those end the session."""
        self.pipeline.reply(reply)
        self.counts.errors += 1
        if self.counts.errors >= self._settings.max_errors:
            self._disconnect("too many errors", texts.TOO_MANY_ERRORS)

    def _protocol_violation(self, why: str) -> None:
        """Octets where none may be (S5, S11): a client that sends them did not read a reply."""
        quiet = self._state is TLS or isinstance(self._blocked, StartingTls)
        self._disconnect("client " + why, b"" if quiet else texts.SYNCHRONISATION)

    def _disconnect(self, why: str, reply: bytes = b"") -> None:
        """End the session for what the client did.

        If its message has gone and the reply to that is still on its way, then behind it: else the client would send
        again what was delivered.  Out of time, the upstream's end and its 421 end it before, as always.
        """
        if not self._awaits_message_reply() or self._state is CLOSED:
            self._finish(why, reply)
        elif self._closing is None:
            self._closing = why, reply
            self.pipeline.discard_input()
            self.pipeline.lines.clear()

    def _finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        """End the session with these last words; while TLS starts nothing can be said: then behind its handshake."""
        if self._state is CLOSED:
            return
        if reply and self._state is TLS:
            self._closing = self._closing or (why, reply)
            return
        if reply:
            self.pipeline.say(reply)
        doing = self.doing
        if self._awaits_message_reply():  # nobody knows whether the upstream has taken the message
            transaction = self.pipeline.ledger.front().transaction
            assert transaction is not None
            self._tell_relayed(transaction, NO_REPLY)
        self._close(why if clean else f"{why} ({doing})", clean=clean)

    def _finish_quietly(self, why: str, reply: bytes) -> None:
        """End the session with these last words, which were the reply to its message."""
        self.pipeline.say(reply)
        self._close(f"{why} ({self.doing})", clean=False)

    def _close(self, why: str, *, clean: bool) -> None:
        if self.pipeline.observer is not None:
            self.pipeline.observer.finished()
        self.pipeline.events.append(Finished(why, clean))
        self._state = CLOSED
        self._message = None
        self.pipeline.lines.clear()


def shown(octets: bytes) -> str:
    """Octets of a peer as text for an event; the log escapes what is not printable."""
    return octets.decode("utf-8", "backslashreplace")


class Verb(NamedTuple):
    """What a command is."""

    action: Callable[[SmtpSession, bytes], None]
    """Is given the argument, without the blanks around it."""
    limit: int = LIMIT
    """Octets of the line with its CRLF."""
    ends_group: bool = False
    """S5: nothing may be sent behind it before its reply (RFC 2920 3.1)."""
    before_tls: bool = False
    """Whether it is allowed in the clear where TLS is required (RFC 3207 4)."""
    secret: bool = False
    """Whether its argument may hold a password, and must not be shown."""


VERBS: Final[dict[bytes, Verb]] = {
    b"EHLO": Verb(SmtpSession._ehlo, ends_group=True, before_tls=True),
    b"HELO": Verb(SmtpSession._helo, ends_group=True),
    b"MAIL": Verb(SmtpSession._mail, MAIL_LIMIT),
    b"RCPT": Verb(SmtpSession._rcpt, RCPT_LIMIT),
    b"DATA": Verb(SmtpSession._data, ends_group=True),
    b"RSET": Verb(SmtpSession._rset),
    b"NOOP": Verb(SmtpSession._noop, before_tls=True),
    b"VRFY": Verb(SmtpSession._vrfy),
    b"EXPN": Verb(SmtpSession._expn),
    b"HELP": Verb(SmtpSession._help),
    b"AUTH": Verb(SmtpSession._auth_command, MAX_LINE, ends_group=True, secret=True),
    b"STARTTLS": Verb(SmtpSession._starttls, ends_group=True, before_tls=True),
    b"QUIT": Verb(SmtpSession._quit, ends_group=True, before_tls=True),
}
"""What a client may say (S3); anything else is unknown."""

ON_REPLY: Final[dict[Kind, Callable[[SmtpSession, Reply, Expected], bytes]]] = {
    Kind.EHLO: SmtpSession._ehlo_replied,
    Kind.HELO: SmtpSession._helo_replied,
    Kind.HELO_FOR_EHLO: SmtpSession._helo_for_ehlo_replied,
    Kind.MAIL: SmtpSession._mail_replied,
    Kind.RCPT: SmtpSession._rcpt_replied,
    Kind.DATA: SmtpSession._data_replied,
    Kind.MESSAGE: SmtpSession._message_replied,
    Kind.AUTH: SmtpSession._auth_replied,
    Kind.RSET: SmtpSession._pass_on,
    Kind.OWN_RSET: SmtpSession._absorb,
    Kind.NOOP: SmtpSession._pass_on,
    Kind.QUIT: SmtpSession._quit_replied,
}
"""What a reply of the upstream does, and what the client gets in its place."""
