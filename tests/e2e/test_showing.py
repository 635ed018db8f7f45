"""The client's address shown to real servers (rule S12): what Postfix and Dovecot log, and whom they let relay.

The appliance relays for popgate's address, 127.0.0.1, and for no other; clients come from 127.1.0.0/16.
"""

from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.dovecot import NOBODY
from ..support.folder import Folder
from ..support.popgate import Popgate, config
from ..support.ports import client_host
from ..support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.dovecot import Dovecot
    from ..support.popgate import Config

OURS = {"mynetworks": "127.0.0.1/32"}
DOORS = {
    "plain": OURS,
    "proxied": {**OURS, "smtpd_upstream_proxy_protocol": "haproxy"},
    "xclient": {**OURS, "smtpd_authorized_xclient_hosts": "127.0.0.1/32"},
}
WAYS = {
    "v1": ("proxied", {"send_proxy": "v1"}),
    "v2": ("proxied", {"send_proxy": "v2"}),
    "xclient": ("xclient", {"xclient": True}),
    "source": ("plain", {"source": "client"}),
}
CAP_NET_RAW = 1 << 13
ways = pytest.mark.parametrize("way", WAYS)


class House:
    """An appliance with a door for each way."""

    def __init__(self, certificate: Path) -> None:
        self.postfix = Postfix(certificate, doors=DOORS)

    def endpoint(self, door: str) -> str:
        host, port = self.postfix.doors[door]
        return f"{host}:{port}"

    def expect(self, pattern: str, since: int = 0) -> str:
        return self.postfix.process.expect(pattern, since=since).string

    @property
    def told(self) -> int:
        """Lines of its log so far."""
        return len(self.postfix.process.lines)


@pytest.fixture(scope="module")
def house(certificate: Path) -> Iterator[House]:
    made = House(certificate)
    yield made
    made.postfix.close()


def settings(house: House, dovecot: Dovecot, way: str, **keys: object) -> Config:
    door, shown = WAYS[way]
    pop3 = dovecot.endpoint if door != "proxied" else dovecot.proxied
    whole = config(pop3, house.endpoint(door), upstream={"smtp": {**shown, **keys}})
    if way != "xclient":
        whole["upstream"]["pop3"].update(shown)
    return whole


@ways
def test_S12_the_appliance_sees_a_stranger_s_address_and_popgate_s_for_who_may_relay(
    house: House, dovecot: Dovecot, way: str
) -> None:
    with Popgate(settings(house, dovecot, way)) as gate:
        source, since = client_host(), house.told
        smtp = gate.address("smtp")
        assert send(smtp, [b"bob@example.com"], source).startswith(b"250")
        house.expect(rf"client=\S*\[{source}\]", since)
        assert send(smtp, [b"friend@example.org"], source).startswith(b"554 5.7.1 <friend@example.org>: Relay access")
        since = house.told
        pop_login(gate.address("pop3"), "alice", source)
        assert send(smtp, [b"friend@example.org"], source).startswith(b"250")
        house.expect(r"client=\S*\[127\.0\.0\.1\]", since)
        if way != "xclient":
            dovecot.process.expect(rf"Login: user=<alice>.* rip={source},")


@ways
def test_S12_the_appliance_is_a_second_lock(house: House, dovecot: Dovecot, way: str) -> None:
    """A domain that popgate takes for local, and the appliance does not: it refuses the stranger, not who may relay."""
    whole = settings(house, dovecot, way)
    whole["gate"]["local_domains"].append("example.org")
    with Popgate(whole) as gate:
        source = client_host()
        reply = send(gate.address("smtp"), [b"friend@example.org"], source)
        assert reply == b"554 5.7.1 <friend@example.org>: Relay access denied\r\n", "the appliance's own words"
        pop_login(gate.address("pop3"), "alice", source)
        assert send(gate.address("smtp"), [b"friend@example.org"], source).startswith(b"250")


@ways
def test_S12_a_login_in_mid_session_is_moved_and_nobody_notices(house: House, dovecot: Dovecot, way: str) -> None:
    with Popgate(settings(house, dovecot, way)) as gate:
        source, since = client_host(), house.told
        friend = f"friend-{source}@example.org"
        with Dialogue(gate.address("smtp"), source) as client:
            client.expect(b"220")
            client.ask(b"EHLO client.example.net", b"250")
            client.ask(b"MAIL FROM:<sender@example.com> SIZE=100", b"250")
            client.ask(b"RCPT TO:<" + friend.encode() + b">", b"554")
            pop_login(gate.address("pop3"), "alice", source)
            client.ask(b"RSET", b"250")
            client.ask(b"MAIL FROM:<sender@example.com> SIZE=100", b"250")
            client.say(b"RCPT TO:<" + friend.encode() + b">\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
            for code in (b"250", b"250", b"354"):
                client.expect(code)
            client.say(stuffed(b"Subject: moved\r\n\r\nto the other\r\n"))
            client.expect(b"250")
            client.ask(b"QUIT", b"221")
        assert house.postfix.sink.take(friend).body == b"to the other\r\n"
        house.expect(r"client=\S*\[127\.0\.0\.1\]", since)
        house.expect(rf"disconnect from \S*\[{source}\].* quit=1", since)
        end = gate.process.expect(rf"\bend\b.*client={source} .*announced=no").string
        assert "msgs=1" in end


@ways
def test_S12_G9_who_sends_while_it_fetches_is_moved(house: House, dovecot: Dovecot, way: str) -> None:
    whole = settings(house, dovecot, way)
    whole["gate"]["patience"] = "20s"
    with Popgate(whole) as gate:
        source, since = client_host(), house.told
        with Dialogue(gate.address("smtp"), source) as client:
            client.expect(b"220")
            client.ask(b"EHLO client.example.net", b"250")
            client.ask(b"MAIL FROM:<sender@example.com>", b"250")
            client.say(b"RCPT TO:<friend@example.org>\r\n")
            pop_login(gate.address("pop3"), "alice", source)
            client.expect(b"250")
            client.ask(b"RSET", b"250")
            client.ask(b"QUIT", b"221")
        house.expect(rf"disconnect from \S*\[{source}\].* quit=1", since)
        house.expect(r"disconnect from \S*\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 rset=1 quit=1", since)


@ways
def test_S12_G15_who_authenticates_by_pop3_is_shown_there_and_moved_here(
    house: House, dovecot: Dovecot, certificate: Path, way: str
) -> None:
    plain = settings(house, dovecot, way)
    whole = config("", "", certificate, gate={"auth": "pop3", "auth_upstream": "pop3"}, upstream=plain["upstream"])
    context = ssl.create_default_context(cafile=str(certificate))
    with Popgate(whole) as gate:
        source, since, told = client_host(), house.told, len(dovecot.process.lines)
        with Dialogue(gate.address("smtps"), source, context) as client:
            client.expect(b"220")
            client.ask(b"EHLO client.example.net", b"250")
            client.ask(b"AUTH PLAIN " + base64.b64encode(b"\0carol\0secret"), b"235")
            client.ask(b"MAIL FROM:<sender@example.com>", b"250")
            client.ask(b"RCPT TO:<friend@example.org>", b"250")
            client.ask(b"DATA", b"354")
            client.say(stuffed(b"Subject: authenticated\r\n\r\nx\r\n"))
            client.expect(b"250")
            client.ask(b"QUIT", b"221")
        house.expect(r"client=\S*\[127\.0\.0\.1\]", since)
        if way != "xclient":
            dovecot.process.expect(rf"Login: user=<carol>.* rip={source},", told)


@pytest.mark.parametrize("way", ["v1", "v2", "source"])
def test_S12_always_means_that_the_appliance_refuses_who_has_a_lease(house: House, dovecot: Dovecot, way: str) -> None:
    whole = settings(house, dovecot, way, show_client="always")
    with Popgate(whole) as gate:
        source = client_host()
        pop_login(gate.address("pop3"), "alice", source)
        reply = send(gate.address("smtp"), [b"friend@example.org"], source)
        assert reply == b"554 5.7.1 <friend@example.org>: Relay access denied\r\n", "the appliance's own words"
        checked = gate.command("check")
        assert 'warning: upstream.smtp.show_client = "always": the server refuses' in checked.stderr


def test_S12_always_with_xclient_tells_the_login(house: House, dovecot: Dovecot) -> None:
    with Popgate(settings(house, dovecot, "xclient", show_client="always")) as gate:
        source, since = client_host(), house.told
        pop_login(gate.address("pop3"), "alice", source)
        assert send(gate.address("smtp"), [b"bob@example.com"], source).startswith(b"250")
        house.expect(rf"client=\S*\[{source}\].*sasl_method=XCLIENT, sasl_username=alice", since)


@ways
def test_S12_under_starttls(house: House, dovecot: Dovecot, certificate: Path, way: str) -> None:
    keys = {"tls": "starttls", "tls_ca": str(certificate), "tls_name": "mail.example.com"}
    with Popgate(settings(house, dovecot, way, **keys)) as gate:
        source, since = client_host(), house.told
        assert send(gate.address("smtp"), [b"bob@example.com"], source).startswith(b"250")
        house.expect(rf"client=\S*\[{source}\]", since)


@ways
def test_probes_are_taken_as_they_should_be(house: House, dovecot: Dovecot, way: str) -> None:
    whole = settings(house, dovecot, way)
    for upstream in whole["upstream"].values():
        upstream["health_interval"] = "1s"
    since, told = house.told, len(dovecot.process.lines)
    with Popgate(whole) as gate:
        for _ in range(2):
            since = house.postfix.process.lines.index(house.expect(r"disconnect from .* quit=1", since), since) + 1
        dovecot.process.expect(r"Disconnected.*rip=127", told)
        assert "upstream-down" not in gate.process.output


def test_an_appliance_that_takes_no_xclient_is_told_with_the_cure(house: House, dovecot: Dovecot) -> None:
    whole = config(dovecot.endpoint, house.endpoint("plain"), upstream={"smtp": {"xclient": True}})
    with Popgate(whole) as gate:
        source = client_host()
        with Dialogue(gate.address("smtp"), source) as client:
            client.expect(b"421")
        gate.process.expect(r'upstream-failed.*why="it offers popgate no XCLIENT.*smtpd_authorized_xclient_hosts')
        pop_login(gate.address("pop3"), "alice", source)
        assert send(gate.address("smtp"), [b"friend@example.org"], source).startswith(b"250"), "it needs no XCLIENT"


def test_a_fixed_source(house: House, dovecot: Dovecot) -> None:
    whole = config(dovecot.endpoint, house.endpoint("plain"), upstream={"pop3": {"source": "127.3.2.1"}})
    with Popgate(whole) as gate:
        pop_login(gate.address("pop3"), "bob", client_host())
        dovecot.process.expect(r"Login: user=<bob>.* rip=127\.3\.2\.1,")


def test_the_right_to_foreign_addresses_is_all_that_is_kept_of_root(house: House, dovecot: Dovecot) -> None:
    whole = settings(house, dovecot, "source")
    with Folder("state") as state:
        os.chown(state, NOBODY, NOBODY)
        whole |= {"user": "nobody", "workers": 2, "admin": {"control": f"{state}/s"}}
        whole["store"]["url"] = f"sqlite:{state}/leases.db"
        with Popgate(whole) as gate:
            source, since = client_host(), house.told
            assert send(gate.address("smtp"), [b"bob@example.com"], source).startswith(b"250")
            house.expect(rf"client=\S*\[{source}\]", since)
            for pid in [gate.process.pid, *gate.workers()]:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                status = dict(line.split(":", 1) for line in lines)
                assert status["Uid"].split() == [str(NOBODY)] * 4
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == CAP_NET_RAW


@ways
def test_selftest_finds_nothing_wrong(house: House, dovecot: Dovecot, way: str) -> None:
    with Popgate(settings(house, dovecot, way)) as gate:
        done = gate.command("selftest")
        lines = [line for line in done.stdout.splitlines() if "upstream." in line]
        assert lines
        assert not [line for line in lines if line.startswith("FAIL")], done.stdout
