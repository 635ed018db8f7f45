"""Sockets that use addresses which are not this machine's (Linux, Documentation/networking/tproxy.rst).

A *transparent* socket may be bound to any address: a listener then takes connections to others that the kernel hands
over (nftables' `tproxy`), and a connection can come from its client's own address.  Making one takes CAP_NET_RAW or
CAP_NET_ADMIN; using it, and what is accepted from it, takes nothing.

What a client wanted to reach is the accepted socket's own address, or, where the address was rewritten on the way
(nftables' `redirect`), what the kernel's connection tracking remembers of it.
"""

from __future__ import annotations

import socket
from typing import Final

_IP_TRANSPARENT: Final = (socket.IPPROTO_IP, 19)  # linux/in.h; Python does not name these
_IPV6_TRANSPARENT: Final = (socket.IPPROTO_IPV6, 75)  # linux/in6.h
_ORIGINAL_DST: Final = 80  # linux/netfilter_ipv4.h; the same figure in netfilter_ipv6/ip6_tables.h
_SOCKADDR: Final = 28  # octets of a sockaddr_in6, which is the longer one


def make_transparent(sock: socket.socket) -> None:
    """Allow it to be bound to any address; raise PermissionError without the right to it.  systemd may have done it."""
    option = _IPV6_TRANSPARENT if sock.family == socket.AF_INET6 else _IP_TRANSPARENT
    if not sock.getsockopt(*option):
        sock.setsockopt(*option, 1)


def is_permitted() -> bool:
    """Whether this process may make a transparent socket."""
    with socket.socket() as probe:
        try:
            make_transparent(probe)
        except PermissionError:
            return False
    return True


def original_destination(sock: socket.socket) -> tuple[str, int]:
    """The address and port that the client of an accepted connection wanted to reach."""
    level = socket.IPPROTO_IPV6 if sock.family == socket.AF_INET6 else socket.IPPROTO_IP
    try:
        raw = sock.getsockopt(level, _ORIGINAL_DST, _SOCKADDR)
    except OSError:  # nothing was rewritten, or nothing is tracked
        host, port = sock.getsockname()[:2]
        return str(host), int(port)
    address = raw[8:24] if sock.family == socket.AF_INET6 else raw[4:8]
    return socket.inet_ntop(sock.family, address), int.from_bytes(raw[2:4])
