"""IP addresses and networks in binary form.

An address in popgate is `bytes`: 4 octets for IPv4, 16 for IPv6, and v4-mapped IPv6 (::ffff:192.0.2.1) is the IPv4
address it maps, so that a login over a dual-stack socket and a message over an IPv4 socket have one key (rule G2).
Text is read here once, strictly, and written here for people; nothing else compares addresses as text.

Promises: one address has one binary form; only v4-mapped is folded (not IPv4-compatible, 6to4, NAT64 or Teredo, which
anybody may route); an address with a zone id is no address here, because fe80::1 on two interfaces is two hosts, so
it can never be leased or trusted.

Does not: resolve names; split ports off ("host:port" is the
configuration's).

Rejected: the `ipaddress` module for the look-up (an object per question, and its v4-mapped form equals no IPv4
address); inet_aton (takes 192.0.2.010, 0xC0000201 and 1.2).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 2.5.5.2
_COMPATIBLE = bytes(12)  # ::/96, RFC 4291 2.5.5.1, deprecated


def packed(text: str) -> bytes:
    """The binary form of a textual address: 4 or 16 octets, v4-mapped folded to 4.

    ValueError for everything else: names, zone ids, brackets, leading zeros, hexadecimal or short IPv4, white space.
    """
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        address = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate in the text
        raise ValueError(f"{text!r} is not an IP address") from None
    return folded(address)


def folded(address: bytes) -> bytes:
    """16 octets of a v4-mapped address as the 4 of IPv4; any other as it is."""
    return address[12:] if address.startswith(_MAPPED) else address


def shown(address: bytes) -> str:
    """The address for people: a dotted quad, or IPv6 by RFC 5952.  ValueError unless it has 4 or 16 octets."""
    if len(address) == 4:
        return socket.inet_ntop(socket.AF_INET, address)
    if address.startswith(_COMPATIBLE) and any(address[12:14]):
        # inet_ntop writes ::1:2 as ::0.1.0.2, which looks like the IPv4 address that it is not.
        return f"::{int.from_bytes(address[12:14]):x}:{int.from_bytes(address[14:]):x}"
    return socket.inet_ntop(socket.AF_INET6, address)


def literal(text: str) -> bytes:
    """The SMTP address literal of a `shown` address (RFC 5321 4.1.3): b"[192.0.2.1]" or b"[IPv6:2001:db8::1]"."""
    return f"[IPv6:{text}]".encode() if ":" in text else f"[{text}]".encode()


def cut(address: bytes, prefix: int) -> bytes:
    """The network of an IPv6 address by `prefix` bits, as the address with the rest 0; IPv4 stands for itself."""
    if len(address) == 4 or prefix == 128:
        return address
    shift = 128 - prefix
    return (int.from_bytes(address) >> shift << shift).to_bytes(16)


class Networks:
    """A fixed set of networks; `address in networks` costs one set look-up per distinct prefix length.

    A network of IPv6 never holds an IPv4 address: "::/0" is all of IPv6, and a v4-mapped network is the IPv4 network.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Read "192.0.2.0/24", "2001:db8::/32" or single addresses; ValueError names the first that is none."""
        self.texts = tuple(texts)
        heads: dict[int, dict[int, set[int]]] = {4: {}, 16: {}}
        for text in self.texts:
            address, prefix = _network(text)
            shift = 8 * len(address) - prefix
            heads[len(address)].setdefault(shift, set()).add(int.from_bytes(address) >> shift)
        # By the octets of an address: the bits that a prefix leaves out, and the prefixes of that length.
        self._heads = {
            octets: tuple((shift, frozenset(of)) for shift, of in by.items()) for octets, by in heads.items()
        }

    def __contains__(self, address: bytes) -> bool:
        heads = self._heads[len(address)]
        if not heads:
            return False
        number = int.from_bytes(address)
        for shift, known in heads:
            if number >> shift in known:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __repr__(self) -> str:
        return f"Networks({list(self.texts)!r})"


def _network(text: str) -> tuple[bytes, int]:
    """The address and the prefix length of a network, v4-mapped ones folded."""
    base, slash, bits = text.partition("/")
    try:
        address = packed(base)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IP address nor a network (192.0.2.0/24)") from None
    width = 8 * len(address)
    if not slash:
        return address, width
    if not (bits.isascii() and bits.isdigit() and len(bits) <= 3 and str(int(bits)) == bits):
        raise ValueError(f"{text!r}: the prefix length after the slash must be a number")
    prefix = int(bits)
    if width == 32 and ":" in base:
        prefix -= 96  # counted from the start of the v4-mapped form
    if not 0 <= prefix <= width:
        raise ValueError(f"{text!r}: no such prefix length")
    beyond = int.from_bytes(address) & ((1 << (width - prefix)) - 1)
    if beyond:
        # Postfix and Dovecot refuse this too: half of the time the prefix is wrong, not the address.
        start = shown((int.from_bytes(address) - beyond).to_bytes(len(address)))
        raise ValueError(f"{text!r} has bits set behind its prefix; the network is {start}/{prefix}")
    return address, prefix
