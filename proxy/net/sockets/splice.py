"""From one leg to another within the kernel: splice(2) through a pipe, one a worker.

A mailbox passes untouched (rule P5), so between two sides in the clear it need not come into this process: that costs
half of the CPU that reading and sending costs (measured: 0.26 against 0.51 s/GB).  It begins once a piece has filled
the buffer that legs read into and gone out at once (net/link/link.py): below that there is nothing to win.  What the
other side did not take is copied out of the pipe, and that side is slow: it is read and sent again, until another such
piece. So a leg keeps at most `MOST` octets of rest.

Where splice is refused (a system call filter; pipes without pages because their user's are spent) the pipe says so, and
is not used again.

Rejected: a pipe for each leg that keeps its rest (it would save a copy for those who wait for the network anyhow), and
splicing a message behind a look at it by MSG_PEEK: a client on this machine may change the pages that it has sent
between the look and the splice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from errno import EACCES, EINVAL, ENOSYS, EPERM
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from .leg import Leg

MOST: Final = 524288
"""Octets at once; with half of it a quarter more CPU, with more of it more to be kept for a peer that does not read."""
_SIZE: Final = 1 << 20  # octets of room asked for, /proc/sys/fs/pipe-max-size: in pages, and pages are seldom full
_LEAST: Final = 65536  # of room that is worth it: what every pipe has, until its user has too many of them
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_REFUSED: Final = frozenset({EACCES, EINVAL, ENOSYS, EPERM})


def spliced(pipe: Pipe, sock: socket.socket, leg: Leg, to: Leg) -> bool:
    """Move what there is in `sock`, the leg's, once; return whether this was the way for it.

    Raises what reading from a socket raises.
    """
    count = pipe.fill(sock) if to.ready and not pipe.refused else 0
    if not count:
        leg.splice_to = None
        return False  # or it was the end: reading says so again
    leg.received += count
    if not to.send_from_pipe(pipe, count):
        leg.splice_to = None
    return True


class Pipe:
    """Empty before and after every use: whoever fills it empties it at once."""

    __slots__ = ("_enter", "_leave", "refused")

    def __init__(self) -> None:
        """Raise OSError where there are no descriptors left."""
        self._leave, self._enter = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._enter, fcntl.F_SETPIPE_SZ, _SIZE)
        self.refused = fcntl.fcntl(self._enter, fcntl.F_GETPIPE_SZ) < _LEAST
        """Whether it is of no use."""

    def fill(self, sock: socket.socket) -> int:
        """Take octets out of a socket; return how many; 0 also if it was `refused`.  Raise what `recv` raises."""
        try:
            return os.splice(sock.fileno(), self._enter, MOST, flags=_FLAGS)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self.refused = True
            return 0

    def empty_into(self, sock: socket.socket, count: int) -> bytes:
        """Send the `count` octets that are in it; return those that the socket did not take."""
        with contextlib.suppress(OSError):  # a connection that is gone is told of by the rest: it can't be sent either
            while count and (gone := os.splice(self._leave, sock.fileno(), count, flags=_FLAGS)):
                count -= gone
        rest = []
        while count:
            rest.append(os.read(self._leave, count))
            count -= len(rest[-1])
        return b"".join(rest)

    def close(self) -> None:
        os.close(self._leave)
        os.close(self._enter)
