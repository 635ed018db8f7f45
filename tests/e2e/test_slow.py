"""Slow peers: one octet at a time, or none at all (threats G1, G2, G6, G7; promise 6, rule N3).

The limits of [limits] are totals of what is waited for, so who sends an octet now and then gains nothing.  Each test
runs dozens of slow peers beside an honest user, who must not notice.  The limits here are short, so that a test waits
for the gate and not for a clock, and long enough for dozens of peers to get where they stop.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ..support.attack import connected, crawl, crowd, drop
from ..support.legacy import Legacy, greets, silent
from ..support.popgate import Popgate, config
from ..support.sockets import timers
from ..support.vitals import HonestUser, Vitals, eventually, noted

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from ..support.appliance import SampleAppliance

CROWD = 50
PAUSE = 0.1  # s between two octets
LIMIT = 2  # s
SHORT = dict.fromkeys(
    (
        *("command_timeout", "login_timeout", "handshake_timeout", "data_timeout", "data_end_timeout"),
        "pop_idle_timeout",
    ),
    f"{LIMIT}s",
)
MESSAGE = b"EHLO x.example.net\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<bob@example.com>\r\n", b"DATA\r\n"
PER_PEER = 64 << 10  # octets of memory that one slow peer may cost


def in_data(address: tuple[str, int], size: int) -> list[socket.socket]:
    """Connections that have been told 354."""
    sockets = crowd(address, size)
    for sock in sockets:
        for line in MESSAGE:
            sock.sendall(line)
            assert sock.recv(4096)[:1] in (b"2", b"3")
    return sockets


@pytest.mark.parametrize("octets", [b"NOOP", b"\r"], ids=["command", "cr"])
def test_a_command_octet_by_octet_ends_at_its_total(appliance: SampleAppliance, octets: bytes) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, limits=SHORT)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = [sock for listener in ("smtp", "pop3") for sock in crowd(gate.address(listener), CROWD)]
            grown = vitals.grown()
            lived = crawl(sockets, octets, PAUSE)
            drop(sockets)
        vitals.settle()
    assert min(lived) > 0.5
    assert grown < len(sockets) * PER_PEER
    noted(f"{len(sockets)} slow commands, limit {LIMIT} s", f"ended after {max(lived):.1f} s")


def test_a_handshake_octet_by_octet_ends_at_its_total(appliance: SampleAppliance, certificate: Path) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(490)
    with Popgate(config(appliance.pop3, appliance.smtp, certificate, limits=SHORT)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            doors = gate.address("smtps"), gate.address("pop3s")
            sockets = [sock for door in doors for sock in crowd(door, CROWD, waits=False)]
            lived = crawl(sockets, hello, PAUSE)
            drop(sockets)
        vitals.settle()
    assert min(lived) > 0.5
    noted(f"{len(sockets)} slow handshakes, limit {LIMIT} s", f"ended after {max(lived):.1f} s")


def test_silence_behind_starttls_ends(appliance: SampleAppliance, certificate: Path) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, certificate, limits=SHORT)) as gate, HonestUser(gate):
        sockets = crowd(gate.address("smtp"), CROWD, first=b"STARTTLS\r\n")
        sockets += crowd(gate.address("pop3"), CROWD, first=b"STLS\r\n")
        for sock in sockets:
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
        drop(sockets)


def test_a_message_octet_by_octet_ends_with_its_session(appliance: SampleAppliance) -> None:
    """data_timeout is per block (RFC 5321 4.5.3.2.5): what bounds a body that drips is the end of the session."""
    limits = SHORT | {"session_timeout": "4s"}
    with Popgate(config(appliance.pop3, appliance.smtp, limits=limits)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = in_data(gate.address("smtp"), CROWD)
            grown = vitals.grown()
            lived = crawl(sockets, b"x", PAUSE)
            drop(sockets)
        vitals.settle()
    assert grown < CROWD * PER_PEER
    noted(f"{CROWD} messages that drip, session_timeout 4 s", f"ended after {max(lived):.1f} s")


def test_a_session_of_many_small_commands_has_an_end(appliance: SampleAppliance) -> None:
    """Each command is in time; together they last too long."""
    limits = {"session_timeout": "2s"}
    with Popgate(config(appliance.pop3, appliance.smtp, limits=limits)) as gate, HonestUser(gate):
        sockets = [sock for listener in ("smtp", "pop3") for sock in crowd(gate.address(listener), CROWD)]
        lived = crawl(sockets, b"NOOP\r\n", 0.02)
        drop(sockets)
    assert max(lived) > 1


def test_a_silent_client_in_data_is_told_why(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, limits=SHORT)) as gate, HonestUser(gate):
        (sock,) = in_data(gate.address("smtp"), 1)
        sock.sendall(b"Subject: x\n\nthe end\n.\n")
        assert sock.recv(4096).startswith(b"451 4.4.2")
        sock.close()
        gate.process.expect(r"ended its message with LF\.LF")


@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_upstreams_that_never_say_a_word(appliance: SampleAppliance, listener: str) -> None:
    """A hundred clients wait for an appliance that has accepted and is silent, then get a temporary error."""
    with Legacy(silent) as old:
        settings = config(appliance.pop3, appliance.smtp, upstream={"old": {"servers": [old.endpoint]}})
        settings["upstream"]["old"]["connect_timeout"] = "1s"
        settings["listener"]["dead"] = settings["listener"][listener] | {"upstream": "old"}
        with Popgate(settings) as gate:
            vitals = Vitals(gate)
            with HonestUser(gate):
                sockets = [connected(gate.address("dead"), number) for number in range(100)]
                grown = vitals.grown()
                for sock in sockets:
                    assert sock.recv(4096)[:3] in (b"421", b"-ER")
                drop(sockets)
            vitals.settle()
    assert grown < 100 * PER_PEER


@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_upstreams_that_stop_answering(appliance: SampleAppliance, listener: str) -> None:
    """The appliance greets and then answers nothing: the client hears of it at the limit."""
    greeting = b"220 old\r\n" if listener == "smtp" else b"+OK old\r\n"
    with Legacy(greets(greeting)) as old:
        settings = config(appliance.pop3, appliance.smtp, limits=SHORT, upstream={"old": {"servers": [old.endpoint]}})
        settings["listener"]["dead"] = settings["listener"][listener] | {"upstream": "old"}
        with Popgate(settings) as gate:
            vitals = Vitals(gate)
            with HonestUser(gate):
                sockets = crowd(
                    gate.address("dead"), CROWD, first=b"EHLO x\r\n" if listener == "smtp" else b"USER a\r\n"
                )
                for sock in sockets:
                    assert sock.recv(4096)[:9] in (b"421 4.4.1", b"-ERR [SYS")
                drop(sockets)
            vitals.settle()


def test_peers_that_vanish_are_asked_for_by_keepalive(appliance: SampleAppliance) -> None:
    """A peer that went without a word: the kernel asks, on either side; the limits usually end it before."""
    settings = config(appliance.pop3, appliance.smtp, limits=SHORT)
    with Popgate(settings) as gate, connected(gate.address("smtp")) as sock:
        sock.recv(4096)
        host, _, port = appliance.smtp.rpartition(":")
        for peer in (sock.getsockname(), (host, int(port))):  # the peer's, either way
            eventually(lambda: timers(peer) == {"02"}, "a keepalive timer, and no other")  # noqa: B023
        assert sock.recv(4096).startswith(b"421 4.4.2")
