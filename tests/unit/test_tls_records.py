"""net/sockets/tls_records.py: TLS from octets to octets, both ends in memory."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from proxy.net.sockets.tls_records import FED, RECORD, WORDLESS, Records
from proxy.net.tls.contexts import ServerTls

from ..support.keyupdate import Sender, modern

if TYPE_CHECKING:
    from pathlib import Path


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ends(certificate: Path, piece: int = 1 << 20) -> tuple[Records, Records]:
    """Client and server after the handshake, `piece` octets at a time."""
    server = Records(ServerTls("pop3", [certificate]).wrap)
    context = trusting()
    client = Records(lambda incoming, outgoing: context.wrap_bio(incoming, outgoing, server_hostname="localhost"))
    shake(client, server, piece)
    assert client.read() == (b"", False)  # tickets
    return client, server


def shake(client: Records, server: Records, piece: int = 1 << 20) -> None:
    done = {client: False, server: False}
    for _ in range(10):
        for side, other in ((client, server), (server, client)):
            done[side] = done[side] or side.handshake()
            out = side.take()
            for at in range(0, len(out), piece):
                other.feed(out[at : at + piece])
                if at + piece < len(out) and not done[other]:
                    done[other] = other.handshake()
        if all(done.values()):
            break
    assert all(done.values())


@pytest.mark.parametrize("piece", [1 << 20, 1, 100])
def test_handshake_in_pieces_of_any_size(certificate: Path, piece: int) -> None:
    client, server = ends(certificate, piece)
    server.feed(client.write(b"hello"))
    assert server.read() == (b"hello", False)


def test_a_server_has_nothing_to_say_before_the_client(certificate: Path) -> None:
    server = Records(ServerTls("pop3", [certificate]).wrap)
    assert server.serving
    assert not server.handshake()
    assert server.take() == b""


@pytest.mark.parametrize(("version", "patient"), [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)])
def test_what_a_peer_can_wait_for(certificate: Path, version: ssl.TLSVersion, patient: bool) -> None:
    """In TLS 1.2 the server's Finished comes last; in TLS 1.3 a client is never patient: its own does."""
    server = Records(ServerTls("pop3", [certificate]).wrap)
    context = trusting()
    context.minimum_version = context.maximum_version = version
    client = Records(lambda incoming, outgoing: context.wrap_bio(incoming, outgoing))
    shake(client, server)
    assert server.patient is patient
    assert not client.serving
    assert not client.patient


def test_octets_that_were_not_looked_at_wait(certificate: Path) -> None:
    client, server = ends(certificate)
    assert not server.waiting
    server.feed(client.write(b"a") + client.write(b"b"))
    assert server.waiting
    assert server.read() == (b"ab", False)
    assert not server.waiting


def test_all_text_of_many_records_at_once(certificate: Path) -> None:
    client, server = ends(certificate)
    text = bytes(range(256)) * (RECORD // 64)
    out = client.write(text)
    assert len(out) > len(text) > 3 * RECORD
    server.feed(out)
    assert server.read() == (text, False)


@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, 4 * RECORD, FED])
def test_text_is_sealed_record_by_record(certificate: Path, size: int) -> None:
    client, server = ends(certificate)
    text = bytes(range(256)) * (size // 256 + 1)
    text = text[:size]
    records = server.seal(memoryview(text))
    assert len(records) == -(-size // RECORD)
    client.feed(b"".join(records))
    assert client.read() == (text, False)
    client.feed(server.write(text))
    assert client.read() == (text, False)


def test_all_text_of_what_is_fed_at_once_has_room_behind_what_waited(certificate: Path) -> None:
    client, server = ends(certificate)
    text = bytes(FED + 2 * RECORD)
    out = memoryview(client.write(text))
    server.feed(out[: RECORD - 1])
    assert server.read() == (b"", False)
    server.feed(out[RECORD - 1 : RECORD - 1 + FED])
    some, _ = server.read()
    size = len(some)
    server.feed(out[RECORD - 1 + FED :])
    assert size + len(server.read()[0]) == len(text)


def test_half_a_record_waits_for_its_rest(certificate: Path) -> None:
    client, server = ends(certificate)
    out = client.write(b"text")
    server.feed(out[:-1])
    assert server.read() == (b"", False)
    server.feed(out[-1:])
    assert server.read() == (b"text", False)


def test_close_notify_behind_text(certificate: Path) -> None:
    client, server = ends(certificate)
    server.feed(client.write(b"bye") + client.close_notify())
    assert server.read() == (b"bye", True)
    client.feed(server.write(b"and you"))  # the other direction goes on
    assert client.read() == (b"and you", False)


def test_a_forged_record_is_an_error_and_no_text(certificate: Path) -> None:
    client, server = ends(certificate)
    out = bytearray(client.write(b"text"))
    out[-1] ^= 1
    server.feed(bytes(out))
    with pytest.raises(ssl.SSLError):
        server.read()
    assert server.take(), "the alert"


@pytest.mark.parametrize("garbage", [b"EHLO c.test\r\n", b"\x16\x03\x01\xff\xff" + bytes(64), b"\x80\x2e\x01\x00\x02"])
def test_garbage_instead_of_a_hello_is_an_error_with_an_alert_or_waits(certificate: Path, garbage: bytes) -> None:
    server = Records(ServerTls("pop3", [certificate]).wrap)
    server.feed(garbage)
    with pytest.raises(ssl.SSLError):
        for _ in range(3):
            assert not server.handshake()
            server.feed(bytes(20000))


def test_closing_what_is_broken_does_not_raise(certificate: Path) -> None:
    client, server = ends(certificate)
    server.feed(b"\x17\x03\x03\x00\x05xxxxx")
    with pytest.raises(ssl.SSLError):
        server.read()
    server.close_notify()
    client.close_notify()
    client.close_notify()


@pytest.mark.parametrize("count", [1000, 100_000])
def test_B20_text_octet_by_octet_and_large_records_are_within_the_bound(certificate: Path, count: int) -> None:
    client, server = ends(certificate)
    for _ in range(count // 100):
        server.feed(b"".join([client.write(b"x") for _ in range(100)]))
        assert server.read() == (b"x" * 100, False)
    out = client.write(b"x" * RECORD)
    server.feed(out[:-1])
    assert server.read() == (b"", False)
    server.feed(out[-1:])
    assert server.read() == (b"x" * RECORD, False)


@pytest.mark.parametrize("text", [b"", b"x"])
def test_B20_records_without_text_have_a_bound(certificate: Path, tmp_path: Path, text: bytes) -> None:
    """KeyUpdates alone, and with a little text among them, which accounts for a few."""
    server = Records(ServerTls("pop3", [certificate]).wrap)
    context = modern(tmp_path / "log")
    client = Records(lambda incoming, outgoing: context.wrap_bio(incoming, outgoing, server_hostname="localhost"))
    shake(client, server)
    sender, fed = Sender(tmp_path / "log"), 0
    with pytest.raises(ssl.SSLError) as raised:
        while fed < 1 << 20:
            octets = sender.updates(100) + (sender.text(text) if text else b"")
            server.feed(octets)
            server.read()
            fed += len(octets)
    assert raised.value.reason == "WORDLESS"
    assert WORDLESS - 100 * 27 <= fed <= 2 * WORDLESS
