"""The real HAProxy in front of popgate, configured as we ship it (rules N1, G3)."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from proxy.net.accept.proxy_header import FORGOTTEN
from proxy.wire.proxyheader import LOCAL_V2

from ..support.appliance import SampleAppliance
from ..support.dialogue import Dialogue, pop_login, send
from ..support.haproxy import HAProxy, impatient, shipped
from ..support.popgate import Popgate, config
from ..support.probes import swaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..support.popgate import Config

FRIEND = b"friend@example.org"
ANNA, EVE = "127.0.0.7", "127.0.0.8"  # as HAProxy's clients; it says 192.0.2.7 and .8
BALANCER = "127.0.0.1"
NAMES = ("pop3", "smtp", "pop3s", "smtps")
HEADERS = " send-proxy-v2 check-send-proxy"


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def settings(appliance: SampleAppliance, certificate: Path, *readers: str, **changes: Any) -> Config:
    """`readers`: the listeners that take a PROXY header."""
    listeners = {name: {"accept_proxy_from": [BALANCER]} for name in readers}
    return config(appliance.pop3, appliance.smtp, certificate, listener=listeners, **changes)


@pytest.fixture
def gate(appliance: SampleAppliance, certificate: Path) -> Iterator[Popgate]:
    """popgate with four listeners that take headers from HAProxy."""
    with Popgate(settings(appliance, certificate, *NAMES)) as gate:
        yield gate


def balanced(gate: Popgate, *names: str) -> str:
    """HAProxy's configuration for these listeners, all if none is named."""
    return impatient(shipped({name: gate.address(name) for name in names or NAMES}))


def leased(gate: Popgate) -> list[str]:
    done = gate.command("leases", "list", "--json")
    return [lease["address"] for lease in json.loads(done.stdout)]


def above_debug(gate: Popgate) -> list[str]:
    """Lines of sessions and probes that an administrator sees at level info."""
    return [line for line in gate.process.lines if " DEBUG " not in line and " popgate " not in line]


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn", "crc32c"])
def test_N1_a_login_through_haproxy_opens_the_client_s_address(gate: Popgate, version: str) -> None:
    text = balanced(gate)
    if version == "crc32c":
        text = text.replace("send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority")
    else:
        text = text.replace("send-proxy-v2", version)
    with HAProxy(text) as haproxy:
        assert send(haproxy.doors["smtp"], [FRIEND], ANNA).startswith(b"554 5.7.1")
        pop_login(haproxy.doors["pop3"], source=ANNA)
        assert leased(gate) == ["192.0.2.7"]
        assert send(haproxy.doors["smtp"], [FRIEND], ANNA).startswith(b"250")
        assert send(haproxy.doors["smtp"], [FRIEND], EVE).startswith(b"554 5.7.1")
        assert send(gate.address("smtp"), [FRIEND], "127.1.200.1").startswith(b"554 5.7.1"), "beside the balancer"
    gate.process.expect(r"smtp relayed client=192\.0\.2\.7 ")
    assert not [line for line in above_debug(gate) if re.search(rf"(client|balancer)={BALANCER} ", line)]


def test_N1_header_before_implicit_tls_and_starttls(gate: Popgate) -> None:
    with HAProxy(balanced(gate)) as haproxy:
        with Dialogue(haproxy.doors["pop3s"], ANNA, trusting()) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
        assert leased(gate) == ["192.0.2.7"]
        with Dialogue(haproxy.doors["smtps"], ANNA, trusting()) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"EHLO client", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"250")
        with Dialogue(haproxy.doors["smtp"], EVE) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"EHLO client", b"250")
            smtp.ask(b"STARTTLS", b"220")
            smtp.starttls(trusting())
            smtp.ask(b"EHLO client", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"554 5.7.1")


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_N1_health_checks_go_up_and_leave_no_line(gate: Popgate, appliance: SampleAppliance, version: str) -> None:
    with HAProxy(balanced(gate).replace("send-proxy-v2", version)) as haproxy:
        for name in haproxy.doors:
            haproxy.process.expect(rf"server {name}/node1 succeeded, reason: Layer7 check passed")
        for name in NAMES:
            for _ in range(3):
                gate.process.expect(rf"{name[:4]} probe balancer={BALANCER} .*listener={name} .*why=answered")
        assert not [line for line in haproxy.process.lines if "failed" in line or "DOWN" in line]
    assert above_debug(gate) == []


def test_N1_checks_go_down_with_the_appliance(certificate: Path) -> None:
    """Behind the last server nobody is left: a check is told so, and the balancer sends no client any more."""
    soon = {"health_interval": "1s"}
    with contextlib.ExitStack() as life:
        appliance = life.enter_context(SampleAppliance())
        whole = settings(appliance, certificate, *NAMES, upstream={"pop3": soon, "smtp": soon})
        with Popgate(whole) as gate, HAProxy(balanced(gate)) as haproxy:
            life.close()
            for name in haproxy.doors:
                haproxy.process.expect(f"Server {name}/node1 is DOWN")
            told = "Layer7 (invalid response|wrong status), .*(421|-ERR|SYS/TEMP|not available)"
            haproxy.process.expect(f"Health check for server smtp/node1 failed, reason: {told}")
            with Dialogue(gate.address("pop3"), BALANCER) as probe:
                probe.say(LOCAL_V2)
                assert probe.rest().startswith(b"-ERR [SYS/TEMP] ")


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_N1_plain_tcp_checks_leave_no_line(gate: Popgate, version: str) -> None:
    text = "".join(
        line for line in balanced(gate).splitlines(True) if "smtpchk" not in line and "tcp-check" not in line
    )
    text = text.replace(" check-ssl verify none", "").replace("send-proxy-v2", version)
    with HAProxy(text) as haproxy:
        for name in haproxy.doors:
            haproxy.process.expect(rf"server {name}/node1 succeeded, reason: Layer4 check passed")
        gate.process.expect(" probe ")
        assert not [line for line in haproxy.process.lines if "failed" in line or "DOWN" in line]
    assert above_debug(gate) == []


def test_N1_a_balancer_without_header_is_refused_and_told_what_to_set(gate: Popgate) -> None:
    text = balanced(gate, "smtp", "pop3").replace(HEADERS, "").replace("timeout check 5s", "timeout check 1s")
    with HAProxy(text, "Health check for server {}/node1 failed") as haproxy:
        for protocol in ("smtp", "pop3"):
            gate.process.expect(f" {protocol} header-refused balancer={BALANCER} .*check-send-proxy")
        haproxy.process.expect("Server smtp/node1 is DOWN")
        haproxy.process.expect("Server pop3/node1 is DOWN")
    (told,) = above_debug(gate)
    assert " WARNING " in told
    assert FORGOTTEN in told


@pytest.mark.parametrize(
    "header",
    [
        ("--proxy-version", "1", "--proxy-family", "TCP4"),
        ("--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM", "--proxy-command", "PROXY"),
    ],
    ids=["v1", "v2"],
)
def test_N1_swaks_as_the_balancer(gate: Popgate, header: tuple[str, ...]) -> None:
    assert gate.command("leases", "grant", "192.0.2.7").returncode == 0
    ends = ("--proxy-dest", "192.0.2.1", "--proxy-source-port", "4711", "--proxy-dest-port", "25", "--proxy-source")
    for client, code in (("192.0.2.7", 0), ("192.0.2.8", 24)):
        assert swaks(gate.address("smtp"), FRIEND.decode(), *header, *ends, client, source=BALANCER) == code
        gate.process.expect(f" smtp end client={client} ")


def test_N1_half_headers_take_nobody_s_place_for_long(appliance: SampleAppliance, certificate: Path) -> None:
    limits = {"proxy_timeout": "300ms", "connections": 50}
    with Popgate(settings(appliance, certificate, *NAMES, limits=limits)) as gate, contextlib.ExitStack() as crowd:
        for _ in range(50):
            half = crowd.enter_context(Dialogue(gate.address("smtp"), BALANCER))
            half.say(b"PROXY TCP4 ")
        assert half.closed()
        with Dialogue(gate.address("smtp"), "127.1.200.3") as client:
            client.expect(b"220")
    assert len([line for line in above_debug(gate) if "header-refused" in line]) == 1


def test_N1_the_header_must_come_in_time(appliance: SampleAppliance, certificate: Path) -> None:
    with Popgate(settings(appliance, certificate, *NAMES, limits={"proxy_timeout": "200ms"})) as gate:
        for name in NAMES:
            with Dialogue(gate.address(name), BALANCER) as client:
                client.say(b"PROXY TCP4 192.0.2.7 ")
                assert client.closed()
        gate.process.expect("header-refused .*was not complete in time")


def test_G3_a_balancer_that_forgets_its_header_opens_nothing(appliance: SampleAppliance, certificate: Path) -> None:
    """At listeners that read none: everybody is served, nobody gets a lease, and the log is loud."""
    with Popgate(settings(appliance, certificate, "smtps")) as gate:
        text = balanced(gate, "smtp", "pop3").replace(HEADERS, "")
        with HAProxy(text) as haproxy:
            pop_login(haproxy.doors["pop3"], source=ANNA)
            assert leased(gate) == []
            assert send(haproxy.doors["smtp"], [FRIEND], EVE).startswith(b"554 5.7.1")
            gate.process.expect(f'WARNING pop3 no-lease client={BALANCER} .*why="the address of a load balancer')


def test_N1_G3_once_an_hour_is_once_for_all_workers(appliance: SampleAppliance, certificate: Path) -> None:
    changes = {"workers": 4, "log": {"level": "debug"}}
    with Popgate(settings(appliance, certificate, "smtp", **changes)) as gate:
        for _ in range(20):
            with Dialogue(gate.address("smtp"), BALANCER) as smtp:
                smtp.say(b"EHLO client\r\n")
                smtp.closed()
            pop_login(gate.address("pop3"), source=BALANCER)
    for event in ("header-refused", "no-lease"):
        found = [line for line in gate.process.lines if f" {event} " in line]
        assert (len(found), sum(" WARNING " in line for line in found)) == (20, 1)


def test_N11_checks_without_a_header_where_none_is_read(appliance: SampleAppliance, certificate: Path) -> None:
    """They are sessions like any other: POP3's, which say nothing but QUIT, are at level debug; SMTP's say EHLO."""
    with Popgate(settings(appliance, certificate)) as gate:
        text = balanced(gate, "smtp", "pop3").replace(HEADERS, "")
        with HAProxy(text) as haproxy:
            gate.process.expect("DEBUG pop3 end .* why=")
            gate.process.expect("INFO smtp end .* helo=haproxy .*why=quit")
            assert not [line for line in haproxy.process.lines if "failed" in line or "DOWN" in line]
    assert not [line for line in above_debug(gate) if " pop3 " in line]


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.7 192.0.2.1 1 25\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_N1_a_header_from_anyone_else_is_a_bad_command(gate: Popgate, header: bytes) -> None:
    for name, refusal in (("smtp", rb"(?m)^5\d\d 5"), ("pop3", rb"(?m)^-ERR ")):
        with Dialogue(gate.address(name), "127.1.200.2") as client:
            client.say(header + b"\r\nQUIT\r\n")
            assert re.search(refusal, client.rest())
        gate.process.expect(rf"{name} end client=127\.1\.200\.2 ")
    for name in ("smtps", "pop3s"):
        with Dialogue(gate.address(name), "127.1.200.2") as client:
            client.say(header)
            assert b"+OK" not in client.rest()
        gate.process.expect(rf'end client=127\.1\.200\.2 .*listener={name} .*why="TLS handshake failed')


def test_N7_a_reload_changes_who_may_send_a_header(appliance: SampleAppliance, certificate: Path) -> None:
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 110\r\n"
    with Popgate(settings(appliance, certificate)) as gate:
        address = gate.address("pop3")
        with Dialogue(address, BALANCER) as client:
            client.expect(b"+OK")
            client.ask(header[:-2], b"-ERR")
        gate.write(settings(appliance, certificate, *NAMES))
        gate.reload("reloaded")
        with Dialogue(address, BALANCER) as client:
            client.say(header)
            client.expect(b"+OK")
        with Dialogue(address, BALANCER) as client:
            client.say(b"PROXY TCP4 127.0.0.9 192.0.2.1 1 110\r\n")
            assert client.closed()
        gate.process.expect("WARNING pop3 header-refused .*claimed=127.0.0.9 ")
        gate.write(settings(appliance, certificate))
        gate.reload("reloaded")
        with Dialogue(address, BALANCER) as client:
            client.expect(b"+OK")
