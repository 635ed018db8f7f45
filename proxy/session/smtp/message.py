"""A message on its way: from the 354 to its end of data (rules S8, S9).

Its text is watched and forwarded by `wire.dots.Body`.  If the upstream can't have it whole, it is *dropped*: the
upstream connection ends without an end of data, the text is read to its end without being forwarded, and the client
gets the reply that is due where it reads one: there.

A part of the session: it says what is to be forwarded and whether the upstream must be dropped, and does neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...wire.dots import Body

if TYPE_CHECKING:
    from .transaction import Transaction


class Message:
    """See the module."""

    __slots__ = ("_body", "dropped", "reply", "transaction", "why")

    def __init__(self, transaction: Transaction, bare_newline: Literal["normalize", "reject"]) -> None:
        self.transaction = transaction
        self._body = Body(bare_newline)
        self.dropped = False
        """Whether the upstream is not to have it any more."""
        self.reply = b""
        """If it was dropped: what the client gets at the end of data; empty if it was told already."""
        self.why = ""
        """If it was dropped: why, for the log."""

    @property
    def octets(self) -> int:
        """How many have been forwarded."""
        return self._body.octets

    @property
    def has_other_end(self) -> bool:
        """Whether LF alone ended a line of one dot in it: a careless client takes that for the end of data."""
        return self._body.lookalike

    def feed(self, data: bytes) -> tuple[bytes, int | None, bool]:
        """Octets of the client.

        Returns what is to be forwarded; how many of the octets belong to the message, its end of data included (None:
        all of them, and it goes on); and whether a stray newline was met that must not be forwarded
        (`bare_newline = "reject"`).
        """
        chunks, used = self._body.feed(data)
        if self.dropped:
            return b"", used, False
        return chunks[0] if len(chunks) == 1 else b"".join(chunks), used, self._body.rejected

    def forward_raw(self, text: memoryview) -> bool:
        """Whether this text can be forwarded just as it is; then it counts as fed."""
        return not self.dropped and self._body.passes(text)

    def drop(self, why: str, reply: bytes) -> None:
        """Forward no more of it."""
        self.dropped, self.why, self.reply = True, why, reply
