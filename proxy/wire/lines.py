"""Command lines out of a stream of octets.

`LineBuffer` cuts what a client sends into lines.  A line ends in CRLF and in nothing else (RFC 5321 2.3.8, RFC 1939
3): a CR or NUL anywhere else stays *inside* the line, where `is_clean` tells the session that no server can be trusted
to read it as we do (rules S1, P2).  A LF without a CR before it can't become right any more, so it is reported as soon
as it is seen, as `BARE_LF`: a client that ends its lines so gets an answer and not silence.  Nothing before that LF,
and nothing behind it up to the next CRLF, is ever a line; each further bare LF in there is reported, too.

It promises to hold at most `limit` octets of an unfinished line plus what one `feed` brought, and to take time linear
in what it was fed.  A longer line is swallowed up to its end and reported once, as `TOO_LONG`: the tail of a long line
never turns into a command of its own (the trap that `StreamReader.readline` falls into).

It knows no commands; limits by verb are the sessions' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import re

TOO_LONG: Final = b"\r\n"
"""What `take` returns for a line over the limit: no line can contain CRLF, so no line can be mistaken for it."""
BARE_LF: Final = b"\n"
"""What `take` returns for octets that LF alone ends; no line can contain that either."""


def is_clean(line: bytes) -> bool:
    """Whether a line holds none of the octets that some server takes for a line's end: CR, LF, NUL."""
    return b"\r" not in line and b"\n" not in line and b"\0" not in line


class LineBuffer:
    """Octets that were received and not yet used, and the lines in them."""

    __slots__ = ("_cr", "_limit", "_position", "_swallowing", "_tail", "waiting")

    def __init__(self, limit: int) -> None:
        self.waiting = b""
        """Empty when all octets have been used: what is asked most, and so without a call."""
        self._position = 0
        """Where the unused octets begin in it."""
        self._limit = limit
        """Octets of a line, its CRLF not counted."""
        self._swallowing = False
        """The head of a line over the limit was thrown away, its end has not come yet."""
        self._tail = False
        """A bare LF was met, and the CRLF behind it has not come yet: what comes is thrown away."""
        self._cr = False
        """The last octet that was thrown away so was a CR."""

    def __len__(self) -> int:
        """How many octets wait to be used."""
        return len(self.waiting) - self._position

    def feed(self, data: bytes) -> None:
        if self.waiting:
            self.waiting = self.waiting[self._position :] + data
        else:
            self.waiting = self._behind_tail(data) if self._tail else data
        self._position = 0

    def take(self) -> bytes | None:
        """Return the next line without its CRLF, `TOO_LONG` for one over the limit, `BARE_LF` for what LF alone ends,
        None when no line is complete."""
        waiting, start = self.waiting, self._position
        end = waiting.find(b"\n", start)
        if end < 0:
            if len(waiting) - start - waiting.endswith(b"\r") > self._limit:  # that CR may be half of the line's end
                self._swallow()
            return None
        self._position = end + 1
        if self._position == len(waiting):
            self.waiting, self._position = b"", 0
        if end == start or waiting[end - 1] != 13:
            return self._bare_lf(end - start)
        line = waiting[start : end - 1]
        if self._swallowing or len(line) > self._limit:
            self._swallowing = False
            return TOO_LONG
        return line

    def match(self, usual: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """What the next line is, and perhaps more lines, if it is all that `usual` matches; nothing is used by that."""
        return None if self._swallowing else usual.match(self.waiting, self._position)

    def used(self, octets: int) -> None:
        """So many octets of what matched have been used: whole lines."""
        self._position += octets
        if self._position == len(self.waiting):
            self.waiting, self._position = b"", 0

    def rest(self) -> bytes:
        """Hand over all unused octets: they are no lines any more (a message body, a mailbox passing through)."""
        rest = self.waiting[self._position :]
        self.clear()
        return rest

    def clear(self) -> None:
        """Throw all unused octets away."""
        self.waiting, self._position = b"", 0
        self._swallowing = self._tail = self._cr = False

    def _bare_lf(self, length: int) -> bytes:
        """LF alone has ended so many octets: what stands behind it up to CRLF is no line."""
        too_long = self._swallowing or length > self._limit
        self._swallowing, self._tail, self._cr = False, True, False
        self.waiting = self._behind_tail(self.waiting[self._position :])
        self._position = 0
        return TOO_LONG if too_long else BARE_LF

    def _behind_tail(self, data: bytes) -> bytes:
        """What of it stands behind the CRLF that is waited for; another bare LF before that is kept, to be told."""
        end = data.find(b"\n")
        if end < 0:
            self._cr = data.endswith(b"\r") if data else self._cr
            return b""
        if data[end - 1] == 13 if end else self._cr:
            self._tail = self._cr = False
            return data[end + 1 :]
        return data[end:]

    def _swallow(self) -> None:
        """Drop an unfinished line that is over the limit, but for a CR that may be half of its end."""
        self.waiting = b"\r" if self.waiting.endswith(b"\r") else b""
        self._position = 0
        self._swallowing = True
