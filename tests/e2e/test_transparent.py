"""The clients' own addresses through a gateway: source = "client", transparent listeners, scripts/nftables/tproxy.

Clients, gate and appliance are network namespaces (tests/support/network.py); Dovecot and Postfix are the real ones.
The appliance relays for the gate's inner address, and for no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.dovecot import NOBODY, Dovecot
from ..support.folder import Folder
from ..support.network import APPLIANCE, APPLIANCE6, CLIENT, CLIENT6, GATE, GATE6, INNER, STRANGER, Network
from ..support.popgate import Popgate, config
from ..support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.popgate import Config

SCRIPT = str(Path(__file__).parents[2] / "scripts" / "nftables" / "tproxy")
POP, SMTP = 10110, 10025
FRIEND, BOB = [b"friend@example.org"], [b"bob@example.com"]


class Site:
    """The machines, and the servers of the appliance."""

    def __init__(self, network: Network) -> None:
        self.network = network
        with network.inside("appliance"):
            self.dovecot = Dovecot(host=APPLIANCE)
            self.dovecot6 = Dovecot(host=APPLIANCE6)
            self.postfix = Postfix(more=f"mynetworks = {INNER}/32\n", host=APPLIANCE)

    def close(self) -> None:
        for server in (self.dovecot, self.dovecot6, self.postfix):
            server.close()

    def gate(self, settings: Config) -> Popgate:
        with self.network.inside("gate"):
            return Popgate(settings)

    def script(self, *words: str) -> str:
        return self.network.run("gate", SCRIPT, *words)

    def intercept(self) -> None:
        """What clients say to the appliance's ports comes to popgate."""
        ports = [f"{self.dovecot.address[1]}={POP}", f"{self.postfix.address[1]}={SMTP}"]
        self.script("up", "--from", "outer", "--to", APPLIANCE, "--port", ports[0], "--port", ports[1])

    def log_in(self, address: tuple[str, int], login: str = "alice", source: str = CLIENT) -> None:
        with self.network.inside("clients"):
            pop_login(address, login, source)

    def send(self, address: tuple[str, int], recipients: list[bytes], source: str = CLIENT) -> bytes:
        with self.network.inside("clients"):
            return send(address, recipients, source)

    def postfix_saw(self, address: str, since: int) -> None:
        self.postfix.process.expect(rf"client=\S*\[{address}\]", since)

    @property
    def told(self) -> int:
        return len(self.postfix.process.lines)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Network() as network:
        made = Site(network)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def afterwards(site: Site) -> Iterator[None]:
    yield
    site.script("down")


def transparent(source: str = "") -> Config:
    """Listeners for whatever comes, and no server named."""
    upstream = {"servers": [], "source": source}
    return config(
        "", "",
        listener={
            "pop3": {"bind": [f"0.0.0.0:{POP}", f"[::]:{POP}"], "transparent": True},
            "smtp": {"bind": [f"0.0.0.0:{SMTP}", f"[::]:{SMTP}"], "transparent": True},
        },
        upstream={"pop3": dict(upstream), "smtp": dict(upstream)},
    )  # fmt: skip


def test_S12_the_appliance_sees_the_client_s_address(site: Site) -> None:
    """The clients know the gate; what the appliance answers them is the gate's to take."""
    site.script("up")
    whole = config(
        site.dovecot.endpoint, site.postfix.endpoint,
        listener={"pop3": {"bind": [f"{GATE}:{POP}"]}, "smtp": {"bind": [f"{GATE}:{SMTP}"]}},
        upstream={"pop3": {"source": "client"}, "smtp": {"source": "client"}},
    )  # fmt: skip
    with site.gate(whole):
        pop, smtp, since = (GATE, POP), (GATE, SMTP), site.told
        assert site.send(smtp, BOB).startswith(b"250")
        site.postfix_saw(CLIENT, since)
        assert site.send(smtp, FRIEND).startswith(
            b"554 5.7.1 <friend@example.org>: Relay access denied. Check your mail"
        )
        site.log_in(pop)
        site.dovecot.process.expect(rf"Login: user=<alice>.* rip={CLIENT}, lip={APPLIANCE}")
        since = site.told
        assert site.send(smtp, FRIEND).startswith(b"250")
        site.postfix_saw(INNER, since)
        assert site.send(smtp, FRIEND, STRANGER).startswith(b"554")


def test_a_client_on_the_gate_s_own_machine(site: Site) -> None:
    """A webmail there, say: it comes from the gate's address."""
    site.script("up")
    whole = config(
        site.dovecot.endpoint, site.postfix.endpoint,
        listener={"pop3": {"bind": [f"0.0.0.0:{POP}"]}}, upstream={"pop3": {"source": "client"}},
    )  # fmt: skip
    with site.gate(whole), site.network.inside("gate"):
        for host in ("127.0.0.1", GATE):
            told = len(site.dovecot.process.lines)
            pop_login((host, POP), "bob")
            seen = INNER if host == "127.0.0.1" else GATE
            site.dovecot.process.expect(rf"Login: user=<bob>.* rip={seen}, lip={APPLIANCE}", told)


@pytest.mark.parametrize("source", ["", "client"])
def test_clients_that_know_only_the_appliance(site: Site, source: str) -> None:
    site.intercept()
    with site.gate(transparent(source)):
        smtp, since = site.postfix.address, site.told
        assert site.send(smtp, BOB).startswith(b"250")
        site.postfix_saw(CLIENT if source else INNER, since)
        assert site.send(smtp, FRIEND).startswith(
            b"554 5.7.1 <friend@example.org>: Relay access denied. Check your mail"
        )
        site.log_in(site.dovecot.address)
        assert site.send(smtp, FRIEND).startswith(b"250")
        assert site.send(smtp, FRIEND, STRANGER).startswith(b"554")


def test_ipv6(site: Site) -> None:
    host, port = site.dovecot6.address
    site.script("up", "--from", "outer", "--port", f"{port}={POP}")
    with site.gate(transparent("client")) as gate:
        site.log_in((host, port), "carol", CLIENT6)
        site.dovecot6.process.expect(rf"Login: user=<carol>.* rip={CLIENT6}, lip={APPLIANCE6}")
        gate.process.expect(rf"leased client={CLIENT6} .*login=carol")


def test_addresses_that_were_rewritten_on_the_way(site: Site) -> None:
    """nftables' `redirect` instead of `tproxy`."""
    rules = f"tcp dport {site.dovecot.address[1]} redirect to :{POP}"
    chain = f"chain pre {{ type nat hook prerouting priority dstnat; iifname outer {rules}; }};"
    site.network.run("gate", "nft", f"table ip rewriting {{ {chain} }};")
    try:
        with site.gate(transparent()) as gate:
            site.log_in(site.dovecot.address, "bob", STRANGER)
            gate.process.expect(rf"end client={STRANGER} .*upstream={site.dovecot.endpoint}")
    finally:
        site.network.run("gate", "nft", "delete table ip rewriting")


@pytest.mark.parametrize("host", [GATE, GATE6, INNER])
def test_N10_who_wants_the_gate_itself_is_no_loop(site: Site, host: str) -> None:
    site.script("up", "--from", "outer", "--port", f"25={SMTP}")
    with site.gate(transparent()) as gate:
        for port in (25, SMTP):
            before = len(gate.process.lines)
            with site.network.inside("clients"), Dialogue((host, port)) as client:
                client.expect(b"421 4.3.2")
            gate.process.expect(r"upstream-failed .*which is this machine: a loop", since=before)


def test_as_a_user_with_one_right_and_no_more(site: Site) -> None:
    site.intercept()
    whole = transparent("client")
    with Folder("state") as state:
        Path(state).chmod(0o777)
        whole |= {"user": "nobody", "workers": 2, "admin": {"control": f"{state}/s"}}
        whole["store"]["url"] = f"sqlite:{state}/leases.db"
        with site.gate(whole) as gate:
            since = site.told
            assert site.send(site.postfix.address, BOB).startswith(b"250")
            site.postfix_saw(CLIENT, since)
            status = Path(f"/proc/{gate.workers()[0]}/status").read_text()
            assert f"Uid:\t{NOBODY}" in status


def test_without_the_rules_the_answers_go_past_popgate(site: Site) -> None:
    """What the script is for; and the log says it in time."""
    whole = config(
        site.dovecot.endpoint, site.postfix.endpoint,
        listener={"smtp": {"bind": [f"{GATE}:{SMTP}"]}},
        upstream={"smtp": {"source": "client", "connect_timeout": "1s"}},
    )  # fmt: skip
    with site.gate(whole) as gate:
        with site.network.inside("clients"), Dialogue((GATE, SMTP)) as client:
            client.expect(b"421 4.3.2")
        gate.process.expect(r"upstream-failed")


def test_the_script_takes_away_what_it_made(site: Site) -> None:
    def state() -> list[str]:
        commands = [
            "nft list ruleset",
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
        ]
        return [line for command in commands for line in site.network.run("gate", *command.split()).splitlines()]

    before = state()
    site.intercept()
    made = state()
    assert made != before
    site.intercept()
    assert state() == made, "again changes nothing"
    site.script("down")
    assert state() == before
    site.script("down")
    assert state() == before


@pytest.mark.parametrize("words", [(), ("sideways",), ("up", "--port", "25"), ("up", "--port"), ("up", "25=10025")])
def test_the_script_says_how_it_is_used(site: Site, words: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="tproxy"):
        site.script(*words)
