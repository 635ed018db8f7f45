"""One side of a link: a non-blocking socket, and the owner that it reports to.

A leg reads when the poller says so and hands octets to its owner.  It writes at once what the socket takes and keeps
the rest.  While a rest exists the leg is full, and the owner stops reading the side that causes it: that is the whole
flow control (docs/architecture.md).  A leg that may come to speak TLS is a `TlsLeg` (net/sockets/tls_leg.py).

Message text may go from one leg to another within the kernel, by splice(2) (net/sockets/splice.py): it begins once a
piece has filled the buffer that legs read into and has gone out at once, because below that there is nothing to win.
A side that does not take all of it is slow: its text is read and sent again, until another such piece.  So a leg keeps
at most `splice.MOST` octets of rest.

Promises (rule N2): a socket that is hung up or broken is read to its end or, while it may not be read, leaves the
epoll, so that no dead peer costs a turn.  `received` is never called while reading is held.  A leg never raises for
what a peer or the network does; it tells its owner `ended` or `lost`, once.

Not here: which side is to be read (net/link/flow.py), TLS (net/sockets/tls_records.py), deadlines (net/timers.py).

Rejected: splicing a message after a look at it by MSG_PEEK (a client on this machine may change the pages that it has
sent between the look and the splice); asyncio's transports and streams (measured: more CPU a session, sixteen times the
memory of an idle TLS connection, and octets lost or injected around their `start_tls`).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from .poller import BROKEN, READ, WRITE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .poller import Poller
    from .splice import Pipe

LARGE: Final = 262144
"""Octets read at once while message text passes; also what the other side's peer can make us keep by not reading."""
SMALL: Final = 16384
"""Octets read at once in a dialogue: bounds what one client can make us hold (promise 6)."""
CORK: Final = socket.MSG_MORE
"""For `flush`: what is sent waits for what follows at once, and shares a packet with it."""
LINGER: Final = 2.0
"""Seconds that a closing leg waits for the peer's end: a reset would destroy our last words (RFC 1122 4.2.2.13)."""

_BUFFER = bytearray(LARGE)  # one a process: what is read there is sent or copied out before anything else is read
_VIEW = memoryview(_BUFFER)


# Why a leg may not be read now; each reason comes and goes by itself.  Plain integers, because an IntFlag costs a
# microsecond at each use.
PEER_FULL: Final = 1
"""The other side does not take what this one sends."""
OWN_FULL: Final = 2
"""This side does not take the replies that it causes."""
SESSION: Final = 4
"""The session waits for an answer or has too many replies owed."""
ENDED: Final = 8
"""The peer has said its last octet."""
STEP: Final = 16
"""A step of the TLS handshake waits for its turn: what comes in the meantime would only pile up in memory."""


class LegOwner:
    """What a leg reports to.  A base class and no Protocol, so that an owner implements only what can happen to it."""

    __slots__ = ()

    def received(self, leg: Leg, data: bytes) -> None:
        """Octets of the peer."""
        raise NotImplementedError

    def ended(self, leg: Leg) -> None:
        """The peer sends no more (end of file, close_notify)."""
        raise NotImplementedError

    def lost(self, leg: Leg, why: str) -> None:
        """The connection is gone, or was never made."""
        raise NotImplementedError

    def write_blocked(self, leg: Leg) -> None:
        """The leg has become full.  Nothing to do for an owner that sends no more than a few lines."""

    def write_unblocked(self, leg: Leg) -> None:
        """The leg is not full any more, or is broken: then what waited is lost."""

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        """The handshake that `start_tls` began is complete.  Never called for an owner that begins none."""

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        """That handshake has failed."""


class Leg:
    """A socket and what is on its way through it."""

    __slots__ = (
        "_at_close",
        "_broken",
        "_gone",
        "_held",
        "_large",
        "_owner",
        "_poller",
        "_queued",
        "_sock",
        "_splice_to",
        "_streamed",
        "_then",
        "_watched",
        "received",
        "rest",
        "sent",
    )  # fmt: skip

    def __init__(self, poller: Poller, sock: socket.socket, owner: LegOwner, first: bytes = b"") -> None:
        """`sock`: non-blocking, connected or on its way to be; the leg closes it.

        `first`: sent before all else, in the clear, once it is connected (a PROXY header).  It is not counted as text.
        """
        self._poller = poller
        self._sock = sock
        self._owner: LegOwner | None = owner
        """None once the leg is closed."""
        self._watched: int | None = READ | WRITE if first else READ
        """The events that the epoll is asked for; None: the socket is not in the epoll."""
        self._held = 0
        """The reasons why it may not be read now (PEER_FULL ...)."""
        self._queued = b""
        """What is sent at the end of this turn."""
        self.rest = first
        """What the socket did not take at once, with the part of it that has gone since; not empty: the leg is full."""
        self._gone = 0
        """How many octets of `rest` have gone."""
        self._then: Callable[[], None] | None = None
        """What is to be done when the rest has gone."""
        self._broken = False
        """Nothing can be sent any more."""
        self._large = LARGE
        """Octets read at once while message text passes."""
        self._at_close: Callable[[], None] | None = None
        """Called once when the leg is closed, whoever closes it."""
        self._streamed: Callable[[Leg, memoryview], None] | None = None
        """Gets what is read while message text passes, instead of the owner's `received`."""
        self._splice_to: Leg | None = None
        """The leg to which text may go without being read."""
        self.received = self.sent = 0
        """Octets of text."""
        poller.add(sock.fileno(), self._watched or READ, self)

    # State

    @property
    def closed(self) -> bool:
        return self._owner is None

    @property
    def broken(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._broken

    @property
    def clear(self) -> bool:
        """Whether what is sent and received is text as it stands."""
        return True

    @property
    def ready(self) -> bool:
        """Whether what is sent now is sent at once, and as it stands."""
        return self.clear and not (self.rest or self._queued or self._broken or self._owner is None)

    def hand_to(self, owner: LegOwner) -> None:
        """Report to another owner from now on."""
        self._owner = owner

    def call_at_close(self, action: Callable[[], None]) -> None:
        """Call `action` once when the leg is closed, whoever closes it."""
        self._at_close = action

    # Reading

    def stream_to(self, streamed: Callable[[Leg, memoryview], None] | None) -> None:
        """Message text passes: hand it to `streamed` in large chunks, instead of the owner's `received`; None: no more.

        A chunk is valid during the call only, and empty where the text has gone by `splice_to`.
        """
        self._streamed = streamed

    def splice_to(self, other: Leg) -> None:
        """Text that passes may go to this leg without being read, as long as it takes all of it at once."""
        self._splice_to = other

    def hold(self, reasons: int) -> None:
        """Read only while `reasons` (PEER_FULL ...) is 0; the leg's own reasons stay whatever is said."""
        before, self._held = self._held, (self._held & (ENDED | STEP)) | reasons
        if before and not self._held:
            self._resume()

    def _resume(self) -> None:
        """Read again: nothing holds it any more."""
        if self._watched is None:
            self._poller.soon(self._read_on)
        elif not self._watched & READ:
            self._watch(self._watched | READ)

    def on_ready(self, events: int) -> None:
        if events == READ and not self._held:
            self._read()
            return
        if events & WRITE and not events & BROKEN:  # broken: reading tells why, as sending would swallow it
            self._send_rest()
        if not self._held:
            if events & (READ | BROKEN):
                self._read()
        elif self._owner is None:
            pass
        elif events & BROKEN:
            self._leave()
        elif events & READ:  # held, and the peer sends on: ask no more until it may be read
            assert self._watched is not None
            self._watch(self._watched & ~READ)

    def _read(self) -> None:
        """Read once, what there is and no more than a chunk."""
        if self._owner is None:
            return
        try:
            if self._streamed is None:
                data: bytes | memoryview = self._sock.recv(SMALL)
            elif self._splice_to is not None and self._splice(self._splice_to):
                self._take(_VIEW[:0])
                return
            else:
                # Two statements, because mypyc evaluates the bounds of a memoryview's slice twice.
                count = self._sock.recv_into(_BUFFER, self._large)
                data = _VIEW[:count]
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if data:
            self._take(data)
        else:
            self._end()

    def _splice(self, to: Leg) -> bool:
        """Move what has arrived to the other leg within the kernel, once; False: it must be read.

        Raises what reading from a socket raises.
        """
        pipe = self._poller.pipe
        count = pipe.fill(self._sock) if to.ready and not pipe.refused else 0
        if not count:
            self._splice_to = None
            return False  # or it was the end: reading reports it again
        self.received += count
        if not to.send_from_pipe(pipe, count):
            self._splice_to = None
        return True

    def _take(self, data: bytes | memoryview) -> None:
        """Hand on what was read."""
        self.received += len(data)
        if isinstance(data, bytes):
            assert self._owner is not None
            self._owner.received(self, data)
        elif self._streamed is not None:
            self._streamed(self, data)

    def _read_on(self) -> None:
        """Read a socket that has left the epoll to its end, one chunk a turn."""
        if not self._held and self._owner is not None:
            self._read()
        if not self._held and self._owner is not None:
            self._poller.soon(self._read_on)

    def _end(self) -> None:
        assert self._owner is not None
        self._held |= ENDED
        if self._watched is not None and self._watched & READ:
            self._watch(self._watched & ~READ)
        self._owner.ended(self)

    def _lose(self, why: str) -> None:
        owner = self._owner
        assert owner is not None
        self._broken = True  # `lost` reports it, not `write_unblocked`
        self._queued = self.rest = b""
        self._held |= ENDED
        if self._watched is not None:
            self._leave()
        owner.lost(self, why)

    # Writing

    def send(self, data: bytes) -> None:
        """Send in order; what does not go at once is kept."""
        if self._broken or not data:
            return
        self.sent += len(data)
        if self.rest or self._queued or len(data) >= SMALL or not self._poller.in_turn:
            self._send(data)
        else:  # a dialogue: see net/sockets/poller.py
            self._queued = data
            self._poller.queued.append(self)

    def stream(self, text: memoryview) -> None:
        """As `send`, for message text: only a copy of what does not go at once is kept."""
        if len(text) < SMALL or self.rest or self._queued:
            self.send(bytes(text))
        elif not self._broken:
            self.sent += len(text)
            self._write(text)

    def send_from_pipe(self, pipe: Pipe, count: int) -> bool:
        """Send the `count` octets that are in a pipe (the leg is `ready`); return whether they went at once."""
        self.sent += count
        rest = pipe.empty_into(self._sock, count)
        if rest:
            self._keep(rest)
        return not rest

    def _send(self, data: bytes) -> None:
        """Send at once, or after what waits."""
        if self.rest:
            self.rest = self.rest[self._gone :] + data
            self._gone = 0
        else:
            self._queued += data
            if len(self._queued) >= SMALL or not self._poller.in_turn:
                self.flush()
            else:
                self._poller.queued.append(self)

    def flush(self, flags: int = 0) -> None:
        """Send what was put off to the end of the turn; with CORK, in one packet with the end of the connection."""
        data = self._queued
        if data:
            self._queued = b""
            self._write(data, flags)

    def _write(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send now, in order, and keep a copy of what the socket does not take."""
        try:
            count = self._sock.send(data, flags)
        except BlockingIOError:
            count = 0
        except OSError:
            self._break()
            return
        if count < len(data):
            self._keep(bytes(data[count:]))

    def _keep(self, rest: bytes) -> None:
        """Keep what the socket does not take now."""
        self.rest, self._gone = rest, 0
        if self._watched is None:
            self._break()
        else:
            self._watch(self._watched | WRITE)
        if self._owner is not None:
            self._owner.write_blocked(self)

    def _send_rest(self) -> None:
        try:
            self._gone += self._sock.send(memoryview(self.rest)[self._gone :])
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        if self._gone == len(self.rest):
            self.rest = b""
            if self._watched is not None:
                self._watch(self._watched & ~WRITE)
            self._gone_out()

    def _gone_out(self) -> None:
        if self._then is not None:
            then, self._then = self._then, None
            then()
        elif self._owner is not None:
            self._owner.write_unblocked(self)

    def _break(self) -> None:
        """Give up sending.  What can still be read is read: an upstream's last reply may be among it."""
        if self._broken:
            return
        self._broken = True
        self._queued = self.rest = b""
        self._poller.soon(self._gone_out)

    # Ends

    def finish_sending(self) -> None:
        """Half-close: when all has gone out, tell the peer that no more comes."""
        self.flush()
        if self.rest:
            self._then = self._finish_sending
        else:
            self._finish_sending()

    def _finish_sending(self) -> None:
        if self._broken or self._owner is None:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._break()

    def close(self, *, with_fin: bool = False) -> None:
        """Close now; what has not gone out is lost, but (`with_fin`) what was flushed with CORK."""
        if self._owner is None:
            return
        self._owner = None
        self.flush()
        self.rest = b""
        self._then = self._streamed = self._splice_to = None
        self._poller.close(self._sock, with_fin=with_fin)
        if self._at_close is not None:
            self._at_close()

    def send_close_notify(self) -> None:
        """Announce the end before `close`, where the protocol has a message for it; in the clear it has none."""

    # The epoll

    def _watch(self, events: int) -> None:
        if events != self._watched:
            self._watched = events
            self._poller.change(self._sock.fileno(), events)

    def _leave(self) -> None:
        """Leave the epoll, because a hang-up can't be masked there."""
        if self._watched is not None:
            self._watched = None
            self._poller.remove(self._sock.fileno())
            if self.rest:
                self._break()
