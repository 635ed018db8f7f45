"""policy.py: what the gate decides, from what the store says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.schema import Gate, SenderMap
from proxy.errors import StoreUnavailable
from proxy.gate.patience import Patience
from proxy.gate.policy import ADMIN, RelayPolicy
from proxy.gate.verdict import Outcome, Reason, RelayAsked, Verdict
from proxy.leases.base import Lease
from proxy.leases.memory import MemoryStore
from proxy.wire.address import Networks, packed

from ..support.clocks import FakeClock
from ..support.gate import SlowStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUESTION = RelayAsked("a@s.test", "x@far.test")
HOME, OTHER = packed("192.0.2.7"), packed("192.0.2.8")
BY_LEASE = Verdict(Outcome.ALLOW, Reason.LEASE, "anna", "anna", None, (HOME, "anna", "pop3"))


def policy(
    store: Any,
    *,
    trusted: Sequence[str] = (),
    never: Sequence[str] = (),
    own: Callable[[bytes], bool] = lambda address: False,
    waiting: Patience | None = None,
    **rules: Any,
) -> RelayPolicy:
    gate = Gate(trusted_networks=tuple(trusted), never_lease=tuple(never), local_domains=("local.test",), **rules)
    return RelayPolicy(gate, store, is_own=own, patience=waiting)


class Bench:
    """A policy on a memory store, and its answers."""

    def __init__(self, **rules: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.policy = policy(self.store, **rules)

    def grant(self, login: str = "anna", address: bytes = HOME) -> int:
        """How many logins the address has then."""
        answers: list[int | StoreUnavailable] = []
        self.policy.grant(address, login, answers.append)
        assert isinstance(answers[0], int)
        return answers[0]

    def judge(self, address: bytes = HOME, question: RelayAsked = QUESTION) -> tuple[Verdict, float]:
        answers: list[tuple[Verdict, float]] = []
        self.policy.judge(address, question, lambda verdict, seconds: answers.append((verdict, seconds)))
        (answer,) = answers
        return answer

    def verdict(self, sender: str = "anna@local.test", address: bytes = HOME) -> Verdict:
        return self.judge(address, RelayAsked(sender, "x@far.test"))[0]

    def leases(self) -> list[Lease]:
        found: list[Any] = []
        self.store.all(found.append)
        leases: list[Lease] = found[0]
        return leases


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
    assert bench.judge()[0] == Verdict(Outcome.REFUSE, Reason.NO_LEASE)


def test_G7_a_store_that_is_down_defers_and_never_refuses_or_allows() -> None:
    store = SlowStore()
    answers: list[Verdict] = []
    policy(store).judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    store.questions[0][1](StoreUnavailable("busy"))
    assert answers == [Verdict(Outcome.DEFER, Reason.STORE_DOWN, "busy")]


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
    verdict = gate.preauthorised(HOME)
    assert verdict is not None
    assert verdict.outcome is Outcome.ALLOW
    assert gate.preauthorised(packed("2001:db8::1")) is not None
    assert gate.preauthorised(OTHER) is None
    assert store.questions == []


def test_G2_a_mapped_address_is_the_ipv4_network_s() -> None:
    gate = policy(SlowStore(), trusted=["192.0.2.0/24"], never=["198.51.100.0/24"])
    assert gate.preauthorised(packed("::ffff:192.0.2.9")) is not None
    assert gate.no_lease_reason(packed("::ffff:198.51.100.1"), "anna", 0) == "never_lease"


def test_G2_link_local_addresses_make_no_lease() -> None:
    gate = policy(SlowStore())
    assert [gate.no_lease_reason(packed(text), "anna", 0) for text in ("fe80::1", "febf::1")] == [
        "link-local address"
    ] * 2
    assert [gate.no_lease_reason(packed(text), "anna", 0) for text in ("fec0::1", "2001:db8::1")] == ["", ""]


def test_G3_no_lease_for_never_lease_and_our_own_addresses() -> None:
    gate = policy(SlowStore(), never=["198.51.100.0/24"], own=lambda address: address == OTHER)
    assert gate.no_lease_reason(packed("198.51.100.255"), "anna", 0) == "never_lease"
    assert gate.no_lease_reason(OTHER, "anna", 0) == "own address"
    assert gate.no_lease_reason(HOME, "anna", 0) == ""


def test_G3_no_lease_for_the_address_of_a_load_balancer() -> None:
    balancers = Networks(["198.51.100.0/28", "2001:db8::/64"])
    gate = RelayPolicy(Gate(), SlowStore(), is_own=lambda _: False, balancers=balancers)
    for balancer in ("198.51.100.15", "::ffff:198.51.100.1", "2001:db8::5"):
        assert "load balancer" in gate.no_lease_reason(packed(balancer), "anna", 0)
    assert gate.no_lease_reason(packed("198.51.100.16"), "anna", 0) == ""


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


# Senders


def test_G10_match_takes_the_login_s_own_senders_and_the_map_s() -> None:
    bench = Bench(sender="match", sender_map=SenderMap(Path("map"), {"anna": ("sales@far.test",)}))
    bench.grant("anna")
    for sender in ("anna@local.test", "anna", "sales@far.test"):
        assert bench.verdict(sender).why == "lease of anna"
    for sender in ("bert@local.test", "anna@far.test", "a@s.test"):
        assert bench.verdict(sender) == Verdict(Outcome.REFUSE, Reason.SENDER)


def test_G10_of_several_leases_the_one_whose_login_matches_counts() -> None:
    bench = Bench(sender="match")
    bench.grant("anna")
    bench.clock.advance(10.0)
    bench.grant("bert")
    verdict, seconds = bench.judge(HOME, RelayAsked("anna@local.test", "x@far.test"))
    assert (verdict.login, seconds) == ("anna", 1790.0)
    assert bench.verdict("bert@local.test").login == "bert"


def test_G10_the_empty_sender_has_one_recipient_where_senders_are_bound() -> None:
    bench = Bench(sender="match")
    bench.grant("anna")
    assert bench.verdict("").recipients == 1
    assert bench.verdict("anna@local.test").recipients is None
    free = Bench()
    free.grant("anna")
    assert free.verdict("").recipients is None


def test_G10_log_lets_it_pass_and_says_so() -> None:
    bench = Bench(sender="log")
    bench.grant("anna")
    assert bench.verdict("anna@local.test").why == "lease of anna"
    other = bench.verdict("bert@far.test")
    assert (other.outcome, other.why) == (Outcome.ALLOW, "lease of anna, sender does not match")
    assert bench.verdict("").recipients is None


def test_G10_without_a_lease_it_is_no_lease_and_not_the_sender() -> None:
    assert Bench(sender="match").verdict().why == "no lease"


@pytest.mark.parametrize("sender", ["any", "log"])
def test_G10_in_shared_networks_match_always_holds(sender: str) -> None:
    bench = Bench(sender=sender, shared_networks=("192.0.2.8",))
    for address in (HOME, OTHER):
        bench.grant("anna", address)
    assert bench.verdict("bert@far.test", HOME).outcome is Outcome.ALLOW
    assert bench.verdict("bert@far.test", OTHER) == Verdict(Outcome.REFUSE, Reason.SENDER)
    assert bench.verdict("anna@local.test", OTHER).outcome is Outcome.ALLOW
    assert bench.verdict("", OTHER).recipients == 1


def test_S10_a_login_that_could_not_be_read_has_a_lease_and_no_sender() -> None:
    bench = Bench(sender="match")
    bench.grant("?SCRAM-SHA-1")
    assert bench.verdict("anna@local.test").outcome is Outcome.REFUSE
    assert bench.verdict("").outcome is Outcome.REFUSE


@pytest.mark.parametrize(
    ("rules", "outcome", "why", "recipients"),
    [
        ({}, Outcome.ALLOW, "authenticated", None),
        ({"sender": "log"}, Outcome.ALLOW, "authenticated, sender does not match", None),
        ({"sender": "match"}, Outcome.REFUSE, "sender does not match", None),
        ({"shared_networks": ("192.0.2.0/24",)}, Outcome.REFUSE, "sender does not match", None),
        ({"shared_networks": ("198.51.100.0/24",)}, Outcome.ALLOW, "authenticated, sender does not match", None),
    ],
)
def test_G10_senders_of_authenticated_sessions_are_bound_too_and_the_store_is_not_asked(
    rules: dict[str, Any], outcome: Outcome, why: str, recipients: int | None
) -> None:
    store = SlowStore()
    answers: list[Verdict] = []
    gate = policy(store, **rules)
    gate.judge(HOME, RelayAsked("b@far.test", "x@far.test", True, "anna"), lambda verdict, _: answers.append(verdict))
    [verdict] = answers
    assert (verdict.outcome, verdict.why, verdict.recipients) == (outcome, why, recipients)
    assert store.questions == []
    assert gate.binds_sender == bool(rules)


def test_G10_of_an_authenticated_session_its_own_sender_and_one_bounce_at_a_time() -> None:
    bench = Bench(sender="match")
    own = bench.judge(HOME, RelayAsked("anna@local.test", "x@far.test", True, "anna"))[0]
    assert own == Verdict(Outcome.ALLOW, Reason.AUTHENTICATED, login="anna")
    assert bench.judge(HOME, RelayAsked("", "x@far.test", True, "anna"))[0].recipients == 1


@pytest.mark.parametrize("login", ["scanner", "Scanner", "?LOGIN"])
def test_G13_whose_login_opens_nothing_relays_by_no_authentication(login: str) -> None:
    gate = policy(SlowStore(), no_relay_logins=("scanner",))
    assert gate.doubts_authenticated
    answers: list[Verdict] = []
    for name in (login, "anna"):
        question = RelayAsked("a@local.test", "x@far.test", True, name)
        gate.judge(HOME, question, lambda verdict, _: answers.append(verdict))
    assert answers[0] == Verdict(Outcome.REFUSE, Reason.BARRED)
    assert answers[1].outcome is Outcome.ALLOW


def test_G13_a_login_that_can_t_be_read_may_be_one_that_opens_nothing() -> None:
    assert policy(SlowStore(), no_relay_logins=("scanner",)).no_lease_reason(HOME, "?LOGIN", 0) == "no_relay_logins"
    assert policy(SlowStore()).no_lease_reason(HOME, "?LOGIN", 0) == ""


# Budgets


def test_G11_messages_of_a_lease_end_with_its_budget_and_begin_with_the_next_window() -> None:
    bench = Bench(max_messages=2)
    bench.grant()
    for _ in range(2):
        verdict = bench.verdict()
        assert verdict.outcome is Outcome.ALLOW
        bench.policy.charge(verdict, 1)
    assert bench.verdict() == Verdict(Outcome.OVER_QUOTA, Reason.SPENT)
    bench.grant()
    assert bench.verdict().outcome is Outcome.OVER_QUOTA, "a new login is no new budget"
    bench.clock.advance(1799.0)
    assert bench.verdict().outcome is Outcome.OVER_QUOTA
    bench.clock.advance(1.0)
    bench.grant()
    assert bench.verdict().outcome is Outcome.ALLOW


def test_G11_the_verdict_says_how_many_recipients_are_left() -> None:
    bench = Bench(max_recipients=5)
    bench.grant()
    assert bench.verdict().recipients == 5
    bench.policy.charge(bench.verdict(), 3)
    assert bench.verdict().recipients == 2
    bench.policy.charge(bench.verdict(), 2)
    assert bench.verdict().outcome is Outcome.OVER_QUOTA


def test_G11_a_budget_is_a_lease_s_and_the_next_lease_of_the_address_takes_over() -> None:
    bench = Bench(max_messages=1)
    bench.grant("anna")
    bench.clock.advance(1.0)
    bench.grant("bert")
    assert bench.verdict().login == "bert", "the one with most time left"
    bench.policy.charge(bench.verdict(), 1)
    assert bench.verdict().login == "anna"
    bench.policy.charge(bench.verdict(), 1)
    assert bench.verdict().outcome is Outcome.OVER_QUOTA
    bench.grant("anna", OTHER)
    assert bench.verdict(address=OTHER).outcome is Outcome.ALLOW


def test_G11_a_sender_s_own_lease_is_spent_and_another_s_does_not_help() -> None:
    bench = Bench(max_messages=1, sender="match")
    bench.grant("anna")
    bench.grant("bert")
    bench.policy.charge(bench.verdict("anna@local.test"), 1)
    assert bench.verdict("anna@local.test").outcome is Outcome.OVER_QUOTA
    assert bench.verdict("bert@local.test").outcome is Outcome.ALLOW


def test_G11_where_there_is_no_budget_nothing_is_written() -> None:
    store = SlowStore()
    for rules in ({}, {"sender": "match"}):
        policy(store, **rules).charge(BY_LEASE, 3)
    policy(store, max_messages=1).charge(Verdict(Outcome.ALLOW, Reason.TRUSTED), 3)
    assert (store.charges, store.renewals) == ([], [])
    policy(store, max_recipients=9).charge(BY_LEASE, 3)
    assert store.charges == [(HOME, "anna", "pop3", 1, 3, 1800.0)]


def test_G4_renew_on_use_starts_the_window_anew_for_the_lease_that_was_used() -> None:
    bench = Bench(renew_on_use=True)
    bench.grant("anna")
    bench.grant("bert", OTHER)
    bench.clock.advance(1000.0)
    bench.policy.charge(bench.verdict(), 1)
    assert [lease.left for lease in bench.leases()] == [1800.0, 800.0]
    bench.clock.advance(1800.0)
    bench.policy.charge(BY_LEASE, 1)
    assert bench.leases() == [], "an update, never an insert"


# Who gets a lease


def test_G2_ipv6_prefix_opens_the_network_and_ipv4_is_never_cut() -> None:
    bench = Bench(ipv6_prefix=64)
    phone, later, neighbour = packed("2001:db8:0:1::5"), packed("2001:db8:0:1:ffff::9"), packed("2001:db8:0:2::5")
    bench.grant("anna", phone)
    bench.grant("bert", HOME)
    assert bench.verdict(address=phone).outcome is Outcome.ALLOW
    assert bench.verdict(address=later).outcome is Outcome.ALLOW
    assert bench.verdict(address=neighbour).outcome is Outcome.REFUSE
    assert bench.verdict(address=OTHER).outcome is Outcome.REFUSE
    assert bench.policy.key(later, "anna") == (packed("2001:db8:0:1::"), "anna", "pop3")
    assert [lease.address for lease in bench.leases()] == [HOME, packed("2001:db8:0:1::")]


def test_G2_by_default_an_ipv6_lease_is_for_one_address() -> None:
    bench = Bench()
    bench.grant("anna", packed("2001:db8::5"))
    assert bench.verdict(address=packed("2001:db8::6")).outcome is Outcome.REFUSE


def test_G13_no_relay_logins_get_no_lease() -> None:
    gate = policy(SlowStore(), no_relay_logins=("Scanner", "old@local.test"))
    for login in ("scanner", "SCANNER", "old@local.test"):
        assert gate.no_lease_reason(HOME, login, 0) == "no_relay_logins"
    assert gate.no_lease_reason(HOME, "scanner2", 0) == ""


@pytest.mark.parametrize("login", ["scanner ", " scanner", "scanner x", "scanner@local.test", "old", "OLD@LOCAL.TEST"])
def test_G13_nor_by_another_way_of_writing_them_that_servers_take(login: str) -> None:
    gate = policy(SlowStore(), no_relay_logins=("scanner", "old@local.test"))
    assert gate.no_lease_reason(HOME, login, 0) == "no_relay_logins"
    for other in ("scanner@far.test", "older", "@local.test", "x scanner"):
        assert gate.no_lease_reason(HOME, other, 0) == ""


def test_G13_a_success_behind_too_many_failures_gets_no_lease() -> None:
    gate = policy(SlowStore(), lease_after_failures=3)
    assert [gate.no_lease_reason(HOME, "anna", failures) for failures in (0, 2, 3, 99)] == [
        "", "", "failed logins before it", "failed logins before it"
    ]  # fmt: skip
    assert policy(SlowStore()).no_lease_reason(HOME, "anna", 10_000) == ""


def test_G3_max_logins_per_address_makes_no_lease_for_one_too_many() -> None:
    bench = Bench(max_logins_per_address=2)
    assert [bench.policy.is_crowded(bench.grant(login)) for login in ("anna", "bert", "carl")] == [False, False, True]
    assert [lease.login for lease in bench.leases()] == ["anna", "bert"]
    assert not bench.policy.is_crowded(bench.grant("anna")), "who has a lease there may log in again"
    assert not bench.policy.is_crowded(bench.grant("carl", OTHER))
    bench.clock.advance(1800.0)
    assert not bench.policy.is_crowded(bench.grant("carl")), "ended leases do not count"


def test_G3_without_a_limit_any_number_get_a_lease() -> None:
    bench = Bench()
    assert [bench.policy.is_crowded(bench.grant(f"u{number}")) for number in range(30)] == [False] * 30


# Patience


class Patient:
    """A policy with patience on a store that answers when the test does; the verdicts of every question asked."""

    def __init__(self, **rules: Any) -> None:
        self.store = SlowStore()
        self.clock = FakeClock()
        self.patience = Patience(self.store, self.clock.now, 200)  # type: ignore[arg-type]  # nothing but `watch`
        self.policy = policy(self.store, waiting=self.patience, **rules)
        self.verdicts: list[list[Verdict]] = []

    def ask(self, sender: str = "a@s.test", address: bytes = HOME) -> Callable[[], None]:
        """What calls it off."""
        answers: list[Verdict] = []
        self.verdicts.append(answers)
        question = RelayAsked(sender, "x@far.test")
        call_off = self.policy.judge(address, question, lambda verdict, _: answers.append(verdict))
        assert call_off is not None
        return call_off

    def answer(self, *logins: str, down: bool = False) -> None:
        """The store answers its oldest question."""
        _, then = self.store.questions.pop(0)
        then(StoreUnavailable("busy") if down else [lease(login) for login in logins])

    def changed(self, address: bytes | None) -> None:
        assert self.store.watcher is not None
        self.store.watcher(address)

    def waits(self) -> None:
        """A question that was asked waits now."""
        self.ask()
        self.answer()
        self.answer()  # asked anew, because nobody watched
        assert (self.store.questions, self.verdicts[-1]) == ([], [])


def lease(login: str) -> Lease:
    return Lease(HOME, login, "pop3", 0.0, 0.0, 1800.0)


def test_G9_no_lease_waits_and_goes_on_the_instant_there_is_one() -> None:
    gate = Patient()
    gate.waits()
    gate.clock.advance(1.0)
    gate.changed(OTHER)
    assert gate.store.questions == []
    gate.changed(HOME)
    gate.answer("anna")
    assert [verdict.why for verdict in gate.verdicts[0]] == ["lease of anna"]
    assert gate.store.watcher is None
    assert len(gate.patience) == 0


def test_G9_a_lease_that_came_before_the_watch_began_is_found() -> None:
    gate = Patient()
    gate.ask()
    gate.answer()
    gate.answer("anna")
    assert [verdict.why for verdict in gate.verdicts[0]] == ["lease of anna"]


def test_G9_a_lease_that_came_while_the_store_s_answer_was_on_its_way_is_found() -> None:
    """The second who waits has no part in the beginning of the watch."""
    gate = Patient()
    gate.waits()
    gate.ask()
    gate.changed(HOME)  # told before the answer to the second, which does not know of it
    assert len(gate.store.questions) == 2
    gate.answer()  # the second's
    gate.answer("anna")  # the first's, asked by the change
    gate.answer("anna")
    assert [[verdict.why for verdict in one] for one in gate.verdicts] == [["lease of anna"]] * 2


def test_G9_the_refusal_comes_when_the_patience_is_over_and_once() -> None:
    gate = Patient()
    gate.waits()
    gate.clock.advance(3.0)
    gate.patience.tick()
    gate.patience.tick()
    assert len(gate.store.questions) == 1
    gate.answer()
    assert gate.verdicts[0] == [Verdict(Outcome.REFUSE, Reason.NO_LEASE)]
    gate.clock.advance(3.0)
    gate.patience.tick()
    assert (len(gate.verdicts[0]), len(gate.patience), gate.store.questions) == (1, 0, [])


def test_G9_a_lease_that_is_found_at_the_last_moment_opens() -> None:
    gate = Patient()
    gate.waits()
    gate.clock.advance(3.0)
    gate.patience.tick()
    gate.answer("anna")
    assert [verdict.outcome for verdict in gate.verdicts[0]] == [Outcome.ALLOW]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_G9_never_two_answers_in_whatever_order_a_slow_store_gives_them(order: tuple[int, ...]) -> None:
    gate = Patient()
    gate.waits()
    for _ in range(3):
        gate.changed(None)
    gate.clock.advance(3.0)
    gate.patience.tick()
    answers: list[Any] = [[], [lease("anna")], StoreUnavailable("busy"), []]
    for number, answer in zip(order, answers, strict=True):
        gate.store.questions[number][1](answer)
    assert len(gate.verdicts[0]) == 1
    assert len(gate.patience) == 0


def test_G7_a_store_that_goes_down_while_one_waits_defers_at_once() -> None:
    gate = Patient()
    gate.waits()
    gate.changed(None)
    gate.answer(down=True)
    assert [verdict.outcome for verdict in gate.verdicts[0]] == [Outcome.DEFER]


def test_G9_who_is_called_off_frees_its_place_and_gets_no_answer() -> None:
    gate = Patient()
    call_off = gate.ask()
    gate.answer()
    assert len(gate.patience) == 1
    call_off()
    assert len(gate.patience) == 0
    gate.answer("anna")
    assert gate.verdicts[0] == []


def test_G9_the_sixth_of_an_address_is_refused_at_once() -> None:
    gate = Patient()
    gate.waits()
    for _ in range(5):
        gate.ask()
        gate.answer()
    assert [len(answers) for answers in gate.verdicts] == [0, 0, 0, 0, 0, 1]
    assert gate.verdicts[5] == [Verdict(Outcome.REFUSE, Reason.NO_LEASE)]


def test_G9_a_sender_that_does_not_match_waits_for_its_own_login() -> None:
    gate = Patient(sender="match")
    gate.ask("bert@local.test")
    gate.answer("anna")
    gate.answer("anna")
    assert gate.verdicts[0] == []
    gate.changed(HOME)
    gate.answer("anna", "bert")
    assert [verdict.why for verdict in gate.verdicts[0]] == ["lease of bert"]


def test_G9_a_spent_budget_does_not_wait() -> None:
    gate = Patient(max_messages=1)
    gate.ask()
    _, then = gate.store.questions.pop(0)
    then([replace(lease("anna"), messages=1)])
    assert gate.verdicts[0] == [Verdict(Outcome.OVER_QUOTA, Reason.SPENT)]


def test_G2_who_waits_by_ipv6_waits_for_its_network() -> None:
    gate = Patient(ipv6_prefix=64)
    gate.ask(address=packed("2001:db8::5"))
    gate.answer()
    gate.answer()
    gate.changed(packed("2001:db8::"))
    assert [address for address, _ in gate.store.questions] == [packed("2001:db8::")]
    gate.answer("anna")
    assert [verdict.outcome for verdict in gate.verdicts[0]] == [Outcome.ALLOW]


@pytest.mark.parametrize("rules", [{"patience": 0.0}, {}])
def test_G9_nobody_waits_where_it_is_off_or_where_only_a_look_is_taken(rules: dict[str, Any]) -> None:
    gate = Patient(**rules)
    answers: list[Verdict] = []
    if rules:
        gate.policy.judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    else:
        gate.policy.judge_at_connect(HOME, answers.append)
    gate.answer()
    assert answers == [Verdict(Outcome.REFUSE, Reason.NO_LEASE)]
    assert gate.store.watcher is None


def test_G12_what_ends_shadow_ends_it_for_living_sessions_too() -> None:
    store = MemoryStore(FakeClock())
    gate = policy(store, mode="shadow")
    answers: list[Verdict] = []
    for _ in range(2):
        gate.judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
        gate.enforce()
    assert answers[0].shadowed
    assert answers[1] == Verdict(Outcome.REFUSE, Reason.NO_LEASE)


# Addresses of nobody


NODE, PHONE = packed("2001:db8::1"), packed("2001:db8::2")


def _nowhere(kind: str, store: MemoryStore, waiting: Patience | None = None) -> RelayPolicy:
    """A policy by which no login from NODE makes a lease, but all of its network is one place."""
    gate = Gate(ipv6_prefix=64, never_lease=("2001:db8::1",) if kind == "never_lease" else ())
    balancers = Networks(("2001:db8::1",) if kind == "balancer" else ())
    own = NODE if kind == "own" else b""
    return RelayPolicy(gate, store, is_own=lambda address: address == own, balancers=balancers, patience=waiting)


@pytest.mark.parametrize("kind", ["never_lease", "balancer", "own"])
def test_G3_a_neighbour_s_lease_opens_nothing_for_an_address_that_stands_for_others(kind: str) -> None:
    """Of one /64: the phone's login opens it for the phone, and not for what a load balancer there forwards."""
    store = MemoryStore(FakeClock())
    gate = _nowhere(kind, store)
    gate.grant(PHONE, "anna", lambda _: None)
    answers: list[Verdict] = []
    for address in (NODE, PHONE):
        gate.judge(address, QUESTION, lambda verdict, _: answers.append(verdict))
    assert [verdict.outcome for verdict in answers] == [Outcome.REFUSE, Outcome.ALLOW]


def test_G3_what_is_never_leased_from_now_on_has_no_lease_of_before_but_the_administrator_s() -> None:
    bench = Bench()
    bench.grant("anna")
    answers: list[Verdict] = []
    gate = policy(bench.store, never=["192.0.2.7"])
    gate.judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    assert answers == [Verdict(Outcome.REFUSE, Reason.NO_LEASE)]
    bench.store.grant(HOME, "(admin)", ADMIN, 60.0, lambda _: None)
    gate.judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    assert answers[1].why == "lease of (admin)"


def test_G13_whose_login_opens_nothing_from_now_on_has_no_lease_of_before() -> None:
    """A mailbox was stolen, and the administrator reloads: its POP session would keep the lease alive for hours."""
    bench = Bench()
    for login in ("anna", "bert"):
        bench.grant(login)
        bench.clock.advance(1.0)
    answers: list[Verdict] = []
    for barred in (("bert",), ("anna", "bert")):
        gate = policy(bench.store, no_relay_logins=barred)
        gate.judge(HOME, QUESTION, lambda verdict, _: answers.append(verdict))
    assert [verdict.why for verdict in answers] == ["lease of anna", "no lease"]


def test_G9_nobody_waits_for_a_lease_that_can_t_come() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    patience = Patience(store, clock.now, 200)
    gate = _nowhere("balancer", store, patience)
    answers: list[Verdict] = []
    gate.judge(NODE, QUESTION, lambda verdict, _: answers.append(verdict))
    assert (len(answers), len(patience)) == (1, 0)
    gate.judge(PHONE, QUESTION, lambda verdict, _: answers.append(verdict))
    assert (len(answers), len(patience)) == (1, 1)
