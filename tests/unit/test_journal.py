"""net/link/journal.py: what a link adds to the node's metrics, by real links on the bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import StoreUnavailable
from proxy.wire.address import packed

from ..support.figures import moved
from ..support.gate import CLIENT, Gate, SlowStore

if TYPE_CHECKING:
    from ..support.workshop import Workshop

FOREIGN = b"RCPT TO:<v@far.test>\r\n"


def test_a_login_with_a_lease(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.greet()
    assert moved(gate) == {"sessions_total": 1, "sessions": 1}
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    gate.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.up.close()
    gate.end()
    words = gate.workshop.log.of("end")[0]
    assert moved(gate) == {
        "sessions_total": 1, "logins_total accepted": 1, "leases_granted_total": 1,
        "octets_total in": words["in"], "octets_total out": words["out"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "rules", [{"never": [CLIENT]}, {"rules": {"no_relay_logins": ("anna",)}}, {"store": "down"}], ids=str
)
def test_a_login_without_a_lease(workshop: Workshop, rules: dict[str, Any]) -> None:
    store = SlowStore() if "store" in rules else None
    gate = Gate(workshop, "pop3", store=store)
    gate.never, gate.rules = rules.get("never", ()), rules.get("rules", {})
    gate.greet()
    gate.log_in()
    if store is not None:
        gate.until(lambda: store.grants)
        workshop.run(lambda: store.grants[0][4](StoreUnavailable("busy")))
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert moved(gate) == {
        "sessions_total": 1, "sessions": 1, "logins_total accepted": 1, "logins_unleased_total": 1,
    }  # fmt: skip


def test_a_failed_login(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.greet()
    gate.talk(("C", b"USER a\r\n"), (">U", b"USER a\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.talk(("C", b"PASS x\r\n"), (">U", b"PASS x\r\n"), ("U", b"-ERR no\r\n"), (">C", b"-ERR no\r\n"))
    assert moved(gate)["logins_total failed"] == 1


@pytest.mark.parametrize("shadowed", [False, True])
def test_a_relayed_message_counts_when_it_has_its_reply(workshop: Workshop, shadowed: bool) -> None:
    gate = Gate(workshop, "smtp")
    gate.rules = {"mode": "shadow"} if shadowed else {}
    gate.trusted = () if shadowed else [CLIENT]
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(
        ("C", FOREIGN), (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
    )  # fmt: skip
    would = {"relays_total shadowed": 1.0} if shadowed else {}
    assert moved(gate) == {"sessions_total": 1, "sessions": 1} | would
    gate.talk(("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", b"250 queued\r\n"), (">C", b"250 queued\r\n"))
    assert moved(gate)["relays_total allowed"] == 1
    gate.client.close()
    gate.until(gate.up.ended)
    gate.up.close()
    gate.end()
    assert moved(gate)["messages_total"] == 1


def refused(gate: Gate, events: int = 2) -> dict[str, float]:
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(("C", FOREIGN + FOREIGN.replace(b"v@", b"w@")))
    gate.until(lambda: len(gate.workshop.log.of("refused")) == events)
    figures = moved(gate)
    del figures["sessions_total"], figures["sessions"]
    return figures


def test_no_lease(workshop: Workshop) -> None:
    assert refused(Gate(workshop, "smtp")) == {"relays_total refused": 1, "refusals_total no lease": 2}


def test_a_sender_that_does_not_match(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    gate.rules = {"sender": "match"}
    workshop.run(lambda: gate.store.grant(packed(CLIENT), "anna", "pop3", 99.0, lambda _: None))
    assert refused(gate) == {"relays_total refused": 1, "refusals_total sender does not match": 2}


def test_a_budget_that_is_spent(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    gate.rules = {"max_messages": 1}
    workshop.run(lambda: gate.store.grant(packed(CLIENT), "anna", "pop3", 99.0, lambda _: None))
    workshop.run(lambda: gate.store.charge(packed(CLIENT), "anna", "pop3", 1, 1, 99.0))
    assert refused(gate, 1) == {"relays_total spent": 1, "refusals_total budget spent": 1}


def test_a_store_that_is_down(workshop: Workshop) -> None:
    class Down(SlowStore):
        def find(self, address: bytes, then: Any) -> None:
            then(StoreUnavailable("disk I/O error"))

    assert refused(Gate(workshop, "smtp", store=Down()), 1) == {
        "relays_total deferred": 1, "refusals_total store down": 1,
    }  # fmt: skip


def test_who_is_turned_away(workshop: Workshop) -> None:
    from .test_listener import Bench

    bench = Bench(workshop, "smtp", connections=1)
    bench.connect()
    bench.until(lambda: bench.welcomed)
    bench.until(bench.connect().ended)
    assert moved(bench.gate) == {"turned_away_total connections": 1}


def test_the_way_to_the_upstream_is_timed(workshop: Workshop) -> None:
    from .test_metrics import histogram

    gate = Gate(workshop, "pop3")
    gate.open()
    gate.up = gate.accepted()
    gate.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.row.publish()
    *counts, total = histogram(gate.board, "popgate_upstream_connect_seconds", "door")
    assert sum(counts) == 1
    assert total > 0
