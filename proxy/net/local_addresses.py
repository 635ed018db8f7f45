"""Which addresses are this machine's own.

Asked for two reasons: a login from one of popgate's own addresses makes no lease (rule G3), and an upstream that is
popgate itself would be a loop (N10).  The kernel is asked which way it would send (nothing is sent): to an address of
its own it sends from that very address.  That knows aliases, containers and addresses that came later; a list read at
start would not.  A bind was rejected: under net.ipv4.ip_nonlocal_bind, which machines that share an address by VRRP
set, every address can be bound, and would be taken for one's own.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import Final

from ..wire.address import packed, shown

_LOOPBACK: Final = {4: "127.0.0.1", 16: "::1"}  # by an address's octets
_DISCARD: Final = 9  # RFC 863; any port would do, since nothing is sent


def is_own(address: bytes) -> bool:
    """Whether `address` (4 or 16 octets) is this machine's, loopback apart."""
    if (len(address) == 4 and address[0] == 127) or address == bytes(15) + b"\x01":
        return False
    return is_local(socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address))


@lru_cache(maxsize=4096)  # a question costs 5 us; addresses of a machine change rarely, popgate is restarted then
def is_local(host: str) -> bool:
    """Whether a connection to `host` (an address, or a name) ends on this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, _DISCARD))
            source, target = probe.getsockname()[0], probe.getpeername()[0]
    except OSError:
        return False
    return bool(source == target or target.startswith("127."))  # to 127.0.0.2 it sends from 127.0.0.1


def listens_there(host: str, port: int, bound: frozenset[tuple[str, int]]) -> bool:
    """Whether one of the `bound` (address, port) of ours is reached by a connection to `host` and `port`.

    A `host` that is a name is looked up, which may take its time.
    """
    if not any(port == taken for _, taken in bound):
        return False
    return any((one, port) in bound or ((_wildcard(one), port) in bound and is_local(one)) for one in _addresses(host))


def _addresses(host: str) -> list[str]:
    """Where a connection to `host` goes, in the form in which addresses are compared; none for an unknown name."""
    try:
        found = [packed(host)]
    except ValueError:
        try:
            found = [packed(str(entry[4][0])) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        except (OSError, ValueError):
            return []
    return [_LOOPBACK[len(one)] if not any(one) else shown(one) for one in found]  # Linux connects "any" to loopback


def _wildcard(host: str) -> str:
    return "::" if ":" in host else "0.0.0.0"  # noqa: S104 - compared, not bound
