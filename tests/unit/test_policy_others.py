"""policy.py: other servers are asked before a refusal, and told of POP logins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.schema import Gate
from proxy.errors import StoreUnavailable
from proxy.gate.patience import Patience
from proxy.gate.policy import FOREVER, PeerLogin, RelayPolicy
from proxy.gate.verdict import Outcome, Reason, RelayAsked, Verdict
from proxy.leases.memory import MemoryStore
from proxy.wire.address import packed

from ..support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

HOME, BARRED = packed("192.0.2.7"), packed("192.0.2.66")
SERVER = "udp:192.0.2.20:9876"
ANNA = PeerLogin(SERVER, "anna")
Known = PeerLogin | StoreUnavailable | None


class Fake:
    """Others that answer when the test does: `asked` is what waits for it."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Known], None]] = []
        self.told: list[tuple[bytes, str]] = []

    def ask(self, address: bytes, then: Callable[[Known], None]) -> None:
        assert address in (HOME, BARRED)
        self.asked.append(then)

    def tell(self, address: bytes, login: str) -> None:
        self.told.append((address, login))


class Bench:
    def __init__(self, **rules: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.others = Fake()
        self.patience = Patience(self.store, self.clock.now, 10)
        rules = {"patience": 0.0, "never_lease": ("192.0.2.66",), "local_domains": ("s.test",)} | rules
        gate = Gate(**rules)
        self.policy = RelayPolicy(gate, self.store, is_own=lambda _: False, patience=self.patience, others=self.others)
        self.answers: list[tuple[Verdict, float]] = []

    def judge(self, address: bytes = HOME, sender: str = "anna@s.test", **how: bool) -> Callable[[], None] | None:
        question = RelayAsked(sender, "x@far.test")
        return self.policy.judge(address, question, lambda verdict, left: self.answers.append((verdict, left)), **how)

    def lease(self, login: str = "anna") -> None:
        self.policy.grant(HOME, login, lambda _: None)

    def outcomes(self) -> list[tuple[Outcome, str]]:
        return [(verdict.outcome, verdict.why) for verdict, _ in self.answers]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_yes_elsewhere_allows_this_transaction_and_makes_no_lease(bench: Bench) -> None:
    assert bench.judge() is not None
    assert bench.answers == []
    bench.others.asked.pop()(ANNA)
    ((verdict, seconds),) = bench.answers
    assert verdict == Verdict(Outcome.ALLOW, Reason.PEER, f"{SERVER}: anna", "anna")
    assert seconds == FOREVER
    leases: list[Any] = []
    bench.store.all(leases.extend)
    assert leases == []
    bench.judge()
    assert len(bench.others.asked) == 1  # the next one asks anew
    assert bench.others.told == []


def test_a_no_elsewhere_refuses(bench: Bench) -> None:
    bench.judge()
    bench.others.asked.pop()(None)
    assert bench.outcomes() == [(Outcome.REFUSE, "no lease")]


def test_G7_an_unknown_elsewhere_defers(bench: Bench) -> None:
    bench.judge()
    bench.others.asked.pop()(StoreUnavailable(f"no answer from {SERVER}"))
    assert bench.outcomes() == [(Outcome.DEFER, f"whoson: no answer from {SERVER}")]


def test_who_has_a_lease_here_is_asked_about_nowhere(bench: Bench) -> None:
    bench.lease()
    bench.judge()
    assert bench.outcomes() == [(Outcome.ALLOW, "lease of anna")]
    assert bench.others.asked == []


def test_a_store_that_is_down_asks_nobody(bench: Bench) -> None:
    bench.store.close()
    bench.judge()
    assert bench.answers[0][0].outcome is Outcome.DEFER
    assert bench.others.asked == []


def test_a_lease_that_came_while_others_were_asked_counts(bench: Bench) -> None:
    bench.judge()
    bench.lease()
    bench.others.asked.pop()(None)
    assert bench.outcomes() == [(Outcome.ALLOW, "lease of anna")]


def test_G3_nobody_is_asked_about_an_address_that_is_no_client_s(bench: Bench) -> None:
    bench.judge(BARRED)
    assert bench.outcomes() == [(Outcome.REFUSE, "no lease")]
    assert bench.others.asked == []


def test_S12_nobody_is_asked_at_connect(bench: Bench) -> None:
    seen: list[Verdict] = []
    bench.policy.judge_at_connect(HOME, seen.append)
    assert seen[0].outcome is Outcome.REFUSE
    assert bench.others.asked == []


def test_G13_no_relay_logins_of_elsewhere_relay_not() -> None:
    bench = Bench(no_relay_logins=("Anna",))
    bench.judge()
    bench.others.asked.pop()(ANNA)
    assert bench.outcomes() == [(Outcome.REFUSE, "no lease")]


def test_G10_the_sender_is_bound_to_the_login_of_elsewhere() -> None:
    bench = Bench(sender="match")
    bench.judge(sender="bob@s.test")
    bench.others.asked.pop()(ANNA)
    bench.judge(sender="anna@s.test")
    bench.others.asked.pop()(ANNA)
    bench.judge(sender="")
    bench.others.asked.pop()(ANNA)
    bounce = bench.answers.pop()[0]
    assert (bounce.outcome, bounce.recipients) == (Outcome.ALLOW, 1)
    assert bench.outcomes()[1] == (Outcome.ALLOW, f"whoson {SERVER}: anna")
    assert bench.outcomes()[0][0] is Outcome.REFUSE


def test_G10_a_lease_whose_login_does_not_match_asks_for_one_that_does() -> None:
    bench = Bench(sender="match")
    bench.lease("bob")
    bench.judge(sender="anna@s.test")
    bench.others.asked.pop()(ANNA)
    assert bench.outcomes() == [(Outcome.ALLOW, f"whoson {SERVER}: anna")]


def test_G9_patience_begins_when_others_have_said_no() -> None:
    bench = Bench(patience=3.0)
    bench.judge()
    bench.others.asked.pop()(None)
    assert bench.answers == []
    bench.lease()
    bench.patience.tick()
    assert bench.outcomes() == [(Outcome.ALLOW, "lease of anna")]


@pytest.mark.parametrize(("known", "outcome"), [(None, Outcome.REFUSE), (StoreUnavailable("silence"), Outcome.DEFER)])
def test_G9_after_the_patience_what_others_said_counts_and_they_are_not_asked_again(
    known: Known, outcome: Outcome
) -> None:
    bench = Bench(patience=3.0)
    bench.judge()
    bench.others.asked.pop()(known)
    bench.clock.advance(3.1)
    bench.patience.tick()
    assert [verdict.outcome for verdict, _ in bench.answers] == [outcome]
    assert bench.others.asked == []


def test_a_question_that_was_called_off_is_not_answered(bench: Bench) -> None:
    call_off = bench.judge()
    assert call_off is not None
    call_off()
    bench.others.asked.pop()(ANNA)
    assert bench.answers == []


def test_G12_shadow_says_what_would_have_been(bench: Bench) -> None:
    shadow = Bench(mode="shadow")
    shadow.judge()
    shadow.others.asked.pop()(None)
    ((verdict, _),) = shadow.answers
    assert verdict.shadowed
    assert verdict.outcome is Outcome.ALLOW


def test_others_are_told_of_pop_logins_that_made_a_lease_and_of_nothing_else() -> None:
    bench = Bench(max_logins_per_address=1)
    bench.policy.grant(HOME, "anna", lambda _: None)
    bench.policy.grant(HOME, "bob", lambda _: None)  # one too many
    bench.policy.grant(HOME, "anna", lambda _: None, "whoson")
    bench.store.close()
    bench.policy.grant(HOME, "carol", lambda _: None)
    assert bench.others.told == [(HOME, "anna")]


def test_others_are_told_before_the_client_is() -> None:
    bench = Bench()
    order: list[str] = []
    bench.others.tell = lambda address, login: order.append("told")  # type: ignore[method-assign]
    bench.policy.grant(HOME, "anna", lambda _: order.append("+OK"))
    assert order == ["told", "+OK"]
