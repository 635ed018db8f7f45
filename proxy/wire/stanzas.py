"""Stanzas out of a stream of octets: lines up to an empty one.

That is how a whoson request ends (wire/whoson.py) and one of Postfix's to a policy service (wire/postfix.py).  Both
come from servers that are trusted to ask, not from strangers, and lead to no command anywhere: so a line may end in LF
or CRLF, unlike SMTP's (wire/lines.py).  Empty lines between stanzas are skipped; a pipelined group is several stanzas.

Promises to hold at most `limit` octets of an unfinished stanza; one that is longer ends the stream (`ProtocolError`),
since its tail must never become a stanza of its own.
"""

from __future__ import annotations

from ..errors import ProtocolError


class Stanzas:
    """The unfinished part of one stream."""

    __slots__ = ("_limit", "_lines", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        """`limit`: octets of a stanza, line ends included."""
        self._limit = limit
        self._lines: list[bytes] = []
        self._size = 0  # octets of `_lines` with their ends
        self._rest = b""  # an unfinished line

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Return the stanzas that are complete now, each as its lines without their ends.

        Raise ProtocolError when one gets longer than the limit; nothing may be fed after that.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        found: list[list[bytes]] = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if text:
                self._size += len(line) + 1
                self._check(self._size)
                self._lines.append(text)
            elif self._lines:
                found.append(self._lines)
                self._lines, self._size = [], 0
        self._check(self._size + len(self._rest.removesuffix(b"\r")))  # it may end an empty line, which counts for none
        return found

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolError(f"a request of more than {self._limit} octets")
