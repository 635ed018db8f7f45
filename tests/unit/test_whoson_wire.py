"""wire/whoson.py: the grammar, as the C programs 1.08 and gowhoson speak it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.wire import whoson
from proxy.wire.address import packed
from proxy.wire.whoson import Request

HOME = packed("192.0.2.1")
ADDRESSES = st.one_of(
    st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16).map(lambda b: b"\x20" + b[1:])
)
NAMES = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=("Cs",)), max_size=300)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"LOGIN 192.0.2.1 alice", Request("LOGIN", HOME, "alice")),
        (b"LOGIN 192.0.2.1", Request("LOGIN", HOME)),
        (b"LOGIN 192.0.2.1 ", Request("LOGIN", HOME)),
        (b"login\t192.0.2.1 \t alice  smith \t", Request("LOGIN", HOME, "alice  smith")),
        (b"LOGIN ::ffff:192.0.2.1 alice@example.com", Request("LOGIN", HOME, "alice@example.com")),
        (b"LOGIN 2001:DB8:0::1 a", Request("LOGIN", packed("2001:db8::1"), "a")),
        (b"LOGIN 192.0.2.1 m\xfcller", Request("LOGIN", HOME, "m\udcfcller")),
        (b"LOGIN 192.0.2.1 m\xc3\xbcller\r", Request("LOGIN", HOME, "müller")),
        (b"QUERY 192.0.2.1", Request("QUERY", HOME)),
        (b"QUERY 192.0.2.1 ", Request("QUERY", HOME)),  # libwhoson
        (b"  qUeRy   192.0.2.1", Request("QUERY", HOME)),
        (b"LOGOUT 192.0.2.1 ", Request("LOGOUT", HOME)),
        (b"LOGOUT 192.0.2.1 alice and more", Request("LOGOUT", HOME)),
        (b"QUIT", Request("QUIT")),
    ],
)
def test_a_request_is_read(line: bytes, request_: Request) -> None:
    assert whoson.parse(line) == request_


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "Protocol error: no valid verb found"),
        (b"LIST", "Protocol error: no valid verb found"),
        (b"GET / HTTP/1.0", "Protocol error: no valid verb found"),
        (b"QUERY: 192.0.2.1", "Protocol error: no valid verb found"),
        (b"\x00\xff", "Protocol error: no valid verb found"),
        (b"LOGIN", "LOGIN addr-spec required"),
        (b"QUERY ", "QUERY addr-spec required"),
        (b"LOGOUT", "LOGOUT addr-spec required"),
        (b"QUERY 192.0.2.1 b", "QUERY only one argument allowed"),
        (b"LOGIN abc def", "LOGIN addr-spec is not an IP address"),
        (b"QUERY 192.0.2.01", "QUERY addr-spec is not an IP address"),
        (b"QUERY fe80::1%eth0", "QUERY addr-spec is not an IP address"),
        (b"QUERY 192.0.2.1\xff", "QUERY addr-spec is not an IP address"),
        (b"LOGIN 192.0.2.1 a\rb", "LOGIN name is too long or has control characters"),
        (b"LOGIN 192.0.2.1 a\x00b", "LOGIN name is too long or has control characters"),
        (b"LOGIN 192.0.2.1 " + b"a" * 256, "LOGIN name is too long or has control characters"),
    ],
)
def test_what_is_no_request_is_told_in_the_words_of_the_c_daemon_where_it_has_any(line: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        whoson.parse(line)
    assert str(caught.value) == why
    assert whoson.error(why) == b"*" + why.encode() + b"\r\n\r\n"


@given(st.binary(max_size=300))
def test_any_octets_are_a_request_or_an_error_with_a_fixed_text(line: bytes) -> None:
    why = ""
    try:
        request = whoson.parse(line)
        assert len(request.address) in ((0,) if request.verb == "QUIT" else (4, 16))
    except ProtocolError as error:
        why = str(error)
    assert len(whoson.error(why)) < 80


@given(ADDRESSES, NAMES)
def test_what_we_write_crashes_no_c_daemon_and_reads_back(address: bytes, name: str) -> None:
    for verb, text in (("LOGIN", name), ("LOGIN", ""), ("QUERY", ""), ("LOGOUT", "")):
        octets = whoson.request(verb, address, text)
        assert len(octets) <= 511
        assert octets.endswith(b"\r\n\r\n")
        line = octets[:-4]
        assert not line.endswith(b" ")
        assert not any(octet < 0x20 or octet == 0x7F for octet in line)
        read = whoson.parse(line)
        assert (read.verb, read.address) == (verb, address if len(address) == 4 else packed(line.split()[1].decode()))
        cut = text.encode()[:127].rstrip()
        assert read.name.encode("utf-8", "surrogateescape") == cut.strip(b" ")


def test_a_name_with_control_octets_is_written_without_them() -> None:
    assert whoson.request("LOGIN", HOME, "a\r\nLOGIN b\0\x7f") == b"LOGIN 192.0.2.1 a??LOGIN b??\r\n\r\n"
    assert whoson.found("a\r\n\r\n+b") == b"+a????+b\r\n\r\n"


def test_a_name_that_is_only_blanks_is_none() -> None:
    assert whoson.request("LOGIN", HOME, "  ") == b"LOGIN 192.0.2.1\r\n\r\n"


def test_an_address_is_written_in_its_one_form() -> None:
    assert whoson.request("QUERY", packed("::FFFF:192.0.2.1")) == b"QUERY 192.0.2.1\r\n\r\n"
    assert whoson.request("QUERY", packed("2001:0DB8:0:0::01")) == b"QUERY 2001:db8::1\r\n\r\n"


def test_a_reply_fits_the_c_library() -> None:
    assert len(whoson.found("x" * 600)) == 511
    fixed = (whoson.LOGIN_DONE, whoson.LOGOUT_DONE, whoson.LOGOUT_IDLE, whoson.QUIT_DONE, whoson.NOT_LOGGED_IN)
    for reply in (*fixed, whoson.NEVER_LEASED, whoson.DENIED, whoson.UNAVAILABLE, whoson.OVERLONG):
        assert reply[:1] in b"+-*"
        assert reply.endswith(b"\r\n\r\n")
        assert reply.count(b"\r\n") == 2


@pytest.mark.parametrize(
    ("reply", "meaning", "text"),
    [
        (b"+alice\r\n\r\n", True, "alice"),
        (b"+\r\n\r\n", True, ""),
        (b"+alice", True, "alice"),
        (b"+alice\nextension: +bob\n\n", True, "alice"),
        (b"-Not logged in\r\n\r\n", False, "Not logged in"),
        (b"-Not Logged in\r\n\r\n", False, "Not Logged in"),
        (b"*Access denied\r\n\r\n", None, "Access denied"),
        (b" 3 entries\r\n\r\n", None, "3 entries"),
        (b"", None, ""),
        (b"\r\n+alice\r\n\r\n", None, ""),
        (b"+a\x00b\x1b[2J\r\n\r\n", True, "a?b?[2J"),
        (b"+m\xfcller\r\n\r\n", True, "m\udcfcller"),
    ],
)
def test_a_reply_is_its_first_octet_and_line(reply: bytes, meaning: bool | None, text: str) -> None:
    assert whoson.parse_reply(reply) == (meaning, text)


@given(st.binary(max_size=400))
def test_only_a_plus_is_a_yes(reply: bytes) -> None:
    meaning, text = whoson.parse_reply(reply)
    assert (meaning is True) == reply.startswith(b"+")
    assert (meaning is False) == reply.startswith(b"-")
    assert len(text) <= 255


def test_a_datagram_s_first_line() -> None:
    assert whoson.first_line(b"QUERY 192.0.2.1") == b"QUERY 192.0.2.1"
    assert whoson.first_line(b"QUERY 192.0.2.1\r\nx-extension\r\n\r\n") == b"QUERY 192.0.2.1"
