"""A session's dialogue as text for `popgate trace`, without its secrets.

Four kinds of line, by who speaks to whom: `C>` the client to us, `>U` we to the upstream, `U>` the upstream to us, `>C`
we to the client.  Message bodies and what is in mailboxes are counted.

What could be a password is never text (promise 7).  The rule is an allow-list: a client's line is shown if its verb is
one that carries none.  Of PASS, APOP and AUTH the verb is shown, with the name or the mechanism; a line inside an AUTH
exchange, and one that is no command (a client that goes on with its password after a 504), only as a count.  Servers
quote what they did not like: replies to a login are shown by their codes alone, unless the text is one of our own fixed
texts.

A `Transcript` is the `Observer` (observer.py) of the session of a client whose address is traced, from its next
connection on.  What is said before the session begins (PROXY header, TLS, STARTTLS to the upstream, XCLIENT) and the
check of a password at a POP3 upstream are not in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..wire.lines import BARE_LF, TOO_LONG, LineBuffer
from ..wire.pop3 import MAX_LINE
from ..wire.sasl import MECHANISMS
from .pop3 import session as pop3
from .pop3 import texts as pop3_texts
from .smtp import session as smtp
from .smtp import texts as smtp_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[str, str], None]

CLIENT, TO_UPSTREAM, UPSTREAM, TO_CLIENT, NOTE = "C>", ">U", "U>", ">C", "--"
MAX_TEXT: Final = 512
"""Characters of one line; RFC 5321 4.5.3.1.5."""
MASK: Final = "***"

SMTP_VERBS: Final = frozenset([name for name, verb in smtp.VERBS.items() if not verb.secret])
POP3_VERBS: Final = frozenset([name for name, verb in pop3.VERBS.items() if not verb.secret])
MAILBOX_VERBS: Final = frozenset(
    [b"STAT", b"LIST", b"RETR", b"DELE", b"NOOP", b"RSET", b"TOP", b"UIDL", b"QUIT", b"LAST", b"CAPA"]
)
_LOGIN_VERBS: Final = frozenset([b"PASS", b"APOP", b"AUTH"])

_OUR_TEXTS: Final = frozenset(
    text for texts in (smtp_texts, pop3_texts) for text in vars(texts).values() if isinstance(text, bytes)
)
# What of a reply to a login is shown: codes of RFC 5321, 3463, 1939, and of RFC 2449 8 and 3206 those that exist.
_CODES = re.compile(
    rb"[2-5][0-9][0-9](?:[ -][245]\.[0-9]{1,3}\.[0-9]{1,3}(?![^ \r]))?"
    rb"|\+OK|-ERR(?: \[(?:IN-USE|LOGIN-DELAY|SYS/TEMP|SYS/PERM|AUTH)\])?|\+"
)


class Transcript:
    """See the module."""

    __slots__ = ("_counted", "_mailbox", "_quiet", "_tell", "_verbs")

    def __init__(self, tell: Tell, verbs: frozenset[bytes]) -> None:
        """`tell(who, text)` gets every line; `verbs`: those of the protocol that carry no secret."""
        self._tell = tell
        self._verbs = verbs
        self._counted = {CLIENT: 0, UPSTREAM: 0}
        """Octets of each side that were not told yet."""
        self._quiet = False
        """A login is under way: what servers say may quote it."""
        self._mailbox = LineBuffer(MAX_LINE)
        """The client's commands once it is logged in."""

    def command(self, line: bytes, *, secret: bool) -> None:
        if secret:
            self._secret(CLIENT)
            return
        self._flush()
        self._quiet = line.partition(b" ")[0].upper() in _LOGIN_VERBS
        self._tell(CLIENT, _command(line, self._verbs))

    def forwarded(self, line: bytes, *, secret: bool) -> None:
        if secret:
            self._secret(TO_UPSTREAM)
        else:
            self._flush()
            self._tell(TO_UPSTREAM, _command(line.removesuffix(b"\r\n"), self._verbs))

    def upstream_reply(self, octets: bytes, *, secret: bool) -> None:
        self._quiet = self._quiet or secret
        self._reply(UPSTREAM, octets)

    def client_reply(self, octets: bytes) -> None:
        self._reply(TO_CLIENT, octets)

    def message(self, octets: bytes) -> None:
        self._counted[CLIENT] += len(octets)

    def mailbox_commands(self, octets: bytes) -> None:
        self._mailbox.feed(octets)
        while (line := self._mailbox.take()) is not None:
            self._flush()
            self._quiet = line.partition(b" ")[0].upper() in _LOGIN_VERBS
            self._tell(CLIENT, _command(line, MAILBOX_VERBS))

    def mailbox_octets(self, octets: bytes) -> None:
        if not self._counted[UPSTREAM]:  # the word at the beginning of an answer is shown at once
            for word in (b"+OK", b"-ERR"):
                if octets.startswith((word + b" ", word + b"\r\n")):
                    self._tell(UPSTREAM, word.decode("ascii") + " ...")
        self._counted[UPSTREAM] += len(octets)

    def tls_started(self) -> None:
        self._flush()
        self._tell(NOTE, "TLS")

    def finished(self) -> None:
        self._flush()

    def _secret(self, who: str) -> None:
        """A line that belongs to AUTH."""
        self._quiet = True
        self._tell(who, MASK)

    def _reply(self, who: str, octets: bytes) -> None:
        """One or several replies, whole."""
        self._flush()
        if not self._quiet or octets in _OUR_TEXTS:
            for line in octets.removesuffix(b"\r\n").split(b"\r\n"):
                self._tell(who, _text(line))
            return
        code = _CODES.match(octets)
        head = code[0].decode("ascii") if code is not None else ""
        self._tell(who, f"{head} ({len(octets)} octets)".lstrip())

    def _flush(self) -> None:
        """Say what was counted."""
        for who, octets in self._counted.items():
            if octets:
                self._tell(who, f"({octets} octets)")
                self._counted[who] = 0


def _command(line: bytes, verbs: frozenset[bytes]) -> str:
    verb = line.partition(b" ")[0].upper()
    if line is TOO_LONG:
        return "(a line that is too long)"
    if line is BARE_LF:
        return "(a line that LF alone ends)"
    if verb in verbs:
        return _text(line)
    _, _, argument = line.partition(b" ")
    words = argument.split(b" ")
    if verb == b"PASS":
        return f"PASS {MASK}"
    if verb == b"APOP":
        return f"APOP {_text(words[0])} {MASK}" if len(words) == 2 else f"APOP {MASK}"
    if verb == b"AUTH":
        known = words[0].upper() in MECHANISMS
        shown = ["AUTH", words[0].decode("ascii").upper() if known else MASK if argument else ""]
        return " ".join([*shown, MASK if known and len(words) > 1 else ""]).rstrip()
    return f"({len(line)} octets that are no command)"


def _text(line: bytes) -> str:
    text = line[:MAX_TEXT].decode("ascii", "backslashreplace")
    if not text.isprintable():
        text = "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in text])
    return text + ("..." if len(line) > MAX_TEXT else "")
