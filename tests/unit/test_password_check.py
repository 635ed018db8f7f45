"""net/link/password_check.py: a password tried at a POP3 server by a connection of its own (rule G15)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from proxy.gate.verdict import Password
from proxy.net.link.password_check import PasswordCheck
from proxy.net.tls.contexts import upstream_context
from proxy.net.upstream.upstream import Server, Upstream
from proxy.session.upstream.pop3_login import PopLogin

from ..support.gate import Gate
from ..support.workshop import Peer, TlsPeer, Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.net.tls.contexts import UpstreamTls

USER, PASS = b"USER anna\r\n", b"PASS secret\r\n"
SECONDS = 10.0


class Bench:
    """A check, and what came of it."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.server = workshop.server()
        self.servers = [Server("127.0.0.1", self.server.getsockname()[1])]
        self.tls: UpstreamTls | None = None
        self.implicit = False
        self.is_open = False
        self.results: list[Password] = []
        self.said: list[tuple[str, str]] = []
        self.upstream: Upstream
        self.check: PasswordCheck

    def start(self) -> None:
        self.upstream = Upstream(
            "box",
            "pop3",
            self.servers,
            tls=self.tls,
            implicit=self.implicit,
            connect_timeout=SECONDS,
            is_ours=lambda host, port: False,
        )
        shared = Gate(self.workshop, "smtp").shared()
        login = PopLogin(b"anna", b"secret", lambda: self.is_open)

        def begin() -> None:
            self.check = PasswordCheck(
                shared,
                self.upstream,
                login,
                self.results.append,
                lambda server, why: self.said.append((server, why)),
            )
            self.workshop.at_end.append(self.check.stop)
            self.check.begin()

        self.workshop.run(begin)

    def greeted(self) -> Peer:
        """The server's end of a check that has begun, behind its greeting."""
        self.start()
        up = self.workshop.accepted(self.server)
        up.send(b"+OK <1@u>\r\n")
        return up

    def hears(self, up: Any, text: bytes) -> None:
        self.workshop.until(lambda: up.look().endswith(text))
        assert bytes(up.got).count(text) == 1

    def at_password(self) -> Peer:
        """... behind PASS."""
        up = self.greeted()
        self.hears(up, USER)
        up.send(b"+OK\r\n")
        self.hears(up, PASS)
        return up

    def ends(self, result: Password) -> None:
        self.workshop.until(lambda: self.results)
        self.workshop.turns(5)
        assert self.results == [result]
        assert self.places() == 0, "its place at the server is free"

    def places(self) -> int:
        """Connections that count at the servers."""
        return sum([self.upstream.pool.connections(number) for number in range(len(self.servers))])


@pytest.fixture
def bench(workshop: Workshop) -> Bench:
    return Bench(workshop)


def test_G15_after_ok_the_connection_is_closed_without_quit(bench: Bench) -> None:
    up = bench.at_password()
    assert bench.places() == 1
    up.send(b"+OK in\r\n")
    bench.ends(Password.RIGHT)
    bench.workshop.until(up.ended)
    assert up.got == USER + PASS
    assert bench.said == []


@pytest.mark.parametrize(
    ("reply", "is_open", "result"),
    [
        (b"-ERR [AUTH] no\r\n", True, Password.WRONG),
        (b"-ERR no\r\n", False, Password.WRONG),
        (b"-ERR no\r\n", True, Password.IN_USE),
        (b"-ERR [IN-USE] no\r\n", False, Password.UNKNOWN),
    ],
)
def test_G15_a_refusal_is_told_and_the_connection_closed(
    bench: Bench, reply: bytes, is_open: bool, result: Password
) -> None:
    bench.is_open = is_open
    up = bench.at_password()
    up.send(reply)
    bench.ends(result)
    bench.workshop.until(up.ended)
    assert bench.said == []


def test_a_reply_in_pieces(bench: Bench) -> None:
    up = bench.at_password()
    for piece in (b"+", b"OK i", b"n\r"):
        up.send(piece)
        bench.workshop.turns(5)
    assert bench.results == []
    up.send(b"\n")
    bench.ends(Password.RIGHT)


@pytest.mark.parametrize("leave", [Peer.close, Peer.abort])
@pytest.mark.parametrize("step", ["connected", "greeting", "user", "password", "half a reply"])
def test_G15_a_connection_lost_at_any_step_says_nothing_of_the_password(
    bench: Bench, step: str, leave: Callable[[Peer], None]
) -> None:
    if step == "connected":
        bench.start()
        up = bench.workshop.accepted(bench.server)
    elif step == "greeting":
        bench.start()
        up = bench.workshop.accepted(bench.server)
        up.send(b"+OK hal")
        bench.workshop.turns(5)
    elif step == "user":
        up = bench.greeted()
        bench.hears(up, USER)
    else:
        up = bench.at_password()
        if step == "half a reply":
            up.send(b"+OK")
            bench.workshop.turns(5)
    leave(up)
    bench.ends(Password.UNKNOWN)
    assert len(bench.said) == 1
    assert "secret" not in repr(bench.said)


@pytest.mark.parametrize("step", ["connected", "greeting", "user", "password"])
def test_G15_silence_ends_in_its_time(bench: Bench, step: str) -> None:
    if step in ("connected", "greeting"):
        bench.start()
        up = bench.workshop.accepted(bench.server)
        if step == "greeting":
            up.send(b"+OK half")
            bench.workshop.turns(5)
    elif step == "user":
        bench.hears(bench.greeted(), USER)
    else:
        bench.at_password()
    bench.workshop.advance(SECONDS - 0.1)
    assert bench.results == []
    bench.workshop.advance(0.2)
    bench.ends(Password.UNKNOWN)
    assert len(bench.said) == 1


def test_each_reply_has_its_own_time(bench: Bench) -> None:
    up = bench.greeted()
    bench.hears(up, USER)
    bench.workshop.advance(SECONDS - 1)
    up.send(b"+OK\r\n")
    bench.hears(up, PASS)
    bench.workshop.advance(SECONDS - 1)
    up.send(b"+OK\r\n")
    bench.ends(Password.RIGHT)


@pytest.mark.parametrize("extra", [b"+OK\r\n+OK\r\n", b"+OKAY\r\n", b"+ \r\n", b"250 ok\r\n"])
def test_G15_a_server_that_does_not_follow_the_protocol_is_said_and_tells_nothing(bench: Bench, extra: bytes) -> None:
    up = bench.greeted()
    bench.hears(up, USER)
    up.send(extra)
    bench.ends(Password.UNKNOWN)
    [(server, why)] = bench.said
    assert server == "box"
    assert why.startswith("password check: ")


def test_the_next_server_is_tried_before_a_greeting(bench: Bench) -> None:
    bench.servers.insert(0, Server("127.0.0.1", refused_port()))
    up = bench.greeted()
    bench.hears(up, USER)
    assert len(bench.said) == 1


def test_no_server_says_nothing_of_the_password(bench: Bench) -> None:
    bench.servers = [Server("127.0.0.1", refused_port())]
    bench.start()
    bench.ends(Password.UNKNOWN)


def test_a_greeting_that_refuses(bench: Bench) -> None:
    bench.start()
    up = bench.workshop.accepted(bench.server)
    up.send(b"-ERR [AUTH] go away\r\n")
    bench.ends(Password.UNKNOWN)
    bench.workshop.until(up.ended)
    assert up.got == b"", "no name, no password"


@pytest.mark.parametrize("step", ["connected", "user"])
def test_it_can_be_called_off_and_then_says_nothing(bench: Bench, step: str) -> None:
    if step == "connected":
        bench.start()
        up = bench.workshop.accepted(bench.server)
    else:
        up = bench.greeted()
        bench.hears(up, USER)
    bench.workshop.run(bench.check.stop)
    bench.workshop.run(bench.check.stop)
    bench.workshop.until(up.ended)
    bench.workshop.advance(2 * SECONDS)
    assert (bench.results, bench.places()) == ([], 0)


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "stls"])
def test_G15_the_password_goes_through_tls_where_the_upstream_has_it(
    bench: Bench, certificate: Path, implicit: bool
) -> None:
    bench.tls, bench.implicit = upstream_context(tls_ca=certificate, tls_name="mail.example.com"), implicit
    bench.start()
    up = bench.workshop.accepted(bench.server)
    if not implicit:
        up.send(b"+OK old\r\n")
        bench.hears(up, b"STLS\r\n")
        up.send(b"+OK\r\n")
    secure = TlsPeer(up, server_side(certificate), server=True)
    bench.workshop.until(secure.shake)
    if implicit:
        secure.send(b"+OK hello\r\n")
    bench.hears(secure, USER)
    secure.send(b"+OK\r\n")
    bench.hears(secure, PASS)
    assert b"secret" not in up.got
    secure.send(b"+OK in\r\n")
    bench.ends(Password.RIGHT)


def test_G15_no_password_where_tls_is_refused(bench: Bench, certificate: Path) -> None:
    bench.tls = upstream_context(tls_ca=certificate, tls_name="mail.example.com")
    bench.start()
    up = bench.workshop.accepted(bench.server)
    up.send(b"+OK old\r\n")
    bench.hears(up, b"STLS\r\n")
    up.send(b"-ERR what?\r\n")
    bench.ends(Password.UNKNOWN)
    assert up.got == b"STLS\r\n"


def test_G15_where_nobody_can_be_reached_at_once_nothing_is_known(bench: Bench, tmp_path: Path) -> None:
    """A connection to a unix socket that is not there fails before the check is made, as one without a route does."""
    bench.servers = [Server("", 0, str(tmp_path / "nobody"))]
    bench.start()
    bench.ends(Password.UNKNOWN)
    assert [why for _, why in bench.said] == ["No such file or directory"]
    bench.workshop.advance(2 * SECONDS)
    assert len(bench.results) == 1
