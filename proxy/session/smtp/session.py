"""The SMTP conversation of one client with one upstream, without I/O.

No octet of a client's command reaches the upstream: a command is parsed by a strict grammar and written afresh,
refused, or answered here (rules S1 to S11).  Replies keep their order by the ledger; a relay question holds the
session until the gate has answered; a message body passes in chunks, watched by `wire.dots.Body`.

One machine in several files.  Here: what it knows, how octets of either side are used, how it ends.  commands.py:
what each verb does; auth.py: AUTH.  replies.py: what each reply of the upstream does.  smtp_usual.py: both,
the short way.  message.py: the message.  moving.py: how it goes on with another upstream connection.
ends.py: what it says when a side goes away.  (state.py holds the few types they share.)  Both sides are one
object on purpose: what may be sent to one of them always depends on what the other has said.

It does not know sockets, clocks, leases or logs: see net/link/link.py, gate/policy.py.

Rejected: a coroutine a side (each await would be a place where the other side runs, between "written" and "entered in
the ledger"), and forwarding the client's own line when it looks harmless (that is how every parser differential
begins).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ProtocolError
from ...wire.esmtp import NO_OFFER
from ...wire.lines import LineBuffer
from ...wire.replies import ReplyBuffer
from ...wire.sasl import MAX_LINE
from ..events import Cut, Finished, LoginFailed, TlsAsked, Wait
from ..ledger import Ledger
from . import (
    auth as smtp_auth,
)
from . import (
    bulk as smtp_usual,
)
from . import (
    commands as smtp_commands,
)
from . import (
    ends as smtp_ends,
)
from . import (
    message as smtp_message,
)
from . import (
    moving as smtp_moving,
)
from . import (
    replies as smtp_replies,
)
from . import texts
from .state import BODY, CLOSED, COMMANDS, GREETING, SASL, TLS, Owed, SmtpSettings, shown

if TYPE_CHECKING:
    from ...gate.verdict import Verdict
    from ...wire.dots import Body
    from ...wire.esmtp import Offer
    from ...wire.path import Path
    from ...wire.replies import Reply
    from ...wire.sasl import Exchange, PasswordExchange
    from ..events import Event
    from .transaction import Transaction

__all__ = ["SmtpSession", "SmtpSettings"]

_INTERMEDIATE = frozenset({("DATA", 354), ("AUTH", 334)})
_CUT = {Cut.DRAIN: texts.DRAINING, Cut.KICK: texts.KICKED, Cut.TOO_LONG: texts.SESSION_TIMEOUT}


class SmtpSession:
    """One client's SMTP session; the shape is `events.Session`.

    The link uses that shape, `relay_answered` and `verdict_lapsed`; the rest is for commands.py, auth.py and
    replies.py.
    """

    __slots__ = (
        "announced", "authenticated", "body", "client", "commands", "credentials", "discarding", "ending", "errors",
        "events", "exchange", "expelled", "failed_logins", "hello", "helo", "holding", "leaving", "ledger", "lines",
        "literal", "login", "messages", "moving", "offer", "pending", "quitting", "recipients", "refused", "replies",
        "serial", "settings", "settling", "shortcuts", "standing", "starting_tls", "state", "step", "streaming",
        "synchronising", "tls", "to_client", "to_upstream", "transaction", "unsaid", "untouched",
        "upstream_authenticated", "upstream_done", "verdict", "wait", "why",
    )  # fmt: skip

    def __init__(
        self, settings: SmtpSettings, client: str, literal: bytes, *, tls: bool = False, standing: Verdict | None = None
    ) -> None:
        """`client`, `literal`: its address as text and as address literal; `standing`: a verdict that always holds."""
        self.to_client: list[bytes] = []
        self.to_upstream: list[bytes] = []
        self.events: list[Event] = []
        self.upstream_done = False
        self.step = 0
        self.settings = settings
        self.client, self.literal = client, literal
        self.standing = standing
        self.verdict = standing  # the last one, for the log
        self.state = GREETING
        self.holding = self.streaming = False
        self.untouched = False  # always: a message is looked at
        self.wait = Wait.GREETING
        self.lines = LineBuffer(MAX_LINE)
        self.replies = ReplyBuffer()
        self.ledger: Ledger[Owed] = Ledger()
        self.shortcuts = True  # many lines, many replies may be taken at a time (smtp_usual.py)
        self.tls = tls
        self.helo = b""
        self.hello = b""  # the whole command, as it was sent on
        self.announced = False  # set by the link: the upstream judges the client's address itself (rule S12)
        self.offer: Offer = NO_OFFER
        self.serial = True  # the upstream takes one command at a time (no PIPELINING)
        self.synchronising = False  # a command that ends a pipelined group has no reply yet
        self.starting_tls = False  # STARTTLS is to be answered when earlier replies have been
        self.quitting = False  # what the client says from now on is thrown away
        self.expelled: tuple[str, bytes] | None = (
            None  # why, and the last words; only its message's reply, or the end of its TLS handshake, is waited for
        )
        self.leaving = False  # the client's end was read; replies are still owed to it
        self.exchange: Exchange | PasswordExchange | None = None
        self.credentials: tuple[bytes, bytes] | None = None  # of AUTH, until the link takes them
        self.unsaid = b""  # the reply to a failed AUTH, until the link has noted it
        self.authenticated = False  # AUTH was answered with 235 in this session (rules G14, G15)
        self.upstream_authenticated = False  # by the upstream
        self.login = ""
        self.transaction: Transaction | None = None
        self.pending: tuple[Transaction, bytes, Path] | None = None  # the RCPT that waits for the gate
        self.moving = False  # ... or, then, for another connection
        self.settling = False  # which is asked for once no reply is owed on this one
        self.body: Body | None = None
        self.discarding = False  # the body is read to its end without being forwarded
        self.ending = b""  # the reply that is due then
        self.why = ""  # and why, for the log
        self.commands = self.messages = self.recipients = self.refused = self.errors = self.failed_logins = 0

    # What the link sees

    @property
    def doing(self) -> str:
        if self.state is COMMANDS:
            if self.pending is not None or self.unsaid:
                return "waiting for another connection" if self.moving else "waiting for the gate"
            if self.ledger.awaited:
                return "waiting for the reply to " + self.ledger.front().what
        return self.state.value

    def facts(self) -> list[tuple[str, str | int]]:
        return [
            ("helo", self.helo.decode("ascii")), ("login", self.login), ("cmds", self.commands),
            ("msgs", self.messages), ("rcpts", self.recipients), ("refused", self.refused),
            ("verdict", "" if self.verdict is None else self.verdict.outcome.value),
        ]  # fmt: skip

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client."""
        state = self.state
        if state is COMMANDS or state is SASL:
            self.lines.feed(data)
            self._run()
        elif state is BODY:
            rest = smtp_message.use(self, data)
            if rest:
                self.lines.feed(rest)
                self._run()
        elif state is GREETING:
            self.violated("sent before the greeting")
        elif state is TLS:
            self.violated("sent in the clear behind STARTTLS")

    def passes(self, text: memoryview, client: bool) -> bool:
        body = self.body
        if body is None or self.discarding or not client or not body.passes(text):
            return False
        self.step += 1
        return True

    def upstream_bytes(self, data: bytes) -> None:
        """Octets of the upstream."""
        if self.state is CLOSED or self.discarding:
            return
        replies = self.replies
        try:
            reply = replies.whole(data)
            if reply is not None:
                self._take_reply(reply)
            else:
                replies.feed(data)
                while (reply := replies.take()) is not None:
                    self._take_reply(reply)
                    if self.shortcuts and self.ledger.awaited and len(replies):
                        smtp_usual.replied(self)
        except ProtocolError as error:
            self.finish(f"upstream: {error}", texts.UPSTREAM_PROTOCOL)
        if self.starting_tls:
            self.start_tls_if_settled()
        if self.settling:
            smtp_moving.ask_if_settled(self)
        if self.lines.waiting:
            self._run()
        elif self.holding:
            self.holding = self.pending is not None or self.ledger.full
        if self.leaving and (self.body is not None or not self.ledger):
            self.finish("client left")  # with a 354 too: there is no body to come

    def client_eof(self) -> None:
        if self.state is BODY:
            self.finish("client left in mid-message")
        elif self.ledger.awaited and self.state is not GREETING:
            self.leaving = True  # it may still listen: `printf ... | nc`
        else:
            self.finish("client left", clean=self.state is COMMANDS)

    def upstream_eof(self) -> None:
        smtp_ends.upstream_eof(self)

    def upstream_failed(self) -> None:
        self.finish("no upstream", texts.UNAVAILABLE)

    def out_of_time(self) -> None:
        smtp_ends.out_of_time(self)

    def drain(self) -> None:
        idle = self.state is COMMANDS and not self.ledger and not self.synchronising
        if idle and self.transaction is None and self.pending is None:
            self.finish("draining", texts.DRAINING)

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        self.finish(why.value, b"" if self.state is TLS else _CUT[why])

    def tls_started(self) -> None:
        """The client speaks TLS now: all that was said in the clear is forgotten (RFC 3207 4.2)."""
        if self.state is TLS:
            self.tls = True
            self.state = COMMANDS
            self.synchronising = False
            self.helo = self.hello = b""
            self.offer, self.serial = NO_OFFER, True
            self.lines.clear()
            if self.expelled is not None:  # the upstream has left meanwhile
                self.finish(*self.expelled)

    def relay_answered(self, verdict: Verdict) -> None:
        """The answer to `RelayAsked`."""
        if self.pending is None or self.moving or self.state is CLOSED:
            return
        (transaction, line, path), self.pending = self.pending, None
        transaction.verdict = self.verdict = verdict
        if transaction is self.transaction:
            smtp_commands.judged(self, transaction, line, path)
        else:  # the upstream has refused MAIL while the gate was asked
            self.inject(texts.MAIL_FIRST)
        self._run()

    def moved(self, offer: bytes | None) -> None:
        """The answer to `UnannouncedAsked`: the new connection's reply to EHLO (see the event); None: there is none."""
        if self.moving and not self.settling and self.state is not CLOSED:
            smtp_moving.answered(self, offer)
            self._run()

    def verdict_lapsed(self) -> None:
        """The lease behind the verdict has ended: the next recipient that is not local is asked about (rule G6)."""
        if self.transaction is not None:
            self.transaction.verdict = None

    def failure_noted(self, close: bool) -> None:
        """The answer to `LoginFailed`; `close`: this address fails too often."""
        if self.state is CLOSED:
            return
        self.synchronising = False
        unsaid, self.unsaid = self.unsaid, b""
        self.inject(unsaid)
        if close or self.failed_logins >= self.settings.max_failed_logins:
            self.finish("too many failed logins", texts.TOO_MANY_LOGINS)

    # Using octets

    def _run(self) -> None:
        """Use the lines that are here, as far as they can be used now."""
        lines, ledger = self.lines, self.ledger
        while lines.waiting:
            if self.synchronising:
                if self.quitting:
                    lines.clear()
                else:
                    self.violated("sent more before the reply")
                break
            if self.pending is not None or ledger.full or (self.serial and ledger.awaited):
                break
            if self.state is COMMANDS and self.shortcuts and smtp_usual.take(self):
                continue
            line = lines.take()
            if line is None:
                break
            self.step += 1
            if self.state is COMMANDS:
                smtp_commands.command(self, line)
            elif self.state is SASL:
                smtp_auth.sasl_response(self, line)
            else:
                break
        self.holding = (
            self.pending is not None or ledger.full or (lines.waiting != b"" and self.serial and ledger.awaited > 0)
        )

    def _take_reply(self, reply: Reply) -> None:
        ledger = self.ledger
        self.step += 1
        if (reply.code >= 300 or not ledger.awaited or self.state is CLOSED) and not self._is_due(reply):
            return
        owed = ledger.settle()
        out = owed.settle(self, reply, owed)
        if out:
            self.say(out)
        if ledger.injected and (released := ledger.released()):
            self.say(released)
        if self.expelled is not None and self.wait is not Wait.MESSAGE_REPLY:
            self.finish(*self.expelled)

    def _is_due(self, reply: Reply) -> bool:
        """Whether a reply that may be something special is the one that is owed; what it is otherwise, is done."""
        state, code, ledger = self.state, reply.code, self.ledger
        if state is GREETING:
            smtp_replies.greeted(self, reply)
            return False
        if state is CLOSED:
            return False
        if code == 421:
            # Old servers quote the line that they did not like: in an AUTH exchange that is the password.
            quote = "" if self.exchange is not None else ": " + shown(reply.octets[:200].strip())
            if self.wait is Wait.MESSAGE_REPLY:
                smtp_message.replied(self, reply, self.ledger.front())
            self.finish("upstream closed" + quote, reply.octets)
            return False
        if self.body is not None and code >= 400:
            smtp_message.refused_before_its_end(self, reply)
            return False
        if not ledger.awaited or self.body is not None:
            raise ProtocolError("a reply that answers nothing")
        if 300 <= code < 400 and (ledger.front().what, code) not in _INTERMEDIATE:
            raise ProtocolError(f"{code} in reply to {ledger.front().what}")
        return True

    # What commands and replies do with it

    def say(self, octets: bytes) -> None:
        """Whole replies, for the client; a message never comes this way."""
        self.to_client.append(octets)

    def send(self, line: bytes, owed: Owed) -> None:
        """A command for the upstream, and the reply that it owes for it."""
        self.to_upstream.append(line)
        self.ledger.expect(owed)

    def inject(self, reply: bytes) -> None:
        """A reply of ours, in its turn."""
        if now := self.ledger.inject(reply):
            self.say(now)

    def move(self, transaction: Transaction, line: bytes, path: Path) -> None:
        """This recipient needs an unannounced connection."""
        self.pending = (transaction, line, path)
        self.moving = self.settling = True
        smtp_moving.ask_if_settled(self)

    def error(self, reply: bytes) -> None:
        """A reply of ours to a bad command; too many of those end the session."""
        self.inject(reply)
        self.errors += 1
        if self.errors >= self.settings.max_errors:
            self.expel("too many errors", texts.TOO_MANY_ERRORS)

    def login_failed(self, login: str, reply: bytes) -> None:
        """AUTH has failed; the reply is said when the link has noted it (rule G13)."""
        self.failed_logins += 1
        self.synchronising = True
        self.unsaid = reply
        self.events.append(LoginFailed(login))

    def violated(self, why: str) -> None:
        """Octets where none may be (rules S5, S11): whoever sends them did not read a reply."""
        quiet = self.state is TLS or self.starting_tls
        self.expel("client " + why, b"" if quiet else texts.SYNCHRONISATION)

    def expel(self, why: str, reply: bytes = b"") -> None:
        """End the session for what the client did.

        If its message has gone and the reply to that is still on its way, then behind it: else the client would send
        again what was delivered.  Out of time, the upstream's end and its 421 end it before, as always.
        """
        if self.wait is not Wait.MESSAGE_REPLY:
            self.finish(why, reply)
        elif self.expelled is None:
            self.expelled = why, reply
            self.quitting = self.synchronising = True
            self.lines.clear()

    def start_tls_if_settled(self) -> None:
        """220 is said only when no earlier reply is owed: TLS comes directly behind it."""
        if not self.ledger and not self.lines.waiting and self.state is COMMANDS:
            self.starting_tls = False
            self.state = TLS
            self.say(texts.TLS_READY)
            self.events.append(TlsAsked())

    def finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        """End the session with these last words; while TLS starts nothing can be said: then behind its handshake."""
        if self.state is CLOSED:
            return
        if reply and self.state is TLS:
            self.expelled = self.expelled or (why, reply)
            return
        if reply:
            self.say(reply)
        doing = self.doing
        if self.wait is Wait.MESSAGE_REPLY:
            smtp_message.unanswered(self)
        self.events.append(Finished(why if clean else f"{why} ({doing})", clean))
        self.state = CLOSED
        self.body = None
        self.lines.clear()
