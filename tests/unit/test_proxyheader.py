"""wire/proxyheader.py: the header as others write it, cut at every octet, and everything that only looks like one."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.wire.address import packed
from proxy.wire.proxyheader import (
    LOCAL_V1,
    LOCAL_V2,
    MAX_V1,
    MAX_V2,
    SIGNATURE,
    SSL,
    Endpoint,
    ProxyHeader,
    crc32c,
    made_v1,
    made_v2,
    read,
    tls_tlv,
)

CLIENT, SERVER = (packed("192.0.2.7"), 56324), (packed("198.51.100.1"), 443)
CLIENT6, SERVER6 = (packed("2001:db8::7"), 56324), (packed("2001:db8:1::1"), 443)
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
LONGEST = b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n"
LONGEST_UNKNOWN = LONGEST.replace(b"TCP6", b"UNKNOWN")


def v2(rest: bytes, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """A version 2 header with any content."""
    size = len(rest) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def checksummed(rest: bytes, family: int = 0x11) -> bytes:
    """With a CRC32C in the middle, as HAProxy's `proxy-v2-options crc32c` writes it."""
    head, tail = rest[:12], rest[12:]
    draft = v2(head + tlv(3, bytes(4)) + tail, family)
    return v2(head + tlv(3, crc32c(draft).to_bytes(4)) + tail, family)


BLOCK = CLIENT[0] + SERVER[0] + struct.pack("!HH", CLIENT[1], SERVER[1])
BLOCK6 = CLIENT6[0] + SERVER6[0] + struct.pack("!HH", CLIENT6[1], SERVER6[1])
NOOP = tlv(4, bytes(3))

GOOD = {
    "v1": (V1, CLIENT, SERVER, ()),
    "v1 6": (b"PROXY TCP6 2001:db8::7 2001:DB8:1::1 56324 443\r\n", CLIENT6, SERVER6, ()),
    "v1 mapped": (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 56324 443\r\n", CLIENT, SERVER, ()),
    "v1 longest": (LONGEST, (b"\xff" * 16, 65535), (b"\xff" * 16, 65535), ()),
    "v1 unknown": (LOCAL_V1, None, None, ()),
    "v1 unknown, longest": (LONGEST_UNKNOWN, None, None, ()),
    "v1 unknown, anything": (b"PROXY UNKNOWN \0 \xff 192.0.2.7\r\n", None, None, ()),
    "v2": (v2(BLOCK), CLIENT, SERVER, ()),
    "v2 6": (v2(BLOCK6, 0x21), CLIENT6, SERVER6, ()),
    "v2 mapped": (
        v2(bytes(10) + b"\xff\xff" + CLIENT[0] + bytes(10) + b"\xff\xff" + SERVER[0] + BLOCK[8:], 0x21),
        CLIENT,
        SERVER,
        (),
    ),
    "v2 tlvs": (v2(BLOCK + NOOP + tlv(0xEE, b"")), CLIENT, SERVER, ((4, bytes(3)), (0xEE, b""))),
    "v2 largest": (v2(BLOCK + tlv(4, bytes(MAX_V2 - 31))), CLIENT, SERVER, ((4, bytes(MAX_V2 - 31)),)),
    "v2 unix": (v2(bytes(216) + NOOP, 0x31), None, None, ((4, bytes(3)),)),
    "v2 unspecified": (v2(b"", 0), None, None, ()),
    "v2 unspecified with more": (v2(b"whatever it is", 0), None, None, ()),
    "v2 local": (LOCAL_V2, None, None, ()),
    # As AWS sends it: TCPv4, dummy addresses, 84 octets of TLVs.
    "v2 local with addresses": (v2(BLOCK + tlv(0xEA, bytes(81)), command=0x20), None, None, ()),
    "v2 local of no family": (v2(b"\xff" * 5, 0xFF, command=0x20), None, None, ()),
}


@pytest.mark.parametrize("name", GOOD)
def test_N1_a_header_whole_cut_anywhere_and_with_more_behind_it(name: str) -> None:
    data, source, destination, tlvs = GOOD[name]
    expected = ProxyHeader(len(data), source, destination, tlvs)
    assert read(data) == expected
    assert read(data + b"\x16\x03\x01") == expected
    assert read(data + data) == expected
    places = range(len(data)) if len(data) < 300 else [*range(60), len(data) - 1]
    assert all(read(data[:cut]) is None for cut in places)


def test_the_longest_that_version_1_allows() -> None:
    assert len(LONGEST) == 104
    assert len(LONGEST_UNKNOWN) == MAX_V1 == 107


BAD = [
    *[
        b"E",
        b"EHLO client.example\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4",
        b"PROXYTCP4",
        b"PROXZ",
        b"\r\n\r\n\r\n",
    ],
    *[b"PROXY \r\n", b"PROXY TCP4\r\n", b"PROXY TCP5 192.0.2.7 192.0.2.1 1 2\r\n", b"PROXY unknown\r\n"],
    *[b"PROXY UNKNOWNS\r\n", b"PROXY UNIX a b\r\n", b"PROXY  TCP4 192.0.2.7 192.0.2.1 1 2\r\n"],
    b"PROXY TCP4 192.0.2.7  192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 2\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n",
    b"PROXY TCP4 192.0.2.7\r192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7\n192.0.2.1 1 2\r\n",
    b"PROXY UNKNOWN a\rb\r\n",
    b"PROXY UNKNOWN a\nb\r\n",
    b"PROXY TCP4\t192.0.2.7 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.07 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 c000:201:: 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 2001:db8::7::1 2001:db8::1 1 2\r\n",
    b"PROXY TCP4 mail.example 192.0.2.1 1 2\r\n",
    b"PROXY UNKNOWN" + bytes(MAX_V1 - 13),
    LONGEST_UNKNOWN[:-2] + b"1\r\n",
    v2(BLOCK, command=0x11),
    v2(BLOCK, command=0x31),
    v2(BLOCK, command=0x22),
    *[v2(BLOCK, family) for family in (0x01, 0x02, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xFF)],
    v2(BLOCK[:-1]),
    v2(BLOCK, 0x21),
    v2(bytes(215), 0x31),
    v2(b"", length=MAX_V2 - 15),
    v2(b"", length=65535),
    v2(b"", command=0x20, length=65535),
    v2(BLOCK + b"\4"),
    v2(BLOCK + b"\4\0"),
    v2(BLOCK + b"\4\0\1"),
    v2(BLOCK + NOOP + b"\4\0\4abc"),
    v2(bytes(216) + b"\4\0\1", 0x31),
    v2(BLOCK + tlv(3, bytes(4))),
    v2(BLOCK + tlv(3, b"")),
    v2(BLOCK + tlv(3, bytes(5))),
    checksummed(BLOCK + NOOP)[:-1] + b"\1",
    checksummed(BLOCK + tlv(3, bytes(4))),
]


@pytest.mark.parametrize("data", BAD)
def test_N1_nothing_else_is_taken(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)


@pytest.mark.parametrize("first", range(256))
def test_N1_what_is_no_header_is_told_by_its_first_octet(first: int) -> None:
    if first in b"\rP":
        assert read(bytes((first,))) is None
    else:
        with pytest.raises(ProtocolError, match="no PROXY header"):
            read(bytes((first,)))


def test_the_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C in every catalogue of CRCs
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4
    assert crc32c(b"") == 0


def test_N1_a_checksum_is_checked() -> None:
    header = checksummed(BLOCK + NOOP)
    found = read(header)
    assert found is not None
    assert (found.source, found.size) == (CLIENT, len(header))
    for at in range(16, 28):
        with pytest.raises(ProtocolError, match="checksum"):
            read(header[:at] + bytes((header[at] ^ 1,)) + header[at + 1 :])


# What we write


def test_made() -> None:
    assert made_v1(CLIENT, SERVER) == V1
    assert made_v1(CLIENT6, SERVER6) == b"PROXY TCP6 2001:db8::7 2001:db8:1::1 56324 443\r\n"
    assert made_v2(CLIENT, SERVER) == v2(BLOCK)
    assert made_v2(CLIENT6, SERVER6, [(4, bytes(3))]) == v2(BLOCK6 + NOOP, 0x21)


def test_made_of_two_families_maps_the_ipv4_one() -> None:
    assert made_v1(CLIENT, SERVER6) == b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8:1::1 56324 443\r\n"
    assert made_v2(CLIENT6, SERVER)[13:16] == b"\x21\0\x24"


def test_made_no_longer_than_may_be_read() -> None:
    room = MAX_V2 - 28 - 3
    assert len(made_v2(CLIENT, SERVER, [(4, bytes(room))])) == MAX_V2
    with pytest.raises(ValueError, match="TLVs"):
        made_v2(CLIENT, SERVER, [(4, bytes(room + 1))])


def test_tls_as_a_tlv() -> None:
    kind, value = tls_tlv("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert kind == SSL
    # client: PP2_CLIENT_SSL; verify: not 0, since no certificate was verified; then version and cipher
    assert value == b"\x01" + b"\0\0\0\x01" + tlv(0x21, b"TLSv1.3") + tlv(0x23, b"TLS_AES_256_GCM_SHA384")


endpoints = st.tuples(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), st.integers(0, 65535))
values = st.tuples(st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=40))


def normal(endpoint: Endpoint) -> Endpoint:
    address, port = endpoint
    return (address[12:], port) if address.startswith(bytes(10) + b"\xff\xff") else endpoint


@given(endpoints, endpoints, st.lists(values, max_size=5), st.binary(max_size=20))
def test_what_is_made_is_read(
    source: Endpoint, destination: Endpoint, tlvs: list[tuple[int, bytes]], more: bytes
) -> None:
    one, two = made_v1(source, destination), made_v2(source, destination, tlvs)
    source, destination = normal(source), normal(destination)
    assert read(one + more) == ProxyHeader(len(one), source, destination)
    assert read(two + more) == ProxyHeader(len(two), source, destination, tuple(tlvs))


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY TCP4 1", b"PROXY UNKNOWN", SIGNATURE, v2(BLOCK)[:16]]))
def test_nonsense_only_ever_raises_protocol_error(data: bytes, head: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        found = read(head + data)
        assert found is None or found.size <= len(head + data)
