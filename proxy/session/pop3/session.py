"""The POP3 conversation of one client with one upstream, without I/O.

Before the login one command at a time goes upstream, parsed and written afresh (rule P2).  The upstream's positive
reply to PASS, APOP or the end of AUTH is the login, and nothing else is (P3).  That `+OK` is held until the lease is
in the store (`LoggedIn`, then `lease_settled()`); what the client sent behind its password and what the upstream sent
behind its `+OK` wait in order.  From then on both directions pass untouched (P5): the session only counts.

The greeting goes through octet for octet, because APOP and CRAM-MD5 prove knowledge of what it says (P1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ProtocolError
from ...wire.lines import LineBuffer
from ...wire.pop3 import ReplyLines, Status, status
from ...wire.sasl import MAX_LINE as MAX_SASL_LINE
from ..events import Cut, Event, Finished, Wait
from . import commands as pop3_commands
from . import replies as pop3_replies
from . import texts
from .state import CLOSED, COMMANDS, GREETING, LEASE, OPEN, REFUSED, REPLY, SASL, TLS, PopSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.sasl import Exchange

__all__ = ["PopSession", "PopSettings"]

MAX_HELD = 65536  # octets behind a held reply: nobody has asked for anything yet
MAX_BAD_COMMANDS = 3  # rule P6, as Dovecot before the login
_CUT = {Cut.DRAIN: texts.DRAINING, Cut.KICK: texts.KICKED, Cut.TOO_LONG: texts.TIMEOUT}


class PopSession:
    """One client's POP3 session; the shape is `events.Session`."""

    __slots__ = (
        "bad_commands", "commands", "events", "exchange", "failed_logins", "farewell", "held", "leaving", "lines",
        "list", "login", "replies", "settings", "settle", "state", "step", "streaming", "tls", "to_client",
        "to_upstream", "untouched", "upstream_done", "upstream_left", "user", "verb",
    )  # fmt: skip

    def __init__(self, settings: PopSettings, *, tls: bool = False) -> None:
        self.to_client: list[bytes] = []
        self.to_upstream: list[bytes] = []
        self.events: list[Event] = []
        self.upstream_done = False
        self.step = 0
        self.login = ""
        """Who is logged in; while a login is under way, who tries."""
        self.commands = self.bad_commands = self.failed_logins = 0
        self.settings = settings
        self.state = GREETING
        self.tls = tls
        self.lines = LineBuffer(MAX_SASL_LINE)
        self.replies = ReplyLines()
        self.verb = ""  # the command whose reply is awaited
        self.settle: Callable[[PopSession, Status, bytes], None] = pop3_replies.passed
        self.user: str | None = None  # the name of an accepted USER
        self.exchange: Exchange | None = None
        self.list: list[bytes] | None = None  # a multi-line reply so far, its first line included
        self.held = b""  # the +OK of the login and what came behind it; or the -ERR
        self.farewell: tuple[str, bytes] | None = None  # why, and the last words, when the TLS handshake is over
        self.leaving = self.upstream_left = False
        self.streaming = self.untouched = False  # the mailbox is open

    # What the link sees

    @property
    def holding(self) -> bool:
        return self.lines.waiting != b"" and self.state in (GREETING, REPLY, LEASE, REFUSED)

    @property
    def wait(self) -> Wait:
        if self.state is OPEN:
            return Wait.MAILBOX
        if self.state is GREETING:
            return Wait.GREETING
        return Wait.COMMAND if self.state is REPLY else Wait.LOGIN

    @property
    def doing(self) -> str:
        return "waiting for the reply to " + self.verb if self.state is REPLY else self.state.value

    def facts(self) -> list[tuple[str, str | int]]:
        return [("login", self.login), ("cmds", self.commands), ("failed", self.failed_logins)]

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client."""
        state = self.state
        if state is OPEN:
            self.step += 1
            self.to_upstream.append(data)
        elif state is TLS:
            self.finish("client sent in the clear behind STLS")
        elif state is not CLOSED:
            self.lines.feed(data)
            self._run()

    def passes(self, text: memoryview, client: bool) -> bool:
        if not self.untouched:
            return False
        self.step += 1
        return True

    def upstream_bytes(self, data: bytes) -> None:
        """Octets of the upstream."""
        state = self.state
        if state is OPEN:
            self.step += 1
            self.to_client.append(data)
        elif state is LEASE:
            self.held += data
            if len(self.held) > MAX_HELD:
                self.finish("upstream: more than may be held behind its +OK")
        elif state is not CLOSED:
            self.replies.feed(data)
            if state is REFUSED and len(self.replies) > MAX_HELD:
                self.finish("upstream: more than may be held behind its -ERR")
            self._use_replies()

    def client_eof(self, lost: str = "") -> None:
        """A client that hangs up at once has logged in all the same (rule P5): its login is waited for.

        Not so what is held back from who failed too often (G13): it would keep its place until then.
        `lost`: how its connection broke, where it did not end in order: who closes with replies unread resets it.
        """
        if self.state is OPEN:
            self.half_closed()
        elif self.state in (REPLY, LEASE) or (self.state is GREETING and self.lines.waiting):
            self.leaving = True
        else:
            self.finish(f"client lost: {lost}" if lost else "client left", clean=not lost)

    def upstream_eof(self) -> None:
        if self.state is OPEN:
            self.finish("upstream closed", clean=True)
        elif self.state in (LEASE, REFUSED):
            self.upstream_left = True
        elif self.state is GREETING:
            self.upstream_failed()
        elif self.verb == "QUIT":
            self.finish("quit", clean=True)
        else:
            self.finish("upstream left", texts.LOST)

    def upstream_failed(self) -> None:
        self.finish("no upstream", texts.UNAVAILABLE)

    def out_of_time(self) -> None:
        wait = self.wait
        if wait is Wait.MAILBOX:
            self.finish("idle")  # RFC 1939 3: close without entering UPDATE; a line of ours could land inside a message
        elif wait is Wait.GREETING:
            self.upstream_failed()
        elif self.state is REPLY:
            self.finish("upstream silent", texts.UNAVAILABLE)
        elif self.state is TLS:
            self.finish("client too slow in the TLS handshake")
        else:
            self.finish("no login in time", texts.TIMEOUT)

    def drain(self) -> None:
        if self.state is COMMANDS:
            self.finish("draining", texts.DRAINING)

    def cut(self, why: Cut = Cut.DRAIN) -> None:
        self.finish(why.value, b"" if self.state in (OPEN, TLS) else _CUT[why])

    def tls_started(self) -> None:
        """The client speaks TLS now: a USER from before is forgotten (rule P6)."""
        self.tls = True
        self.state = COMMANDS
        self.user = None
        self.login = ""
        self.lines.clear()
        if self.farewell is not None:  # the upstream has left meanwhile
            self.finish(*self.farewell)

    def lease_settled(self) -> None:
        """The lease is in the store, or can't be: let the held +OK go, and pass octets from now on."""
        if self.state is not LEASE:
            return
        self.state = OPEN
        self.streaming = self.untouched = True
        self.to_client.append(self.held)
        self.held = b""
        if self.lines.waiting:
            self.to_upstream.append(self.lines.rest())
        if self.leaving:
            self.half_closed()
        if self.upstream_left:
            self.upstream_eof()

    def failure_noted(self, close: bool) -> None:
        """The answer to `LoginFailed`; `close`: this address fails too often."""
        if self.state is not REFUSED:
            return
        self.state = COMMANDS
        self.say(self.held)
        self.held = b""
        if close or self.failed_logins >= self.settings.max_failed_logins:
            self.finish("too many failed logins", texts.TOO_MANY_LOGINS)
            return
        self._use_replies()
        if self.upstream_left:
            self.upstream_eof()

    # Using octets

    def _use_replies(self) -> None:
        try:
            self._take_replies()
        except ProtocolError as error:
            self.finish(f"upstream: {error}", texts.UPSTREAM_PROTOCOL)
        if self.lines.waiting or self.leaving:
            self._run()

    def _run(self) -> None:
        while self.state in (COMMANDS, SASL):
            line = self.lines.take()
            if line is None:
                if self.leaving:
                    self.finish("client left", clean=True)
                return
            self.step += 1
            if self.state is SASL:
                pop3_commands.sasl_response(self, line)
            else:
                pop3_commands.command(self, line)

    def _take_replies(self) -> None:
        while self.state not in (LEASE, REFUSED, OPEN, CLOSED):
            line = self.replies.take()
            if line is None:
                return
            self.step += 1
            if self.state is GREETING:
                pop3_replies.greeted(self, line)
            elif self.state is not REPLY:
                self._unsolicited(line)
            elif self.list is not None:
                pop3_replies.list_line(self, line)
            else:
                self.settle(self, status(line), line)

    def _unsolicited(self, line: bytes) -> None:
        """Only a farewell may come without a command (autologout)."""
        if status(line) is not Status.ERR:
            raise ProtocolError("a reply that answers nothing")
        # After a failed login it may quote what it did not like: the password.
        quote = "" if self.failed_logins else ": " + line[:200].decode("ascii", "backslashreplace")
        self.finish("upstream closed" + quote, line + b"\r\n")

    # What commands and replies do with it

    def say(self, octets: bytes) -> None:
        """Whole lines, for the client; what passes once the mailbox is open does not come this way."""
        self.to_client.append(octets)

    def offers_stls(self) -> bool:
        return self.settings.stls and not self.tls

    def ask(self, verb: str, line: bytes, settle: Callable[[PopSession, Status, bytes], None]) -> None:
        self.verb, self.settle = verb, settle
        self.state = REPLY
        self.to_upstream.append(line)

    def bad(self, reply: bytes) -> None:
        self.say(reply)
        self.bad_commands += 1
        if self.bad_commands >= MAX_BAD_COMMANDS:
            self.finish("too many bad commands", texts.TOO_MANY_ERRORS)

    def half_closed(self) -> None:
        """The client will say no more; the upstream may still have mail on its way to it."""
        self.upstream_done = True

    def finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        """End the session with these last words; while TLS starts nothing can be said: then behind its handshake."""
        if self.state is CLOSED:
            return
        if reply and self.state is TLS:
            self.farewell = self.farewell or (why, reply)
            return
        if reply:
            self.say(reply)
        self.events.append(Finished(why if clean else f"{why} ({self.doing})", clean))
        self.state = CLOSED
        self.streaming = self.untouched = False
        self.lines.clear()
