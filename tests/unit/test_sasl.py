"""The SASL exchange as it is overheard: form, rounds, and the login without its password (rule S10)."""

from __future__ import annotations

import base64

import pytest

from proxy.wire.sasl import MAX_LOGIN, MAX_ROUNDS, MECHANISMS, Exchange, decoded, shown_login, split_auth


def encoded(text: bytes) -> bytes:
    return base64.b64encode(text)


@pytest.mark.parametrize(
    ("mechanism", "response", "login"),
    [
        (b"PLAIN", b"\0anna\0secret", "anna"),
        (b"PLAIN", b"boss\0anna\0secret", "boss"),
        (b"PLAIN", b"\0j\xc3\xb6rg\0secret", "j\u00f6rg"),
        (b"PLAIN", b"anna\0secret", "?PLAIN"),
        (b"PLAIN", b"\0anna\0sec\0ret", "?PLAIN"),
        (b"PLAIN", b"\0\0secret", "?PLAIN"),
        (b"LOGIN", b"anna", "anna"),
        (b"LOGIN", b"", "?LOGIN"),
        (b"CRAM-MD5", b"anna b913a602c7eda7a495b4e6e7334d3890", "anna"),
        (b"CRAM-MD5", b"anna smith b913a602c7eda7a495b4e6e7334d3890", "anna smith"),
        (b"CRAM-MD5", b"b913a602c7eda7a495b4e6e7334d3890", "?CRAM-MD5"),
        (b"SCRAM-SHA-1", b"n,,n=anna,r=fyko", "anna"),
        (b"SCRAM-SHA-256", b"n,a=boss,n=anna,r=fyko", "boss"),
        (b"SCRAM-SHA-256", b"n,,n=a=2Cb=3Dc,r=fyko", "a,b=c"),
        (b"SCRAM-SHA-256", b"n,,m=ext", "?SCRAM-SHA-256"),
        (b"SCRAM-SHA-256", b"nonsense", "?SCRAM-SHA-256"),
        (b"XOAUTH2", b"user=anna@local.test\x01auth=Bearer sentinel\x01\x01", "anna@local.test"),
        (b"XOAUTH2", b"auth=Bearer sentinel\x01\x01", "?XOAUTH2"),
        (b"OAUTHBEARER", b"n,a=anna@local.test,\x01host=x\x01auth=Bearer sentinel\x01\x01", "anna@local.test"),
        (b"OAUTHBEARER", b"n,,\x01auth=Bearer sentinel\x01\x01", "?OAUTHBEARER"),
    ],
)
def test_S10_the_login(mechanism: bytes, response: bytes, login: str) -> None:
    exchange = Exchange(mechanism)
    assert exchange.login == "?" + mechanism.decode()
    line = encoded(response)
    assert exchange.response(line) == line
    assert exchange.login == login
    assert "secret" not in exchange.login
    assert "sentinel" not in exchange.login


def test_S10_the_password_of_LOGIN_is_not_kept() -> None:
    exchange = Exchange(b"LOGIN")
    exchange.response(encoded(b"anna"))
    exchange.response(encoded(b"secret"))
    assert exchange.login == "anna"
    kept = [getattr(exchange, name) for name in Exchange.__slots__]
    assert not any("secret" in repr(value) for value in kept)


@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [
        (b"LOGIN", [b"anna", b"mallory", b"secret"]),
        (b"LOGIN", [b"anna", b"mallory", b""]),
        (b"PLAIN", [b"\0anna\0x", b"\0mallory\0secret"]),
        (b"CRAM-MD5", [b"anna 00", b"mallory b913a602c7eda7a495b4e6e7334d3890"]),
        (b"SCRAM-SHA-256", [b"n,,n=anna,r=x", b"n,,n=mallory,r=x", b"c=biws,r=xy,p=AAAA"]),
        (b"XOAUTH2", [b"user=anna\1auth=Bearer x\1\1", b"user=mallory\1auth=Bearer secret\1\1"]),
    ],
)
def test_S10_a_server_that_passes_over_the_initial_response_knows_another_login(
    mechanism: bytes, responses: list[bytes]
) -> None:
    """Else sender binding and `no_relay_logins` would hold for whomever the client named first."""
    exchange = Exchange(mechanism)
    for response in responses:
        exchange.response(encoded(response))
    assert exchange.login == "?" + mechanism.decode()


@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [
        (b"LOGIN", [b"anna", b"secret"]),
        (b"PLAIN", [b"\0anna\0secret", b"\0anna\0secret"]),
        (b"SCRAM-SHA-256", [b"n,,n=anna,r=x", b"c=biws,r=xy,p=AAAA", b""]),
        (b"OAUTHBEARER", [b"n,a=anna,\1auth=Bearer x\1\1", b"\1"]),
    ],
)
def test_S10_the_rounds_that_a_mechanism_has_change_nothing(mechanism: bytes, responses: list[bytes]) -> None:
    exchange = Exchange(mechanism)
    for response in responses:
        exchange.response(encoded(response))
    assert exchange.login == "anna"


@pytest.mark.parametrize("line", [b"=", b"*", b"", b"AAAA"])
def test_S10_lines_that_pass(line: bytes) -> None:
    assert Exchange(b"PLAIN").response(line) == line


@pytest.mark.parametrize(
    "line",
    [b"A", b"AA=", b"A===", b"====", b"==", b"AA AA", b"AAAAA", b"=AAA", b"AA\nA", b"**", b"A\0AA", b"-_-_"],
)
def test_S10_what_is_no_base64_becomes_a_cancellation(line: bytes) -> None:
    exchange = Exchange(b"LOGIN")
    assert exchange.response(line) == b"*"
    assert exchange.login == "?LOGIN"


def test_S10_rounds_are_bounded() -> None:
    exchange = Exchange(b"LOGIN")
    for _ in range(MAX_ROUNDS):
        assert exchange.response(b"AAAA") == b"AAAA"
    assert exchange.response(b"AAAA") == b"*"


def test_S10_the_allow_list() -> None:
    assert {b"PLAIN", b"LOGIN", b"CRAM-MD5", b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"XOAUTH2", b"OAUTHBEARER"} == MECHANISMS
    for mechanism in MECHANISMS:
        assert Exchange(mechanism).response(b"AAAA") == b"AAAA"


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        (b"", b""),
        (b"=", b""),
        (b"QUIT", b"A\x42\x13"),  # which is why a line in an exchange is data, whatever it looks like
        (b"YW5uYQ", b"anna"),
        (b"YW5uYQ==", b"anna"),
        (b"  YW5uYQ== \t", b"anna"),
        (b"YW5uYR==", b"anna"),  # bits that nobody reads
        (b"YW5uYWI", b"annab"),
    ],
)
def test_S10_a_response_is_decoded_and_written_afresh(line: bytes, octets: bytes) -> None:
    assert decoded(line) == octets
    assert decoded(encoded(octets)) == octets
    assert Exchange(b"LOGIN").response(line) == (encoded(octets) or line)


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        (b"PLAIN", (b"PLAIN", b"")),
        (b"plain AAAA", (b"PLAIN", b"AAAA")),
        (b"PLAIN  AAAA", (b"PLAIN", b"AAAA")),
        (b"PLAIN\tAAAA\t", (b"PLAIN", b"AAAA")),
        (b"PLAIN AA AA", (b"PLAIN", b"AA AA")),
        (b"", (b"", b"")),
    ],
)
def test_S10_the_argument_of_AUTH(argument: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_auth(argument) == parts


def test_a_login_is_cut_and_keeps_odd_octets() -> None:
    assert shown_login(b"a\xffb").encode("utf-8", "surrogateescape") == b"a\xffb"
    long = shown_login(b"a" * 1000)
    assert len(long) == MAX_LOGIN
    assert long.endswith("...")
    assert shown_login(b"a" * MAX_LOGIN) == "a" * MAX_LOGIN
