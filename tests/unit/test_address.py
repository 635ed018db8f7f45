"""wire/address.py: one binary form per address (rule G2; H9 to H15 of the threat list)."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.address import Networks, literal, packed, shown


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", bytes([192, 0, 2, 1])),
        ("0.0.0.0", bytes(4)),
        ("255.255.255.255", b"\xff" * 4),
        ("::", bytes(16)),
        ("2001:db8::1", bytes.fromhex("20010db8000000000000000000000001")),
    ],
)
def test_text_becomes_octets(text: str, address: bytes) -> None:
    assert packed(text) == address
    assert shown(address) == text


@pytest.mark.parametrize("text", ["::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"])
def test_G2_v4_mapped_is_the_ipv4_address(text: str) -> None:
    assert packed(text) == packed("192.0.2.1")


@pytest.mark.parametrize(
    "text", ["::192.0.2.1", "2002:c000:201::", "64:ff9b::192.0.2.1", "2001:0:c000:201::", "::ffff:0:192.0.2.1"]
)
def test_G2_no_other_form_is_folded(text: str) -> None:
    assert len(packed(text)) == 16


@pytest.mark.parametrize("text", ["2001:DB8::1", "2001:db8:0:0::1", "2001:0db8::0:1", "2001:db8::0.0.0.1"])
def test_G2_textual_forms_of_one_address_are_one_key(text: str) -> None:
    assert packed(text) == packed("2001:db8::1")


@pytest.mark.parametrize("text", ["fe80::1%2", "fe80::1%eth0", "192.0.2.1%1", "::ffff:192.0.2.1%lo"])
def test_G2_a_zone_id_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        packed(text)


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "localhost", "192.0.2", "192.0.2.1.", "192.0.2.1.5", "192.0.2.256", "192.0.2.010", "0xC0.0.2.1"],
        *["3221225985", "192.0.2.1 ", " 192.0.2.1", "192.0.2.1\n", "192.0.2.1\0", "\0", "192.0.2.-1", "192.0.2.+1"],
        *["[192.0.2.1]", "192.0.2.1/32", "192.0.2.1:25", "[::1]", ":::", "1::2::3", "12345::", "::g", "1:2:3:4:5:6:7"],
        *[
            "1:2:3:4:5:6:7:8:9",
            "::1\n",
            "::1\0",
            "::ffff:192.0.2.010",
            "::ffff:192.0.2",
            "unix:/x",
            "\ud800",
            "::\ud800",
        ],
        *["１92.0.2.1", "١٩٢.0.2.1", "::１"],
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an IP address"):
        packed(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("::1:2", "::1:2"),
        ("::192.0.2.1", "::c000:201"),
        ("::1:0", "::1:0"),
        ("::2", "::2"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_people_see_rfc_5952(text: str, canonical: str) -> None:
    assert shown(packed(text)) == canonical


def test_shown_refuses_octets_that_are_no_address() -> None:
    with pytest.raises(ValueError):
        shown(b"\x01\x02\x03")


def test_address_literals() -> None:
    assert literal(shown(packed("192.0.2.1"))) == b"[192.0.2.1]"
    assert literal(shown(packed("2001:db8::1"))) == b"[IPv6:2001:db8::1]"
    assert literal(shown(packed("::ffff:192.0.2.1"))) == b"[192.0.2.1]"


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_shown_and_packed_are_inverse(address: bytes) -> None:
    mapped = address.startswith(bytes(10) + b"\xff\xff")
    assert packed(shown(address)) == (address[12:] if len(address) == 16 and mapped else address)


@given(st.ip_addresses(v=6))
def test_shown_agrees_with_ipaddress(address: ipaddress.IPv6Address) -> None:
    if address.ipv4_mapped is None:
        assert shown(address.packed) == str(address)


@given(st.text(alphabet="0123456789abcfx.:% /", max_size=24))
def test_packed_takes_nothing_that_ipaddress_refuses(text: str) -> None:
    try:
        address = packed(text)
    except ValueError:
        return
    other = ipaddress.ip_address(text)
    assert address in (other.packed, other.packed[12:])


def networks(*texts: str) -> Networks:
    return Networks(texts)


def test_networks_hold_their_addresses_and_no_others() -> None:
    known = networks("192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "10.0.0.0/8", "::1")
    for text in (
        "192.0.2.0",
        "192.0.2.255",
        "198.51.100.7",
        "2001:db8:ffff::1",
        "10.255.0.1",
        "::ffff:192.0.2.9",
        "::1",
    ):
        assert packed(text) in known, text
    for text in (
        "192.0.3.0",
        "192.0.1.255",
        "198.51.100.70",
        "198.51.100.6",
        "2001:db9::",
        "11.0.0.0",
        "::192.0.2.9",
        "::2",
    ):
        assert packed(text) not in known, text


def test_no_networks_hold_nothing() -> None:
    assert not networks()
    assert packed("192.0.2.1") not in networks()
    assert networks("192.0.2.1")
    assert packed("::1") not in networks("0.0.0.0/0")
    assert packed("192.0.2.1") not in networks("::/0")


def test_G2_a_mapped_network_is_the_ipv4_network() -> None:
    assert packed("192.0.2.77") in networks("::ffff:192.0.2.0/120")
    assert packed("198.51.100.1") in networks("::ffff:0:0/96")


def test_networks_keep_their_texts() -> None:
    assert networks("192.0.2.0/24", "::1").texts == ("192.0.2.0/24", "::1")
    assert repr(networks("::1")) == "Networks(['::1'])"


@pytest.mark.parametrize(
    "text",
    [
        *["192.0.2.0/33", "::/129", "192.0.2.0/-1", "192.0.2.0/", "/24", "192.0.2.0/024", "192.0.2.0/255.255.255.0"],
        *["192.0.2.0/ 24", "192.0.2.0/+24", "192.0.2.0/٢٤", "192.0.2/24", "example.com", "", "192.0.2.0/24/24", "*"],
        *["::ffff:0:0/95", "fe80::1%2", "fe80::%2/64", "192.0.2.1-192.0.2.9"],
    ],
)
def test_networks_name_what_they_cannot_read(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        networks("192.0.2.1", text)
    assert repr(text) in str(refused.value)


def test_bits_behind_the_prefix_are_an_error_that_shows_the_network() -> None:
    with pytest.raises(ValueError, match=r"the network is 192\.0\.2\.0/24"):
        networks("192.0.2.1/24")


@given(st.lists(st.integers(0, 32), max_size=6), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_networks_agree_with_ipaddress(prefixes: list[int], base: bytes, asked: bytes) -> None:
    known = [ipaddress.ip_network((base, prefix), strict=False) for prefix in prefixes]
    address = ipaddress.ip_address(asked)
    assert (asked in Networks(map(str, known))) == any(address in network for network in known)


def test_peer_names_from_sockets_are_read() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert packed(sock.getsockname()[0]) == b"\x7f\x00\x00\x01"
