"""A leg that may come to speak TLS: in the clear at first, and text inside of TLS from `start_tls` on.

Its owner sees text before and after.  The switch is between two octets, so that nothing that was sent in the clear can
come out as text of TLS.

Promises: each step of a handshake waits for its turn, and nothing is read before it, so that a flood of handshakes
neither starves established connections nor fills memory (rule N2).  Text that waits in TLS because reading was held is
handed on when it may be; no octet of the socket has to come for that.  Session tickets go with the first text: one
packet less, and a client is not woken for them.

Not here: TLS itself, which is net/sockets/tls_records.py and knows no socket; contexts (net/tls/contexts.py).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from .leg import SMALL, STEP, Leg
from .tls_records import FED, Records

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .leg import LegOwner
    from .poller import Poller


class TlsLeg(Leg):
    """See the module."""

    __slots__ = ("_behind", "_shaking", "_tls")

    def __init__(self, poller: Poller, sock: socket.socket, owner: LegOwner, first: bytes = b"") -> None:
        """As Leg's."""
        super().__init__(poller, sock, owner, first)
        self._tls: Records | None = None
        """None in the clear, and once the leg is closed."""
        self._shaking = False
        """A handshake is under way."""
        self._behind = False
        """Text is waiting in TLS, because it came while reading was held."""

    @property
    def clear(self) -> bool:
        return self._tls is None

    # The handshake

    def start_tls(self, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]) -> None:
        """All that is sent and read from now on is TLS; the owner hears `tls_established` or `tls_failed`."""
        self._tls = Records(wrap)
        self._large = FED
        self._shaking = True
        if not self._tls.serving:
            self._ask_for_step()

    def _ask_for_step(self) -> None:
        self._held |= STEP
        self._poller.handshake(self._shake)

    def _shake(self) -> None:
        tls, owner = self._tls, self._owner
        if tls is None or owner is None or not self._shaking:
            return
        self._held &= ~STEP
        if not self._held:
            self._resume()
        try:
            done = tls.handshake()
        except ssl.SSLError as error:
            self._shaking = False
            self._send(tls.take())
            owner.tls_failed(self, tls.side, error)
            return
        if done and tls.patient:
            pass  # goes with the first text
        elif out := tls.take():
            self._send(out)
        if done:
            self._shaking = False
            self._behind = tls.waiting  # text may have come in one segment with the end of the handshake
            owner.tls_established(self, tls.side)
            self._read_behind()

    # Reading

    def _resume(self) -> None:
        if self._behind:
            self._poller.soon(self._read_behind)
        super()._resume()

    def _take(self, data: bytes | memoryview) -> None:
        tls = self._tls
        if tls is None:
            Leg._take(self, data)
            return
        tls.feed(data)
        if self._shaking:
            self._ask_for_step()
        else:
            self._read_text(tls)

    def _read_behind(self) -> None:
        if self._tls is not None and self._behind and not self._held:
            self._behind = False
            self._read_text(self._tls)

    def _read_text(self, tls: Records) -> None:
        try:
            text, over = tls.read()
        except ssl.SSLError as error:
            self._lose("TLS: " + (error.reason or "broken"))
            return
        if out := tls.take():
            self._send(out)
        if text:
            Leg._take(self, text if self._streamed is not None else bytes(text))
        if over and self._owner is not None:
            self._end()

    def _end(self) -> None:
        if self._shaking:
            self._lose("left in the TLS handshake")
        else:
            super()._end()

    # Writing

    def send(self, data: bytes) -> None:
        if self._tls is None:
            super().send(data)
        elif data and not self._broken:
            self.sent += len(data)
            try:
                records = self._tls.write(data)
            except ssl.SSLError:
                self._break()
            else:
                self._send(records)

    def stream(self, text: memoryview) -> None:
        if self._tls is None:
            super().stream(text)
        elif len(text) < SMALL or self.rest or self._queued:
            self.send(bytes(text))
        elif not self._broken:
            self.sent += len(text)
            try:
                records = self._tls.seal(text)
            except ssl.SSLError:
                self._break()
            else:
                self._write_records(records)

    def _write_records(self, records: list[bytes]) -> None:
        """As `_write`, without copying the records into one piece."""
        try:
            count = self._sock.sendmsg(records)
        except BlockingIOError:
            count = 0
        except OSError:
            self._break()
            return
        if count < sum(map(len, records)):
            self._keep(b"".join(records)[count:])

    # Ends

    def _finish_sending(self) -> None:
        if self._owner is not None:
            self.send_close_notify()
            self.flush()
        super()._finish_sending()

    def send_close_notify(self) -> None:
        """Send TLS's close_notify, once."""
        if self._tls is not None and not self._shaking and not self._broken and (out := self._tls.close_notify()):
            self._send(out)

    def close(self, *, with_fin: bool = False) -> None:
        super().close(with_fin=with_fin)
        self._tls = None
