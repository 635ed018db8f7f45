"""wire/xclient.py: what is offered, and the command."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.address import packed
from proxy.wire.replies import Reply
from proxy.wire.xclient import MAX, attributes, command

ALL = frozenset(b"NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT".split())
CLIENT, HERE = (packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25)
CLIENT6 = (packed("2001:db8::7"), 40000)


def reply(*lines: bytes) -> Reply:
    return Reply(250, b"".join([b"250-%b\r\n" % line for line in lines[:-1]]) + b"250 %b\r\n" % lines[-1])


def test_what_postfix_offers() -> None:
    offer = reply(
        b"mail.test", b"PIPELINING", b"XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
    )
    assert attributes(offer) == ALL


@pytest.mark.parametrize(
    "offer",
    [
        reply(b"mail.test"),
        reply(b"XCLIENT ADDR"),  # the first line is the server's name
        reply(b"mail.test", b"XFORWARD NAME ADDR"),
        reply(b"mail.test", b"XCLIENTADDR", b""),
    ],
)
def test_not_offered(offer: Reply) -> None:
    assert attributes(offer) == frozenset()


def test_keywords_in_any_case() -> None:
    assert attributes(reply(b"mail.test", b"xclient addr Port")) == {b"ADDR", b"PORT"}


def test_S12_names_are_unavailable_and_the_address_is_the_client_s() -> None:
    assert command(ALL, CLIENT, HERE) == (
        b"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=40000"
        b" DESTADDR=198.51.100.1 DESTPORT=25\r\n"
    )


def test_S12_only_what_is_offered() -> None:
    assert command(frozenset([b"ADDR", b"HELO"]), CLIENT, HERE, "anna") == b"XCLIENT ADDR=192.0.2.7\r\n"


def test_S12_ipv6_has_its_prefix() -> None:
    assert command(frozenset([b"ADDR"]), CLIENT6, HERE) == b"XCLIENT ADDR=IPV6:2001:db8::7\r\n"


def test_S12_the_login_of_a_lease() -> None:
    line = command(frozenset([b"ADDR", b"LOGIN"]), CLIENT, HERE, "anna=b+c d\r\nDATA\udcff\u00fc")
    assert line == b"XCLIENT ADDR=192.0.2.7 LOGIN=anna+3Db+2Bc+20d+0D+0ADATA+FF+C3+BC\r\n"


def test_S12_a_login_that_does_not_fit_is_left_out() -> None:
    short, long = command(ALL, CLIENT6, CLIENT6, "a" * 200), command(ALL, CLIENT6, CLIENT6, "\u00fc" * 200)
    assert short.endswith(b"LOGIN=" + b"a" * 200 + b"\r\n")
    assert b"LOGIN" not in long
    assert long.endswith(b"DESTPORT=40000\r\n")


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.text(max_size=300),
    st.sets(st.sampled_from(sorted(ALL))),
)
def test_S12_whatever_is_told_it_is_one_command_of_512_octets(
    address: bytes, port: int, login: str, offered: set[bytes]
) -> None:
    login = login.encode("utf-8", "replace").decode()
    line = command(frozenset(offered), (address, port), HERE, login)
    assert len(line) <= MAX
    assert re.fullmatch(rb"XCLIENT( [A-Z_]+=[!-<>-~]+)*\r\n", line)
    assert set(re.findall(rb" ([A-Z_]+)=", line)) <= offered
