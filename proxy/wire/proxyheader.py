"""The PROXY protocol's header, versions 1 and 2: what a load balancer says before the client's first octet.

`read` takes all octets received so far and gives the header, or None while it is not complete; `made_v1` and `made_v2`
write one.  Addresses are (address, port), the address in binary form (wire/address.py), v4-mapped ones folded.

Promises: strict, because what it says is believed.  Version 1 is at most MAX_V1 octets with its CRLF, with single
spaces, capital letters, addresses of the family that it names and numbers without leading zeros.  Version 2 is consumed
whole, at most MAX_V2 octets; its TLVs fit exactly, and a CRC32C is checked.  What a prefix says stays said, whatever
follows it.

A header without a client's address (`source` is None) is good, too: LOCAL, UNKNOWN, UNSPEC and unix sockets.  It must
never be taken for an address.  What is in the block of a LOCAL is ignored, its family and its TLVs too: AWS sends dummy
addresses there.  Datagrams are refused: this is a TCP connection.

Not here: who may send a header, and reading it off a socket (net/accept/proxy_header.py).

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, sections 2.1 and 2.2; rule N1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError
from .address import folded, packed, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

Endpoint = tuple[bytes, int]
"""An address in binary form and a port."""
Tlv = tuple[int, bytes]
"""Type and value."""

MAX_V1: Final = 107
"""Octets with the CRLF: the longest that section 2.1 allows."""
MAX_V2: Final = 4096
"""Octets in all; the format allows 65,551, nobody sends more than some hundreds."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL_V1: Final = b"PROXY UNKNOWN\r\n"
"""What a proxy says of a connection that it makes for itself, like a health check."""
LOCAL_V2: Final = SIGNATURE + b"\x20\0\0\0"

_START_V1 = b"PROXY "
_FIXED = 16  # octets of version 2 before its addresses
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_INET, _INET6, _UNIX = 0x11, 0x21, 0x31  # family and transport (STREAM)
_BLOCKS = {_INET: 12, _INET6: 36, _UNIX: 216}  # octets of the addresses
_MAPPED = bytes(10) + b"\xff\xff"

CRC32C: Final = 0x03
SSL: Final = 0x20
_SSL_VERSION, _SSL_CIPHER = 0x21, 0x23
_CLIENT_SSL = 1  # PP2_CLIENT_SSL: the client came over TLS; not 2 or 4: it gave no certificate
_UNVERIFIED = 1  # 0 would say that it gave one, which was good

_PORT = rb"(0|[1-9][0-9]{0,4})"
_TCP = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) " + _PORT + b" " + _PORT)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?")


class NoHeader(ProtocolError):
    """The octets are something else: the sender was not told to send a header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the balancer says."""

    size: int
    """Octets of it; what follows is the client's."""
    source: Endpoint | None
    """The client; None: no client is behind this connection, or none with an address."""
    destination: Endpoint | None
    """Where the client connected to; None with `source`."""
    tlvs: tuple[Tlv, ...] = ()
    """Version 2's additions, in their order."""


def read(data: bytes) -> ProxyHeader | None:
    """The header at the head of `data` (all octets received so far); None: it is not complete yet.

    Raises NoHeader: this is none; ProtocolError: it is one that can't be believed.
    """
    if _begins(data, SIGNATURE):
        return _read_v2(data)
    if _begins(data, _START_V1):
        return _read_v1(data)
    raise NoHeader("no PROXY header")


def _begins(data: bytes, start: bytes) -> bool:
    return data[: len(start)] == start[: len(data)]


# Version 1


def _read_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:MAX_V1].partition(b"\r\n")
    if not end:
        if len(data) >= MAX_V1:
            raise ProtocolError("PROXY header too long")
        if b"\n" in line or b"\r" in line[:-1]:
            raise ProtocolError("a bare CR or LF in a PROXY header")
        return None
    size = len(line) + len(end)
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(size, None, None)
    match = _TCP.fullmatch(line)
    if match is None:
        raise ProtocolError("malformed PROXY header")
    family, source, destination, source_port, destination_port = match.groups()
    return ProxyHeader(size, _endpoint(family, source, source_port), _endpoint(family, destination, destination_port))


def _endpoint(family: bytes, address: bytes, port: bytes) -> Endpoint:
    if (b":" in address) is not (family == b"6") or int(port) > 65535:
        raise ProtocolError("malformed PROXY header")
    try:
        return packed(address.decode("ascii")), int(port)
    except ValueError:
        raise ProtocolError("malformed address in a PROXY header") from None


# Version 2


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise ProtocolError("unknown version or command in a PROXY header")
    if len(data) < _FIXED:
        return None
    size = _FIXED + int.from_bytes(data[14:16])
    if size > MAX_V2:
        raise ProtocolError("PROXY header too long")
    family = data[13]
    addressed = data[12] == _PROXY and family != 0  # UNSPEC's block has no known length, and says nothing
    if addressed and (family not in _BLOCKS or size < _FIXED + _BLOCKS[family]):
        raise ProtocolError("a family in a PROXY header that a TCP connection can't have, or its addresses cut short")
    if len(data) < size:
        return None
    if not addressed:
        return ProxyHeader(size, None, None)
    tlvs = _tlvs(data[:size], _FIXED + _BLOCKS[family])
    if family == _UNIX:
        return ProxyHeader(size, None, None, tlvs)
    width = 4 if family == _INET else 16
    ports = _FIXED + 2 * width
    return ProxyHeader(
        size,
        (folded(data[_FIXED : _FIXED + width]), int.from_bytes(data[ports : ports + 2])),
        (folded(data[_FIXED + width : ports]), int.from_bytes(data[ports + 2 : ports + 4])),
        tlvs,
    )


def _tlvs(header: bytes, at: int) -> tuple[Tlv, ...]:
    """What stands behind the addresses, which end at `at`."""
    found: list[Tlv] = []
    checked = False
    while at < len(header):
        start = at + 3
        at = start + int.from_bytes(header[at + 1 : start])
        if start > len(header) or at > len(header):
            raise ProtocolError("a TLV runs past the end of a PROXY header")
        kind, value = header[start - 3], header[start:at]
        if kind == CRC32C:
            zeroed = header[:start] + bytes(len(value)) + header[at:]
            if checked or len(value) != 4 or crc32c(zeroed) != int.from_bytes(value):
                raise ProtocolError("wrong checksum in a PROXY header")
            checked = True
        found.append((kind, value))
    return tuple(found)


def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        rest = octet
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)  # Castagnoli's polynomial, reflected (RFC 3720 12.1)
        table.append(rest)
    return tuple(table)


_CRC: Final = _crc_table()


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC; the standard library has the other one (zlib.crc32)."""
    rest = 0xFFFFFFFF
    for octet in data:
        rest = rest >> 8 ^ _CRC[(rest ^ octet) & 0xFF]
    return rest ^ 0xFFFFFFFF


# Writing


def made_v1(source: Endpoint, destination: Endpoint) -> bytes:
    """A version 1 header."""
    family, addresses = _one_family(source, destination)
    texts = [shown(address) for address in addresses]
    return f"PROXY TCP{family} {' '.join(texts)} {source[1]} {destination[1]}\r\n".encode("ascii")


def made_v2(source: Endpoint, destination: Endpoint, tlvs: Iterable[Tlv] = ()) -> bytes:
    """A version 2 header; ValueError if the TLVs do not fit into MAX_V2 octets."""
    family, addresses = _one_family(source, destination)
    ports = source[1].to_bytes(2) + destination[1].to_bytes(2)
    block = b"".join(addresses) + ports + b"".join(_tlv(*one) for one in tlvs)
    if _FIXED + len(block) > MAX_V2:
        raise ValueError("TLVs of more than a PROXY header holds")
    return SIGNATURE + bytes((_PROXY, _INET if family == 4 else _INET6)) + len(block).to_bytes(2) + block


def tls_tlv(version: str, cipher: str) -> Tlv:
    """PP2_TYPE_SSL: the client came to us over TLS ("TLSv1.3", "TLS_AES_256_GCM_SHA384") and gave no certificate."""
    inner = _tlv(_SSL_VERSION, version.encode("ascii")) + _tlv(_SSL_CIPHER, cipher.encode("ascii"))
    return SSL, bytes((_CLIENT_SSL,)) + _UNVERIFIED.to_bytes(4) + inner


def _tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2) + value


def _one_family(source: Endpoint, destination: Endpoint) -> tuple[int, tuple[bytes, bytes]]:
    """4 or 6, and the addresses as that; an IPv4 one beside an IPv6 one is v4-mapped."""
    one, other = source[0], destination[0]
    if len(one) == len(other) == 4:
        return 4, (one, other)
    return 6, (_as_v6(one), _as_v6(other))


def _as_v6(address: bytes) -> bytes:
    return _MAPPED + address if len(address) == 4 else address
