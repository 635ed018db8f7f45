"""Other people's tools against the gate, with the limits that it has by default.

nmap, sslscan, testssl.sh, swaks, Postfix's smtp-source, command-injection-tester.  They know nothing of popgate, and
look for what has gone wrong in others.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..support import probes
from ..support.dialogue import pop_login
from ..support.popgate import Popgate, config
from ..support.ports import client_host
from ..support.sink import Sink
from ..support.vitals import noted

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.postfix import Postfix

pytestmark = pytest.mark.timeout(240)  # nmap and testssl.sh wait for much that never comes
STARTTLS = {"smtp": "smtp", "pop3": "pop3", "smtps": "", "pop3s": ""}
"""The listeners of `tls_gate`, and what a tool must say there before TLS."""
MODERN = re.compile(
    r"TLS_(AES|CHACHA20|AKE_WITH_(AES|CHACHA20)|ECDHE_\w+_WITH_(AES_\d+_GCM|CHACHA20))\w+|ECDHE-\w+-(\w+-GCM|CHACHA20)\S+"
)


def test_promise_1_nmaps_sixteen_relay_forms(real_gate: Popgate, postfix: Postfix) -> None:
    """Postfix itself takes all of them from us.  16 stays below `refusals` and `errors`: no setting is needed."""
    assert probes.relays(postfix.address) == 16
    assert probes.relays(real_gate.address("smtp")) == 0
    end = real_gate.process.expect("smtp end .* helo=remote.test .*")
    assert "why=quit" in end.string, "the gate must not end the test early"
    assert "msgs=0 rcpts=0" in end.string


def test_S7_nmap_lists_no_command_or_capability_that_we_don_t_have(tls_gate: Popgate) -> None:
    smtp, pop3 = tls_gate.address("smtp"), tls_gate.address("pop3")
    text = probes.sections(probes.nmap([smtp, pop3], "smtp-commands", "pop3-capabilities"))
    listed = re.search(r"smtp-commands: (.*)", text[smtp[1]])
    assert listed is not None, text
    words = {word.split()[0] for word in listed[1].split(", ")[1:]}
    assert words <= {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "AUTH", "STARTTLS"}
    assert {"STARTTLS", "PIPELINING"} <= words
    capable = re.search(r"pop3-capabilities: (.*)", text[pop3[1]])
    assert capable is not None, text
    assert "STLS" in capable[1].split()


def test_nmap_finds_no_weak_cipher(tls_gate: Popgate) -> None:
    places = [tls_gate.address(name) for name in STARTTLS]
    text = probes.sections(probes.nmap(places, "ssl-enum-ciphers", more=["-sV", "--version-light"]))
    looked = 0
    for _, port in places:
        assert not re.search(r"SSLv|TLSv1\.[01]:", text[port]), text[port]
        graded = probes.graded_ciphers(text[port])
        assert set(graded.values()) <= {"A"}, graded
        assert all(MODERN.fullmatch(name) for name in graded), graded
        looked += bool(graded)
    assert looked == len(places), text


@pytest.mark.parametrize("listener", STARTTLS)
def test_sslscan_finds_no_weak_protocol_or_cipher(tls_gate: Popgate, listener: str) -> None:
    old, ciphers = probes.sslscan(tls_gate.address(listener), STARTTLS[listener])
    assert not old
    assert ciphers
    assert min(ciphers.values()) >= 128
    assert all(MODERN.fullmatch(name) for name in ciphers), ciphers


def test_testssl_has_nothing_to_mind(tls_gate: Popgate, tmp_path: Path) -> None:
    def look(listener: str) -> tuple[int, list[str]]:
        return probes.testssl_minds(tls_gate.address(listener), tmp_path, STARTTLS[listener])

    with ThreadPoolExecutor() as pool:  # most of its time is waiting for what it hopes won't be answered
        for count, bad in pool.map(look, STARTTLS):
            assert bad == []
            assert count >= 14  # SSLv2 to TLS 1.3, seven categories of ciphers, two kinds of renegotiation


def test_S11_P6_no_command_is_injected_into_tls(tls_gate: Popgate, tmp_path: Path) -> None:
    said = probes.injects(tls_gate.address("pop3"), tls_gate.address("smtp"), tmp_path)
    assert said == dict.fromkeys(("POP3", "SMTP"), "TLS handshake failed - Server probably closed the connection!")


@pytest.mark.parametrize(
    ("listener", "more"),
    [
        ("smtp", ["--pipeline"]),
        ("smtp", ["--tls", "--pipeline"]),
        ("smtps", ["--tls-on-connect"]),
        ("smtp", ["--protocol", "SMTP"]),
    ],
    ids=["pipelined", "STARTTLS", "TLS", "HELO"],
)
def test_swaks_relays_only_after_a_login(
    tls_gate: Popgate, appliance: SampleAppliance, listener: str, more: list[str]
) -> None:
    source, to = client_host(), f"{listener}-swaks@remote.test"
    address = tls_gate.address(listener)
    assert probes.swaks(address, "alice@example.com", *more, source=source) == 0
    assert probes.swaks(address, to, *more, source=source) == 24
    assert appliance.relayed_to(to) == []
    pop_login(tls_gate.address("pop3"), source=source)
    assert probes.swaks(address, to, *more, source=source) == 0
    assert len(appliance.relayed_to(to)) == 1


def test_smtp_source_loses_nothing(appliance: SampleAppliance) -> None:
    """20 sessions side by side, 500 messages to a foreign recipient under a lease, counted where they arrive."""
    sink = Sink()
    try:
        with Popgate(config(appliance.pop3, "{}:{}".format(*sink.address), log={"level": "info"})) as gate:
            pop_login(gate.address("pop3"))
            started = time.monotonic()
            complaints = probes.smtp_source(gate.address("smtp"), "load@remote.test", sessions=20, messages=500)
            took = time.monotonic() - started
        assert complaints == ""
        assert len(sink.messages) == 500
        assert {message.recipients for message in sink.messages} == {(b"load@remote.test",)}
        noted("smtp-source, 500 messages in 20 sessions", f"{500 / took:.0f} messages a second, all arrived")
    finally:
        sink.close()
