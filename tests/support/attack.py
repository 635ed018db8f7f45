"""Attackers by the dozen: many connections held by one test, without a thread each.

`crowd` connects, `crawl` sends one octet at a time to all of them until the gate has had enough, `flood` sends without
ever reading, `drop` closes.  Plain sockets; the addresses come from 127.2.0.0/16, where no other client of the tests
sits.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TIMEOUT = 30.0  # seconds for one step of a socket; popgate's own limits in these tests are a few seconds
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: on, 0 s: close() sends a reset


def attacker(number: int) -> str:
    """Attacker `number`'s address: 250 of them, then again from the start."""
    return f"127.2.0.{number % 250 + 1}"


def connected(address: tuple[str, int], number: int = 0) -> socket.socket:
    """One connection of attacker `number`."""
    sock = socket.create_connection(address, TIMEOUT, (attacker(number), 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def crowd(address: tuple[str, int], size: int, first: bytes = b"", waits: bool = True) -> list[socket.socket]:
    """`size` connections, each from another attacker; each has read something (if it `waits`) and then sent `first`."""
    sockets = [connected(address, number) for number in range(size)]
    for sock in sockets:
        if waits:
            assert sock.recv(4096)
        if first:
            sock.sendall(first)
    return sockets


def crawl(sockets: Sequence[socket.socket], octets: bytes, pause: float, limit: float = TIMEOUT) -> list[float]:
    """Send `octets` one by one, over and over, to each socket, each `pause` seconds, until all have been closed.

    Returns after how many seconds each was; fails when one still lives after `limit`: a limit of popgate that octets
    prolong never comes, so this may be much longer than what is expected.
    """
    began = time.monotonic()
    lived: dict[socket.socket, float] = {}
    turn = 0
    while len(lived) < len(sockets):
        assert time.monotonic() - began < limit, f"{len(sockets) - len(lived)} still alive after {limit:g} s"
        for sock in sockets:
            if sock not in lived and _is_over(sock, octets[turn % len(octets)]):
                lived[sock] = time.monotonic() - began
        turn += 1
        time.sleep(pause)  # this is the attack: what is waited for is the gate's patience
    return list(lived.values())


def _is_over(sock: socket.socket, octet: int) -> bool:
    try:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sock.recv(65536):
                pass
            return True
        sock.send(bytes((octet,)))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def flood(sock: socket.socket, octets: bytes, limit: int, patience: float = 1.0) -> int:
    """Send `octets` over and over and never read: until `limit` octets went, or the gate takes no more for `patience`
    seconds, or it has closed.  Returns how many octets it took."""
    sock.settimeout(patience)
    sent = 0
    with contextlib.suppress(OSError):  # TimeoutError too
        while sent < limit:
            sent += sock.send(octets)
    return sent


def drop(sockets: Iterable[socket.socket], *, reset: bool = False) -> None:
    """Close all, in order or by a reset."""
    for sock in sockets:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()


def careless() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def client_hello() -> bytes:
    """The first octets of a good TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        careless().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
