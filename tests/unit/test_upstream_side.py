"""net/link/upstream_side.py: who is announced to the upstream, and the move to an unannounced connection (rule S12).

With real sockets on both sides; the dialogues themselves are in tests/transcripts/smtp/S12-*.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.endpoint import CLIENT as SOURCE
from proxy.errors import StoreUnavailable
from proxy.net.upstream.announcement import Announcing, endpoint
from proxy.net.upstream.upstream import ORIGINAL, UNANNOUNCED, Server
from proxy.wire.address import packed
from proxy.wire.proxyheader import Endpoint, read, tls_tlv

from ..support.gate import CLIENT, Gate, SlowStore
from ..support.needs import need
from ..support.workshop import Peer, TlsPeer, Workshop, refused_port

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN, LOCAL = b"RCPT TO:<x@far.test>\r\n", b"RCPT TO:<u@local.test>\r\n"
V1 = Announcing(proxy="v1")


@pytest.fixture
def smtp(workshop: Workshop) -> Gate:
    gate = Gate(workshop, "smtp")
    gate.announcing = V1
    return gate


@pytest.fixture
def pop(workshop: Workshop) -> Gate:
    gate = Gate(workshop, "pop3")
    gate.announcing = V1
    return gate


def grant(gate: Gate, seconds: float = 1800.0, address: str = CLIENT) -> None:
    gate.workshop.run(lambda: gate.store.grant(packed(address), "anna", "pop3", seconds, lambda problem: None))


def shown(gate: Gate, up: Peer) -> Endpoint:
    """The client that the PROXY header names, which is taken out of what the server got."""
    gate.until(lambda: read(bytes(up.look())) if up.look() else None)
    header = read(bytes(up.got))
    assert header is not None
    assert header.source is not None
    del up.got[: header.size]
    return header.source


def connect(gate: Gate, address: str = CLIENT) -> Endpoint:
    """A client connects and is greeted; whom the upstream was shown."""
    gate.open(address)
    gate.up = gate.accepted()
    source = shown(gate, gate.up)
    gate.talk(("U", b"220 legacy\r\n"), (">C", b"220 legacy\r\n"))
    return source


def is_popgate(gate: Gate, source: Endpoint) -> bool:
    return source == endpoint(gate.up.sock.getpeername())


def test_S12_a_stranger_is_announced(smtp: Gate) -> None:
    source = connect(smtp)
    assert source[0] == packed(CLIENT)
    assert source[1] == smtp.client.sock.getsockname()[1]
    smtp.client.close()
    assert smtp.end()["announced"] == "yes"


def test_S12_who_has_a_lease_is_not(smtp: Gate) -> None:
    grant(smtp)
    assert is_popgate(smtp, connect(smtp))
    smtp.client.close()
    assert smtp.end()["announced"] == "no"


def test_S12_a_trusted_network_is_not(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp", store=SlowStore())
    gate.announcing, gate.trusted = V1, ["192.0.2.0/24"]
    assert is_popgate(gate, connect(gate))
    assert gate.store.questions == [], "and the store is not asked"


def test_S12_store_down_is_announced(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp", store=SlowStore())
    gate.announcing = V1
    gate.open()
    gate.until(lambda: gate.store.questions)
    gate.workshop.run(lambda: gate.store.questions[0][1](StoreUnavailable("busy")))
    assert shown(gate, gate.accepted())[0] == packed(CLIENT)


def test_S12_not_configured_nothing_is_asked_and_nothing_changes(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp", store=SlowStore())
    gate.greet()
    assert gate.store.questions == []
    assert gate.link.upstream.ends is None
    assert gate.up.look() == b""
    gate.client.close()
    assert "announced" not in gate.end()


def test_S12_a_client_that_leaves_while_it_is_asked_has_no_upstream(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp", store=SlowStore())
    gate.announcing = V1
    gate.open()
    gate.until(lambda: gate.store.questions)
    gate.client.close()
    gate.end()
    gate.workshop.run(lambda: gate.store.questions[0][1](StoreUnavailable("busy")))
    gate.workshop.turns(5)
    with pytest.raises(BlockingIOError):
        gate.server.accept()


def test_S12_pop3_clients_are_always_announced(pop: Gate) -> None:
    grant(pop)
    pop.open()
    pop.up = pop.accepted()
    assert shown(pop, pop.up)[0] == packed(CLIENT)
    pop.talk(("U", b"+OK hi\r\n"), (">C", b"+OK hi\r\n"))


def test_S12_always_announces_everyone_and_never_moves(smtp: Gate) -> None:
    smtp.announcing = Announcing(proxy="v1", always=True)
    grant(smtp)
    assert connect(smtp)[0] == packed(CLIENT)
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.talk(("C", FOREIGN), (">U", FOREIGN))


@pytest.mark.parametrize("leased", [True, False])
def test_S12_G12_in_shadow_the_server_decides_as_if_popgate_were_not_there(smtp: Gate, leased: bool) -> None:
    smtp.rules["mode"] = "shadow"
    if leased:
        grant(smtp)
    assert connect(smtp)[0] == packed(CLIENT)
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.talk(("C", FOREIGN), (">U", FOREIGN))


@pytest.mark.parametrize("leased", [True, False])
def test_S12_always_with_xclient_tells_the_login_of_a_lease(smtp: Gate, leased: bool) -> None:
    smtp.announcing = Announcing(xclient=True, always=True)
    if leased:
        grant(smtp)
    smtp.open()
    smtp.up = up = smtp.accepted()
    up.send(b"220 one\r\n")
    smtp.until(lambda: up.look().endswith(b"\n"))
    up.told = len(up.got)
    up.send(b"250-mail\r\n250 XCLIENT ADDR LOGIN\r\n")
    smtp.gets(up, b"XCLIENT ADDR=192.0.2.7%b\r\n" % (b" LOGIN=anna" if leased else b""))
    smtp.talk(("U", b"220 two\r\n"), (">C", b"220 two\r\n"))


def test_S12_the_client_s_tls_is_told(smtp: Gate, certificate: Path) -> None:
    from proxy.net.tls.contexts import ServerTls

    smtp.announcing, smtp.implicit = Announcing(proxy="v2"), True
    smtp.tls = ServerTls("smtp", [certificate])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secure = TlsPeer(smtp.open(), context)
    smtp.until(secure.shake)
    up = smtp.accepted()
    smtp.until(lambda: read(bytes(up.look())) if up.look() else None)
    header = read(bytes(up.got))
    assert header is not None
    cipher = secure.side.cipher()
    assert cipher is not None
    assert header.tlvs == (tls_tlv("TLSv1.3", cipher[0]),)


# The login comes later


def begun(gate: Gate, *, login: bool = True) -> None:
    """A stranger has said MAIL on an announced connection, and then has a lease."""
    assert connect(gate)[0] == packed(CLIENT)
    gate.say_ehlo()
    gate.start_mail()
    if login:
        grant(gate)


def replay(gate: Gate, old: Peer, hello: bytes = b"250-legacy\r\n250 PIPELINING\r\n") -> None:
    """The server's side of the new connection, up to the reply to MAIL, which is left to the test."""
    gate.up = gate.accepted()
    assert is_popgate(gate, shown(gate, gate.up))
    gate.talk(("U", b"220 again\r\n"), (">U", b"EHLO c.test\r\n"), ("U", hello))
    gate.gets(gate.up, b"MAIL FROM:<a@s.test>\r\n")
    assert old.look()[old.told :] == b"", "the old connection stays until there is a new one"


def test_S12_a_login_in_mid_session_moves_it(smtp: Gate) -> None:
    begun(smtp)
    old = smtp.up
    smtp.client.send(FOREIGN + LOCAL)
    replay(smtp, old)
    smtp.talk(
        ("U", b"250 ok\r\n"), (">U", FOREIGN + LOCAL), ("U", b"250 a\r\n250 b\r\n"), (">C", b"250 a\r\n250 b\r\n")
    )
    smtp.gets(old, b"QUIT\r\n")
    smtp.until(old.ended)
    smtp.talk(("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"))
    smtp.talk(("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", b"250 queued\r\n"), (">C", b"250 queued\r\n"))
    smtp.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"), ("U", b"221 bye\r\n"), (">C", b"221 bye\r\n"))
    words = smtp.end()
    assert (words["announced"], words["msgs"]) == ("no", 1)
    assert smtp.workshop.log.of("refused") == []


def stays(gate: Gate, old: Peer) -> None:
    """That recipient is deferred, and the old connection goes on."""
    gate.gets(gate.client, b"451 4.4.1 The mail server can't be reached anew, try again later\r\n")
    gate.up = old
    gate.talk(("C", LOCAL), (">U", LOCAL), ("U", b"250 a\r\n"), (">C", b"250 a\r\n"))
    assert gate.workshop.log.of("refused")[0]["why"] == "no unannounced connection"
    gate.client.close()
    assert gate.end()["announced"] == "yes"


@pytest.mark.parametrize("answer", [b"451 later\r\n", b"550 no\r\n"])
def test_S12_a_different_answer_to_mail_defers(smtp: Gate, answer: bytes) -> None:
    begun(smtp)
    old = smtp.up
    smtp.client.send(FOREIGN)
    replay(smtp, old)
    smtp.up.send(answer)
    smtp.until(smtp.up.ended)
    stays(smtp, old)
    assert "MAIL" in smtp.workshop.log.of("upstream-failed")[0]["why"]


def test_S12_no_second_connection_defers(smtp: Gate) -> None:
    begun(smtp)
    old = smtp.up
    upstream = smtp.link.service.upstream
    upstream.fixed_addresses = {0: upstream._resolve(0, Server("127.0.0.1", refused_port()))}
    smtp.client.send(FOREIGN)
    stays(smtp, old)


def test_S12_a_second_connection_that_is_silent_defers_in_time(smtp: Gate) -> None:
    begun(smtp)
    old = smtp.up
    smtp.client.send(FOREIGN)
    silent = smtp.accepted()
    smtp.workshop.advance(10.1)
    smtp.until(silent.ended)
    stays(smtp, old)


def test_S12_the_lease_ends_meanwhile(smtp: Gate) -> None:
    begun(smtp, login=False)
    grant(smtp, seconds=5.0)
    old = smtp.up
    smtp.client.send(FOREIGN)
    replay(smtp, old)
    smtp.workshop.clock.advance(5.0)
    smtp.up.send(b"250 ok\r\n")
    smtp.gets(smtp.client, b"554 5.7.1 <x@far.test>: Relay access denied\r\n")


def test_S12_the_old_upstream_leaves_meanwhile_and_ends_it(smtp: Gate) -> None:
    begun(smtp)
    old = smtp.up
    smtp.client.send(FOREIGN)
    replay(smtp, old)
    old.abort()
    smtp.until(smtp.up.ended)
    smtp.gets(smtp.client, b"421 4.4.2 The connection to the mail server was lost\r\n")
    smtp.client.close()
    smtp.end()


def test_S12_a_client_that_leaves_meanwhile_takes_both_connections_along(smtp: Gate) -> None:
    """It is not read while it waits, so this shows when the waiting is over, which has a bound."""
    begun(smtp)
    old = smtp.up
    smtp.client.send(FOREIGN)
    replay(smtp, old)
    smtp.client.abort()
    smtp.up.send(b"250 ok\r\n")
    smtp.until(smtp.up.ended)
    smtp.until(old.ended)
    smtp.end()


def test_S12_the_client_s_address_as_source(smtp: Gate) -> None:
    """Loopback addresses need no route back."""
    need("root")
    smtp.announcing = Announcing(source=SOURCE)
    smtp.open("127.9.8.7")
    old = smtp.up = smtp.accepted()
    assert old.sock.getpeername()[0] == "127.9.8.7"
    smtp.talk(("U", b"220 legacy\r\n"), (">C", b"220 legacy\r\n"))
    smtp.say_ehlo()
    smtp.start_mail()
    grant(smtp, address="127.9.8.7")
    smtp.client.send(FOREIGN)
    smtp.up = smtp.accepted()
    assert smtp.up.sock.getpeername()[0] == "127.0.0.1"
    for words, answer in ((b"220 hi\r\n", b"EHLO c.test\r\n"), (b"250 hi\r\n", b"MAIL FROM:<a@s.test>\r\n")):
        smtp.up.send(words)
        smtp.gets(smtp.up, answer)
    smtp.up.send(b"250 ok\r\n")
    smtp.gets(smtp.up, FOREIGN)


def test_S12_other_servers_facts_are_not_mixed_up(smtp: Gate, workshop: Workshop) -> None:
    """A session that stays names in its last line the server that it stayed with."""
    begun(smtp)
    name = f"127.0.0.1:{smtp.server.getsockname()[1]}"
    old = smtp.up
    smtp.client.send(FOREIGN)
    replay(smtp, old)
    smtp.up.send(b"550 no\r\n")
    stays(smtp, old)
    words: dict[str, Any] = workshop.log.of("end")[0]
    assert words["upstream"] == name


# Where the client wanted to go


def test_N10_a_client_that_connects_to_popgate_itself_is_no_loop(smtp: Gate) -> None:
    """Loopback is this machine's, so all of it is refused; with foreign addresses: tests/e2e/test_transparent.py."""
    smtp.announcing, smtp.transparent, smtp.servers = UNANNOUNCED, True, [ORIGINAL]
    client = smtp.open()
    smtp.gets(client, b"421 4.3.2 The mail server is not available, try again later\r\n")
    client.close()
    smtp.end()
    words = smtp.workshop.log.of("upstream-failed")[0]
    assert words["upstream"] == "up"
    assert "a loop" in words["why"]
