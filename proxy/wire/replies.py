"""SMTP replies out of what an upstream sends (RFC 5321 4.2), and the ones popgate itself gives.

`ReplyBuffer` cuts the stream into whole replies, multi-line ones in one piece, so that nothing of ours can land inside
one. It is strict (rule S6): three ASCII digits from 200 to 599, a space, a hyphen or the end of the line behind them,
the same code on every line, CRLF, no CR, LF or NUL elsewhere, at most 500 lines and 64 KiB.  Anything else is a
`ProtocolError`: an upstream whose replies can be read in two ways can make client and proxy count differently.

What a reply answers is not known here (session/ledger.py), what is changed in it neither (session/smtp/session.py,
wire/esmtp.py).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ProtocolError

MAX_LINES = 500  # rule S6; most EHLO replies have about 10, a few servers list more than 100 words
MAX_OCTETS = 65536  # rule S6: of one reply, all its lines together
_MAX_KNOWN = 256  # replies that are remembered whole: an upstream says the same few all day
_MAX_KNOWN_OCTETS = 1024  # of one of them; a long reply to EHLO has 400

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])[^\r\n\0]*)?\r\n")
_POSITIVE = re.compile(rb"(?:2[0-9][0-9] [^\r\n\0]{0,506}+\r\n)+")  # lines of RFC 5321 4.5.3.1.5's 512 octets
_ONE_LINE = re.compile(rb"([2-5][0-9][0-9])(?: [^\r\n\0]*)?\r\n")


class Reply(NamedTuple):
    """One whole reply: its code and its octets, every line with its CRLF."""

    code: int
    octets: bytes

    def texts(self) -> list[bytes]:
        """The text of each line, without code and separator."""
        return [line[4:] for line in self.octets.split(b"\r\n")[:-1]]


_KNOWN: dict[bytes, Reply] = {}
"""Replies by their octets.  None that may be an answer to a part of AUTH, and so may quote a password."""
_REMEMBERED = frozenset({220, 221, 250, 354})


class ReplyBuffer:
    """What the upstream sent and was not yet taken as a reply."""

    __slots__ = ("_data", "_position")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0  # where the unused octets begin in it

    def __len__(self) -> int:
        return len(self._data) - self._position

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._position :] + data if self._data else data
        self._position = 0

    def clear(self) -> None:
        self._data, self._position = b"", 0

    def whole(self, data: bytes) -> Reply | None:
        """The reply that `data` is, if that is remembered and nothing waits before it: the usual case, cheaply."""
        return None if self._data else _KNOWN.get(data)

    def take(self) -> Reply | None:
        """Return the next whole reply or None; raise ProtocolError for what is no reply."""
        data, start = self._data, self._position
        if not data:
            return None
        end = data.find(b"\n", start) + 1
        if not end:
            self._check_unfinished(start)
            return None
        line = data[start:end]
        reply = _KNOWN.get(line)
        if reply is None:
            match = _ONE_LINE.fullmatch(line)
            if match is None or len(line) > MAX_OCTETS:
                return self._take_many(start)
            reply = _remembered(Reply(int(match[1]), line))
        self._used(end)
        return reply

    def take_positive(self, most: int) -> tuple[bytes, int]:
        """Take whole positive replies of one line, as many as are next, `most` at most; their octets and their number.

        What is none of them is left to `take`; so may be long replies, and a code without a text.
        """
        data, start = self._data, self._position
        end = data.find(b"\n", start) + 1
        first = _KNOWN.get(data[start:end]) if end else None  # compiled, a slice may not end before its start
        if first is not None and first.code < 300:  # most servers say the same to every recipient
            count = min(most, (len(data) - start) // len(first.octets))
            octets = first.octets * count
            if data.startswith(octets, start):
                self._used(start + len(octets))
                return octets, count
        match = _POSITIVE.match(data, start)
        if match is None:
            return b"", 0
        octets = match[0]
        count = octets.count(b"\n")
        if count > most:
            octets = octets[: -len(octets.split(b"\n", most)[most])]
            count = most
        self._used(start + len(octets))
        return octets, count

    def _take_many(self, start: int) -> Reply | None:
        data, position, code = self._data, start, None
        for _ in range(MAX_LINES):
            match = _LINE.match(data, position)
            if match is None:
                self._check_unfinished(position)
                if len(data) - start > MAX_OCTETS:
                    break
                return None
            if code not in (None, match[1]):
                raise ProtocolError("a reply whose lines have different codes")
            code, position = match[1], match.end()
            if position - start > MAX_OCTETS:
                break
            if match[2] != b"-":
                self._used(position)
                return _remembered(Reply(int(code), data[start:position]))
        raise ProtocolError(f"a reply of more than {MAX_LINES} lines or {MAX_OCTETS} octets")

    def _used(self, end: int) -> None:
        if end == len(self._data):
            self.clear()
        else:
            self._position = end

    def _check_unfinished(self, position: int) -> None:
        """Raise when the line at `position` is complete, or already too long, and so not just still on its way."""
        if self._data.find(b"\n", position) >= 0:
            raise ProtocolError("a line that is no reply")
        if len(self._data) - position > MAX_OCTETS:
            raise ProtocolError(f"a reply of more than {MAX_OCTETS} octets")


def _remembered(reply: Reply) -> Reply:
    if reply.code in _REMEMBERED and len(reply.octets) <= _MAX_KNOWN_OCTETS:
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()  # by replies with a queue id or an address in them; what is said all day comes back at once
        _KNOWN[reply.octets] = reply
    return reply


def fold(reply: Reply) -> bytes:
    """A multi-line greeting as one line: HAProxy's smtpchk takes `220-` for a dead server (rule S6)."""
    if reply.octets[3:4] == b" ":
        return reply.octets
    first, _, _ = reply.octets.partition(b"\r\n")
    return b"%d %b\r\n" % (reply.code, first[4:])
