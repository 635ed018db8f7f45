"""why.py: each verdict with its chain of reasons, the same verdicts as the gate's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy import runtime
from proxy.gate.policy import RelayPolicy
from proxy.gate.verdict import Outcome, RelayAsked
from proxy.leases.memory import MemoryStore
from proxy.queries.address import UNKNOWN, ask
from proxy.queries.why import Explanation, explain, places
from proxy.wire.address import packed

from ..support.clocks import FakeClock
from ..support.configuration import loaded

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Config
    from proxy.queries.leases import Answer

GATE = """
[gate]
local_domains = ["example.com"]
trusted_networks = ["10.0.0.0/8", "2001:db8:1::/48"]
never_lease = ["192.0.2.200"]
"""
STRANGER = "192.0.2.7"


def lease(left: float = 90.0, address: str = STRANGER, login: str = "alice", **used: int) -> dict[str, Any]:
    row = {"address": address, "login": login, "source": "pop3", "granted": 0.0, "expires": left, "left": left}
    return row | {"messages": 0, "recipients": 0} | used


def leases(left: float = 90.0, address: str = STRANGER) -> list[dict[str, Any]]:
    return [lease(left, address)]


def known(*held: dict[str, Any], **more: Any) -> Answer:
    return UNKNOWN | {"leases": list(held)} | more


def one(
    config: Config,
    address: str,
    recipient: str = "",
    held: list[dict[str, Any]] | str = "",
    sender: str | None = None,
    **more: Any,
) -> Explanation:
    about = held if isinstance(held, str) and held else known(*(held or ()), **more)  # type: ignore[misc]
    (explanation,) = explain(config, packed(address), sender, recipient, about)
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
        (STRANGER, "", "popgate.sock: Permission denied", "unknown", "popgate.sock: Permission denied"),
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
    found = {e.listener: e for e in explain(config, packed(STRANGER), None, "", known())}
    assert {name: e.verdict for name, e in found.items()} == {"smtp": "refuse", "office": "allow"}
    local = {e.listener: e for e in explain(config, packed("198.51.100.1"), None, "bob@example.com", known())}
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
    assert words in one(config, STRANGER, "", leases(seconds)).reasons[0]


@pytest.mark.parametrize("address", ["10.1.2.3", STRANGER, "192.0.2.8", "192.0.2.200"])
@pytest.mark.parametrize("down", [False, True])
def test_it_says_what_the_gate_does(config: Config, address: str, down: bool) -> None:
    """The same question to RelayPolicy."""
    store = MemoryStore(FakeClock())
    store.grant(packed("192.0.2.8"), "alice", "pop3", 60, lambda problem: None)
    if down:
        store.close()
    about: list[Answer] = []
    ask(store, {"do": "why", "address": address, "places": [address]}, about.append)
    policy = RelayPolicy(config.gate, store, is_own=lambda address: False)
    verdicts = [policy.preauthorised(packed(address))]
    if verdicts == [None]:
        policy.judge(packed(address), RelayAsked("", ""), lambda verdict, _: verdicts.append(verdict))
    decided = verdicts[-1]
    assert decided is not None
    names = {Outcome.ALLOW: "allow", Outcome.REFUSE: "refuse", Outcome.DEFER: "defer"}
    (found,) = explain(config, packed(address), None, "", about[0])
    assert found.verdict == names[decided.outcome]
    assert any(reason.startswith(decided.why) for reason in found.reasons), "the words of the log"


def test_G3_a_load_balancer_is_said_to_be_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[listener.smtp]\naccept_proxy_from = ["198.51.100.9"]\n')
    reasons = one(config, "198.51.100.9", "", []).reasons
    assert "the address of a load balancer (accept_proxy_from)" in reasons[-1]


# The chain


NOW = 1_800_000_000.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def past(seconds: float, how: str = "ended", login: str = "alice") -> dict[str, Any]:
    row = {"address": STRANGER, "login": login, "source": "pop3", "began": NOW - seconds - 1800}
    return row | {"ended": NOW - seconds, "how": how}


def unleased(seconds: float, why: str, login: str = "carol") -> dict[str, Any]:
    row = {"address": STRANGER, "login": login, "protocol": "pop3", "times": 1, "first": 0.0}
    return row | {"last": NOW - seconds, "need": f"no lease: {why}"}


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize(
    ("about", "reasons"),
    [
        ({}, ["no lease", "no POP login from this address in the window, or its lease has ended"]),
        (
            {"remembered": 30 * 86400.0},
            ["no lease", "never logged in: no lease within 30 days, as far as store.history goes"],
        ),
        ({"past": [past(250)]}, ["no lease", "ended 4 min ago: the lease of alice (pop3)"]),
        (
            {"past": [past(30, "revoked", "bob"), past(3 * 86400)], "unleased": [unleased(7200, "no_relay_logins")]},
            [
                "no lease",
                "revoked 30 s ago: the lease of bob (pop3)",
                "carol logged in 2 h ago and got no lease: no_relay_logins",
                "ended 3 days ago: the lease of alice (pop3)",
            ],
        ),
    ],
)
def test_what_became_of_the_address_s_logins(config: Config, about: dict[str, Any], reasons: list[str]) -> None:
    found = one(config, STRANGER, **about)
    assert (found.verdict, list(found.reasons)) == ("refuse", reasons)


def test_G13_failed_logins_are_told_and_whether_they_cost_the_next_lease(tmp_path: Path) -> None:
    strict = loaded(tmp_path, GATE + "lease_after_failures = 3\n")
    assert one(strict, STRANGER, failures=2).reasons[-1] == "2 failed logins within ten minutes"
    assert one(strict, STRANGER, failures=3).reasons[-2:] == (
        "a login from this address makes no lease: failed logins before it",
        "3 failed logins within ten minutes",
    )


@pytest.mark.parametrize(
    ("rule", "sender", "verdict", "reason"),
    [
        ('sender = "match"', "alice@example.com", "allow", "lease of alice (pop3), 1 min 30 s left"),
        ('sender = "match"', "", "allow", "lease of alice (pop3), 1 min 30 s left"),
        (
            'sender = "match"',
            "eve@example.com",
            "refuse",
            "sender does not match: 'eve@example.com' is not alice, nor alice at a local domain, nor in sender_map",
        ),
        ('sender = "match"', None, "allow", 'sender = "match": the sender must match the login; ask with --sender'),
        ('sender = "log"', "eve@example.com", "allow", "sender does not match, which is only logged"),
        ('shared_networks = ["192.0.2.0/24"]', "eve@x", "refuse", "shared network: the sender must match the login"),
        (
            'shared_networks = ["192.0.2.0/24"]',
            None,
            "allow",
            "shared network: the sender must match the login; ask with --sender",
        ),
        ("", "eve@example.com", "allow", "lease of alice (pop3), 1 min 30 s left"),
    ],
)
def test_G10_what_the_sender_has_to_do_with_it(
    tmp_path: Path, rule: str, sender: str | None, verdict: str, reason: str
) -> None:
    found = one(loaded(tmp_path, GATE + rule + "\n"), STRANGER, held=leases(), sender=sender)
    assert found.verdict == verdict
    assert reason in found.reasons


def test_G12_shadow_says_what_would_be(tmp_path: Path) -> None:
    found = one(loaded(tmp_path, GATE + 'mode = "shadow"\n'), STRANGER)
    assert (found.verdict, found.reasons[0]) == ("allow", "no lease")
    assert found.reasons[-1].startswith("shadow: refuse only if enforced")


def test_G11_a_budget_that_is_spent(tmp_path: Path) -> None:
    config = loaded(tmp_path, GATE + "max_messages = 5\nmax_recipients = 9\n")
    found = one(config, STRANGER, held=[lease(messages=5, recipients=7)])
    assert (found.verdict, found.reasons) == (
        "defer",
        (
            "lease of alice (pop3), 1 min 30 s left, 5 messages to 7 recipients sent",
            "budget spent: at most 5 messages and 9 recipients in 30 min",
        ),
    )
    assert one(config, STRANGER, held=[lease(messages=4, recipients=8)]).verdict == "allow"
    assert one(config, STRANGER, held=[lease(messages=5), lease(80.0, login="bob")]).verdict == "allow"


def test_G7_a_store_that_is_down_is_said_in_the_words_of_the_log(config: Config) -> None:
    found = one(config, STRANGER, down="disk on fire")
    assert (found.verdict, found.reasons) == ("defer", ("store down: disk on fire",))


def test_G2_an_ipv6_client_s_lease_is_its_network_s(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        '[gate]\nipv6_prefix = 64\n[listener.office]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\ntls = "off"\n'
        "[listener.office.gate]\nipv6_prefix = 128\n",
    )
    assert places(config, packed("2001:db8::1:2:3:4")) == ["2001:db8::", "2001:db8::1:2:3:4"]
    assert places(config, packed(STRANGER)) == [STRANGER]
    found = explain(config, packed("2001:db8::1:2:3:4"), None, "", known(lease(address="2001:db8::")))
    assert {e.listener: e.verdict for e in found} == {"smtp": "allow", "office": "refuse"}
