"""A mail server that reads everything as loosely as any server was ever seen to: the other side of the agreement test.

`LaxServer` takes what the gate forwards, cuts it into lines, messages and recipients in the way of its `Personality`,
says yes to all of it, and keeps what it was made to do.  Its readings are independent of popgate's own on purpose.

Not in any personality, because no server that was measured does it and wire/dots.py says so: ends of data made by
dropping NUL, by VT, FF or by Unicode's line separators.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import product

LOCAL = frozenset({"local.test", "b\u00fcro.test"})
OFFER = b"250-lax\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n"
DANGEROUS = frozenset(
    {b"XCLIENT", b"XFORWARD", b"BDAT", b"ETRN", b"TURN", b"ATRN", b"BURL", b"STARTTLS", b"SEND", b"SOML"}
)

_PARAMETERS = re.compile(r"(?<=>) (NOTIFY|ORCPT)=\S*")
_DOMAIN = re.compile(r"[@%]\s*\"?([^\s@%!<>,;:()\"\\]+)|([^\s@%!<>,;:()\"\\]+)!")
_DELIVERY = re.compile(r'^\s*<?"?\\?[/|]|:include:')


@dataclass(frozen=True)
class Personality:
    """How a server cuts octets."""

    name: str
    line_end: re.Pattern[bytes]
    message_ends: tuple[bytes, ...] = (b"\r\n.\r\n",)
    longest: int = 1 << 30
    """Octets after which a command line is cut in two, as Exim's buffer did at 16,384."""


def _ends(*newlines: bytes) -> tuple[bytes, ...]:
    return tuple(before + b"." + behind for before, behind in product(newlines, repeat=2))


PERSONALITIES = (
    Personality("strict", re.compile(rb"\r\n")),
    Personality("LF", re.compile(rb"\r?\n"), _ends(b"\r\n", b"\n")),
    Personality("LF and CR CR LF", re.compile(rb"\r*\n"), _ends(b"\r\r\n", b"\r\n", b"\n")),
    Personality("CR", re.compile(rb"\r\n|\r|\n"), _ends(b"\r\n", b"\n", b"\r", b"\r\r\n")),
    Personality("NUL ends a line", re.compile(rb"\r\n|\0")),
    Personality("NUL before LF", re.compile(rb"\r?\0*\n"), (*_ends(b"\r\n", b"\n"), b"\r\0\n.\r\n", b"\r\n.\r\0\n")),
    Personality(
        "splitlines",
        re.compile("\r\n|[\r\n\x0b\x0c\x1c\x1d\x1e]|\x85|\u2028|\u2029".encode()),
        _ends(b"\r\n", b"\n", b"\r"),
    ),
    Personality("short buffer", re.compile(rb"\r?\n"), _ends(b"\r\n", b"\n"), 600),
)


def is_foreign(argument: bytes) -> bool:
    """Whether some server may read a recipient that is not local out of the argument of RCPT.

    It looks for a domain behind every `@` and `%` and before every `!`, whatever brackets, quotes, comments, routes or
    lists they stand in, also after compatibility mapping; and for local parts that are files and programs.
    """
    text = argument.decode("utf-8", "replace")
    for reading in {text, unicodedata.normalize("NFKC", text), text.replace("\\", "").replace('"', "")}:
        reading = _PARAMETERS.sub("", reading)
        if _DELIVERY.search(reading.upper().partition("TO:")[2].lower()):
            return True
        for match in _DOMAIN.finditer(reading):
            if (match[1] or match[2]).rstrip(".>").lower() not in LOCAL:
                return True
    return False


@dataclass
class LaxServer:
    """Call `feed` with what was sent; it returns the replies.  Then look at what was accepted."""

    how: Personality
    foreign: list[bytes] = field(default_factory=list)
    """Arguments of accepted RCPTs that may be read as foreign."""
    dangerous: list[bytes] = field(default_factory=list)
    """Commands that would have moved the server's state out of the gate's sight."""
    messages: int = 0
    commands: int = 0
    _data: bytes = b""
    _in_message: bool = False
    _mail: bool = False
    _recipients: int = 0

    def feed(self, sent: bytes) -> bytes:
        self._data += sent
        replies = b""
        while (reply := self._message() if self._in_message else self._line()) is not None:
            replies += reply
        return replies

    def _message(self) -> bytes | None:
        found = [(at, len(end)) for end in self.how.message_ends if (at := self._data.find(end)) >= 0]
        if not found:
            return None
        at, length = min(found)
        self._data = self._data[at + length :]
        self._in_message = self._mail = False
        self._recipients = 0
        self.messages += 1
        return b"250 queued\r\n"

    def _line(self) -> bytes | None:
        match = self.how.line_end.search(self._data)
        if (match is None or match.start() > self.how.longest) and len(self._data) > self.how.longest:
            line, self._data = self._data[: self.how.longest], self._data[self.how.longest :]
        elif match is None:
            return None
        else:
            line, self._data = self._data[: match.start()], self._data[match.end() :]
        self.commands += 1
        return self._command(line)

    def _command(self, line: bytes) -> bytes:
        verb = line.strip(b" \t").upper()
        if verb.startswith((b"EHLO", b"HELO")):
            self._mail, self._recipients = False, 0
            return OFFER if verb.startswith(b"EHLO") else b"250 lax\r\n"
        if verb.startswith(b"MAIL"):
            self._mail = True
            return b"250 mail\r\n"
        if verb.startswith(b"RCPT"):
            if self._mail:
                self._recipients += 1
                if is_foreign(line):
                    self.foreign.append(line)
            return b"250 rcpt\r\n" if self._mail else b"503 no mail\r\n"
        if verb.startswith(b"DATA"):
            self._in_message = bool(self._recipients)
            if self._in_message:
                self._data = b"\r\n" + self._data  # the end of DATA's own line is the first half of an end of data
            return b"354 go\r\n" if self._in_message else b"503 no recipients\r\n"
        if verb.startswith(b"RSET"):
            self._mail, self._recipients = False, 0
        if verb.startswith(b"AUTH"):
            return b"535 no\r\n"
        if verb.split(b" ")[0] in DANGEROUS:
            self.dangerous.append(line)
        return b"221 bye\r\n" if verb.startswith(b"QUIT") else b"250 ok\r\n"
