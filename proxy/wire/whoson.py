"""The whoson protocol: requests and replies, read and written.

whoson (A. Crosser's, 1998) tells mail servers who is logged in at an address.  A request or reply is a line, possibly
followed by extension lines, and an empty line; in a datagram its end is enough.

    LOGIN 192.0.2.1 alice       +LOGIN OK                   alice is at this address now
    LOGOUT 192.0.2.1            +LOGOUT record deleted      nobody is
    QUERY 192.0.2.1             +alice  or  -Not logged in  who is?

The first octet of a reply is its meaning: `+` yes, `-` no, anything else "can't tell".  The memo, the C programs
(whosond and libwhoson 1.08) and gowhoson differ; what is read here takes all of them, what is written here is what all
of them take:

- Read: verbs in any case, tabs and runs of spaces, a trailing space (libwhoson sends one), LF for CRLF, a datagram
  without an end, extension lines (ignored), more words behind LOGOUT's address (ignored).
- Written: upper case, single spaces, no trailing one, one line, CRLF CRLF always (without a CR the C daemon dies), at
  most 511 octets (from 512 on it dies), an address in its canonical form, names without control octets (gowhoson echoes
  them) and of at most 127 octets, of which the C daemon keeps 128.

Not here: who may ask what, and the leases: neighbours/whoson_server.py; asking others: neighbours/whoson_client.py; the
empty line of a stream: wire/stanzas.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..errors import ProtocolError
from .address import packed, shown

MAX_REQUEST: Final = 2048
"""Octets of a request that is read; the longest useful one has some 300."""
MAX_WRITTEN: Final = 511
"""Octets of a request or reply that is written: the C programs' buffers less one."""
MAX_NAME: Final = 255
"""Octets of a name that is taken from a LOGIN, as of any login (rule G15)."""
MAX_NAME_WRITTEN: Final = 127
"""Octets of a name in a LOGIN that is written: the C daemon keeps 128 with their end."""

LOGIN: Final = "LOGIN"
LOGOUT: Final = "LOGOUT"
QUERY: Final = "QUERY"
QUIT: Final = "QUIT"
"""gowhoson's; the C daemon does not know it, so it is never written."""

END: Final = b"\r\n\r\n"
LOGIN_DONE: Final = b"+LOGIN OK" + END
LOGOUT_DONE: Final = b"+LOGOUT record deleted" + END
LOGOUT_IDLE: Final = b"+LOGOUT no such record, nothing done" + END
QUIT_DONE: Final = b"+QUIT OK" + END
NOT_LOGGED_IN: Final = b"-Not logged in" + END
NEVER_LEASED: Final = b"-LOGIN this address is not taken" + END
DENIED: Final = b"*Access denied" + END
UNAVAILABLE: Final = b"*Can't tell now, try again later" + END
OVERLONG: Final = b"*Request is too long" + END
MARKS: Final = b"+-*"
"""What replies begin with, and no request."""

_WORDS = re.compile(rb"[ \t]*([A-Za-z]+)(?:[ \t]+([^ \t]+)(?:[ \t]+(.*))?)?", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that follows the grammar."""

    verb: str
    """LOGIN, LOGOUT, QUERY or QUIT."""
    address: bytes = b""
    """Binary (wire/address.py); empty for QUIT."""
    name: str = ""
    """Who logs in; empty if the LOGIN names nobody.  Octets that are no UTF-8 are surrogate escapes."""


def parse(line: bytes) -> Request:
    """Read a request's first line; raise ProtocolError whose text may be the reply's (`error`)."""
    words = _WORDS.fullmatch(line.rstrip(b" \t\r\n"))
    verb = words[1].upper().decode() if words else ""
    if words is None or verb not in (LOGIN, LOGOUT, QUERY, QUIT):
        raise ProtocolError("Protocol error: no valid verb found")
    if verb == QUIT:
        return Request(QUIT)
    if words[2] is None:
        raise ProtocolError(f"{verb} addr-spec required")
    if verb == QUERY and words[3] is not None:
        raise ProtocolError("QUERY only one argument allowed")
    try:
        address = packed(words[2].decode("ascii"))
    except ValueError:
        raise ProtocolError(f"{verb} addr-spec is not an IP address") from None
    name = (words[3] or b"") if verb == LOGIN else b""
    if len(name) > MAX_NAME or _CONTROL.search(name):
        raise ProtocolError("LOGIN name is too long or has control characters")
    return Request(verb, address, name.decode("utf-8", "surrogateescape"))


def first_line(datagram: bytes) -> bytes:
    """The line of a datagram that counts; its end may be missing."""
    return datagram.partition(b"\n")[0].removesuffix(b"\r")


def request(verb: str, address: bytes, name: str = "") -> bytes:
    """A request, as every known server takes it."""
    words = [verb.encode(), shown(address).encode()]
    if name:
        words.append(_printed(name)[:MAX_NAME_WRITTEN].rstrip())
    return b" ".join(words).rstrip() + END


def found(name: str) -> bytes:
    """The reply to a QUERY for an address where `name` is logged in."""
    return b"+" + _printed(name)[: MAX_WRITTEN - 1 - len(END)] + END


def error(text: str) -> bytes:
    """The reply to what can't be answered; `text`: a fixed one, ASCII."""
    return b"*" + text.encode("ascii") + END


def parse_reply(data: bytes) -> tuple[bool | None, str]:
    """A reply's meaning, and its text: for a positive reply to QUERY that is the name, for all others only words.

    True is yes, False no, None "can't tell".  Extension lines are ignored, a missing end is no fault.
    """
    line = first_line(data)
    meaning = {b"+": True, b"-": False}.get(line[:1])
    return meaning, _CONTROL.sub(b"?", line[1 : MAX_NAME + 1]).decode("utf-8", "surrogateescape")


def _printed(name: str) -> bytes:
    return _CONTROL.sub(b"?", name.encode("utf-8", "surrogateescape"))
