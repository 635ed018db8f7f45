"""An SMTP session between a client that does anything and a lax server, judged by what the server was made to do.

`SmtpGame` is played step by step; each is a letter and octets:

    C  the client sends them, and gets all replies
    P  the client sends them, and the server's replies are withheld until the next step that delivers
    S  what was withheld is delivered
    U  these octets come from the upstream instead of what the server says: too early, malformed, a lie
    A R D  from now on the gate allows, refuses, defers        L  the verdict's lease is over
    E F T X  the client's end, the upstream's end, the limit of the wait, the end of a drain

`breach` then says what went wrong, or nothing.  What it holds: no foreign recipient is accepted without ALLOW; each
command at the server is one that the session wrote, and no message ends there but where the client's CRLF.CRLF is; what
goes up before and behind messages has the shape of what popgate writes; nothing is said behind the end.

A session may begin announced (rule S12): then it asks for another connection when a relay verdict allows, and gets one
to another server of the same kind, or none while the gate defers.  Both servers are judged.

With `own_auth` popgate answers AUTH itself (rule G15), under TLS: RIGHT is the only password that opens the session,
whatever the server says, and nothing of AUTH goes up.

When the upstream has lied (a reply of the right form that the server never gave, while one was due), nobody can tell
where commands and messages are; then only what the session itself wrote is judged.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Literal

from proxy.gate.verdict import Password, RelayAsked
from proxy.session.events import Finished, LoginFailed, PasswordGiven, TlsAsked, UnannouncedAsked, UpstreamAborted
from proxy.session.smtp.session import SmtpSession, SmtpSettings
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains
from proxy.wire.sasl import PasswordExchange

from .lax import LOCAL, PERSONALITIES, STRICT, LaxServer, is_foreign
from .smtp import ALLOW, DEFER, REFUSE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .lax import Personality

Step = tuple[str, bytes]
END = b"\r\n.\r\n"
VERDICTS = {"A": ALLOW, "R": REFUSE, "D": DEFER}
_COMMAND = re.compile(
    rb"(?:EHLO [!-~]{1,255}|HELO [!-~]{1,255}|MAIL FROM:<[^<>\r\n\0\x0b\x0c\x1c-\x1f\x7f]*>(?: [!-~]+)*"
    rb"|RCPT TO:<[^<>\r\n\0\x0b\x0c\x1c-\x1f\x7f]+>(?: [!-~]+)*|DATA|RSET|NOOP|QUIT"
    rb"|AUTH (?:PLAIN|LOGIN)(?: [A-Za-z0-9+/]*={0,2}| \*)?)\r\n"
)
_RESPONSE = re.compile(rb"(?:[A-Za-z0-9+/]*={0,2}|\*)\r\n")


RIGHT: Literal[b"right"] = b"right"
_ANSWERS = {RIGHT: Password.RIGHT, b"busy": Password.IN_USE, b"down": Password.UNKNOWN}


def settings(reject: bool, starttls: bool, own_auth: bool) -> SmtpSettings:
    mode: Literal["normalize", "reject"] = "reject" if reject else "normalize"
    domains = LocalDomains(sorted(LOCAL))
    more = {"bare_newline": mode, "starttls": starttls, "max_errors": 1000, "max_refusals": 1000}
    more |= {"auth": "pop3" if own_auth else "upstream", "max_failed_logins": 1000}
    editor = EhloEditor(True, PasswordExchange.MECHANISMS if own_auth else frozenset())
    return SmtpSettings(domains, editor, "554 5.7.1 <{recipient}>: no", **more)  # type: ignore[arg-type]


SETTINGS = {flags: settings(*flags) for flags in product((False, True), repeat=3)}


class SmtpGame:
    """See the module."""

    def __init__(
        self,
        how: Personality,
        *,
        reject: bool = False,
        starttls: bool = False,
        pipelining: bool = True,
        announced: bool = False,
        own_auth: bool = False,
        cut: int = 0,
    ) -> None:
        """`cut`: octets of the pieces in which either side's octets come; 0: as they are sent."""
        about = SETTINGS[reject, starttls, own_auth]
        self.session = SmtpSession(about, "192.0.2.7", tls=own_auth)
        self.own_auth = own_auth
        self.logged_in = False  # by RIGHT
        if announced:
            self.session.upstream_announced()
        self.server = LaxServer(how, pipelining)
        self.cut = cut
        self.sent: list[bytes] = []
        self.left: list[tuple[LaxServer, list[bytes]]] = []  # connections that the session has moved away from
        self._body = b"\r\n"  # the last octets of a message, as they went up
        self.ends = 0  # messages that the client ended, by a reader of its octets that knows only CRLF.CRLF
        self.lied = self.over = self.aborted = False
        self.trouble = ""
        self._text = b"\r\n"  # the body under way, or its last octets, as that reader sees it
        self._verdict = REFUSE
        self._open = False  # ALLOW was said in this transaction, by what the session itself writes
        self._asked = self._tls = self._failed = False
        self._given: tuple[bytes, bytes] | None = None
        self._move: UnannouncedAsked | None = None
        self._withheld = b""
        self._unread = b""
        self._upstream(b"220 lax\r\n")

    def play(self, steps: Iterable[Step]) -> str:
        for kind, data in steps:
            self._step(kind, data)
        return self.breach()

    def _step(self, kind: str, data: bytes) -> None:
        session = self.session
        if kind == "C" or kind == "P":
            self._unread += data
            self._read()
            if kind == "C":
                self._settle()
        elif kind == "S":
            self._settle()
        elif kind == "U":
            self.lied = self.lied or not self.over
            self._upstream(data)
        elif kind in VERDICTS:
            self._verdict = VERDICTS[kind]
        elif kind == "L":
            session.verdict_lapsed()
            self._open = self.server.gate_open = False
        else:
            end = {"E": session.client_eof, "F": session.upstream_eof, "T": session.out_of_time, "X": session.cut}[kind]
            if kind == "E" and self._unread:
                return  # the link reads an end only behind all octets
            streaming = session.streaming
            end()
            self._take(streaming)

    def breach(self) -> str:
        if self.trouble:
            return self.trouble
        if self.lied:
            return ""
        connections = [*self.left, (self.server, self.sent)]
        for server, sent in connections:
            if server.foreign or server.dangerous:
                return f"foreign {server.foreign!r}, dangerous {server.dangerous!r}"
            if server.how is not STRICT and (differs := _differs(server, sent)):
                return differs
        messages = sum([server.messages for server, _ in connections])
        if messages > self.ends:
            return f"{messages} messages there, {self.ends} ended by the client"
        return ""

    # How the link would feed it

    def _read(self) -> None:
        session = self.session
        while self._unread and not session.holding:
            piece = self._unread[: self.cut] if self.cut else self._unread
            self._unread = self._unread[len(piece) :]
            streaming = session.streaming
            session.client_bytes(piece)
            if streaming:
                self._see_body(piece)
            self._take(streaming)

    def _settle(self) -> None:
        while True:
            replies, self._withheld = self._withheld, b""
            if replies:
                self._upstream(replies)
            if self._asked:
                self._answer()
            if self._given is not None:
                self._check(*self._given)
            if self._failed:
                self._failed = False
                self.session.answer(LoginFailed(""), False)
                self._take(False)
            if self._move is not None:
                self._go_on(self._move)
            self._read()
            if not (self._withheld or self._asked or self._given or self._failed) and self._move is None:
                return

    def _check(self, login: bytes, password: bytes) -> None:
        """The link's other answer, to `PasswordGiven`."""
        self._given = None
        if self.over:
            return
        if password == RIGHT:
            self.logged_in = self.server.authenticated = True  # as far as the gate goes
        self.session.answer(PasswordGiven(login.decode("latin-1")), _ANSWERS.get(password, Password.WRONG))
        self._take(False)

    def _answer(self) -> None:
        self._asked = False
        if self.over:
            return
        self._open = self.server.gate_open = self._verdict is ALLOW
        self.session.answer(RelayAsked("", ""), self._verdict)
        self._take(False)

    def _go_on(self, wanted: UnannouncedAsked) -> None:
        """What the link does (session/upstream/handshake.py): another connection, brought to where the session is."""
        self._move = None
        if self.over:
            return
        if self._verdict is DEFER:
            self.session.answer(wanted, None)
        else:
            self.left.append((self.server, self.sent))
            self.server = LaxServer(self.server.how, self.server.pipelining, authenticated=self.logged_in)
            self.sent = [line for line in (wanted.hello, wanted.mail) if line]
            for line in self.sent:
                self._judge(line)
            offer = self.server.feed(wanted.hello) if wanted.hello else b""
            self.server.feed(wanted.mail)
            self._withheld = b""
            self._open = self.server.gate_open = self._verdict is ALLOW
            self.session.answer(wanted, offer if wanted.hello.startswith(b"EHLO") else b"")
        self._take(False)

    def _upstream(self, data: bytes) -> None:
        size = self.cut or len(data) or 1
        for at in range(0, len(data), size):
            if self.aborted:
                return
            streaming = self.session.streaming
            self.session.upstream_bytes(data[at : at + size])
            self._take(streaming and self.session.streaming)

    # What is seen of it

    def _see_body(self, piece: bytes) -> None:
        """The client's octets in a message, by a reader of our own."""
        self._text += piece
        ended = END in self._text
        if ended:
            self.ends += 1
            self._text = b"\r\n"
        else:
            self._text = self._text[-4:]
        if self.session.streaming == ended and not self.over and not self._ending():
            self.trouble = "the session ended the message elsewhere than the client"

    def _ending(self) -> bool:
        return any(isinstance(event, Finished) for event in self.session.output.events)

    def _take(self, streaming: bool) -> None:
        session = self.session
        output = session.output
        up = output.take_to_upstream()
        if up:
            if self.over or self.aborted:
                self.trouble = f"said behind the end: {up!r}"
            self._judge(self._behind_body(up) if streaming else up)
            self.sent.append(up)
            self._withheld += self.server.feed(up)
        if self.over and (output.to_client or output.events):
            self.trouble = "said behind the end"
        output.take_to_client()
        for event in output.take_events():
            if isinstance(event, RelayAsked):
                self._asked = True
            elif isinstance(event, UnannouncedAsked):
                self._move = event
            elif isinstance(event, UpstreamAborted):
                self.aborted = True
            elif isinstance(event, Finished):
                self.over = self.aborted = True
            elif isinstance(event, TlsAsked):
                self._tls = True
            elif isinstance(event, LoginFailed):
                self._failed = True
            elif isinstance(event, PasswordGiven):
                self._given = session.take_password()
        if self._tls:
            self._tls = False
            self._unread = b""  # what is behind it is ciphertext to the link
            session.answer(TlsAsked(), None)

    def _behind_body(self, up: bytes) -> bytes:
        """What the session wrote behind a message, by its first CRLF.CRLF."""
        self._body += up
        _, end, behind = self._body.partition(END)
        self._body = b"\r\n" if end else self._body[-4:]
        return behind

    def _judge(self, written: bytes) -> None:
        """What the session wrote: commands.  A bare LF in one makes it two that are none."""
        for line in re.findall(rb"[^\n]*\n|[^\n]+", written):
            self._judge_line(line)

    def _judge_line(self, line: bytes) -> None:
        may_relay = self._open or (self.logged_in if self.own_auth else self.session.authenticated)
        if not _COMMAND.fullmatch(line) and (self.own_auth or not _RESPONSE.fullmatch(line)):
            self.trouble = f"no command of ours: {line!r}"
        elif self.own_auth and line.startswith(b"AUTH"):
            self.trouble = f"a password for the upstream: {line!r}"
        elif line.startswith(b"MAIL"):
            self._open = False
        elif line.startswith(b"RCPT") and not may_relay and is_foreign(line[:-2]):
            self.trouble = f"foreign: {line!r}"


def _differs(server: LaxServer, sent: list[bytes]) -> str:
    """How a strict server reads otherwise what this one was sent."""
    strict = LaxServer(STRICT, server.pipelining)
    strict.feed(b"".join(sent))
    if strict.messages == server.messages and strict.lines == server.lines:
        return ""
    return f"read in two ways: {strict.lines!r} and {server.lines!r}, {strict.messages}, {server.messages}"


def encoded(
    how: Personality,
    reject: bool,
    pipelining: bool,
    announced: bool,
    cut: int,
    steps: Iterable[Step],
    own_auth: bool = False,
) -> bytes:
    """A game as octets: two of flags and cut, then the steps, each behind an 0xFF (steps can hold none)."""
    flags = PERSONALITIES.index(how) | reject << 6 | (not pipelining) << 5
    return bytes([flags, announced << 7 | own_auth << 6 | min(cut, 63)]) + b"".join(
        [b"\xff" + kind.encode() + data for kind, data in steps]
    )


def play_octets(data: bytes) -> str:
    """Play a game out of any octets; what went wrong, or nothing."""
    if len(data) < 2:
        return ""
    flags, more = data[0], data[1]
    how = PERSONALITIES[(flags & 31) % len(PERSONALITIES)]
    game = SmtpGame(
        how,
        reject=bool(flags & 64),
        starttls=bool(flags & 128),
        pipelining=not flags & 32,
        announced=bool(more & 128),
        own_auth=bool(more & 64),
        cut=more & 63,
    )
    return game.play(
        [(chr(part[0]) if part[:1] in _KINDS else "C", part[1:]) for part in data[2:].split(b"\xff")[1:] if part]
    )


_KINDS = frozenset(bytes([letter]) for letter in b"CPSUARDLEFTX")
