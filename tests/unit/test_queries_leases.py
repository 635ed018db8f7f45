"""questions.py: what is asked about leases, in front of a memory store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.history import Tenancy
from proxy.leases.memory import MemoryStore
from proxy.queries import leases as questions
from proxy.queries.leases import Answer, ask, ask_alone, granting, listed, noted
from proxy.wire.address import packed

from ..support.clocks import FakeClock
from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(FakeClock())


def answer(store: Any, question: Any) -> Answer:
    """The one answer, which goes through JSON as on the control socket."""
    answers: list[Answer] = []
    ask(store, question, answers.append)
    assert len(answers) == 1
    whole: Answer = json.loads(json.dumps(answers[0]))
    return whole


def test_G1_what_the_administrator_grants_is_theirs_by_name(store: MemoryStore) -> None:
    assert answer(store, {"do": "grant", "address": "::ffff:192.0.2.7", "window": 60}) == {"granted": "192.0.2.7"}
    (lease,) = answer(store, {"do": "leases"})["leases"]
    assert (lease["address"], lease["login"], lease["source"]) == ("192.0.2.7", "(admin)", "admin")
    assert (lease["left"], lease["expires"] - lease["granted"]) == (60.0, 60.0)


def test_G1_in_another_s_name(store: MemoryStore) -> None:
    answer(store, {"do": "grant", "address": "2001:db8::1", "login": "alice", "window": 60})
    (lease,) = answer(store, {"do": "leases"})["leases"]
    assert (lease["address"], lease["login"], lease["source"]) == ("2001:db8::1", "alice", "admin")


def test_G1_an_administrator_s_lease_is_not_the_login_s(store: MemoryStore) -> None:
    """Same address, same login, another source: each has its own clock."""
    store.grant(packed("192.0.2.7"), "alice", "pop3", 1800, lambda problem: None)
    answer(store, {"do": "grant", "address": "192.0.2.7", "login": "alice", "window": 60})
    assert {lease["left"] for lease in answer(store, {"do": "leases"})["leases"]} == {60.0, 1800.0}


@pytest.mark.parametrize(
    ("by", "count"),
    [
        ({"address": "192.0.2.7"}, 2),
        ({"login": "alice"}, 2),
        ({"address": "192.0.2.7", "login": "alice"}, 1),
        ({"login": "nobody"}, 0),
        ({"address": "192.0.2.9"}, 0),
    ],
)
def test_revoking(store: MemoryStore, by: dict[str, str], count: int) -> None:
    for address, login in (("192.0.2.7", "alice"), ("192.0.2.7", "bob"), ("192.0.2.8", "alice")):
        answer(store, {"do": "grant", "address": address, "login": login, "window": 60})
    assert answer(store, {"do": "revoke", **by}) == {"revoked": count}
    assert len(answer(store, {"do": "leases"})["leases"]) == 3 - count


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"do": "dance"},
        {"do": ["leases"]},
        {"do": "grant"},
        {"do": "grant", "address": "192.0.2.7"},
        {"do": "grant", "address": "192.0.2.300", "window": 60},
        {"do": "grant", "address": 7, "window": 60},
        {"do": "grant", "address": "fe80::1%eth0", "window": 60},
        {"do": "grant", "address": "192.0.2.7", "window": 0},
        {"do": "grant", "address": "192.0.2.7", "window": -1},
        {"do": "grant", "address": "192.0.2.7", "window": "soon"},
        {"do": "grant", "address": "192.0.2.7", "window": None},
        {"do": "grant", "address": "192.0.2.7", "window": float("inf")},
        {"do": "grant", "address": "192.0.2.7", "window": float("nan")},
        {"do": "grant", "address": "192.0.2.7", "window": 60, "login": "x" * 257},
        {"do": "grant", "address": "192.0.2.7", "window": 60, "login": "\ud800"},
        {"do": "revoke"},
        {"do": "revoke", "login": ""},
        {"do": "revoke", "address": "nonsense"},
        {"do": "revoke", "login": "\ud800"},
        {"do": "history"},
        {"do": "report", "since": 0},
    ],
)
def test_nonsense_is_an_answer_too_and_changes_nothing(store: MemoryStore, question: Answer) -> None:
    assert "error" in answer(store, question)
    assert len(store) == 0


def test_the_longest_login_is_taken() -> None:
    assert granting({"address": "192.0.2.7", "window": 60, "login": "x" * 256})[1] == "x" * 256


def test_octets_that_are_no_utf8_survive(store: MemoryStore) -> None:
    login = b"j\xf6rg".decode("utf-8", "surrogateescape")
    answer(store, {"do": "grant", "address": "192.0.2.7", "login": login, "window": 60})
    assert answer(store, {"do": "leases"})["leases"][0]["login"] == login
    assert answer(store, {"do": "revoke", "login": login}) == {"revoked": 1}


class Down:
    """A store that is down."""

    def all(self, then: Callable[[Any], None]) -> None:
        then(StoreUnavailable("disk on fire"))

    def grant(self, *arguments: Any) -> None:
        arguments[-1](StoreUnavailable("disk on fire"))

    revoke = grant


@pytest.mark.parametrize(
    "question",
    [{"do": "leases"}, {"do": "grant", "address": "192.0.2.7", "window": 1}, {"do": "revoke", "login": "alice"}],
)
def test_G7_a_store_that_is_down_is_said(question: Answer) -> None:
    assert answer(Down(), question) == {"error": "the lease store is down: disk on fire"}


def test_left_is_in_milliseconds() -> None:
    store = MemoryStore(FakeClock(boottime=1000.0001))
    store.grant(packed("192.0.2.7"), "alice", "pop3", 1799.99988, lambda problem: None)
    found: list[Any] = []
    store.all(found.append)
    assert listed(found[0])["leases"][0]["left"] == 1800.0


class Memories:
    """A SQLite store's half that remembers, and what it was asked."""

    def __init__(self, kept: float = 86400.0) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.kept = kept

    def store(self, monkeypatch: pytest.MonkeyPatch) -> Memories:
        monkeypatch.setattr(questions, "SqliteStore", Memories)
        return self

    def tenancies(self, *question: Any) -> None:
        self.asked.append(question[:-1])
        question[-1]([Tenancy(packed("192.0.2.7"), "alice", "pop3", 10.0, 20.0, "ended")])

    def observed(self, *question: Any) -> None:
        self.asked.append(question[:-1])
        question[-1](StoreUnavailable("disk on fire"))


def test_history_goes_by_addresses_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Memories().store(monkeypatch)
    assert answer(store, {"do": "history", "addresses": ["192.0.2.7", "2001:db8::1"], "since": 5, "until": 6}) == {
        "history": [
            {"address": "192.0.2.7", "login": "alice", "source": "pop3", "began": 10, "ended": 20, "how": "ended"}
        ]
    }
    answer(store, {"do": "history"})
    assert store.asked == [([packed("192.0.2.7"), packed("2001:db8::1")], 5.0, 6.0), ([], None, None)]


def test_G7_a_store_that_is_down_has_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Memories().store(monkeypatch)
    assert "disk on fire" in answer(store, {"do": "report", "since": 5})["error"]
    assert store.asked == [(5.0,)]


@pytest.mark.parametrize(
    "question", [{"do": "history", "addresses": ["nowhere"]}, {"do": "history", "since": "noon"}, {"do": "report"}]
)
def test_nonsense_about_history_is_an_answer_too(monkeypatch: pytest.MonkeyPatch, question: Answer) -> None:
    store = Memories().store(monkeypatch)
    assert "error" in answer(store, question)
    assert store.asked == []


def test_a_store_whose_history_is_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Memories(kept=0.0).store(monkeypatch)
    assert "off" in answer(store, {"do": "history"})["error"]


def test_a_store_that_nobody_has_started_is_asked_and_closed() -> None:
    store = MemoryStore(FakeClock())
    assert ask_alone(store, {"do": "grant", "address": "192.0.2.7", "window": 60}) == {"granted": "192.0.2.7"}
    assert "error" in answer(store, {"do": "leases"}), "closed"


# --- the audit trail


def audit(question: Any, answer: Answer) -> list[tuple[str, str, str, dict[str, Any]]]:
    log, answers = KeptLog(), list[Answer]()
    noted(log, question, answers.append)(answer)
    assert answers == [answer]
    return log.lines


def words(**given: object) -> dict[str, object]:
    return dict.fromkeys(("client", "login", "seconds", "leases", "error")) | given


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (
            {"do": "grant", "address": "192.0.2.7", "login": None, "window": 1800.0},
            {"granted": "192.0.2.7"},
            words(client="192.0.2.7", login="(admin)", seconds=1800),
        ),
        (
            {"do": "grant", "address": "192.0.2.7", "login": "alice", "window": 60},
            {"error": "the lease store is down: x"},
            words(client="192.0.2.7", login="alice", seconds=60, error="the lease store is down: x"),
        ),
        ({"do": "grant", "window": float("nan")}, {"error": "x"}, words(login="(admin)", error="x")),
        ({"do": "revoke", "address": "192.0.2.7"}, {"revoked": 2}, words(client="192.0.2.7", leases=2)),
        ({"do": "revoke", "login": "alice"}, {"revoked": 0}, words(login="alice", leases=0)),
    ],
)
def test_N11_who_the_administrator_lets_in_or_shuts_out_is_in_the_log(
    question: Any, answer: Answer, expected: dict[str, object]
) -> None:
    assert audit(question, answer) == [("info", "popgate", question["do"], expected)]


@pytest.mark.parametrize("kind", ["leases", "history", "report", None])
def test_who_only_looks_is_not_in_the_log(kind: str | None) -> None:
    assert audit({"do": kind}, {}) == []
