"""Which addresses are this machine's own.

Asked for two reasons: a login from one of popgate's own addresses makes no lease (RULES G3), and an upstream that is
popgate itself would be a loop (N10).  The kernel is asked by a bind, which knows aliases, containers and addresses
that came later; a list read at start would not.
"""

from __future__ import annotations

import socket
from functools import lru_cache


def is_own(address: bytes) -> bool:
    """Whether `address` (4 or 16 octets) is this machine's, loopback apart."""
    if (len(address) == 4 and address[0] == 127) or address == bytes(15) + b"\x01":
        return False
    return is_local(socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address))


@lru_cache(
    maxsize=4096
)  # a bind and a close cost 5 us; addresses of a machine change rarely, popgate is restarted then
def is_local(host: str) -> bool:
    """Whether this machine can listen on the address `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def listens_there(host: str, port: int, bound: frozenset[tuple[str, int]]) -> bool:
    """Whether one of the `bound` (address, port) of ours is reached by a connection to `host` and `port`."""
    if (host, port) in bound:
        return True
    wildcard = ("0.0.0.0", port) in bound or ("::", port) in bound  # noqa: S104 - compared, not bound
    return wildcard and is_local(host)
