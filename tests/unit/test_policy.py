"""policy.py: what the gate decides, from what the store says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.schema import Gate
from proxy.errors import StoreUnavailable
from proxy.leases.memory import MemoryStore
from proxy.policy import RelayPolicy
from proxy.session.events import Outcome, RelayAsked, Verdict
from proxy.wire.address import Networks, packed

from ..support.clocks import FakeClock
from ..support.gate import SlowStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.patience import Patience

QUESTION = RelayAsked("a@s.test", "x@far.test")
HOME, OTHER = packed("192.0.2.7"), packed("192.0.2.8")


def policy(
    store: Any,
    *,
    trusted: Sequence[str] = (),
    never: Sequence[str] = (),
    own: Callable[[bytes], bool] = lambda address: False,
    patience: Patience | None = None,
    **rules: Any,
) -> RelayPolicy:
    gate = Gate(trusted_networks=tuple(trusted), never_lease=tuple(never), local_domains=("local.test",), **rules)
    return RelayPolicy(gate, store, is_own=own, patience=patience)


class Bench:
    """A policy on a memory store, and its answers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.policy = policy(self.store)

    def grant(self, login: str = "anna", address: bytes = HOME) -> None:
        answers: list[int | StoreUnavailable] = []
        self.policy.grant(address, login, answers.append)
        assert isinstance(answers[0], int)

    def judge(self, address: bytes = HOME) -> tuple[Verdict, float]:
        answers: list[tuple[Verdict, float]] = []
        self.policy.judge(address, QUESTION, lambda verdict, seconds: answers.append((verdict, seconds)))
        (answer,) = answers
        return answer


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_G1_a_lease_allows_its_address_and_no_other(bench: Bench) -> None:
    bench.grant()
    verdict, seconds = bench.judge()
    assert (verdict.outcome, verdict.login, seconds) == (Outcome.ALLOW, "anna", 1800.0)
    assert verdict.why == "lease of anna"
    assert bench.judge(OTHER)[0].outcome is Outcome.REFUSE


def test_G1_open_while_one_of_several_leases_is_live(bench: Bench) -> None:
    bench.grant("anna")
    bench.clock.advance(1000.0)
    bench.grant("bert")
    bench.clock.advance(800.0)
    verdict, seconds = bench.judge()
    assert (verdict.outcome, verdict.login, seconds) == (Outcome.ALLOW, "bert", 1000.0)


def test_G6_the_verdict_says_for_how_long_it_holds_and_ends_at_its_second(bench: Bench) -> None:
    bench.grant()
    bench.clock.advance(1799.0)
    assert bench.judge()[1] == 1.0
    bench.clock.advance(1.0)
    assert bench.judge()[0] == Verdict(Outcome.REFUSE, "no lease")


def test_G7_a_store_that_is_down_defers_and_never_refuses_or_allows() -> None:
    store = SlowStore()
    answers: list[Verdict] = []
    policy(store).judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    store.questions[0][1](StoreUnavailable("busy"))
    assert answers == [Verdict(Outcome.DEFER, "store down: busy")]


def test_G7_a_grant_that_failed_says_so() -> None:
    store = SlowStore()
    answers: list[Any] = []
    policy(store).grant(HOME, "anna", answers.append)
    assert answers == [], "not before the store has it"
    problem = StoreUnavailable("busy")
    store.grants[0][4](problem)
    assert answers == [problem]


def test_G1_a_login_is_entered_with_its_source_and_window() -> None:
    store = SlowStore()
    policy(store).grant(HOME, "anna", lambda _: None)
    assert store.grants[0][:4] == (HOME, "anna", "pop3", 1800.0)


def test_a_trusted_network_is_a_standing_verdict_and_asks_nobody() -> None:
    store = SlowStore()
    gate = policy(store, trusted=["192.0.2.0/29", "2001:db8::/32"])
    verdict = gate.standing(HOME)
    assert verdict is not None
    assert verdict.outcome is Outcome.ALLOW
    assert gate.standing(packed("2001:db8::1")) is not None
    assert gate.standing(OTHER) is None
    assert store.questions == []


def test_G2_a_mapped_address_is_the_ipv4_network_s() -> None:
    gate = policy(SlowStore(), trusted=["192.0.2.0/24"], never=["198.51.100.0/24"])
    assert gate.standing(packed("::ffff:192.0.2.9")) is not None
    assert gate.unleasable(packed("::ffff:198.51.100.1"), "anna", 0) == "never_lease"


def test_G2_link_local_addresses_make_no_lease() -> None:
    gate = policy(SlowStore())
    assert [gate.unleasable(packed(text), "anna", 0) for text in ("fe80::1", "febf::1")] == ["link-local address"] * 2
    assert [gate.unleasable(packed(text), "anna", 0) for text in ("fec0::1", "2001:db8::1")] == ["", ""]


def test_G3_no_lease_for_never_lease_and_our_own_addresses() -> None:
    gate = policy(SlowStore(), never=["198.51.100.0/24"], own=lambda address: address == OTHER)
    assert gate.unleasable(packed("198.51.100.255"), "anna", 0) == "never_lease"
    assert gate.unleasable(OTHER, "anna", 0) == "own address"
    assert gate.unleasable(HOME, "anna", 0) == ""


def test_G3_no_lease_for_the_address_of_a_load_balancer() -> None:
    balancers = Networks(["198.51.100.0/28", "2001:db8::/64"])
    gate = RelayPolicy(Gate(), SlowStore(), is_own=lambda _: False, balancers=balancers)
    for balancer in ("198.51.100.15", "::ffff:198.51.100.1", "2001:db8::5"):
        assert "load balancer" in gate.unleasable(packed(balancer), "anna", 0)
    assert gate.unleasable(packed("198.51.100.16"), "anna", 0) == ""


def test_no_verdict_is_an_accident_of_a_missing_answer() -> None:
    """Nothing is decided until the store speaks."""
    store = SlowStore()
    answers: list[Verdict] = []
    policy(store).judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    assert answers == []


@pytest.mark.parametrize("down", [False, True])
def test_G12_in_shadow_nothing_is_refused_and_all_is_said(down: bool) -> None:
    store = SlowStore()
    answers: list[Verdict] = []
    policy(store, mode="shadow").judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    store.questions[0][1](StoreUnavailable("busy") if down else [])
    [verdict] = answers
    assert (verdict.outcome, verdict.shadowed) == (Outcome.ALLOW, True)
    assert verdict.why == ("shadow: store down: busy" if down else "shadow: no lease")


def test_G12_in_shadow_a_lease_is_still_a_lease(bench: Bench) -> None:
    bench.policy = policy(bench.store, mode="shadow")
    bench.grant()
    verdict, seconds = bench.judge()
    assert (verdict.why, verdict.shadowed, seconds) == ("lease of anna", False, 1800.0)
