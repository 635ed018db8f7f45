"""session/balancer_check.py: what health checks say is answered, nothing else is, and an unhealthy upstream is said at
once."""

from __future__ import annotations

import re

import pytest

from proxy.session.balancer_check import MAX_LINE, BalancerCheckSession


def told(session: BalancerCheckSession) -> bytes:
    out, session.to_client = session.to_client, []
    return b"".join(out)


def greeted(protocol: str) -> BalancerCheckSession:
    session = BalancerCheckSession(protocol, True)
    assert told(session).startswith(b"220 " if protocol == "smtp" else b"+OK ")
    assert not session.done
    return session


def test_N1_what_haproxy_s_smtpchk_wants() -> None:
    """Its expressions, doc/configuration.txt and src/tcpcheck.c."""
    for hello in (b"HELO localhost\r\n", b"EHLO lb.example.net\r\n"):
        session = BalancerCheckSession("smtp", True)
        assert re.match(rb"^2[0-9]{2}[ \r]", told(session))
        session.client_bytes(hello)
        assert re.match(rb"^(2..-...\r\n)*2..[ \r]", told(session))
        session.client_bytes(b"QUIT\r\n")
        assert re.match(rb"^2..[- \r]", told(session))
        assert session.done


def test_N1_what_a_pop3_check_wants() -> None:
    session = greeted("pop3")
    session.client_bytes(b"capa\r\nNOOP\r\nQu")
    assert told(session) == b"+OK\r\nUSER\r\n.\r\n+OK\r\n"
    session.client_bytes(b"it\r\n")
    assert told(session).startswith(b"+OK ")
    assert session.done


def test_noop_and_rset() -> None:
    session = greeted("smtp")
    session.client_bytes(b"NOOP\r\nRSET\r\nnoop x\r\n")
    assert told(session) == b"250 2.0.0 Ok\r\n" * 3
    assert not session.done


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("smtp", b"MAIL FROM:<a@b.example>\r\n"),
        ("smtp", b"AUTH PLAIN AGEAYg==\r\n"),
        ("smtp", b"STARTTLS\r\n"),
        ("smtp", b"CAPA\r\n"),
        ("smtp", b"\r\n"),
        ("smtp", b"\xff\0\r\n"),
        ("smtp", b"NOOP" + b"x" * MAX_LINE + b"\r\n"),
        ("pop3", b"USER anna\r\n"),
        ("pop3", b"APOP anna 0123\r\n"),
        ("pop3", b"AUTH PLAIN AGEAYg==\r\n"),
        ("pop3", b"STLS\r\n"),
        ("pop3", b"EHLO x\r\n"),
    ],
)
def test_N1_anything_else_ends_it(protocol: str, said: bytes) -> None:
    session = greeted(protocol)
    session.client_bytes(said + b"QUIT\r\nNOOP\r\n")
    assert told(session).count(b"\r\n") == 1
    assert session.done
    session.client_bytes(b"NOOP\r\n")
    assert told(session) == b""


def test_a_line_without_end_is_not_kept() -> None:
    session = greeted("smtp")
    for _ in range(100):
        session.client_bytes(b"x" * 1000)
    assert len(session._lines) <= 1000
    session.client_bytes(b"\r\n")
    assert session.done


@pytest.mark.parametrize(("protocol", "start"), [("smtp", b"421 4.3.2 "), ("pop3", b"-ERR [SYS/TEMP] ")])
def test_N1_an_unhealthy_upstream_is_the_greeting(protocol: str, start: bytes) -> None:
    session = BalancerCheckSession(protocol, False)
    assert session.done
    assert told(session).startswith(start)


@pytest.mark.parametrize(("protocol", "start"), [("smtp", b"421 4.3.2 Serv"), ("pop3", b"-ERR [SYS/TEMP] Serv")])
def test_N6_a_drain_is_said(protocol: str, start: bytes) -> None:
    session = greeted(protocol)
    session.drain()
    assert told(session).startswith(start)
    session.drain()
    assert session.done
    assert not session.to_client
