"""TLS between octets and octets: an `SSLObject` on two memory buffers (DESIGN 4).

The leg reads ciphertext from its socket in one call, `Records` takes as many records out of it as there are, and hands
out the text of all of them at once; what is written leaves as one piece however many records it makes.  A sixteenth of
the memory of asyncio's own TLS and none of its traps: nothing is buffered that a STARTTLS could lose or let in.

Not here: contexts and certificates (net/tls.py), sockets (net/leg.py).
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD: Final = 16384  # octets of text in one record, RFC 8446 5.1


class Records:
    """One side of one TLS connection."""

    __slots__ = ("_incoming", "_outgoing", "side")

    def __init__(self, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]) -> None:
        """`wrap` makes the SSLObject on (incoming, outgoing)."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.side = wrap(self._incoming, self._outgoing)

    def feed(self, data: bytes) -> None:
        """Ciphertext of the peer."""
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Make a step; return whether the handshake is complete; raise ssl.SSLError when it failed.

        Send `take()` after every step, also after an error: it holds the alert.
        """
        try:
            self.side.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self) -> tuple[bytes, bool]:
        """Return all text that is here, and whether the peer has said that no more comes (close_notify).

        Raise ssl.SSLError for records that are broken or forged.
        """
        parts = []
        try:
            while part := self.side.read(RECORD):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts), True

    def write(self, data: bytes) -> bytes:
        """Return the ciphertext of `data`."""
        view = memoryview(data)
        while view:
            view = view[self.side.write(view) :]
        return self._outgoing.read()

    def take(self) -> bytes:
        """What TLS itself wants to say: handshake messages, alerts, tickets."""
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Say that no more text comes."""
        # The peer's own close_notify is not waited for, nor is a broken connection worth a word.
        with contextlib.suppress(ssl.SSLError):
            self.side.unwrap()
        return self._outgoing.read()
