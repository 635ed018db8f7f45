"""net/tls/contexts.py by real handshakes over memory: what each context promises, seen from the other end."""

from __future__ import annotations

import datetime
import os
import re
import ssl
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.certificates import make, read
from proxy.errors import ConfigError, UpstreamUnavailable
from proxy.net.tls.contexts import VERSIONS, ServerTls, UpstreamTls, shown_pin, upstream_context
from proxy.wire.address import packed
from proxy.wire.clienthello import LIMIT

if TYPE_CHECKING:
    from pathlib import Path

V1, V2, V3 = (VERSIONS[name] for name in ("TLSv1", "TLSv1.2", "TLSv1.3"))
DAY = 86400.0


def client(
    version: ssl.TLSVersion | None = None, *, ciphers: str = "", alpn: list[str] | None = None
) -> ssl.SSLContext:
    """A client that believes everything, and speaks one version if it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version == V1:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if ciphers:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(alpn)
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    return context


@dataclass
class Wire:
    """Two ends in one process; `up` and `down` are all octets that went each way."""

    client: ssl.SSLObject
    server: ssl.SSLObject
    ears: tuple[ssl.MemoryBIO, ssl.MemoryBIO]  # the server's: in, out
    mouth: tuple[ssl.MemoryBIO, ssl.MemoryBIO]  # the client's: in, out
    up: bytes = b""
    down: bytes = b""

    def shake(self, piece: int = 1 << 20) -> Wire:
        """Handshake and tickets; `piece` octets at a time reach the server.  Raises the end's error that came first."""
        done: set[ssl.SSLObject] = set()
        while len(done) < 2:
            moved = False
            for side in (self.client, self.server):
                if side not in done:
                    try:
                        side.do_handshake()
                        done.add(side)
                        moved = True
                    except ssl.SSLWantReadError:
                        pass
                    finally:
                        moved |= self.move(piece)
            assert moved or len(done) == 2, "both wait for the other"
        self.move(piece)
        with pytest.raises(ssl.SSLWantReadError):
            self.client.read(1)
        return self

    def move(self, piece: int = 1 << 20) -> bool:
        down = self.ears[1].read()
        self.mouth[0].write(down)
        self.down += down
        up = self.mouth[1].read(piece)
        self.ears[0].write(up)
        self.up += up
        while self.mouth[1].pending and piece < 1 << 20:  # the rest follows, one piece a step
            with pytest.raises(ssl.SSLWantReadError):
                self.server.do_handshake()
            up = self.mouth[1].read(piece)
            self.ears[0].write(up)
            self.up += up
        return bool(up or down)


def wire(
    server: ServerTls | ssl.SSLContext,
    context: ssl.SSLContext,
    host: str | None = "a.example",
    session: ssl.SSLSession | None = None,
) -> Wire:
    ears, mouth = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    end = server.wrap(*ears) if isinstance(server, ServerTls) else server.wrap_bio(*ears, server_side=True)
    return Wire(context.wrap_bio(*mouth, server_hostname=host, session=session), end, ears, mouth)


def shown(server: ServerTls, host: str | None, context: ssl.SSLContext | None = None) -> str:
    return shown_pin(wire(server, context or client(), host).shake().client)


def rsa_pair(path: Path, bits: int = 2048) -> Path:
    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    leaf = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day).sign(key, hashes.SHA256())
    path.write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return make(["a.example"], tmp_path)


# -- versions, options


@pytest.mark.parametrize("version", [V2, V3])
def test_modern_versions_pass(pem: Path, version: ssl.TLSVersion) -> None:
    both = wire(ServerTls("smtp", [pem]), client(version)).shake()
    assert VERSIONS[both.client.version() or ""] == version
    assert both.server.compression() is None
    assert both.server.context.options & ssl.OP_NO_RENEGOTIATION
    both.client.write(b"EHLO c.test\r\n")
    both.move()
    assert both.server.read() == b"EHLO c.test\r\n"


def test_old_versions_are_refused_by_default(pem: Path) -> None:
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        wire(ServerTls("smtp", [pem]), client(V1)).shake()


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_N9_old_version_works_for_its_own_context_alone(tmp_path: Path, kind: str) -> None:
    path = make(["a.example"], tmp_path) if kind == "ecdsa" else rsa_pair(tmp_path / "rsa.pem", 1024)
    old = ServerTls("smtp", [path], "TLSv1")
    assert wire(old, client(V1)).shake().client.version() == "TLSv1"
    assert wire(old, client()).shake().client.version() == "TLSv1.3"
    modern = ServerTls("smtp", [make(["b.example"], tmp_path)])
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        wire(modern, client(V1)).shake()


def wire_of(server: ServerTls, address: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Wire:
    """The ends of a client at this address."""
    ears, mouth = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    end = server.wrap_for(packed(address))(*ears)
    return Wire(context.wrap_bio(*mouth, server_hostname="a.example", session=session), end, ears, mouth)


def test_N9_old_clients_meet_a_context_of_their_own(pem: Path) -> None:
    server = ServerTls("smtp", [pem], old_clients=["10.0.5.0/24", "2001:db8::/64"])
    for address in ("10.0.5.7", "::ffff:10.0.5.7", "2001:db8::7"):
        assert wire_of(server, address, client(V1)).shake().client.version() == "TLSv1"
        assert wire_of(server, address, client()).shake().client.version() == "TLSv1.3"
    weak = client(V2, ciphers="ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    wire_of(server, "10.0.5.7", weak).shake()
    for address in ("10.0.6.7", "192.0.2.7", "2001:db8:0:1::7"):
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            wire_of(server, address, client(V1)).shake()
        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            wire_of(server, address, weak).shake()
        assert wire_of(server, address, client()).shake().client.version() == "TLSv1.3"


def test_N9_a_ticket_of_the_old_context_opens_nothing_in_the_other(pem: Path) -> None:
    server = ServerTls("smtp", [pem], old_clients=["10.0.5.0/24"])
    context = client(V2)
    first = wire_of(server, "10.0.5.7", context).shake()
    assert wire_of(server, "10.0.5.8", context, first.client.session).shake().client.session_reused
    assert not wire_of(server, "192.0.2.7", context, first.client.session).shake().client.session_reused


def test_N7_old_clients_come_and_go_by_a_reload(pem: Path) -> None:
    server = ServerTls("smtp", [pem])
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            wire_of(server, "10.0.5.7", client(V1)).shake()
        server.reload([pem], "TLSv1.2", ["10.0.5.0/24"])
        wire_of(server, "10.0.5.7", client(V1)).shake()
        server.reload([pem], "TLSv1.2")


def test_N9_old_clients_are_shown_the_rsa_certificate_and_others_the_first(tmp_path: Path) -> None:
    first, second = make(["a.example"], tmp_path), make(["a.example"], tmp_path, file="rsa.pem", for_old=True)
    server = ServerTls("smtp", [first, second], old_clients=["10.0.5.0/24"])
    assert shown_pin(wire_of(server, "192.0.2.7", client()).shake().client) == read(first).fingerprint
    assert shown_pin(wire_of(server, "10.0.5.7", client(V1)).shake().client) == read(second).fingerprint
    assert [one.path for one in server.certificates] == [first, second]
    # without elliptic curves and without Diffie-Hellman: the secret comes under the certificate's key
    plain = client(V1, ciphers="AES128-SHA:@SECLEVEL=0")
    assert (wire_of(server, "10.0.5.7", plain).shake().client.cipher() or ("",))[0] == "AES128-SHA"


def test_N9_short_key_is_refused_unless_old_is_wanted(tmp_path: Path) -> None:
    path = rsa_pair(tmp_path / "short.pem", 1024)
    with pytest.raises(ConfigError, match=r"short\.pem: OpenSSL does not take it: EE_KEY_TOO_SMALL"):
        ServerTls("smtp", [path])


def test_old_ciphers_go_with_the_old_version(pem: Path) -> None:
    server = ServerTls("smtp", [pem], "TLSv1")
    weak = client(V2, ciphers="ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    wire(server, weak).shake()
    server.reload([pem])
    wire(server, weak).shake()
    server.reload([pem], "TLSv1.2")
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        wire(server, weak).shake()
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        wire(server, client(V1)).shake()
    server.reload([pem], "TLSv1.3")
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        wire(server, client(V2)).shake()


def expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """The PRF of TLS 1.2 (RFC 5246 5)."""

    def mac(data: bytes) -> bytes:
        code = hmac.HMAC(secret, hashes.SHA256())
        code.update(data)
        return code.finalize()

    out, a = b"", seed
    while len(out) < size:
        a = mac(a)
        out += mac(a + seed)
    return out[:size]


def answer_to_renegotiation(server: ServerTls | ssl.SSLContext, log: Path) -> tuple[int, bytes]:
    """Sends a second ClientHello inside TLS 1.2, as `ssl` can't: type and content of the answer's record."""
    context = client(V2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    context.keylog_filename = str(log)
    both = wire(server, context).shake()
    master = bytes.fromhex(log.read_text().split()[-1])
    randoms = both.down[11:43] + both.up[11:43]
    keys = expand(master, b"key expansion" + randoms, 40)
    finished = both.client.get_channel_binding("tls-unique")
    assert finished is not None
    info = bytes((len(finished),)) + finished  # RFC 5746 3.5
    tail = (
        b"\xff\x01" + len(info).to_bytes(2) + info + bytes.fromhex("000d000400020403" + "000a000400020017" + "00170000")
    )
    body = b"\x03\x03" + os.urandom(32) + b"\0" + b"\0\2\xc0\x2b" + b"\1\0" + len(tail).to_bytes(2) + tail
    hello = b"\1" + len(body).to_bytes(3) + body

    def aad(kind: int, size: int) -> bytes:  # number 1: the Finished was 0
        return (1).to_bytes(8) + bytes((kind, 3, 3)) + size.to_bytes(2)

    sealed = bytes(8) + AESGCM(keys[:16]).encrypt(keys[32:36] + bytes(8), hello, aad(22, len(hello)))
    both.ears[0].write(b"\x16\3\3" + len(sealed).to_bytes(2) + sealed)
    with pytest.raises(ssl.SSLWantReadError):
        both.server.read(1)
    answer = both.ears[1].read()
    sealed = answer[5 : 5 + int.from_bytes(answer[3:5])]
    size = len(sealed) - 8 - 16
    return answer[0], AESGCM(keys[16:32]).decrypt(keys[36:40] + sealed[:8], sealed[8:], aad(answer[0], size))


def test_N9_renegotiation_is_refused(pem: Path, tmp_path: Path) -> None:
    no_renegotiation = bytes((1, 100))
    assert answer_to_renegotiation(ServerTls("smtp", [pem]), tmp_path / "a") == (21, no_renegotiation)
    # The same octets against a context that allows it: a ServerHello.  So it was not their form that was refused.
    naive = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    naive.options |= 0x100  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION: OpenSSL 3 refuses without being asked, 1.1.1 does not
    naive.load_cert_chain(pem)
    kind, content = answer_to_renegotiation(naive, tmp_path / "b")
    assert (kind, content[0]) == (22, 2)


# -- certificates by name


@pytest.mark.parametrize("version", [V2, V3])
def test_certificate_is_chosen_by_sni(tmp_path: Path, version: ssl.TLSVersion) -> None:
    names = [["a.example"], ["b.example", "c.example"], ["*.example", "*.d.example"], ["x.d.example"]]
    paths = [make(several, tmp_path) for several in names]
    server = ServerTls("smtp", paths)
    first, second, wild, exact = (certificate.fingerprint for certificate in server.certificates)
    for host, pin in [
        ("a.example", first),
        ("B.EXAMPLE", second),
        ("c.example", second),
        ("z.example", wild),
        ("z.d.example", wild),
        ("x.d.example", exact),
        ("y.z.d.example", first),  # a wildcard is one label
        ("example", first),
        ("other.test", first),
        ("192.0.2.1", first),
        (None, first),
    ]:
        assert shown(server, host, client(version)) == pin, host


def test_first_of_two_with_one_name_counts(tmp_path: Path) -> None:
    paths = [make(["a.example"], tmp_path, file=file) for file in ("1.pem", "2.pem")]
    assert shown(ServerTls("smtp", paths), "a.example") == read(paths[0]).fingerprint


def test_expired_certificate_is_shown(tmp_path: Path) -> None:
    server = ServerTls("smtp", [make(["a.example"], tmp_path, days=1, now=DAY)])
    assert shown(server, "a.example") == server.certificates[0].fingerprint
    assert server.certificates[0].expired(3 * DAY)


def test_every_bad_file_is_named(tmp_path: Path, pem: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ServerTls("smtp", [tmp_path / "x.pem", pem, tmp_path / "y.pem"])
    assert [re.match(r".*/([a-z.]+): no such file", line)[1] for line in caught.value.problems] == ["x.pem", "y.pem"]  # type: ignore[index]
    with pytest.raises(ConfigError, match="popgate certs make"):
        ServerTls("smtp", [])


# -- tickets and reload


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("host", ["a.example", "b.example", "other.test"])
def test_N7_tickets_outlive_a_reload(tmp_path: Path, version: ssl.TLSVersion, host: str) -> None:
    old = [make([name], tmp_path) for name in ("a.example", "b.example")]
    server = ServerTls("smtp", old)
    context = client(version)
    before = wire(server, context, host).shake().client
    assert not before.session_reused
    server.reload([make([name], tmp_path, file=f"new-{name}.pem") for name in ("a.example", "b.example")])
    assert wire(server, context, host, before.session).shake().client.session_reused
    assert shown(server, host, context) != shown_pin(before)


@pytest.mark.parametrize("version", [V2, V3])
def test_N7_ticket_of_one_worker_is_good_in_another(pem: Path, version: ssl.TLSVersion) -> None:
    server = ServerTls("smtp", [pem])
    context = client(version)
    session = wire(server, context).shake().client.session
    child = os.fork()
    if child == 0:
        reused = False
        try:
            server.reload([pem])
            reused = wire(server, context, session=session).shake().client.session_reused is True
        finally:
            os._exit(0 if reused else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("order", [("CHACHA20", "AES256"), ("AES256", "CHACHA20")])
def test_the_order_of_the_clients_ciphers_counts(pem: Path, order: tuple[str, str]) -> None:
    names = {"CHACHA20": "ECDHE-ECDSA-CHACHA20-POLY1305", "AES256": "ECDHE-ECDSA-AES256-GCM-SHA384"}
    both = wire(ServerTls("smtp", [pem]), client(V2, ciphers=":".join([names[one] for one in order]))).shake()
    cipher = both.server.cipher()
    assert cipher is not None
    assert cipher[0] == names[order[0]]


def test_one_ticket_is_given(pem: Path) -> None:
    both = wire(ServerTls("smtp", [pem]), client(V3))
    for side in (both.client, both.server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
        both.move()
    both.client.do_handshake()
    both.move()
    both.server.do_handshake()
    out = both.ears[1].read()
    assert len(out) == 5 + int.from_bytes(out[3:5]), "one record"


@pytest.mark.parametrize("version", [V2, V3])
def test_ticket_of_pop3_is_worthless_at_smtp(pem: Path, version: ssl.TLSVersion) -> None:
    pop3, smtp = ServerTls("pop3", [pem]), ServerTls("smtp", [pem])
    context = client(version)
    session = wire(pop3, context).shake().client.session
    assert wire(pop3, context, session=session).shake().client.session_reused
    assert not wire(smtp, context, session=session).shake().client.session_reused


def test_N7_bad_pair_changes_nothing(tmp_path: Path, pem: Path) -> None:
    server = ServerTls("smtp", [pem])
    before = server.certificates
    halves = [make([name], tmp_path).read_bytes().split(b"-----BEGIN PRIVATE") for name in ("b.example", "c.example")]
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(b"-----BEGIN PRIVATE".join((halves[0][0], halves[1][1])))
    fresh = make(["a.example"], tmp_path, file="fresh.pem")
    with pytest.raises(ConfigError, match="does not belong"):
        server.reload([fresh, mixed], "TLSv1")
    assert server.certificates == before
    assert shown(server, "a.example") == before[0].fingerprint
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        wire(server, client(V1)).shake()


def test_N7_certificate_of_another_kind_replaces_the_old_one(tmp_path: Path, pem: Path) -> None:
    server = ServerTls("smtp", [rsa_pair(tmp_path / "rsa.pem")])
    only_rsa = client(V2, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    wire(server, only_rsa).shake()
    server.reload([pem])
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):  # loaded into one context both would be shown
        wire(server, only_rsa).shake()


def test_N7_handshake_under_way_outlives_a_reload(tmp_path: Path, pem: Path) -> None:
    server = ServerTls("smtp", [pem])
    both = wire(server, client())
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    both.move()
    with pytest.raises(ssl.SSLWantReadError):
        both.server.do_handshake()
    server.reload([make(["a.example"], tmp_path, file="fresh.pem")])
    assert shown_pin(both.shake().client) == read(pem).fingerprint


# -- what the client asks for


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_S11_alpn_of_another_protocol_is_refused(pem: Path, version: ssl.TLSVersion, piece: int) -> None:
    both = wire(ServerTls("smtp", [pem]), client(version, alpn=["h2", "http/1.1"]))
    with pytest.raises(ssl.SSLError) as caught:
        both.shake(piece)
    assert caught.value.reason == "NO_APPLICATION_PROTOCOL"
    both.move()
    with pytest.raises(ssl.SSLError, match="alert no application protocol"):
        both.client.do_handshake()
    assert both.down == bytes((21, 3, 3, 0, 2, 2, 120))


def test_S11_refusal_stands_when_asked_again(pem: Path) -> None:
    both = wire(ServerTls("smtp", [pem]), client(alpn=["pop3"]))
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    both.move()
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match="ALPN"):
            both.server.do_handshake()


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("host", ["a.example", "b.example"])
def test_S11_alpn_of_our_protocol_is_taken(
    tmp_path: Path, pem: Path, version: ssl.TLSVersion, piece: int, host: str
) -> None:
    server = ServerTls("smtp", [pem, make(["b.example"], tmp_path)])
    both = wire(server, client(version, alpn=["http/1.1", "smtp"]), host).shake(piece)
    assert both.client.selected_alpn_protocol() == both.server.selected_alpn_protocol() == "smtp"
    assert wire(server, client(version), host).shake(piece).client.selected_alpn_protocol() is None


@pytest.mark.parametrize("front", [bytes((21, 3, 1, 0, 2, 1, 90)), bytes((22, 3, 1, 0, 0))])
def test_S11_record_in_front_does_not_hide_the_alpn(pem: Path, front: bytes) -> None:
    """A warning, an empty record: what a third party can put there without breaking the handshake."""
    both = wire(ServerTls("smtp", [pem]), client(alpn=["h2"]))
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    both.ears[0].write(front)
    both.move()
    with pytest.raises(ssl.SSLError) as caught:
        both.server.do_handshake()
    assert caught.value.reason == "UNEXPECTED_MESSAGE"
    assert both.ears[1].read() == bytes((21, 3, 3, 0, 2, 2, 10))


def test_S11_flood_behind_half_a_hello_does_not_hide_the_alpn(pem: Path) -> None:
    both = wire(ServerTls("smtp", [pem]), client(alpn=["h2"]))
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    hello = both.mouth[1].read()
    both.ears[0].write(hello + bytes(1 << 18))
    with pytest.raises(ssl.SSLError, match="ALPN"):
        both.server.do_handshake()
    both = wire(ServerTls("smtp", [pem]), client())
    both.ears[0].write(b"\x16\3\1\x40\0\1\xff\xff\xff" + bytes(1 << 18))
    with pytest.raises(ssl.SSLError, match="too long"):
        both.server.do_handshake()


def test_S11_largest_hello_is_judged_before_openssl_sees_it(pem: Path) -> None:
    alpn = bytes.fromhex("0010 0005 0003 02") + b"h2"
    fixed = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0"
    room = LIMIT - 4 - len(fixed) - 2 - len(alpn) - 4
    tail = b"\0\x15" + room.to_bytes(2) + bytes(room) + alpn  # padding, RFC 7685
    body = fixed + len(tail).to_bytes(2) + tail
    hello = b"\1" + len(body).to_bytes(3) + body
    both = wire(ServerTls("smtp", [pem]), client())
    for part in (hello[:-5], hello[-5:]):
        both.ears[0].write(b"\x16\3\1" + len(part).to_bytes(2) + part)
    with pytest.raises(ssl.SSLError) as caught:
        both.server.do_handshake()
    assert caught.value.reason == "NO_APPLICATION_PROTOCOL"


def test_garbage_is_refused_at_its_first_octet(pem: Path) -> None:
    both = wire(ServerTls("smtp", [pem]), client())
    both.ears[0].write(b"E")
    with pytest.raises(ssl.SSLError, match="not a TLS ClientHello"):
        both.server.do_handshake()


def test_sni_that_is_not_ascii_makes_no_noise(pem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = wire(ServerTls("smtp", [pem]), client())
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    both.ears[0].write(both.mouth[1].read().replace(b"a.example", b"\xff.example"))
    with pytest.raises(ssl.SSLError, match="SNI is not ASCII"):
        both.server.do_handshake()
    assert both.ears[1].read()[-1] == 112
    assert capsys.readouterr() == ("", "")


def test_N9_hello_in_the_form_of_sslv2_is_understood(tmp_path: Path) -> None:
    """As OpenSSL 0.9.8 sends it, offering TLS 1.0 and RSA with AES128-SHA."""
    both = wire(ServerTls("smtp", [rsa_pair(tmp_path / "rsa.pem")], "TLSv1"), client())
    body = b"\1\3\1" + bytes((0, 3, 0, 0, 0, 16)) + b"\0\0\x2f" + os.urandom(16)
    both.ears[0].write((0x8000 | len(body)).to_bytes(2) + body)
    with pytest.raises(ssl.SSLWantReadError):
        both.server.do_handshake()
    assert both.ears[1].read(3) == b"\x16\3\1"  # a ServerHello in TLS 1.0


def test_end_of_stream_in_the_first_message(pem: Path) -> None:
    both = wire(ServerTls("smtp", [pem]), client())
    with pytest.raises(ssl.SSLWantReadError):
        both.client.do_handshake()
    both.ears[0].write(both.mouth[1].read(20))
    both.ears[0].write_eof()
    with pytest.raises(ssl.SSLError):
        both.server.do_handshake()


# -- upstream


def naive_server(pem: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """An upstream server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    context.load_cert_chain(pem)
    return context


def connect(tls: UpstreamTls, pem: Path, host: str = "a.example", version: ssl.TLSVersion | None = None) -> Wire:
    """A handshake as the leg makes it, the check after it included; raises UpstreamUnavailable."""
    both = wire(naive_server(pem, version), tls.context, tls.server_hostname(host))
    try:
        both.shake()
    except ssl.SSLError as error:
        if error.reason and "ALERT" not in error.reason:  # it was ours
            raise tls.refused(error, both.client) from error
        both.move()
        with pytest.raises(ssl.SSLError) as caught:
            both.client.do_handshake()
        raise tls.refused(caught.value, both.client) from caught.value
    tls.check(both.client)
    return both


def test_N9_unknown_issuer_is_refused_with_a_cure(pem: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match=r"self-signed certificate; .*tls_pin") as caught:
        connect(upstream_context(), pem)
    if sys.version_info >= (3, 13):  # where `ssl` shows it, the pin stands in the message itself
        assert read(pem).fingerprint in str(caught.value)
    else:
        assert "popgate selftest" in str(caught.value)


def test_N9_tls_ca_file_and_folder(pem: Path, tmp_path: Path) -> None:
    connect(upstream_context(tls_ca=pem), pem)
    other = make(["a.example"], tmp_path, file="other.pem")
    with pytest.raises(UpstreamUnavailable, match="self-signed"):
        connect(upstream_context(tls_ca=other), pem)
    folder = tmp_path / "issuers"
    folder.mkdir()
    with pytest.raises(UpstreamUnavailable, match="self-signed"):
        connect(upstream_context(tls_ca=folder), pem)


def test_N9_a_pipe_is_no_tls_ca(tmp_path: Path) -> None:
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match=r"ca\.pem: is no regular file"):
        upstream_context(tls_ca=pipe)


def test_made_certificate_passes_the_strict_check_of_newer_pythons(pem: Path) -> None:
    tls = upstream_context(tls_ca=pem)
    tls.context.verify_flags |= ssl.VERIFY_X509_STRICT
    connect(tls, pem)


def test_N9_name_is_compared(pem: Path, tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="Hostname mismatch"):
        connect(upstream_context(tls_ca=pem), pem, "b.example")
    connect(upstream_context(tls_ca=pem, tls_name="a.example"), pem, "b.example")
    with pytest.raises(UpstreamUnavailable, match="IP address mismatch"):
        connect(upstream_context(tls_ca=pem), pem, "192.0.2.10")
    address = make(["192.0.2.10"], tmp_path)
    connect(upstream_context(tls_ca=address), address, "192.0.2.10")


def test_unix_socket_has_no_name_to_compare(pem: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="tls_name or tls_pin"):
        upstream_context(tls_ca=pem).server_hostname("")
    assert upstream_context(tls_verify=False).server_hostname("") is None
    assert upstream_context(tls_ca=pem, tls_name="a.example").server_hostname("") == "a.example"


def test_expired_upstream_certificate(tmp_path: Path) -> None:
    path = make(["a.example"], tmp_path, days=1, now=DAY)
    with pytest.raises(UpstreamUnavailable, match="certificate has expired"):
        connect(upstream_context(tls_ca=path), path)
    connect(upstream_context(tls_pin=read(path).fingerprint), path)
    connect(upstream_context(tls_verify=False), path, "other.test")


@pytest.mark.parametrize("version", [V2, V3])
@pytest.mark.parametrize("form", ["as shown", "openssl", "bare"])
def test_N9_pin_decides_alone(pem: Path, tmp_path: Path, version: ssl.TLSVersion, form: str) -> None:
    pin = read(pem).fingerprint
    digits = pin.removeprefix("sha256:")
    pairs = ":".join(re.findall("..", digits.upper()))
    tls = upstream_context(tls_pin={"as shown": pin, "openssl": pairs, "bare": digits}[form])
    connect(tls, pem, "some.other.name", version)
    other = make(["a.example"], tmp_path, file="other.pem")
    with pytest.raises(UpstreamUnavailable, match=f'tls_pin = "{read(other).fingerprint}"'):
        connect(tls, other, version=version)
    # neither a good issuer nor tls_verify = false opens what the pin closes
    for more in ({"tls_ca": other}, {"tls_verify": False}):
        with pytest.raises(UpstreamUnavailable, match="another certificate"):
            connect(upstream_context(tls_pin=pin, **more), other)  # type: ignore[arg-type]


@pytest.mark.parametrize("pin", ["sha256:", "sha256:" + "0" * 63, "sha1:" + "0" * 40, "0" * 65, "é" * 64])
def test_bad_pin_is_a_configuration_error(pin: str) -> None:
    with pytest.raises(ConfigError, match="tls_pin") as caught:
        upstream_context(tls_pin=pin)
    assert caught.value.problems[0].isascii()


def test_bad_tls_ca_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such\.pem: No such file"):
        upstream_context(tls_ca=tmp_path / "no-such.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigError, match="no certificate inside"):
        upstream_context(tls_ca=empty)


def test_N9_old_server_needs_the_old_minimum(tmp_path: Path) -> None:
    path = rsa_pair(tmp_path / "rsa.pem", 1024)
    with pytest.raises(UpstreamUnavailable, match='set tls_min_version = "TLSv1"'):
        connect(upstream_context(tls_verify=False), path, version=V1)
    old = upstream_context(tls_verify=False, tls_min_version="TLSv1")
    assert connect(old, path, version=V1).client.version() == "TLSv1"
    assert old.context.options & 0x4
    # made afterwards, and still strict
    modern = upstream_context(tls_verify=False)
    assert not modern.context.options & 0x4
    with pytest.raises(UpstreamUnavailable):
        connect(modern, path, version=V1)


def test_N9_selftest_sees_the_pin_of_what_is_refused(pem: Path) -> None:
    tls = upstream_context(tls_name="b.example")
    with pytest.raises(UpstreamUnavailable):
        connect(tls, pem)
    for version in (V1, V2, V3):
        both = connect(tls.unverified(), pem, version=version)
        assert shown_pin(both.client) == read(pem).fingerprint
    assert tls.unverified().server_hostname("a.example") == "b.example"


def test_other_failures_are_told_without_a_wrong_cure(pem: Path) -> None:
    tls = upstream_context()
    both = wire(naive_server(pem), tls.context)
    both.mouth[0].write(b"220 mail.example ESMTP\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        both.client.do_handshake()
    told = str(tls.refused(caught.value, both.client))
    assert told == "TLS with the server failed: wrong version number"
    assert "bio" in str(tls.refused(ssl.SSLError(1, "bio closed"), both.client))
