"""A mail server that reads everything as loosely as any server was ever seen to: the other side of the guard's tests.

`LaxServer` takes what the gate forwards, cuts it into lines, messages and recipients in the way of its `Personality`,
says yes to all of it, and keeps what it was made to do.  Its readings are independent of popgate's own on purpose.

Line ends and ends of data differ by personality, since a server has one of each.  Addresses and verbs don't: every
server here reads an address in all ways at once (`is_foreign`) and takes a verb behind blanks and tabs, so that what is
safe here is safe with each.

`STRIPPED` and `EXOTIC` stand apart from `PERSONALITIES`: wire/dots.py says why they are not defended against, and
tests/properties/test_nobody_gets_through.py holds what is promised about them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

LOCAL = frozenset({"local.test", "b\u00fcro.test"})
_OURS = LOCAL | {"xn--bro-hoa.test"}
OFFER = b"250-lax\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n"
SERIAL_OFFER = OFFER.replace(b"250-PIPELINING\r\n", b"")
DANGEROUS = frozenset(
    {b"XCLIENT", b"XFORWARD", b"BDAT", b"ETRN", b"TURN", b"ATRN", b"BURL", b"STARTTLS", b"VERB", b"XEXCH50", b"X-EXPS"}
)
_ENVELOPE_VERBS = (b"MAIL", b"SEND", b"SOML", b"SAML")

_PARAMETERS = re.compile(r"(?<=>) (NOTIFY|ORCPT)=[^\s<>\"(),\\]*")
_DOMAIN = re.compile(r"[@%]\s*\"?([^\s@%!<>,;:()\"\\]+)|([^\s@%!<>,;:()\"\\]+)(?:!|::)")
_DELIVERY = re.compile(r'^\s*<?\s*"?\\?[/|]|:include:')
_PLAIN = re.compile(rb"RCPT TO:<[a-z0-9.+-]+@local\.test>")
_SEVEN = bytes(octet & 0x7F for octet in range(256))


@dataclass(frozen=True)
class Personality:
    """How a server cuts octets."""

    name: str
    line_end: re.Pattern[bytes]
    message_end: re.Pattern[bytes] = re.compile(rb"\r\n\.\r\n")
    longest: int = 1 << 30
    """Octets after which a command line is cut in two, as Exim's buffer did at 16,384."""
    cuts_at_nul: bool = False
    """A line ends for it where a NUL stands; the rest, to the line's end, is not looked at (Postfix; C4, C59)."""
    drops_nul: bool = False
    clears_eighth_bit: str = ""
    """"7bit": of a message announced as BODY=7BIT, as Sendmail does; "always"."""


def _personality(name: str, newline: bytes, **more: bool | int | str) -> Personality:
    """A server for which `newline`, a pattern, ends a line, also around the dot of an end of data."""
    end = re.compile(rb"(?:%b)\.(?:%b)" % (newline, newline))
    return Personality(name, re.compile(newline), end, **more)  # type: ignore[arg-type]


_EXOTIC_NEWLINE = "\r\n|[\r\n\x0b\x0c\x1c\x1d\x1e]|\x85|\u2028|\u2029".encode()
PERSONALITIES = (
    Personality("strict", re.compile(rb"\r\n")),
    _personality("LF", rb"\r?\n"),
    _personality("LF and any CRs before", rb"\r*\n"),
    _personality("CR", rb"\r\r\n|\r\n|\r|\n"),
    _personality("CR alone, LFs dropped", rb"\n*\r\n*"),
    _personality("NUL before LF", rb"\r?\0*\n"),
    _personality("cuts at NUL", rb"\r?\n", cuts_at_nul=True),
    _personality("drops NUL", rb"\r?\n", drops_nul=True),
    Personality("NUL ends a line", re.compile(rb"\r\n|\0")),
    Personality("splitlines", re.compile(_EXOTIC_NEWLINE), re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")),
    _personality("short buffer", rb"\r?\n", longest=600),
    _personality("eighth bit of BODY=7BIT", rb"\r?\n", clears_eighth_bit="7bit"),
    # Every end of data of the threat list at once, A1 to A10 and A12 to A16, spelt out as the list has them.
    Personality(
        "all of A1 to A16",
        re.compile(rb"\r?\n"),
        re.compile(
            rb"\r\n\.\r\n|\n\.\n|\n\.\r\n|\r\n\.\n|\n\.\r(?!\n)|\r\.\r|\r\.\n|\r\.\r\n|\r\n\.\r(?!\n)"
            rb"|\r\r\n\.\r\r\n|\r\n\.\r\r\n|\r\0\n\.\r\n|\r\n\0+\.\r\n|\r\n\.\0+\r\n|\r\n\.\r\0\n|\n\n\.\n\n"
        ),
    ),
)
EXOTIC = _personality("VT, FF, NEL, U+2028 in messages too", _EXOTIC_NEWLINE)
STRIPPED = _personality("eighth bit of every message", rb"\r?\n", clears_eighth_bit="always")
STRICT = PERSONALITIES[0]


def is_foreign(argument: bytes) -> bool:
    """Whether some server may read a recipient that is not local out of the argument of RCPT.

    It looks for a domain behind every `@` and `%` and before every `!` and `::`, whatever brackets, quotes, comments,
    routes or lists they stand in, also after compatibility mapping; and for local parts that are files and programs.
    """
    if _PLAIN.fullmatch(argument):
        return False
    text = argument.decode("utf-8", "replace")
    for reading in {text, unicodedata.normalize("NFKC", text), text.replace("\\", "").replace('"', "")}:
        reading = _PARAMETERS.sub("", reading)
        if _DELIVERY.search(reading.upper().partition("TO:")[2].lower()):
            return True
        for match in _DOMAIN.finditer(reading):
            if (match[1] or match[2]).rstrip(".>").lower() not in _OURS:
                return True
    return False


@dataclass
class LaxServer:
    """Call `feed` with what was sent; it returns the replies.  Then look at what was accepted."""

    how: Personality
    pipelining: bool = True
    gate_open: bool = False
    """Set by who plays the gate: a relay verdict ALLOW holds now.  Any MAIL ends it."""
    authenticated: bool = False
    foreign: list[bytes] = field(default_factory=list)
    """RCPTs accepted while `gate_open` did not hold, whose argument may be read as foreign."""
    relayed: int = 0
    """RCPTs of the same kind while it did hold."""
    dangerous: list[bytes] = field(default_factory=list)
    """Commands that would have moved the server's state out of the gate's sight."""
    lines: list[bytes] = field(default_factory=list)
    messages: int = 0
    bodies: list[bytes] | None = None
    """Messages as they arrived, dots unstuffed, if somebody put a list here."""
    _data: bytes = b""
    _message: bool = False
    _seven: bool = False
    _mail: bool = False
    _recipients: int = 0
    _auth: bool = False

    def feed(self, sent: bytes) -> bytes:
        if sent:
            self._data += sent.replace(b"\0", b"") if self.how.drops_nul else sent
        replies = b""
        while self._data and (reply := self._end() if self._message else self._line()) is not None:
            replies += reply
        return replies

    def _end(self) -> bytes | None:
        text = self._data
        if self._seven:
            text = text.translate(_SEVEN)
        if self.how.cuts_at_nul and b"\0" in text:  # what is cut off is blanked, so that places stay
            text = re.sub(rb"(?<=[\r\n])(\.?)\0[^\r\n]*", _blanked, text)
        found = self.how.message_end.search(text)
        if found is None:
            return None
        if self.bodies is not None:
            self.bodies.append(self._data[: found.start() + 2].replace(b"\r\n..", b"\r\n.")[2:])
        self._data = self._data[found.end() :]
        self._message = self._mail = False
        self._recipients = 0
        self.messages += 1
        return b"250 queued\r\n"

    def _line(self) -> bytes | None:
        match = self.how.line_end.search(self._data)
        longest = self.how.longest
        if (match is None or match.start() > longest) and len(self._data) > longest:
            line, self._data = self._data[:longest], self._data[longest:]
        elif match is None:
            return None
        else:
            line, self._data = self._data[: match.start()], self._data[match.end() :]
        if self.how.cuts_at_nul:
            line = line.partition(b"\0")[0]
        self.lines.append(line)
        if self._auth:
            self._auth = False
            return self._login(line)
        return self._command(line)

    def _login(self, response: bytes) -> bytes:
        """One round: `good` is the password, `*` cancels."""
        self.authenticated = response == b"good"
        return b"235 in\r\n" if self.authenticated else b"535 no\r\n"

    def _command(self, line: bytes) -> bytes:
        verb = line.strip(b" \t").upper()
        word = verb[:4]
        if word in (b"EHLO", b"HELO"):
            self._mail, self._recipients = False, 0
            return b"250 lax\r\n" if word == b"HELO" else OFFER if self.pipelining else SERIAL_OFFER
        if word in _ENVELOPE_VERBS:
            if word != b"MAIL":
                self.dangerous.append(line)
            self._mail, self.gate_open = True, False
            clears = self.how.clears_eighth_bit
            self._seven = clears == "always" or (clears == "7bit" and b"> BODY=7BIT" in verb)
            return b"250 mail\r\n"
        if word == b"RCPT":
            return self._recipient(line)
        if word == b"DATA":
            self._message = bool(self._recipients)
            if self._message:
                self._data = b"\r\n" + self._data  # the end of DATA's own line is the first half of an end of data
            return b"354 go\r\n" if self._message else b"503 no recipients\r\n"
        if word == b"RSET":
            self._mail, self._recipients = False, 0
        if word == b"AUTH":
            initial = line.split(b" ")[2:]
            self._auth = not initial
            return self._login(initial[0]) if initial else b"334 \r\n"
        if verb.split(b" ")[0].split(b"\t")[0] in DANGEROUS:
            self.dangerous.append(line)
        return b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n"

    def _recipient(self, line: bytes) -> bytes:
        if not self._mail:
            return b"503 no mail\r\n"
        self._recipients += 1
        if is_foreign(line):
            if self.gate_open or self.authenticated:
                self.relayed += 1
            else:
                self.foreign.append(line)
        return b"250 rcpt\r\n"


def _blanked(match: re.Match[bytes]) -> bytes:
    """A line cut at its NUL, as a lone dot or as nothing, the rest of it turned into more of its newline."""
    if not match[1]:
        return b"x" * len(match[0])
    return b"." + b"\n" * (len(match[0]) - 1)
