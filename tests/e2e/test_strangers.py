"""Who does not speak our protocol, or goes without a word: port scans, resets, HTTP, PROXY headers, no TLS at all.

threats B10, B18, E25, F2, G8.  Beside each there is an honest user; afterwards every descriptor is back, and no
line of the log speaks of a bug.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from ..support.attack import attacker, client_hello, connected, drop
from ..support.dialogue import Dialogue
from ..support.popgate import Popgate, config
from ..support.vitals import MIB, HonestUser, Vitals

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.appliance import SampleAppliance


@pytest.mark.parametrize("listener", ["smtp", "pop3", "smtps", "pop3s"])
def test_port_scans_and_health_checks(appliance: SampleAppliance, certificate: Path, listener: str) -> None:
    """Connect and away, a thousand times: in order, by a reset, with a look at the greeting."""
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            for number in range(1000):
                sock = connected(gate.address(listener), number)
                if number % 3 == 2 and not listener.endswith("s"):
                    sock.recv(4096)
                drop([sock], reset=number % 2 == 0)
        vitals.settle()


# --- resets

STATES = {
    "smtp": [b"", b"EHL", b"EHLO x\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<bob@example.com>\r\n",
             b"RCPT TO:<f@example.org>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\nbody", b"\r\n.\r\n", b"QUIT\r\n"],
    "pop3": [b"", b"CAP", b"A\r\n", b"USER alice\r\n", b"PASS secret\r\n", b"RETR 1\r\n", b"QUI", b"T\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "after-the-reply"])
@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_G8_a_thousand_resets_in_every_state(appliance: SampleAppliance, listener: str, waits: bool) -> None:
    appliance.appliance.mailboxes["alice"].append(b"Subject: x\r\n\r\n" + b"x" * 300_000 + b"\r\n")
    states = STATES[listener]
    # Who waits for the 554 would wait for patience each time; who does not, resets while it is held.
    patience = {"patience": "0s" if waits else "100ms"}
    with Popgate(config(appliance.pop3, appliance.smtp, gate=patience)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            for number in range(1000):
                sock = connected(gate.address(listener), number)
                sock.settimeout(0.3)
                for octets in states[: number % len(states) + 1]:
                    sock.sendall(octets)
                    if (waits and octets.endswith(b"\n")) or not octets:
                        with contextlib.suppress(TimeoutError):
                            sock.recv(4096)
                drop([sock], reset=True)
        vitals.settle()
        assert " bug " not in gate.process.output
        assert "Traceback" not in gate.process.output
        assert vitals.grown() < 6 * MIB


@pytest.mark.parametrize("listener", ["smtps", "pop3s"])
def test_G8_resets_in_the_handshake(appliance: SampleAppliance, certificate: Path, listener: str) -> None:
    hello = client_hello()
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            for number in range(500):
                sock = connected(gate.address(listener), number)
                sock.sendall(hello[: 1 + number % len(hello)])
                if number % 5 == 0:
                    sock.sendall(hello)
                drop([sock], reset=number % 2 == 0)
        vitals.settle()
        assert " bug " not in gate.process.output


# --- other protocols

OTHERS = {
    "http-get": b"GET / HTTP/1.1\r\nHost: mail.example.com\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
    "http-post": b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nEHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n",
    "http-connect": b"CONNECT example.org:25 HTTP/1.1\r\n\r\n",
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "proxy-v1": b"PROXY TCP4 127.0.0.9 127.0.0.1 1000 25\r\n" * 3,
    "proxy-v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x09\x7f\0\0\x01\x03\xe8\0\x19" + b"NOOP\r\n" * 3,
    "ssl-v2": b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10\x01\0\x80\x02\0\x80\x03\0\x80" + bytes(26) + b"\r\n" * 20,
    "tls": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n" * 20,
    "ssh": b"SSH-2.0-x\r\n" * 20,
    "rdp": b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0" + b"\r\n" * 20,
    "nul": bytes(70000) + b"\r\n" * 20,
    "newlines": b"\n" * 70000 + b"\r\n" * 20,
    "crlf": b"\r\n" * 70000,
}


@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_other_protocols_are_bad_commands_and_end(gate: Popgate, appliance: SampleAppliance, listener: str) -> None:
    """B18, E25, F2: no header is believed, no verb of HTTP is answered, the session ends by itself."""
    vitals = Vitals(gate)
    with HonestUser(gate):
        for name, octets in OTHERS.items():
            with Dialogue(gate.address(listener), attacker(1)) as other:
                other.expect(b"")
                with contextlib.suppress(ConnectionError):
                    other.say(octets)
                    other.half_close()
                said = other.rest()
                replies = [line for line in said.split(b"\r\n") if line]
                good = [line for line in replies if line[:1] not in (b"4", b"5") and line[:4] != b"-ERR"]
                allowed = 3 if name == "proxy-v2" else 0  # the NOOPs behind it, where the errors before allow them
                assert len(good) <= allowed, (name, said)
    vitals.settle()


@pytest.mark.parametrize("listener", ["smtps", "pop3s"])
def test_no_tls_at_all_ends(tls_gate: Popgate, listener: str) -> None:
    vitals = Vitals(tls_gate)
    huge = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03" + bytes(1 << 20)
    cases = OTHERS | {"huge-hello": huge, "hello-of-16-MiB": b"\x16\x03\x01\x3f\xff\x01\xff\xff\xff" + bytes(1 << 20)}
    with HonestUser(tls_gate):
        for name, octets in cases.items():
            sock = connected(tls_gate.address(listener), 1)
            with contextlib.suppress(ConnectionError):
                sock.sendall(octets)
            with contextlib.suppress(OSError):  # it may have been cut already: ENOTCONN
                sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while sock.recv(65536):
                    pass
            sock.close()
            assert name
    vitals.settle()
    assert vitals.grown() < 4 * MIB
