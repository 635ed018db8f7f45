"""TLS between octets and octets: an `SSLObject` on two memory buffers (docs/architecture.md).

The leg reads ciphertext from its socket in one call, `Records` takes as many records out of it as there are, and hands
out the text of all of them at once; what is written leaves as one piece however many records it makes.  A sixteenth of
the memory of asyncio's own TLS and none of its traps: nothing is buffered that a STARTTLS could lose or let in.

TLS 1.3 lets a peer send records without text, above all KeyUpdates, each of 27 octets and seven times as dear as a
record with text (measured: 19 µs); ten peers that sent nothing else made everybody wait for seconds.  So records must
carry text: `WORDLESS`, `OVERHEAD`.

Not here: contexts and certificates (net/tls/contexts.py), sockets (net/sockets/tls_leg.py).
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD: Final = 16384  # octets of text in one record, RFC 8446 5.1
FED: Final = 7 * RECORD
"""Octets to be fed at once, at most: a memory buffer keeps the size that it has once had, a third more than this, as
long as the session lasts."""
WORDLESS: Final = 2 * RECORD  # octets that a peer may send without text: a whole record on its way, and as much again
OVERHEAD: Final = 64  # octets of TLS that one octet of text accounts for; who sends them one by one needs 23 to 60

# One a process.  With what waited before, a part of a record, no more text than this can come of what is fed at once.
_TEXT = memoryview(bytearray(FED + 2 * RECORD))


class Records:
    """One side of one TLS connection."""

    __slots__ = ("_incoming", "_outgoing", "_wordless", "side")

    def __init__(self, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]) -> None:
        """`wrap` makes the SSLObject on (incoming, outgoing)."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._wordless = 0  # octets that came since the handshake and that no text accounts for
        self.side = wrap(self._incoming, self._outgoing)

    def feed(self, data: bytes | memoryview) -> None:
        """Ciphertext of the peer, FED octets at most; `read` what comes of it before more is fed."""
        self._wordless += len(data)
        self._incoming.write(data)

    @property
    def serving(self) -> bool:
        """Whether this side waits for the other's first words: it has nothing to say before."""
        return self.side.server_side

    @property
    def waiting(self) -> bool:
        """Whether octets of the peer are here that were not looked at."""
        return self._incoming.pending > 0

    def handshake(self) -> bool:
        """Make a step; return whether the handshake is complete; raise ssl.SSLError when it failed.

        Send `take()` after every step, also after an error: it holds the alert.  After a server's last one it may stay
        here and go with the first text where `patient` says so.
        """
        try:
            self.side.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._wordless = 0
        return True

    @property
    def patient(self) -> bool:
        """Whether the peer needs nothing more: what is left of a handshake in TLS 1.3 are tickets for another day."""
        return self.serving and self.side.version() == "TLSv1.3"

    def read(self) -> tuple[memoryview, bool]:
        """Return all text that is here, and whether the peer has said that no more comes (close_notify).

        The text is good until the next `read`, of any connection.
        Raise ssl.SSLError for records that are broken or forged, and for too many without text.
        """
        size, over = 0, False
        try:
            while not over:
                count: int = self.side.read(RECORD, _TEXT[size:])  # type: ignore[assignment]  # typeshed: bytes
                if count:
                    size += count
                    if not self._incoming.pending:
                        break  # that was all: one read takes a whole record, the next would only raise
                else:
                    over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            over = True
        self._wordless -= OVERHEAD * size
        if self._wordless < 0:
            self._wordless = 0
        elif self._wordless > WORDLESS:
            error = ssl.SSLError(ssl.SSL_ERROR_SSL, "records without text")
            error.reason = "WORDLESS"
            raise error
        return _TEXT[:size], over

    def write(self, data: bytes) -> bytes:
        """Return the ciphertext of `data`, behind what was left to go with it."""
        if len(data) > RECORD:
            return b"".join(self.seal(memoryview(data)))
        self.side.write(data)
        return self._outgoing.read()

    def seal(self, data: memoryview) -> list[bytes]:
        """The same, record by record: so their buffer stays small, and in the processor's cache."""
        records = []
        for at in range(0, len(data), RECORD):
            self.side.write(data[at : at + RECORD])
            records.append(self._outgoing.read())
        return records

    def take(self) -> bytes:
        """What TLS itself wants to say: handshake messages, alerts, tickets."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close_notify(self) -> bytes:
        """Say that no more text comes."""
        # The peer's own close_notify is not waited for, nor is a broken connection worth a word.
        with contextlib.suppress(ssl.SSLError):
            self.side.unwrap()
        return self._outgoing.read()
