"""proxy/selftest/servers.py and talk.py: reaching a server, TLS as configured, and servers that misbehave, in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from proxy.certificates import make, read
from proxy.selftest import servers
from proxy.wire import proxyheader
from proxy.wire.address import packed
from tests.support.legacy import Call, Legacy, greets, silent
from tests.support.selftest import pop3, smtp, visited

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.wire.proxyheader import ProxyHeader
    from tests.support.legacy import Play

SHORT = 0.3  # seconds of connect_timeout for servers that never answer
YES = "ok relays for our address"


@pytest.fixture(scope="module")
def context(certificate: Path) -> ssl.SSLContext:
    """TLS for an old server."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


def test_it_is_reached(certificate: Path) -> None:
    with Legacy(smtp()) as legacy:
        found = visited(legacy)
    assert found["reachable"][0].startswith("ok connected in ")
    assert found["TLS"] == ["ok off: everything goes in the clear"]


def test_nobody_listens() -> None:
    legacy = Legacy(silent)
    legacy.close()
    assert visited(legacy)["reachable"] == ["FAIL no connection: Connection refused"]


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with Legacy(silent) as legacy:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        found = visited(legacy, host="nowhere.invalid")
    assert found["reachable"] == ["FAIL no address of nowhere.invalid: Name or service not known"]


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with Legacy(smtp()) as legacy, socket.socket() as dead:
        dead.bind(("127.0.0.9", 0))
        real = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.9", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: real)
        found = visited(legacy, host="two.test")
    assert found["reachable"][0] == "warn 127.0.0.9: no connection: Connection refused; its next address is tried"
    assert found["reachable"][1].startswith("ok connected to 127.0.0.1 in ")
    assert found["relaying"][0].startswith(YES)


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0"])
def test_N10_an_upstream_that_is_popgate_itself_is_not_even_connected_to(bind: str) -> None:
    with Legacy(silent) as legacy:
        found = visited(legacy, ours=frozenset({(bind, legacy.address[1])}))
        assert found["reachable"] == [
            "FAIL popgate itself listens there: a loop; give the mail server's own address",
        ]
        assert legacy.calls == []


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_a_server_that_never_speaks(protocol: str) -> None:
    begun = time.monotonic()
    with Legacy(silent) as legacy:
        found = visited(legacy, protocol, connect_timeout=SHORT)  # type: ignore[arg-type]
    assert found["greeting"] == ['FAIL no greeting within 300ms; if it is waiting for TLS: tls = "implicit"']
    assert time.monotonic() - begun < 10


def test_a_trickle_does_not_stretch_the_time() -> None:
    async def trickle(call: Call) -> None:
        with contextlib.suppress(ConnectionError):
            while not call.reader.at_eof():
                await call.say(b"2")
                await asyncio.sleep(SHORT / 10)

    with Legacy(trickle) as legacy:
        found = visited(legacy, connect_timeout=SHORT)
    assert found["greeting"][0].startswith("FAIL no greeting within 300ms")


def test_a_server_that_is_slow_in_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "VISIT", 0.25)
    with Legacy(greets(b"220 hello\r\n")) as legacy:
        found = visited(legacy, connect_timeout=4.0)
    assert found["EHLO"] == ["FAIL too slow: given up after 1s in all"]


@pytest.mark.parametrize("line", [b"220-" + b"x" * 200 + b"\r\n", b"x" * 65536, b"220 a\r\n"])
@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_a_flood_is_cut_off(protocol: str, line: bytes) -> None:
    async def flood(call: Call) -> None:
        while True:
            await call.say(line)

    with Legacy(flood) as legacy:
        found = visited(legacy, protocol)  # type: ignore[arg-type]
    last = list(found.values())[-1][-1]
    # which line of the flood answers what is a matter of timing, so the last case has two ends
    refused = 'FAIL HELO is refused as well: "220 a"'
    assert last.startswith((f"FAIL does not speak {protocol.upper()} as popgate takes it: ", refused))


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad\r\n\r\n", b"220 bare\n", b"22\r\n", b"\0\xff\r\n"])
def test_nonsense_is_a_line(nonsense: bytes) -> None:
    with Legacy(greets(nonsense)) as legacy:
        assert visited(legacy)["greeting"][0].startswith("FAIL does not speak SMTP as popgate takes it: ")


def test_a_reset_is_a_line() -> None:
    async def cut(call: Call) -> None:
        await call.say(b"220 hello\r\n")
        await call.line()
        call.reset()

    with Legacy(cut) as legacy:
        (line,) = visited(legacy)["EHLO"]
    assert line.startswith("FAIL no answer to EHLO ")
    assert line.endswith(("Connection reset by peer", "it hung up"))


# -- TLS


def plays(tls: ssl.SSLContext) -> dict[str, Play]:
    return {"smtp": smtp({b"STARTTLS": b"220 go\r\n"}, tls), "pop3": pop3(tls=tls)}


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_tls_as_configured(protocol: str, mode: str, certificate: Path, context: ssl.SSLContext) -> None:
    implicit = context if mode == "implicit" else None
    with Legacy(plays(context)[protocol], implicit) as legacy:
        found = visited(legacy, protocol, tls=mode, tls_ca=certificate, tls_name="mail.example.com")  # type: ignore[arg-type]
    assert found["TLS"][0].startswith(f'ok {mode}, TLSv1.3, certificate of "mail.example.com", 82')
    assert found["TLS"][0].endswith(" days left")
    assert list(found)[-1] in ("relaying", "password")
    assert found[list(found)[-1]][0].startswith("ok ")


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_N9_a_refused_certificate_shows_the_pin_and_nothing_is_said_over_it(
    protocol: str, mode: str, certificate: Path, context: ssl.SSLContext
) -> None:
    implicit = context if mode == "implicit" else None
    with Legacy(plays(context)[protocol], implicit) as legacy:
        found = visited(legacy, protocol, tls=mode)  # type: ignore[arg-type]
        # under implicit TLS a refused handshake never becomes a call
        assert all(call.ended.wait(10) for call in legacy.calls)
        assert not any(b"USER" in call.received or b"MAIL" in call.received for call in legacy.calls)
        assert mode == "starttls" or all(call.received == b"" for call in legacy.calls)
    failed, shown = found["TLS"]
    assert failed.startswith("FAIL the certificate is refused: self")
    assert shown.startswith('warn unchecked, it shows TLSv1.3, certificate of "mail.example.com", 82')
    assert f'tls_pin = "{read(certificate).fingerprint}" would trust it' in shown
    assert list(found)[-1] == "TLS"


def test_N9_the_pin_that_was_shown_is_trusted(certificate: Path, context: ssl.SSLContext) -> None:
    with Legacy(smtp(), context) as legacy:
        found = visited(legacy, tls="implicit", tls_pin=read(certificate).fingerprint)
    assert found["relaying"][0].startswith(YES)


def test_N9_another_certificate_than_the_pinned_one(certificate: Path, context: ssl.SSLContext) -> None:
    with Legacy(smtp(), context) as legacy:
        found = visited(legacy, tls="implicit", tls_pin="sha256:" + "0" * 64)
        assert legacy.call().received == b""
    (line,) = found["TLS"]
    assert line.startswith("FAIL the server shows another certificate")
    assert read(certificate).fingerprint in line


def test_an_unverified_certificate_is_a_warning(context: ssl.SSLContext) -> None:
    with Legacy(smtp(), context) as legacy:
        found = visited(legacy, tls="implicit", tls_verify=False)
    assert found["TLS"][0].startswith("warn implicit, TLSv1.3")
    assert found["TLS"][0].endswith("not verified (tls_verify = false)")


@pytest.mark.parametrize(("age", "words"), [(100, "expired 10 days ago"), (80, "10 days left")])
def test_a_certificate_near_its_end_is_a_warning(tmp_path: Path, age: int, words: str) -> None:
    path = make(["mail.example.com"], tmp_path, days=90, now=time.time() - age * 86400)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    with Legacy(smtp(), tls) as legacy:
        found = visited(legacy, tls="implicit", tls_pin=read(path).fingerprint)
    assert found["TLS"] == [f'warn implicit, TLSv1.3, certificate of "mail.example.com", {words}']


@pytest.mark.parametrize(
    ("protocol", "answers", "text"),
    [
        ("smtp", {b"EHLO": b"250 old\r\n"}, 'FAIL tls = "starttls", but it does not offer STARTTLS;'),
        ("smtp", {b"STARTTLS": b"454 not now\r\n"}, 'FAIL STARTTLS is offered and refused: "454 not now"'),
        ("smtp", {b"STARTTLS": b"220 go\r\n250 x\r\n"}, "in the clear behind its answer to STARTTLS"),
        ("pop3", {b"STLS": b"-ERR no\r\n"}, 'FAIL tls = "starttls", but STLS is refused: "-ERR no"'),
        ("pop3", {b"STLS": b"+OK\r\n+OK\r\n"}, "in the clear behind its answer to STLS"),
    ],
)
def test_a_starttls_that_is_not_to_be_had(protocol: str, answers: dict[bytes, bytes], text: str) -> None:
    with Legacy({"smtp": smtp, "pop3": pop3}[protocol](answers)) as legacy:
        (line,) = visited(legacy, protocol, tls="starttls")["TLS"]  # type: ignore[arg-type]
        assert not any(verb in legacy.call().received for verb in (b"MAIL", b"USER"))
    assert text in line


def test_a_server_in_the_clear_behind_implicit() -> None:
    with Legacy(smtp()) as legacy:
        found = visited(legacy, tls="implicit")
    assert found["TLS"] == ['FAIL it speaks in the clear here; try tls = "starttls" or "off"']


def test_a_handshake_that_never_comes() -> None:
    with Legacy(silent) as legacy:
        found = visited(legacy, tls="implicit", connect_timeout=SHORT)
    assert found["TLS"] == ["FAIL no TLS handshake within 300ms"]


def test_an_unusable_tls_ca_is_a_line(tmp_path: Path) -> None:
    with Legacy(silent) as legacy:
        found = visited(legacy, tls="implicit", tls_ca=tmp_path / "none.pem")
    assert found["TLS"][0].startswith("FAIL tls_ca: ")


def test_a_unix_socket(tmp_path: Path) -> None:
    # no script listens there: that the path is tried is enough
    from proxy.config.endpoint import Endpoint
    from proxy.config.schema import Upstream
    from proxy.selftest.servers import Server, visit

    end = Endpoint("", 0, str(tmp_path / "lmtp"))
    findings = asyncio.run(visit(Server(Upstream("x", (end,)), end, "smtp", (), False, frozenset())))
    ((level, line),) = findings.lines()
    assert level == "FAIL"
    assert line.endswith("reachable     no connection: No such file or directory")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_S12_a_server_that_expects_a_header_gets_popgate_s_own_address(version: str) -> None:
    heard: list[ProxyHeader | None] = []

    async def play(call: Call) -> None:
        data = b""
        while (header := proxyheader.read(data)) is None:
            data += await call.reader.read(1)
        heard.append(header)
        await smtp()(call)

    with Legacy(play) as old:
        found = visited(old, send_proxy=version, source="127.9.8.7")
        assert found["greeting"][0].startswith("ok")
    assert heard[0] is not None
    assert heard[0].source is not None
    assert heard[0].source[0] == packed("127.9.8.7")
    assert heard[0].destination == (packed("127.0.0.1"), old.address[1])
