"""wire/clienthello.py against the hellos of a real client, cut at every octet, and against nonsense."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.wire.clienthello import LIMIT, RECORDS, ClientHello, read


def hello(host: str | None = "mail.example", protocols: list[str] | None = None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    return outgoing.read()


def record(data: bytes, kind: int = 22) -> bytes:
    return bytes((kind, 3, 1)) + len(data).to_bytes(2) + data


def message(body: bytes, kind: int = 1) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3) + body


def vector(data: bytes, width: int = 2) -> bytes:
    return len(data).to_bytes(width) + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2) + vector(data)


def made(*extensions: bytes) -> bytes:
    """A minimal hello with these extensions."""
    return record(message(FIXED + vector(b"".join(extensions))))


FIXED = b"\x03\x03" + bytes(32) + vector(b"", 1) + vector(b"\x13\x01") + vector(b"\0", 1)
ALPN = extension(16, vector(vector(b"smtp", 1)))
SNI = extension(0, vector(b"\0" + vector(b"a.example")))


@pytest.mark.parametrize("host", [None, "mail.example"])
@pytest.mark.parametrize("protocols", [None, ["smtp"], ["h2", "http/1.1"]])
def test_real_hello_whole_and_cut_anywhere(host: str | None, protocols: list[str] | None) -> None:
    data = hello(host, protocols)
    expected = ClientHello(
        host.encode() if host else None, tuple(name.encode() for name in protocols) if protocols else None
    )
    assert read(data) == expected
    assert read(data + b"more") == expected
    for cut in range(len(data)):
        assert read(data[:cut]) is None
        assert read(bytearray(data[:cut])) is None


def test_hello_in_several_records() -> None:
    inner = hello(protocols=["smtp"])[5:]
    size = len(inner) // (RECORDS - 1)
    parts = [inner[at : at + size] for at in range(0, len(inner), size)]
    data = b"".join(map(record, parts))
    assert read(data) == ClientHello(b"mail.example", (b"smtp",))
    for cut in range(len(data)):
        assert read(data[:cut]) is None


def test_too_many_records() -> None:
    with pytest.raises(ProtocolError, match="too many"):
        read(b"".join(record(bytes((octet,))) for octet in hello()[5 : 6 + RECORDS]))


def test_hello_without_extensions() -> None:
    assert read(record(message(FIXED))) == ClientHello(None, None)
    assert read(made()) == ClientHello(None, None)
    assert read(made(SNI, ALPN)) == ClientHello(b"a.example", (b"smtp",))


def test_form_of_sslv2_is_left_to_openssl() -> None:
    assert read(b"\x80\x2e\x01\x03\x01") == ClientHello(None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO c.test\r\n",
        b"G",
        b"\x16\x02",
        record(b"\x01\x00", kind=21),  # an alert in front of the hello
        record(b"") + made(SNI),  # an empty record in front of it
        record(message(FIXED, kind=2)),
        record(b"\x02"),
        b"\x16\x03\x01\xff\xff",
        record(message(FIXED)[:20]) + record(b"\x01\x00", kind=21),
        record(b"\x01" + (LIMIT - 3).to_bytes(3)),
        record(message(FIXED[:-1])),
        record(message(FIXED + b"\0")),
        record(message(FIXED + vector(ALPN) + b"\0")),
        record(message(FIXED + vector(ALPN[:-1]))),
        made(ALPN, ALPN),
        made(extension(16, b"")),
        made(extension(16, vector(b""))),
        made(extension(16, vector(b"\x05smtp"))),
        made(extension(16, vector(vector(b"smtp", 1)) + b"\0")),
        made(extension(0, vector(b"\1" + vector(b"a.example")))),
        made(extension(0, vector((b"\0" + vector(b"a.example")) * 2))),
    ],
)
def test_nothing_else_is_taken(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)


@given(st.binary(max_size=600), st.sampled_from([b"", b"\x16\x03\x01", hello()[:9], hello(protocols=["smtp"])[:43]]))
def test_nonsense_only_ever_raises_protocol_error(data: bytes, head: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        read(head + data)
