"""Sessions that tell a transcript of themselves: `popgate trace`.

A client whose address is traced gets one of these from its next connection on, everyone else the plain session, which
knows nothing of it.  They see what the parser sees: each line as it is taken for a command or for a part of AUTH, each
whole reply.  So what is masked (transcript.py) does not depend on how octets came in pieces.

What is said before the session begins (PROXY header, TLS, STARTTLS to the upstream, XCLIENT) and the check of a
password at a POP3 upstream are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.lines import LineBuffer
from ..wire.pop3 import MAX_LINE as MAX_POP3_LINE
from ..wire.pop3 import ReplyLines
from ..wire.replies import ReplyBuffer
from ..wire.sasl import MAX_LINE
from .pop3.session import PopSession, PopSettings
from .pop3.state import GREETING, LEASE, OPEN, REPLY
from .pop3.state import SASL as POP3_SASL
from .smtp import replies as smtp_replies
from .smtp.session import SmtpSession, SmtpSettings
from .smtp.state import BODY, SASL, Owed
from .transcript import CLIENT, MAILBOX_VERBS, POP3_VERBS, SMTP_VERBS, TO_CLIENT, TO_UPSTREAM, UPSTREAM, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..gate.verdict import Verdict
    from ..wire.pop3 import Status
    from ..wire.replies import Reply
    from .transcript import Tell


class _Lines(LineBuffer):
    """Tells each line that is taken."""

    __slots__ = ("_heard",)

    def __init__(self, limit: int, heard: Callable[[bytes], None]) -> None:
        super().__init__(limit)
        self._heard = heard

    def take(self) -> bytes | None:
        line = super().take()
        if line is not None:
            self._heard(line)
        return line


class _Replies(ReplyBuffer):
    """Tells each reply that is taken."""

    __slots__ = ("_heard",)

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        super().__init__()
        self._heard = heard

    def whole(self, data: bytes) -> Reply | None:
        return self._told(super().whole(data))

    def take(self) -> Reply | None:
        return self._told(super().take())

    def _told(self, reply: Reply | None) -> Reply | None:
        if reply is not None:
            self._heard(reply.octets)
        return reply


class _ReplyLines(ReplyLines):
    """Tells each line that is taken."""

    __slots__ = ("_heard",)

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        super().__init__()
        self._heard = heard

    def take(self) -> bytes | None:
        line = super().take()
        if line is not None:
            self._heard(line + b"\r\n")
        return line


class TracedSmtp(SmtpSession):
    """An SmtpSession with a transcript."""

    __slots__ = ("_transcript",)

    def __init__(
        self,
        tell: Tell,
        settings: SmtpSettings,
        client: str,
        literal: bytes,
        *,
        tls: bool = False,
        standing: Verdict | None = None,
    ) -> None:
        self._transcript = Transcript(tell)
        super().__init__(settings, client, literal, tls=tls, standing=standing)
        self.lines = _Lines(MAX_LINE, self._line)
        self.replies = _Replies(self._reply)
        self.shortcuts = False  # each is told by itself

    def say(self, octets: bytes) -> None:
        self._transcript.reply(TO_CLIENT, octets)
        super().say(octets)

    def client_bytes(self, data: bytes) -> None:
        if self.state is BODY:
            self._transcript.count(CLIENT, data)
        super().client_bytes(data)

    def passes(self, text: memoryview, client: bool) -> bool:
        return False  # it is to be seen

    def send(self, line: bytes, owed: Owed) -> None:
        if owed is smtp_replies.AUTH and not line.startswith(b"AUTH "):
            self._transcript.secret(TO_UPSTREAM)
        else:
            self._transcript.command(TO_UPSTREAM, line.removesuffix(b"\r\n"), SMTP_VERBS)
        super().send(line, owed)

    def tls_started(self) -> None:
        self._transcript.note("TLS")
        super().tls_started()

    def finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        self._transcript.flush()
        super().finish(why, reply, clean=clean)

    def _line(self, line: bytes) -> None:
        if self.state is SASL:
            self._transcript.secret(CLIENT)
        else:
            self._transcript.command(CLIENT, line, SMTP_VERBS)

    def _reply(self, octets: bytes) -> None:
        if self.failed_logins and not self.ledger.awaited:
            self._transcript.quiet = True  # a farewell that may quote the password
        self._transcript.reply(UPSTREAM, octets)


class TracedPop(PopSession):
    """A PopSession with a transcript."""

    __slots__ = ("_mailbox", "_transcript")

    def __init__(self, tell: Tell, settings: PopSettings, *, tls: bool = False) -> None:
        self._transcript = Transcript(tell)
        super().__init__(settings, tls=tls)
        self.lines = _Lines(MAX_LINE, self._line)
        self.replies = _ReplyLines(self._reply)
        self._mailbox = LineBuffer(MAX_POP3_LINE)  # the client's commands once it is logged in

    def say(self, octets: bytes) -> None:
        self._transcript.reply(TO_CLIENT, octets)
        super().say(octets)

    def client_bytes(self, data: bytes) -> None:
        if self.state is OPEN:
            self._mailbox_commands(data)
        super().client_bytes(data)

    def upstream_bytes(self, data: bytes) -> None:
        if self.state is OPEN:
            self._transcript.count(UPSTREAM, data)
        super().upstream_bytes(data)

    def ask(self, verb: str, line: bytes, settle: Callable[[PopSession, Status, bytes], None]) -> None:
        if verb == "AUTH" and not line.startswith(b"AUTH "):
            self._transcript.secret(TO_UPSTREAM)
        else:
            self._transcript.command(TO_UPSTREAM, line.removesuffix(b"\r\n"), POP3_VERBS)
        super().ask(verb, line, settle)

    def lease_settled(self) -> None:
        if self.state is LEASE:
            self._transcript.reply(TO_CLIENT, self.held)  # to a login: its code
            behind = len(self.lines)
            self._mailbox_commands(self.lines.waiting[-behind:] if behind else b"")
        super().lease_settled()
        self.untouched = False

    def tls_started(self) -> None:
        self._transcript.note("TLS")
        super().tls_started()

    def finish(self, why: str, reply: bytes = b"", *, clean: bool = False) -> None:
        self._transcript.flush()
        super().finish(why, reply, clean=clean)

    def _line(self, line: bytes) -> None:
        if self.state is POP3_SASL:
            self._transcript.secret(CLIENT)
        else:
            self._transcript.command(CLIENT, line, POP3_VERBS)

    def _reply(self, octets: bytes) -> None:
        if self.failed_logins and self.state not in (GREETING, REPLY):
            self._transcript.quiet = True  # a farewell that may quote the password
        self._transcript.reply(UPSTREAM, octets)

    def _mailbox_commands(self, data: bytes) -> None:
        self._mailbox.feed(data)
        while (line := self._mailbox.take()) is not None:
            self._transcript.command(CLIENT, line, MAILBOX_VERBS)
