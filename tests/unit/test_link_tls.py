"""net/link/link.py under TLS: STLS and STARTTLS, implicit TLS, TLS towards the upstream (reference: rules S11, P6)."""

from __future__ import annotations

import socket
import ssl
import warnings
from typing import TYPE_CHECKING

import pytest

from proxy.certificates import fingerprint
from proxy.net.tls.contexts import VERSIONS, ServerTls, upstream_context
from proxy.net.upstream.upstream import Server

from ..support.gate import Gate
from ..support.workshop import TlsPeer, Workshop, refused_port

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.workshop import Peer

STARTERS = {"pop3": (b"STLS\r\n", b"+OK Begin TLS\r\n"), "smtp": (b"STARTTLS\r\n", b"220 2.0.0 Ready to start TLS\r\n")}


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=["pop3", "smtp"])
def gate(workshop: Workshop, request: pytest.FixtureRequest, certificate: Path) -> Gate:
    gate = Gate(workshop, request.param)
    gate.stls = True
    gate.tls = ServerTls(request.param, [certificate])
    return gate


def start_tls(gate: Gate, behind: bytes = b"") -> Peer:
    """Greeting, EHLO where it is SMTP, and the command; `behind` goes in its segment."""
    client, _ = gate.greet()
    if gate.protocol == "smtp":
        gate.say_ehlo()
    command, reply = STARTERS[gate.protocol]
    client.send(command + behind)
    if not behind:
        gate.gets(client, reply)
    return client


@pytest.mark.parametrize(("version", "needs"), [("TLSv1", ["TLSv1"]), ("TLSv1.2", []), ("TLSv1.3", [])])
def test_a_login_under_old_tls_is_noted_for_the_report(
    workshop: Workshop, certificate: Path, version: str, needs: list[str]
) -> None:
    gate = Gate(workshop, "pop3")
    gate.stls, gate.tls = True, ServerTls("pop3", [certificate], "TLSv1")
    context = trusting()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]
    client = TlsPeer(start_tls(gate), context)
    gate.until(client.shake)
    client.send(b"USER anna\r\n")
    gate.talk((">U", b"USER anna\r\n"), ("U", b"+OK\r\n"))
    gate.gets(client, b"+OK\r\n")
    client.send(b"PASS secret\r\n")
    gate.talk((">U", b"PASS secret\r\n"), ("U", b"+OK logged in\r\n"))
    gate.gets(client, b"+OK logged in\r\n")
    assert [one.need for one in gate.notes.take()] == needs


def test_tls_comes_up_and_the_dialogue_goes_on_inside(gate: Gate) -> None:
    client = TlsPeer(start_tls(gate), trusting())
    gate.until(client.shake)
    if gate.protocol == "pop3":
        client.send(b"USER anna\r\n")
        gate.gets(gate.up, b"USER anna\r\n")
        gate.up.send(b"+OK\r\n")
        gate.gets(client, b"+OK\r\n")
    else:
        client.send(b"EHLO again\r\n")
        gate.gets(gate.up, b"EHLO again\r\n")
        gate.up.send(b"250 legacy\r\n")
        gate.until(lambda: client.look().endswith(b"\r\n"))
        assert b"STARTTLS" not in client.got
    client.peer.close()
    gate.up.close()
    assert gate.end()["tls"].startswith("TLSv1.")


@pytest.mark.parametrize("behind", [b"USER al", b"RSET\r\n", b"USER anna\r\nPASS secret\r\n"])
def test_S11_P6_octets_in_the_clear_behind_it_close_the_connection(gate: Gate, behind: bytes) -> None:
    client = start_tls(gate, behind)
    gate.until(client.ended)
    gate.until(gate.up.ended)
    assert gate.up.got[gate.up.told :] == b"", "the upstream sees nothing of it"
    client.close()
    assert "in the clear" in gate.end()["why"] or "sent more" in gate.workshop.log.of("end")[0]["why"]


def test_S11_octets_in_the_clear_in_a_later_segment_end_the_handshake(gate: Gate) -> None:
    client = start_tls(gate)
    client.send(b"RSET\r\nUSER anna\r\nPASS secret\r\n")
    gate.until(client.ended)
    gate.until(gate.up.ended)
    assert gate.up.got[gate.up.told :] == b""
    client.close()
    assert "TLS handshake failed" in gate.end()["why"]


@pytest.mark.parametrize("farewell", [b"", b"421 bye\r\n", b"250 what\r\n"])
def test_S11_P6_an_upstream_that_leaves_meanwhile_is_told_of_inside_of_tls(gate: Gate, farewell: bytes) -> None:
    if gate.protocol == "pop3":
        farewell = farewell.replace(b"421", b"-ERR").replace(b"250", b"+OK")
    start_tls(gate)
    if farewell:
        gate.up.send(farewell)
    gate.up.close()
    gate.workshop.turns(5)
    assert gate.client.look()[gate.client.told :] == b"", "nothing in the clear"
    client = TlsPeer(gate.client, trusting())
    gate.until(client.shake)
    gate.until(lambda: client.look().endswith(b"\r\n"))
    if b"bye" in farewell:
        assert client.got == farewell
    else:
        assert client.got.startswith((b"421 4.", b"-ERR [SYS/TEMP]"))
    gate.until(gate.client.ended)
    client.peer.close()
    assert gate.end()["why"].startswith("upstream")


def test_S11_P6_an_upstream_that_leaves_and_a_handshake_that_does_not_end(gate: Gate) -> None:
    client = start_tls(gate)
    gate.up.close()
    gate.workshop.turns(5)
    gate.workshop.advance(30.0)
    gate.until(client.ended)
    assert client.got[client.told :] == b""
    client.close()
    assert "too slow in the TLS handshake" in gate.end()["why"]


def test_a_handshake_that_does_not_end_is_closed_by_its_own_limit(gate: Gate) -> None:
    client = start_tls(gate)
    client.send(b"\x16\x03\x01")
    gate.workshop.turns(5)
    gate.workshop.advance(29.0)
    gate.workshop.turns(5)
    assert not client.ended()
    gate.workshop.advance(1.0)
    gate.until(client.ended)
    assert client.got[client.told :] == b"", "no line in the clear into a handshake"


@pytest.mark.parametrize("how", ["whole", "octets"])
def test_implicit_tls_comes_before_the_upstream_is_called(gate: Gate, how: str) -> None:
    gate.implicit = True
    client = TlsPeer(gate.open(), trusting())
    gate.workshop.rest(0.01)
    with pytest.raises(BlockingIOError):
        gate.server.accept()
    if how == "octets":
        with pytest.raises(ssl.SSLWantReadError):
            client.side.do_handshake()
        for octet in client._out.read():
            client.peer.send(bytes((octet,)))
            gate.workshop.turns(2)
    gate.until(client.shake)
    gate.up = gate.accepted()
    greeting = b"+OK hi\r\n" if gate.protocol == "pop3" else b"220 hi\r\n"
    gate.up.send(greeting)
    gate.gets(client, greeting)


def test_implicit_tls_silent_client_is_closed(gate: Gate) -> None:
    gate.implicit = True
    client = gate.open()
    gate.workshop.advance(30.0)
    gate.until(client.ended)
    assert client.got == b""


def test_implicit_tls_client_that_leaves_at_once_is_a_health_check(gate: Gate) -> None:
    gate.implicit = True
    gate.open().close()
    gate.end()
    assert [level for level, _, _, _ in gate.workshop.log.lines] == ["debug"]


def test_implicit_tls_client_that_speaks_in_the_clear(gate: Gate) -> None:
    gate.implicit = True
    client = gate.open()
    client.send(b"EHLO c.test\r\n")
    gate.until(client.ended)
    client.close()
    assert "TLS handshake failed" in gate.end()["why"]


# Towards the upstream

OPENINGS = {
    "pop3": [(b"+OK hi <1@u>\r\n", b"STLS\r\n"), (b"+OK go\r\n", b"")],
    "smtp": [(b"220 hi\r\n", b"EHLO "), (b"250-hi\r\n250 STARTTLS\r\n", b"STARTTLS\r\n"), (b"220 go\r\n", b"")],
}


@pytest.fixture
def behind(gate: Gate, certificate: Path) -> Gate:
    """The upstream speaks TLS after STARTTLS; anything is trusted."""
    gate.upstream_tls = upstream_context(tls_verify=False)
    return gate


def opened(gate: Gate) -> None:
    """The opening up to the consent to TLS; all of it is seen by the upstream alone."""
    gate.open()
    gate.up = gate.accepted()
    for said, answer in OPENINGS[gate.protocol]:
        gate.up.send(said)
        gate.until(lambda answer=answer: answer in gate.up.look())
    assert gate.client.look() == b""


def test_upstream_tls_by_a_command_and_the_greeting_comes_after(behind: Gate, certificate: Path) -> None:
    opened(behind)
    before = len(behind.up.got)
    up = TlsPeer(behind.up, serving(certificate), server=True)
    up._seen = max(0, behind.up.got.find(b"\x16\x03", 0)) if b"\x16\x03" in behind.up.got else before
    behind.until(up.shake)
    behind.gets(behind.client, OPENINGS[behind.protocol][0][0])
    behind.client.send(b"NOOP\r\n")
    behind.gets(up, b"NOOP\r\n")
    reply = b"+OK\r\n" if behind.protocol == "pop3" else b"250 ok\r\n"
    up.send(reply)
    behind.gets(behind.client, reply)


@pytest.mark.parametrize("same_segment", [True, False])
def test_B12_replies_injected_behind_the_consent_are_never_believed(behind: Gate, same_segment: bool) -> None:
    *first, (consent, _) = OPENINGS[behind.protocol]
    behind.open()
    behind.up = behind.accepted()
    for said, answer in first:
        behind.up.send(said)
        behind.until(lambda answer=answer: answer in behind.up.look())
    injected = b"+OK logged in\r\n" if behind.protocol == "pop3" else b"250-evil\r\n250 AUTH PLAIN\r\n"
    if same_segment:
        behind.up.send(consent + injected)
    else:
        behind.up.send(consent)
        behind.workshop.turns(5)
        behind.up.send(injected)
    behind.until(behind.client.ended)
    assert b"evil" not in behind.client.got
    assert b"logged in" not in behind.client.got
    assert behind.client.got[:4] in (b"421 ", b"-ERR")
    assert behind.workshop.log.of("upstream-failed")


@pytest.mark.parametrize("answer", [b"454 no\r\n", b"502 what\r\n", b"354 data\r\n", b"-ERR no\r\n", b"garbage\r\n"])
def test_B13_an_upstream_that_refuses_tls_is_not_used_without(behind: Gate, answer: bytes) -> None:
    *first, _ = OPENINGS[behind.protocol]
    behind.open()
    behind.up = behind.accepted()
    for said, command in first:
        behind.up.send(said)
        behind.until(lambda command=command: command in behind.up.look())
    behind.up.send(answer)
    behind.until(behind.client.ended)
    assert behind.client.got[:4] in (b"421 ", b"-ERR")
    behind.until(behind.up.ended)


def test_implicit_tls_towards_the_upstream(gate: Gate, certificate: Path) -> None:
    gate.upstream_tls, gate.upstream_implicit = upstream_context(tls_verify=False), True
    gate.open()
    up = TlsPeer(gate.accepted(), serving(certificate), server=True)
    gate.until(up.shake)
    greeting = b"+OK hi\r\n" if gate.protocol == "pop3" else b"220 hi\r\n"
    up.send(greeting)
    gate.gets(gate.client, greeting)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_is_checked_against_the_configured_host(gate: Gate, certificate: Path, name: str) -> None:
    gate.upstream_tls, gate.upstream_implicit = upstream_context(tls_ca=certificate), True
    gate.servers = [Server(name, gate.server.getsockname()[1])]
    gate.open()
    up = TlsPeer(gate.accepted(), serving(certificate), server=True)
    gate.until(up.shake)
    greeting = b"+OK hi\r\n" if gate.protocol == "pop3" else b"220 hi\r\n"
    up.send(greeting)
    gate.gets(gate.client, greeting)


def test_another_pin_is_refused_with_the_pin_to_paste(gate: Gate, certificate: Path) -> None:
    gate.upstream_tls, gate.upstream_implicit = upstream_context(tls_pin="sha256:" + "0" * 64), True
    gate.open()
    up = TlsPeer(gate.accepted(), serving(certificate), server=True)
    gate.until(lambda: up.shake() and gate.client.ended())
    assert gate.client.got[:4] in (b"421 ", b"-ERR")
    der = ssl.PEM_cert_to_DER_cert(_first_certificate(certificate))
    assert fingerprint(der) in gate.workshop.log.of("upstream-failed")[0]["why"]


def _first_certificate(path: Path) -> str:
    text = path.read_text()
    start = text.index("-----BEGIN CERTIFICATE-----")
    return text[start : text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")] + "\n"


def test_a_unix_socket_without_a_name_to_check_is_refused_and_not_compared_with_something(
    gate: Gate, tmp_path: Path, certificate: Path
) -> None:
    """`tls_verify` with no name: the next server is tried, here there is none."""
    path = str(tmp_path / "up.sock")
    server = gate.workshop.keep(socket.socket(socket.AF_UNIX))
    server.bind(path)
    server.listen()
    gate.upstream_tls, gate.upstream_implicit = upstream_context(tls_ca=certificate), True
    gate.servers = [Server("", 0, path)]
    gate.open()
    gate.until(gate.client.ended)
    assert gate.client.got[:4] in (b"421 ", b"-ERR")
    assert "no host name" in gate.workshop.log.of("upstream-failed")[0]["why"]


def test_failover_from_a_server_that_is_down_to_one_with_tls(gate: Gate, certificate: Path) -> None:
    gate.upstream_tls, gate.upstream_implicit = upstream_context(tls_verify=False), True
    gate.servers.insert(0, Server("127.0.0.1", refused_port()))
    gate.open()
    up = TlsPeer(gate.accepted(), serving(certificate), server=True)
    gate.until(up.shake)
