"""A pipe through which octets go from one socket to another within the kernel: splice(2).  One for each worker.

A mailbox passes untouched (rule P5), so between two sides in the clear it need not come into this process: that costs
half of the CPU that reading and sending costs (measured: 0.26 against 0.51 s/GB).

Promises: the pipe is empty before and after every use.  What the receiving socket does not take is read out of the pipe
and returned.  Where splice is refused (a system call filter; pipes without pages because their user's are spent) the
pipe says so, and is not used again.

Not here: when text goes this way (net/sockets/leg.py, net/link/link.py).

Rejected: a pipe for each leg that keeps its rest: it would save a copy only for peers that wait for the network anyway.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from errno import EACCES, EINVAL, ENOSYS, EPERM
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

MOST: Final = 524288
"""Octets at once: half of it costs a quarter more CPU, more of it is more to keep for a peer that does not read."""
_SIZE: Final = 1 << 20  # octets of room asked for (/proc/sys/fs/pipe-max-size), in pages, which are seldom full
_LEAST: Final = 65536  # less room is not worth it; every pipe has this, until its user has too many of them
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_REFUSED: Final = frozenset({EACCES, EINVAL, ENOSYS, EPERM})


class Pipe:
    """See the module; whoever fills it empties it at once."""

    __slots__ = ("_enter", "_leave", "refused")

    def __init__(self) -> None:
        """Raise OSError where there are no descriptors left."""
        self._leave, self._enter = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._enter, fcntl.F_SETPIPE_SZ, _SIZE)
        """Its two ends."""
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
        with contextlib.suppress(OSError):  # a lost connection shows when the rest is sent
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
