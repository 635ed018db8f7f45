"""The SMTP conversation of one client with one upstream, without I/O.

No octet of a client's command reaches the upstream: a command is parsed by a strict grammar and written afresh, refused, or
answered here (RULES S1 to S11).  Replies keep their order by the ledger; a relay question holds the session until the gate
has answered; a message body passes in chunks, watched by `wire.dots.Body`.  `SmtpSession` holds half a conversation for each
side at once on purpose: what may be sent to one side always depends on what the other has said.

It does not know sockets, clocks, leases or logs: see net/link.py, policy.py.  The state of a client is in `_state`, one
member a way of using octets; what is awaited beside that has a field each.

Rejected: a coroutine a side (each await would be a place where the other side runs, between "written" and "entered in the
ledger"), and forwarding the client's own line when it looks harmless (that is how every parser differential begins).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ProtocolError
from ..wire.dots import Body
from ..wire.esmtp import EhloEditor, Offer
from ..wire.lines import TOO_LONG, LineBuffer, is_clean
from ..wire.replies import Reply, ReplyBuffer, fold
from ..wire.sasl import MAX_LINE, Exchange
from . import texts
from .envelope import BadCommand, mail_command, rcpt_command
from .events import (
    Event,
    Finished,
    LoginFailed,
    Outcome,
    Refused,
    RelayAsked,
    Relayed,
    TlsAsked,
    UpstreamAborted,
    Verdict,
    Wait,
)
from .ledger import Ledger
from .transaction import Transaction, is_local

if TYPE_CHECKING:
    from ..wire.path import Path
    from ..wire.recipients import LocalDomains

# Octets with CRLF: RFC 5321 4.5.3.1.4's 512, plus what the extensions add: SIZE 26, 8BITMIME 17, DSN 100 and 500, AUTH 500,
# SMTPUTF8 10 (RFC 1870, 6152, 3461, 4954, 6531).
_LIMITS = {b"MAIL": 1165, b"RCPT": 1012, b"AUTH": MAX_LINE}
_LIMIT = 512
MAX_RECIPIENTS = 1000  # of a transaction, as Postfix; RFC 5321 4.5.3.1.8 wants 100 at least
_HELO = re.compile(rb"[!-~]{1,255}")
_HTTP = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE", b"HOST:", b"PRI"},
)
_BEFORE_TLS = frozenset({b"NOOP", b"EHLO", b"STARTTLS", b"QUIT"})  # RFC 3207 4
_NO_EHLO = frozenset({500, 501, 502, 504, 550, 554})  # what old servers say to EHLO; HELO is tried in its place
_NOTHING = Offer()


class State(Enum):
    """How the client's octets are used."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    SASL = "waiting for an AUTH response"
    BODY = "receiving a message"
    TLS = "starting TLS"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """What all sessions of a listener share."""

    local_domains: LocalDomains
    editor: EhloEditor
    refusal: str
    """Template of the refusal, with {recipient} and {client}."""
    bare_newline: Literal["normalize", "reject"] = "normalize"
    auth: bool = True
    """Whether AUTH goes on to the upstream."""
    starttls: bool = False
    tls_required: bool = False
    ask_local: bool = False
    """Whether local recipients need a right to relay too (submission ports)."""
    max_refusals: int = 20
    max_errors: int = 20


class Owed(NamedTuple):
    """A reply that the upstream owes: who treats it, and what it is about."""

    settle: Callable[[SmtpSession, Reply, Owed], bytes]
    what: str
    transaction: Transaction | None = None
    path: bytes = b""
    foreign: bool = False


class SmtpSession:
    """One client's SMTP session; the shape is `events.Session`."""

    __slots__ = (
        "_body",
        "_client",
        "_discarding",
        "_ending",
        "_errors",
        "_exchange",
        "_helo",
        "_leaving",
        "_ledger",
        "_lines",
        "_literal",
        "_offer",
        "_pending",
        "_quitting",
        "_refusals",
        "_replies",
        "_serial",
        "_settings",
        "_standing",
        "_starting_tls",
        "_state",
        "_synchronising",
        "_tls",
        "_transaction",
        "_why",
        "authenticated",
        "client_done",
        "commands",
        "events",
        "login",
        "messages",
        "recipients",
        "refused",
        "step",
        "to_client",
        "to_upstream",
        "upstream_done",
    )  # fmt: skip

    def __init__(
        self, settings: SmtpSettings, client: str, literal: bytes, *, tls: bool = False, standing: Verdict | None = None
    ) -> None:
        """`client` and `literal`: its address as text and as SMTP address literal; `standing`: a verdict that always holds."""
        self.to_client: list[bytes] = []
        self.to_upstream: list[bytes] = []
        self.events: list[Event] = []
        self.client_done = self.upstream_done = False
        self.step = 0
        self.commands = self.messages = self.recipients = self.refused = 0
        self.login = ""
        self.authenticated = False
        """The upstream answered AUTH with 235 in this session (RULES G14)."""
        self._settings = settings
        self._client, self._literal = client, literal
        self._standing = standing
        self._state = State.GREETING
        self._lines = LineBuffer(MAX_LINE)
        self._replies = ReplyBuffer()
        self._ledger: Ledger[Owed] = Ledger()
        self._offer = _NOTHING
        self._serial = True  # the upstream takes one command at a time (no PIPELINING)
        self._synchronising = False  # a command that ends a pipelined group has no reply yet
        self._tls = tls
        self._starting_tls = self._quitting = self._leaving = False
        self._helo = b""
        self._exchange: Exchange | None = None
        self._transaction: Transaction | None = None
        self._pending: tuple[Transaction, bytes, Path] | None = None  # the RCPT that the gate was asked about
        self._body: Body | None = None
        self._discarding = False  # the body is read to its end without being forwarded
        self._ending = b""  # the reply that is due then
        self._why = ""  # why it is discarded, for the log
        self._errors = self._refusals = 0

    # What the link sees

    @property
    def holding(self) -> bool:
        serial = self._serial and self._ledger.awaited > 0 and len(self._lines) > 0
        return serial or self._pending is not None or self._ledger.full

    @property
    def streaming(self) -> bool:
        return self._state is State.BODY

    @property
    def wait(self) -> Wait:
        if self._state is State.BODY:
            return Wait.MESSAGE
        if self._state is State.GREETING:
            return Wait.GREETING
        if self._ledger.awaited and self._ledger.front().what == "the message":
            return Wait.MESSAGE_REPLY
        return Wait.COMMAND

    @property
    def doing(self) -> str:
        if self._state is State.COMMANDS:
            if self._pending is not None:
                return "waiting for the gate"
            if self._ledger.awaited:
                return "waiting for the reply to " + self._ledger.front().what
        return self._state.value

    def facts(self) -> list[tuple[str, str | int]]:
        return [
            ("helo", self._helo.decode("ascii")), ("login", self.login), ("cmds", self.commands),
            ("msgs", self.messages), ("rcpts", self.recipients), ("refused", self.refused),
        ]  # fmt: skip

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client."""
        state = self._state
        if state is State.BODY:
            self._use_body(data)
        elif state is State.GREETING:
            self._violated("sent before the greeting")
        elif state is State.TLS:
            self._violated("sent in the clear behind STARTTLS")
        elif state is not State.CLOSED:
            self._lines.feed(data)
            self._run()

    def upstream_bytes(self, data: bytes) -> None:
        """Octets of the upstream."""
        if self._state is State.CLOSED:
            return
        self._replies.feed(data)
        try:
            while (reply := self._replies.take()) is not None:
                self._take_reply(reply)
        except ProtocolError as error:
            self._finish(f"upstream: {error}", texts.UPSTREAM_PROTOCOL)
        self._after_replies()

    def client_eof(self) -> None:
        if self._state is State.BODY:
            self._finish("client left in mid-message")
        elif self._ledger.awaited and self._state is not State.GREETING:
            self._leaving = True  # it may still listen: `printf ... | nc`
        else:
            self._finish("client left", clean=self._state is State.COMMANDS)

    def upstream_eof(self) -> None:
        if self._state is State.CLOSED:
            return
        if self._state is State.GREETING:
            self.upstream_failed()
        elif self._body is not None:
            self.to_client.append(texts.MESSAGE_LOST)  # at once, for who waits; who goes on sending sees it at the end
            self._discard_body("upstream left in mid-message")
        elif self.wait is Wait.MESSAGE_REPLY:
            self._finish("upstream left before its reply to the message", texts.MESSAGE_LOST)
        else:
            self._finish("upstream left", texts.LOST)

    def upstream_failed(self) -> None:
        self._finish("no upstream", texts.UNAVAILABLE)

    def out_of_time(self) -> None:
        wait = self.wait
        if wait is Wait.GREETING:
            self.upstream_failed()
        elif wait is Wait.MESSAGE:
            bare = self._body is not None and self._body.lookalike
            why = "client ended its message with LF.LF instead of CRLF.CRLF" if bare else "client silent in its message"
            told = self._discarding and not self._ending  # the upstream was lost, and the client knows
            self._finish(why, b"" if told else texts.MESSAGE_TIMEOUT)
        elif wait is Wait.MESSAGE_REPLY:
            self._finish("upstream silent after the message", texts.MESSAGE_LOST)
        elif self._ledger.awaited:
            self._finish("upstream silent", texts.UPSTREAM_TIMEOUT)
        elif self._state is State.TLS:
            self._finish("client too slow in the TLS handshake")
        else:
            self._finish("client silent", texts.CLIENT_TIMEOUT)

    def drain(self) -> None:
        idle = self._state is State.COMMANDS and not self._ledger and not self._synchronising
        if idle and self._transaction is None and self._pending is None:
            self._finish("draining", texts.DRAINING)

    def tls_started(self) -> None:
        """The client speaks TLS now: all that was said in the clear is forgotten (RFC 3207 4.2)."""
        if self._state is not State.TLS:
            return
        self._tls = True
        self._state = State.COMMANDS
        self._synchronising = False
        self._helo = b""
        self._offer, self._serial = _NOTHING, True
        self._lines.clear()

    def relay_answered(self, verdict: Verdict) -> None:
        """The answer to `RelayAsked`."""
        if self._pending is None or self._state is State.CLOSED:
            return
        (transaction, line, path), self._pending = self._pending, None
        transaction.verdict = verdict
        if transaction is self._transaction:
            self._judged(transaction, line, path)
        else:  # the upstream has refused MAIL while the gate was asked
            self._inject(texts.MAIL_FIRST)
        self._run()

    def verdict_lapsed(self) -> None:
        """The lease behind the verdict has ended: the next recipient that is not local is asked about anew (RULES G6)."""
        if self._transaction is not None:
            self._transaction.verdict = None

    # The client's side

    def _run(self) -> None:
        """Use the lines that are here, as far as they can be used now."""
        lines = self._lines
        while len(lines):
            if self._synchronising:
                if self._quitting:
                    lines.clear()
                else:
                    self._violated("sent more before the reply")
                return
            if self._pending is not None or self._ledger.full or (self._serial and self._ledger.awaited):
                return
            line = lines.take()
            if line is None:
                return
            self.step += 1
            if self._state is State.SASL:
                self._sasl_response(line)
            elif self._state is State.COMMANDS:
                self._command(line)
            else:
                return

    def _command(self, line: bytes) -> None:
        self.commands += 1
        if line is TOO_LONG:
            return self._error(texts.LINE_TOO_LONG)
        if not is_clean(line):
            return self._error(texts.BAD_OCTETS)
        verb, _, argument = line.rstrip(b" ").partition(b" ")
        verb = verb.upper()
        if len(line) + 2 > _LIMIT and len(line) + 2 > _LIMITS.get(verb, _LIMIT) and verb not in _HTTP:
            return self._error(texts.LINE_TOO_LONG)
        handler = _VERBS.get(verb)
        if handler is None:
            return self._unknown(verb)
        if self._settings.tls_required and not self._tls and verb not in _BEFORE_TLS:
            return self._error(texts.TLS_REQUIRED)
        handler(self, argument)
        if verb in _SYNCHRONISING and len(self._lines) and not self._quitting and self._state is not State.CLOSED:
            self._violated("sent in the clear behind STARTTLS" if verb == b"STARTTLS" else "sent more before the reply")
        return None

    def _unknown(self, verb: bytes) -> None:
        if verb in _HTTP:
            self._finish("client speaks HTTP")
        elif verb == b"BDAT":  # what follows can't be told from commands (RFC 3030 2)
            self._finish("client sent BDAT", texts.UNKNOWN_COMMAND)
        else:
            self._error(texts.UNKNOWN_COMMAND if verb else texts.EMPTY_LINE)

    def _greet(self, verb: bytes, argument: bytes, settle: Callable[[SmtpSession, Reply, Owed], bytes]) -> None:
        self._helo = argument if _HELO.fullmatch(argument) else self._literal
        self._transaction = None
        self._synchronising = True
        self._send(b"%b %b\r\n" % (verb, self._helo), Owed(settle, verb.decode("ascii")))

    def _ehlo(self, argument: bytes) -> None:
        self._greet(b"EHLO", argument, SmtpSession._ehlo_replied)

    def _helo_verb(self, argument: bytes) -> None:
        self._greet(b"HELO", argument, SmtpSession._helo_replied)

    def _mail(self, argument: bytes) -> None:
        if self._transaction is not None:
            return self._error(texts.NESTED_MAIL)
        if not self._helo and self._tls and self._settings.starttls:
            return self._error(texts.EHLO_FIRST)  # what was said before STARTTLS does not count
        try:
            line, path, smtputf8 = mail_command(argument, self._offer.keywords, self.authenticated)
        except BadCommand as bad:
            return self._error(bad.reply)
        transaction = self._transaction = Transaction(path.text, smtputf8, verdict=self._standing)
        return self._send(line, Owed(SmtpSession._mail_replied, "MAIL", transaction))

    def _rcpt(self, argument: bytes) -> None:
        transaction = self._transaction
        if transaction is None:
            return self._error(texts.MAIL_FIRST)
        try:
            line, path = rcpt_command(argument, self._offer.keywords, transaction.smtputf8)
        except BadCommand as bad:
            return self._error(bad.reply)
        if transaction.unanswered + len(transaction.accepted) >= MAX_RECIPIENTS:
            return self._inject(texts.TOO_MANY_RECIPIENTS)
        settings = self._settings
        if not settings.ask_local and is_local(path, transaction.smtputf8, settings.local_domains):
            return self._forward_rcpt(transaction, line, path, foreign=False)
        if transaction.verdict is None and not self.authenticated:
            self._pending = (transaction, line, path)
            return self.events.append(RelayAsked(_text(transaction.sender), _text(path.text)))
        return self._judged(transaction, line, path)

    def _judged(self, transaction: Transaction, line: bytes, path: Path) -> None:
        """Apply the verdict of this transaction to a recipient that is not local."""
        verdict = transaction.verdict
        if self.authenticated:
            verdict = transaction.verdict = Verdict(Outcome.ALLOW, "authenticated", self.login)
        assert verdict is not None
        if verdict.outcome is Outcome.ALLOW:
            transaction.allowed = verdict
            return self._forward_rcpt(transaction, line, path, foreign=True)
        if verdict.outcome is Outcome.DEFER:
            reply = texts.DEFERRED
        else:
            reply = texts.refusal(self._settings.refusal, path.text, self._client)
        self.refused += 1
        self._refusals += 1
        self.events.append(Refused(_text(transaction.sender), _text(path.text), _text(reply[:-2]), verdict.why))
        self._inject(reply)
        if self._refusals >= self._settings.max_refusals:
            self._finish("too many refused recipients", texts.TOO_MANY_REFUSALS)
        return None

    def _forward_rcpt(self, transaction: Transaction, line: bytes, path: Path, *, foreign: bool) -> None:
        transaction.unanswered += 1
        self._send(line, Owed(SmtpSession._rcpt_replied, "RCPT", transaction, path.text, foreign))

    def _data(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            self._error(texts.NO_ARGUMENT)
        elif transaction is None:
            self._error(texts.MAIL_FIRST)
        elif not transaction.unanswered and not transaction.accepted:
            self._error(texts.NO_RECIPIENTS)
        else:
            self._synchronising = True
            self._send(b"DATA\r\n", Owed(SmtpSession._data_replied, "DATA", transaction))

    def _rset(self, argument: bytes) -> None:
        if argument:
            return self._error(texts.NO_ARGUMENT)
        self._transaction = None
        return self._send(b"RSET\r\n", Owed(SmtpSession._passed, "RSET"))

    def _noop(self, argument: bytes) -> None:
        self._send(b"NOOP\r\n", Owed(SmtpSession._passed, "NOOP"))

    def _vrfy(self, argument: bytes) -> None:
        self._inject(texts.VRFY)

    def _expn(self, argument: bytes) -> None:
        self._error(texts.UNKNOWN_COMMAND)

    def _help(self, argument: bytes) -> None:
        self._inject(texts.HELP)

    def _quit(self, argument: bytes) -> None:
        if argument:
            return self._error(texts.NO_ARGUMENT)
        self._quitting = self._synchronising = True
        return self._send(b"QUIT\r\n", Owed(SmtpSession._quit_replied, "QUIT"))

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
            self._synchronising = self._starting_tls = True
            self._start_tls_if_settled()

    def _start_tls_if_settled(self) -> None:
        """220 is said only when no earlier reply is owed: TLS comes directly behind it."""
        if self._starting_tls and not self._ledger and not len(self._lines):
            self._starting_tls = False
            self._state = State.TLS
            self.to_client.append(texts.TLS_READY)
            self.events.append(TlsAsked())

    def _auth(self, argument: bytes) -> None:
        mechanism, _, initial = argument.partition(b" ")
        mechanism = mechanism.upper()
        if not self._settings.auth or not self._offer.mechanisms:
            return self._error(texts.AUTH_NOT_OFFERED)
        if self.authenticated or self._transaction is not None:
            return self._error(texts.AUTH_TWICE)
        if mechanism not in self._offer.mechanisms:
            return self._error(texts.AUTH_UNKNOWN if mechanism else texts.SYNTAX_AUTH)
        self._exchange = Exchange(mechanism)
        if initial:
            initial = self._exchange.response(initial)
            if initial == b"*":
                return self._error(texts.SYNTAX_AUTH)
            initial = b" " + initial
        self._synchronising = True
        return self._send(b"AUTH %b%b\r\n" % (mechanism, initial), Owed(SmtpSession._auth_replied, "AUTH"))

    def _sasl_response(self, line: bytes) -> None:
        assert self._exchange is not None
        self._synchronising = True
        line = b"*" if line is TOO_LONG else self._exchange.response(line)
        self._state = State.COMMANDS
        self._send(line + b"\r\n", Owed(SmtpSession._auth_replied, "AUTH"))
        if len(self._lines):
            self._violated("sent more before the reply")

    def _use_body(self, data: bytes) -> None:
        body, transaction = self._body, self._transaction
        assert body is not None
        self.step += 1
        chunks, used = body.feed(data)
        if not self._discarding:
            self.to_upstream += chunks
            if body.rejected:
                self._ending = texts.BARE_NEWLINE
                self._discard_body("message has a bare CR or LF")
        if used is None:
            return None
        if self._discarding:
            return self._finish(self._why, self._ending)
        self._body = None
        self._state = State.COMMANDS
        assert transaction is not None
        transaction.octets = body.octets
        self._transaction = None
        self._ledger.expect(Owed(SmtpSession._message_replied, "the message", transaction))
        self._lines.feed(data[used:])
        return self._run()

    def _discard_body(self, why: str) -> None:
        """Drop the upstream without an end of data; read on to the client's, so that it sees why."""
        self._discarding, self._why = True, why
        self.to_upstream.clear()
        self.events.append(UpstreamAborted())

    # The upstream's side

    def _take_reply(self, reply: Reply) -> None:
        if self._state is State.CLOSED:
            return None
        self.step += 1
        if self._state is State.GREETING:
            return self._greeted(reply)
        if reply.code == 421:
            return self._finish("upstream closed: " + _text(reply.octets[:200].strip()), reply.octets)
        if not self._ledger.awaited or self._body is not None:
            raise ProtocolError("a reply that answers nothing")
        owed = self._ledger.front()
        if reply.code < 400 and reply.code >= 300 and (owed.what, reply.code) not in _INTERMEDIATE:
            raise ProtocolError(f"{reply.code} in reply to {owed.what}")
        self._ledger.settle()
        out = owed.settle(self, reply, owed)
        if out:
            self.to_client.append(out)
        if released := self._ledger.released():
            self.to_client.append(released)
        return None

    def _after_replies(self) -> None:
        if self._state in (State.COMMANDS, State.SASL):
            self._start_tls_if_settled()
            self._run()
        if self._leaving and (self._body is not None or not self._ledger):
            self._finish("client left")  # with a 354 too: there is no body to come

    def _greeted(self, reply: Reply) -> None:
        self.to_client.append(fold(reply))
        if reply.code != 220:
            return self._finish("upstream refused: " + _text(reply.octets[:200].strip()))
        self._state = State.COMMANDS
        return None

    def _passed(self, reply: Reply, owed: Owed) -> bytes:
        return reply.octets

    def _absorbed(self, reply: Reply, owed: Owed) -> bytes:
        """The reply to a command of ours."""
        return b""

    def _ehlo_replied(self, reply: Reply, owed: Owed) -> bytes:
        if reply.code in _NO_EHLO:  # a server older than ESMTP: TLS and PIPELINING are ours to offer all the same
            self._send(b"HELO %b\r\n" % self._helo, Owed(SmtpSession._helo_for_ehlo_replied, "HELO"))
            return b""
        self._synchronising = False
        if reply.code != 250:
            return reply.octets
        return self._offered(reply)

    def _helo_for_ehlo_replied(self, reply: Reply, owed: Owed) -> bytes:
        self._synchronising = False
        return self._offered(reply) if reply.code == 250 else reply.octets

    def _offered(self, reply: Reply) -> bytes:
        starttls = self._settings.starttls and not self._tls
        self._offer, octets = self._settings.editor.edit(reply, starttls)
        self._serial = not self._offer.pipelining
        return octets

    def _helo_replied(self, reply: Reply, owed: Owed) -> bytes:
        self._synchronising = False
        self._offer, self._serial = _NOTHING, True
        return reply.octets

    def _mail_replied(self, reply: Reply, owed: Owed) -> bytes:
        if reply.code >= 400 and self._transaction is owed.transaction:
            self._transaction = None
        return reply.octets

    def _rcpt_replied(self, reply: Reply, owed: Owed) -> bytes:
        transaction = owed.transaction
        assert transaction is not None
        transaction.unanswered -= 1
        if reply.code < 300:
            self.recipients += 1
            transaction.accepted.append(owed.path)
            transaction.foreign |= owed.foreign
        return reply.octets

    def _data_replied(self, reply: Reply, owed: Owed) -> bytes:
        self._synchronising = False
        if reply.code == 354:
            self._state = State.BODY
            self._body = Body(self._settings.bare_newline)
        else:
            self._forget_transaction()
        return reply.octets

    def _message_replied(self, reply: Reply, owed: Owed) -> bytes:
        transaction = owed.transaction
        assert transaction is not None
        if reply.code < 300:
            self.messages += 1
        verdict = transaction.allowed
        if transaction.foreign and verdict is not None:
            recipients = tuple(_text(path) for path in transaction.accepted)
            text = _text(reply.octets[:-2])
            self.events.append(
                Relayed(_text(transaction.sender), recipients, transaction.octets, text, verdict.why, verdict.login)
            )
        return reply.octets

    def _auth_replied(self, reply: Reply, owed: Owed) -> bytes:
        exchange = self._exchange
        assert exchange is not None
        self._synchronising = False
        if reply.code == 334:
            self._state = State.SASL
            return reply.octets
        if reply.code == 235:
            self.authenticated, self.login = True, exchange.login
        elif reply.code == 535:
            self.events.append(LoginFailed(exchange.login))
        self._exchange = None
        return reply.octets

    def _quit_replied(self, reply: Reply, owed: Owed) -> bytes:
        self._finish("quit", reply.octets, clean=True)
        return b""

    # Both sides

    def _forget_transaction(self) -> None:
        """The upstream refused DATA: reset it too, so that no recipient of this transaction lives on there (RULES S4)."""
        self._transaction = None
        self._send(b"RSET\r\n", Owed(SmtpSession._absorbed, "RSET"))

    def _send(self, line: bytes, owed: Owed) -> None:
        self.to_upstream.append(line)
        self._ledger.expect(owed)

    def _inject(self, reply: bytes) -> None:
        if now := self._ledger.inject(reply):
            self.to_client.append(now)

    def _error(self, reply: bytes) -> None:
        self._inject(reply)
        self._errors += 1
        if self._errors >= self._settings.max_errors:
            self._finish("too many errors", texts.TOO_MANY_ERRORS)

    def _violated(self, why: str) -> None:
        """Octets where none may be (RULES S5, S11): whoever sends them did not read a reply."""
        quiet = self._state is State.TLS or self._starting_tls
        self._finish("client " + why, b"" if quiet else texts.SYNCHRONISATION)

    def _finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        if self._state is State.CLOSED:
            return
        if reply:
            self.to_client.append(reply)
        self.events.append(Finished(f"{why} ({self.doing})" if not clean else why, clean))
        self._state = State.CLOSED
        self._body = None
        self._lines.clear()


def _text(octets: bytes) -> str:
    """Octets of a peer as text for an event; the log escapes what is not printable."""
    return octets.decode("utf-8", "backslashreplace")


_VERBS: dict[bytes, Callable[[SmtpSession, bytes], None]] = {
    b"EHLO": SmtpSession._ehlo,
    b"HELO": SmtpSession._helo_verb,
    b"MAIL": SmtpSession._mail,
    b"RCPT": SmtpSession._rcpt,
    b"DATA": SmtpSession._data,
    b"RSET": SmtpSession._rset,
    b"NOOP": SmtpSession._noop,
    b"VRFY": SmtpSession._vrfy,
    b"EXPN": SmtpSession._expn,
    b"HELP": SmtpSession._help,
    b"AUTH": SmtpSession._auth,
    b"STARTTLS": SmtpSession._starttls,
    b"QUIT": SmtpSession._quit,
}
_SYNCHRONISING = frozenset({b"DATA", b"EHLO", b"HELO", b"AUTH", b"STARTTLS", b"QUIT"})  # RFC 2920 3.1, RULES S5
_INTERMEDIATE = frozenset({("DATA", 354), ("AUTH", 334)})
