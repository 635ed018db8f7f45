"""Which TCP sockets there are and who holds them, as the kernel tells (proc(5)).

Its list is no snapshot: a row may be missed while others come and go.  So what must be there is looked for again and
again.  Rows are known by address and port: another server may have the same port at another address.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

from .process import PATIENCE

LISTEN, ESTABLISHED = "0A", "01"


def place(address: tuple[str, int]) -> str:
    """An IPv4 address and its port as /proc/net/tcp has them."""
    return f"{int.from_bytes(socket.inet_aton(address[0]), sys.byteorder):08X}:{address[1]:04X}"


def rows() -> list[list[str]]:
    """Of each: number, local place, remote place, state, queues, timer ..., and as the tenth word the inode."""
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def listening(address: tuple[str, int]) -> str:
    """The socket that listens there, as `sockets_of` names it; "" if none is seen."""
    here = place(address)
    return next((f"socket:[{row[9]}]" for row in rows() if (row[1], row[3]) == (here, LISTEN)), "")


def listener_at(address: tuple[str, int]) -> str:
    """The same of one that is there."""
    deadline = time.monotonic() + PATIENCE
    while not (found := listening(address)):
        assert time.monotonic() < deadline, f"nobody listens at {address}"
    return found


def timers(peer: tuple[str, int]) -> set[str]:
    """Which timers run on the connections to `peer`: 00 none, 01 retransmission, 02 keepalive."""
    there = place(peer)
    return {row[5].partition(":")[0] for row in rows() if (row[2], row[3]) == (there, ESTABLISHED)}


def sockets_of(pid: int) -> set[str]:
    """All sockets of a process."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was open for a moment
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return {name for name in found if name.startswith("socket:")}
