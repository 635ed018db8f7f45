"""A POP3 session between a client that does anything and a lax server, judged by a model of what a login is.

The steps are those of game.py (C P S U, and the ends E F T X).  Two things are held against the session.  `Logins` is a
model written apart from it, that reads each line in which the server answers and knows by itself which of them ends a
login: the session must say LoggedIn for those and for no other.  And `LaxPop` reads what goes up in the way of its
personality: it must not log anybody in that the session does not know of, nor read two commands where one was written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.session.events import Finished, LoggedIn, TlsAsked
from proxy.session.pop3.session import PopSession, PopSettings

from .lax import PERSONALITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .game import Step
    from .lax import Personality

KNOWN = [
    *[b"CAPA", b"STLS", b"USER anna", b"USER anna", b"USER bert", b"USER", b"PASS bad", b"PASS bad", b"PASS", b"NOOP"],
    *[
        b"PASS good",
        b"APOP anna d1g",
        b"APOP anna good",
        b"AUTH",
        b"AUTH PLAIN",
        b"AUTH PLAIN good",
        b"AUTH LOGIN",
        b"*",
    ],
    *[b"AUTH ANONYMOUS", b"AUTH PLAIN =", b"YW5uYQ==", b"good", b"=", b"UTF8", b"LANG", b"LANG de", b"QUIT", b"RETR 1"],
    *[b"LIST", b"XCLIENT ADDR=1.2.3.4", b"", b"user anna", b"pass good", b"GET / HTTP/1.1", b"USER an\0na", b"STLS x"],
    *[b"PASS good\nQUIT", b"PASS \rx", b"USER anna\nPASS good", b"USER anna\0", b"PASS good\0x", b"x" * 9000],
]
_WRITTEN = re.compile(
    rb"(?:(?:CAPA|UTF8|LANG|NOOP|QUIT)|(?:USER|PASS|APOP|AUTH|LANG) ?[\x20-\x7e\x80-\xff]*|\*|[A-Za-z0-9+/]*={0,2})\r\n"
)
_REPLY = re.compile(rb"(?:\+OK|-ERR|\+)(?: [^\r\n\0]*)?")


class Logins:
    """Which command has no reply yet, and whether a reply to it is the positive end of a login."""

    def __init__(self) -> None:
        self.greeted = self.in_list = False
        self.pending = b""  # the verb of the line that has no reply
        self._in_auth = False

    def got(self, octets: bytes) -> None:
        """These lines went to the server."""
        lines = octets.split(b"\r\n")
        assert lines.pop() == b"", "half a line"
        for line in lines:
            assert not self.pending, "two commands at a time"
            if self._in_auth:
                self.pending = b"AUTH"
            else:
                self.pending = b"LANG*" if line == b"LANG" else line.split(b" ")[0]
            self._in_auth = False

    def says(self, line: bytes) -> bool | None:
        """Whether `line` ends a login well; None: it answers nothing, or is no reply at all."""
        if not _REPLY.fullmatch(line) and not self.in_list:
            return None
        if not self.greeted:
            self.greeted = True
            return False
        if self.in_list:
            self.in_list = line != b"."
            if not self.in_list:
                self.pending = b""
            return False
        if not self.pending:
            return None
        verb, self.pending = self.pending, b""
        ok = line == b"+OK" or line.startswith(b"+OK ")
        if ok and verb in (b"CAPA", b"LANG*"):
            self.pending, self.in_list = verb, True
        if not ok and not line.startswith(b"-ERR"):
            if verb != b"AUTH":
                return None
            self._in_auth = True
        return ok and verb in (b"PASS", b"APOP", b"AUTH")


class LaxPop:
    """A POP3 server: `good` is every password; it reads lines in the way of its personality."""

    def __init__(self, how: Personality) -> None:
        self.how = how
        self.logged_in = False
        self.commands = 0
        self._data = b""
        self._user = self._auth = False

    def feed(self, sent: bytes) -> bytes:
        self._data += sent.replace(b"\0", b"") if self.how.drops_nul else sent
        replies = b""
        while (match := self.how.line_end.search(self._data)) is not None:
            line, self._data = self._data[: match.start()], self._data[match.end() :]
            if self.how.cuts_at_nul:
                line = line.partition(b"\0")[0]
            self.commands += 1
            replies += self._answer(line.strip(b" \t"))
        return replies

    def _answer(self, line: bytes) -> bytes:
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if self._auth:
            self._auth = False
            return self._check(line)
        if verb == b"PASS":
            return self._check(argument) if self._user else b"-ERR USER first\r\n"
        if verb == b"APOP":
            return self._check(argument.rpartition(b" ")[2])
        if verb == b"AUTH":
            self._auth = b" " not in argument
            return b"+ \r\n" if self._auth else self._check(argument.partition(b" ")[2])
        if verb == b"USER":
            self._user = True
        if verb == b"CAPA" or line.upper() == b"LANG":
            return b"+OK\r\nUSER\r\nSASL PLAIN ANONYMOUS\r\n+OK in a list\r\n.\r\n"
        return b"+OK\r\n"

    def _check(self, password: bytes) -> bytes:
        self.logged_in = self.logged_in or password == b"good"
        return b"+OK in\r\n" if password == b"good" else b"-ERR no\r\n"


class PopGame:
    """See the module."""

    def __init__(self, how: Personality, *, stls: bool = False, cut: int = 0) -> None:
        self.session = PopSession(PopSettings(stls=stls))
        self.server = LaxPop(how)
        self.logins = Logins()
        self.cut = cut
        self.over = self.logged_in = self.lied = False
        self.written = 0
        self.trouble = ""
        self._expected = False  # the model has seen the end of a login
        self._partial = b""  # of the upstream's lines, for the model
        self._withheld = b"+OK lax\r\n"
        self._unread = b""

    def play(self, steps: Iterable[Step]) -> str:
        self._settle()
        for kind, data in steps:
            if self.over or self.trouble or self.logged_in:
                break
            self._step(kind, data)
        self._settle()
        if not self.trouble and not self.lied and self.server.logged_in and not (self.logged_in or self.over):
            return "the server has logged somebody in, and the session does not know"
        if not self.trouble and not self.lied and self.server.commands > self.written:
            return f"{self.written} commands written, {self.server.commands} read"
        return self.trouble

    def _step(self, kind: str, data: bytes) -> None:
        session = self.session
        if kind in "CP":
            self._unread += data
            self._read()
            if kind == "C":
                self._settle()
        elif kind == "S":
            self._settle()
        elif kind == "U":
            self.lied = True
            self._upstream(data)
        elif kind != "E" or not self._unread:
            {"E": session.client_eof, "F": session.upstream_eof, "T": session.out_of_time, "X": session.cut}[kind]()
            self._take()

    def _read(self) -> None:
        session = self.session
        while self._unread and not session.holding and not self.logged_in:
            piece = self._unread[: self.cut] if self.cut else self._unread
            self._unread = self._unread[len(piece) :]
            session.client_bytes(piece)
            self._take()

    def _settle(self) -> None:
        while self._withheld and not self.over and not self.logged_in:
            replies, self._withheld = self._withheld, b""
            self._upstream(replies)
            self._read()

    def _upstream(self, data: bytes) -> None:
        size = self.cut or len(data) or 1
        for at in range(0, len(data), size):
            if self.over or self.logged_in:
                return
            self._model(data[at : at + size])
            self.session.upstream_bytes(data[at : at + size])
            self._take()

    def _model(self, piece: bytes) -> None:
        """Lines of the upstream that are whole now; the first that ends a login is the last that is read."""
        *lines, self._partial = (self._partial + piece).split(b"\r\n")
        for line in lines:
            said = self.logins.says(line)
            if said is None:
                return  # the session must stop reading too: what is behind it is never a login
            if said:
                self._expected = True
                return

    def _take(self) -> None:
        output = self.session.output
        events = output.take_events()
        up = output.take_to_upstream()
        output.take_to_client()
        for event in events:
            if isinstance(event, LoggedIn):
                self.logged_in = True
                if not self._expected:
                    self.trouble = "a login that was none"
            elif isinstance(event, Finished):
                self.over = True
            elif isinstance(event, TlsAsked):
                self._unread = b""
                self.session.answer(event, None)
        if self._expected and not self.logged_in and not self.over:
            self.trouble = "a login that the session did not see"
        if up and not self.logged_in:
            self._went_up(up)

    def _went_up(self, up: bytes) -> None:
        for line in re.findall(rb"[^\n]*\n|[^\n]+", up):
            self.written += 1
            if not _WRITTEN.fullmatch(line):
                self.trouble = f"no command of ours: {line!r}"
                return
        self.logins.got(up)
        self._withheld += self.server.feed(up)


def encoded(how: Personality, stls: bool, cut: int, steps: Iterable[Step]) -> bytes:
    """A game as octets, as game.encoded."""
    flags = PERSONALITIES.index(how) | stls << 7
    return bytes([flags, min(cut, 255)]) + b"".join([b"\xff" + kind.encode() + data for kind, data in steps])


def play_octets(data: bytes) -> str:
    """Play a game out of any octets; what went wrong, or nothing."""
    if len(data) < 2:
        return ""
    how = PERSONALITIES[(data[0] & 31) % len(PERSONALITIES)]
    parts = [part for part in data[2:].split(b"\xff")[1:] if part]
    steps = [(chr(part[0]) if part[:1] in _KINDS else "C", part[1:]) for part in parts]
    return PopGame(how, stls=bool(data[0] & 128), cut=data[1]).play(steps)


_KINDS = frozenset(bytes([letter]) for letter in b"CPSUEFTX")
