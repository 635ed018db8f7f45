"""why.py: each verdict with its chain of reasons, the same verdicts as the gate's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy import runtime
from proxy.errors import StoreUnavailable
from proxy.leases.memory import MemoryStore
from proxy.policy import RelayPolicy
from proxy.questions import Answer, listed
from proxy.session.events import Outcome, RelayAsked
from proxy.why import Explanation, explain
from proxy.wire.address import packed

from ..support.clocks import FakeClock
from ..support.configuration import loaded

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Config

GATE = """
[gate]
local_domains = ["example.com"]
trusted_networks = ["10.0.0.0/8", "2001:db8:1::/48"]
never_lease = ["192.0.2.200"]
"""
STRANGER = "192.0.2.7"


def leases(left: float = 90.0, address: str = STRANGER) -> list[dict[str, Any]]:
    return [{"address": address, "login": "alice", "source": "pop3", "left": left}]


def one(config: Config, address: str, recipient: str = "", held: list[dict[str, Any]] | str = "") -> Explanation:
    (explanation,) = explain(config, packed(address), recipient, held or [])
    return explanation


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return loaded(tmp_path, GATE)


@pytest.mark.parametrize(
    ("address", "recipient", "held", "verdict", "reason"),
    [
        ("10.1.2.3", "", [], "allow", "trusted_networks"),
        ("2001:db8:1::7", "", [], "allow", "trusted_networks"),
        ("10.1.2.3", "", "the lease store is down: x", "allow", "trusted_networks"),
        (STRANGER, "bob@example.com", [], "allow", "the recipient is local"),
        (STRANGER, "BOB@EXAMPLE.COM.", [], "allow", "the recipient is local"),
        (STRANGER, "postmaster", [], "allow", "the recipient is local"),
        (STRANGER, "bob@example.com", "the lease store is down: x", "allow", "the recipient is local"),
        (STRANGER, "", leases(), "allow", "lease of alice (pop3), 1 min 30 s left"),
        (STRANGER, "friend@example.org", leases(), "allow", "the recipient is not local"),
        (STRANGER, "", [], "refuse", "no lease"),
        (STRANGER, "", leases(address="192.0.2.8"), "refuse", "no lease"),
        (STRANGER, "friend@example.org", [], "refuse", "the recipient is not local"),
        (STRANGER, "friend%example.org@example.com", [], "refuse", "the recipient is not local"),
        (STRANGER, "a b@example.com", [], "refuse", "'a b@example.com'"),
        (STRANGER, "bob@example.com> SIZE=1", [], "refuse", "not one address"),
        ("192.0.2.200", "", [], "refuse", "never_lease"),
        (STRANGER, "", "the lease store is down: x", "defer", "the lease store is down: x"),
    ],
)
def test_each_verdict(
    config: Config, address: str, recipient: str, held: list[dict[str, Any]] | str, verdict: str, reason: str
) -> None:
    found = one(config, address, recipient, held)
    assert found.verdict == verdict
    assert reason in "; ".join(found.reasons)


def test_G3_one_of_our_own_addresses_is_told_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "is_own", lambda address: True)
    assert one(config, STRANGER).reasons[-1] == "a login from this address makes no lease: own address"


def test_each_listener_has_its_own_gate(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        GATE + '[listener.office]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\nlocal = "gate"\ntls = "off"\n'
        '[listener.office.gate]\ntrusted_networks = ["192.0.2.0/24"]\n'
        '[listener.pop]\nprotocol = "pop3"\nbind = ["127.0.0.1:0"]\n[upstream.pop3]\nservers = ["192.0.2.10:110"]\n',
    )
    found = {e.listener: e for e in explain(config, packed(STRANGER), "", [])}
    assert {name: e.verdict for name, e in found.items()} == {"smtp": "refuse", "office": "allow"}
    local = {e.listener: e for e in explain(config, packed("198.51.100.1"), "bob@example.com", [])}
    assert {name: e.verdict for name, e in local.items()} == {"smtp": "allow", "office": "refuse"}
    assert "asks for local recipients too" in "; ".join(local["office"].reasons)


def test_octets_of_the_command_line_that_are_no_utf8(config: Config) -> None:
    assert one(config, STRANGER, b"j\xf6rg@example.com".decode("utf-8", "surrogateescape")).verdict in {
        "allow",
        "refuse",
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min"), (61.0, "1 min 1 s"), (3600.0, "1 h"), (5400.0, "1 h 30 min"), (43199.0, "11 h 59")],
)
def test_time_left_in_words(config: Config, seconds: float, words: str) -> None:
    assert words in one(config, STRANGER, "", leases(seconds)).reasons[-1]


@pytest.mark.parametrize("address", ["10.1.2.3", STRANGER, "192.0.2.8", "192.0.2.200"])
@pytest.mark.parametrize("down", [False, True])
def test_it_says_what_the_gate_does(config: Config, address: str, down: bool) -> None:
    """The same question to RelayPolicy."""
    store = MemoryStore(FakeClock())
    store.grant(packed("192.0.2.8"), "alice", "pop3", 60, lambda problem: None)
    held: list[Answer] = []
    store.all(lambda found: held.append(listed(found)))
    if down:
        store.close()
        held = [listed(StoreUnavailable("the store is closed"))]
    policy = RelayPolicy(config.gate, store, is_own=lambda address: False)
    verdicts = [policy.standing(packed(address))]
    if verdicts == [None]:
        policy.judge(packed(address), RelayAsked("", ""), lambda verdict, _: verdicts.append(verdict))
    decided = verdicts[-1]
    assert decided is not None
    names = {Outcome.ALLOW: "allow", Outcome.REFUSE: "refuse", Outcome.DEFER: "defer"}
    given = held[0]["error"] if down else held[0]["leases"]
    assert one(config, address, "", given).verdict == names[decided.outcome]


def test_G3_a_load_balancer_is_said_to_be_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[listener.smtp]\naccept_proxy_from = ["198.51.100.9"]\n')
    reasons = one(config, "198.51.100.9", "", []).reasons
    assert "the address of a load balancer (accept_proxy_from)" in reasons[-1]
