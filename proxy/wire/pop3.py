"""POP3 on the wire: command lines, replies, the capability list (RFC 1939, 2449, 5034).

Before the login popgate reads both sides; after it nothing here is used (rule P5).  A reply is exact: `+OK` or
`-ERR`, upper case, then a space or the end of the line (rule P3): a server that says `+OKAY` has not said `+OK`.

The capability list that the client gets is the upstream's, without what popgate can't carry or answers itself (STLS,
SASL mechanisms that are not on the allow-list, XCLIENT).  Unlike EHLO it is edited by removal: capabilities describe
what works after the login too, where popgate only passes octets on.
"""

from __future__ import annotations

import re
from enum import Enum

from ..errors import ProtocolError
from .sasl import MECHANISMS

MAX_LINE = 8192  # octets of a command, rule P2; RFC 2449 asks for 255, tokens in PASS are longer
MAX_REPLY_LINE = 4096  # octets; RFC 2449 4 allows 512
MAX_REPLY_LINES = 200  # of a multi-line reply before the login (CAPA, LANG)

_CONTROL = re.compile(rb"[\0-\x1f\x7f]")


class Status(Enum):
    """What the first word of a reply says."""

    OK = b"+OK"
    ERR = b"-ERR"
    CONTINUE = b"+"
    """A challenge: the next line of the client belongs to AUTH (RFC 5034 4)."""


_STATUSES = {said.value: said for said in Status}


def has_control(line: bytes) -> bool:
    """Whether a line holds an octet below 0x20 or 0x7F: no command does (rule P2)."""
    return _CONTROL.search(line) is not None


def status(line: bytes) -> Status:
    """The status of a reply line (without CRLF); raise ProtocolError for anything that is no reply."""
    said = _STATUSES.get(line.partition(b" ")[0])
    if said is None:
        raise ProtocolError("a line that is no POP3 reply")
    return said


class ReplyLines:
    """Lines of the upstream before the login, each whole and with its CRLF."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data

    def take(self) -> bytes | None:
        """Return the next line without CRLF or None; ProtocolError for a bare CR, LF or NUL and for endless lines."""
        data = self._data
        end = data.find(b"\n")
        if end > MAX_REPLY_LINE or (end < 0 and len(data) > MAX_REPLY_LINE):
            raise ProtocolError(f"a reply line of more than {MAX_REPLY_LINE} octets")
        if end < 0:
            return None
        self._data = data[end + 1 :]
        # The first CR stands before the LF; where the line is a LF alone, there is no place for one.
        if data.find(b"\r", 0, end) != end - 1 or end == 0 or data.find(b"\0", 0, end) >= 0:
            raise ProtocolError("a bare CR, LF or NUL in a reply")
        return data[: end - 1]

    def rest(self) -> bytes:
        """Hand over all that was not taken: it passes through."""
        rest, self._data = self._data, b""
        return rest


def edited_capabilities(lines: list[bytes], stls: bool, plain_login: bool) -> list[bytes]:
    """The lines of CAPA's list for the client.

    `stls`: offer STLS; `plain_login`: whether a login is allowed now (without TLS it may not be: then USER and SASL
    are hidden, RFC 2595 2.1).
    """
    kept = []
    for line in lines:
        tag, _, values = line.partition(b" ")
        tag = tag.upper()
        if tag == b"SASL":
            words = [word for word in values.upper().split() if word in MECHANISMS]
            if words and plain_login:
                kept.append(b"SASL " + b" ".join(words))
        elif tag not in _OURS and (plain_login or tag != b"USER"):
            kept.append(line)
    if stls:
        kept.append(b"STLS")
    return kept


_OURS = frozenset({b"STLS", b"XCLIENT", b"XOIP"})
