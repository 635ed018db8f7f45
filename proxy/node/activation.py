"""Listening sockets that somebody else made and keeps: systemd's socket activation (sd_listen_fds(3)).

$LISTEN_FDS counts them, from descriptor 3 on; $LISTEN_FDNAMES names them (FileDescriptorName= of the .socket unit);
$LISTEN_PID says whom they are for.  Which listener gets which is sockets.py.

What such a socket is for: systemd keeps it open while popgate restarts, so nobody is refused in the meantime; a
connection waits in its queue for the next popgate.  Rejected: handing sockets from the old popgate to the new one
ourselves.  It takes a protocol between two versions, and two supervisors at a time; the queue in the kernel needs
neither.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
MAX: Final = 1024
"""Sockets that may be passed; more is a broken variable."""
_MPTCP: Final = 262  # of SocketProtocol=mptcp; `socket` names it from Python 3.12 on
_CURE: Final = "the .socket unit needs ListenStream= with a port or an address and port, and Accept=no"


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening TCP socket that was passed to us."""

    name: str
    """FileDescriptorName=; systemd takes the unit's name where there is none."""
    sock: socket.socket
    """Non-blocking."""


def inherited(environ: MutableMapping[str, str]) -> list[Inherited]:
    """The sockets that were passed to this process, non-blocking; none is the common case.

    The variables are taken out of `environ`: they are not meant for processes that we start.  Raise ConfigError for
    what is no listening TCP socket.
    """
    pid, number, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if not number or pid != str(os.getpid()):  # of a program between systemd and us
        return []
    if not re.fullmatch("[0-9]{1,4}", number) or int(number) > MAX:
        raise ConfigError([f"LISTEN_FDS={number!r} is no number of sockets; start popgate by systemd, or unset it"])
    found: list[Inherited] = []
    problems: list[str] = []
    given = names.split(":")
    for place in range(int(number)):
        name = given[place] if place < len(given) and given[place] else "unknown"
        try:
            found.append(Inherited(name, _listening(FIRST + place)))
        except OSError as error:
            problems.append(f"descriptor {FIRST + place} ({name}) is no listening TCP socket ({error}); {_CURE}")
    if problems:
        for one in found:
            one.sock.close()
        raise ConfigError(problems)
    return found


def _listening(descriptor: int) -> socket.socket:
    """Raise OSError for what can't be listened on."""
    sock = socket.socket(fileno=descriptor)
    try:
        family, kind, protocol = sock.family, sock.type, sock.proto
        if (
            family not in (socket.AF_INET, socket.AF_INET6)
            or kind != socket.SOCK_STREAM
            or protocol not in (socket.IPPROTO_TCP, _MPTCP)
        ):
            raise OSError(f"family {int(family)}, type {int(kind)}, protocol {protocol}")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("it does not listen")
        sock.setblocking(False)
        sock.set_inheritable(False)
    except OSError:
        sock.close()
        raise
    return sock
