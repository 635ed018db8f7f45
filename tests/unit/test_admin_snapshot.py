"""admin/snapshot.py: all that the page shows at a moment."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from proxy.admin.facts import SHOWN, Facts
from proxy.admin.history import History
from proxy.admin.snapshot import Snapshots
from proxy.metrics import NODE, SESSIONS_NOW, STORE_DOWN
from proxy.shared_memory.connections import ConnectionCounters
from proxy.shared_memory.figures import NodeFigures
from proxy.shared_memory.recent_refusals import KEPT
from proxy.wire.address import packed

from ..support.site import SERVER, STATUS

LEASE = {"address": "192.0.2.7", "login": "anna", "source": "pop3", "left": 100.0, "granted": 0.0, "expires": 0.0}
SOON = STATUS["certificates"][0] | {"expires": time.time() + 3.5 * 86400}
FINE = STATUS | {"certificates": [SOON | {"expires": time.time() + 99 * 86400}]}


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.status: dict[str, Any] = FINE
        self.leases: dict[str, Any] = {"leases": [LEASE], "count": 1}
        self.board, self.counters = NodeFigures(1, {"in": "smtp"}), ConnectionCounters(1)
        self.row = self.board.row(0)
        self.facts = Facts(self._ask, lambda: self.now)
        self.snapshots = Snapshots(self.board, self.counters, self.facts, History(self.board))

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return self.leases if question["do"] == "leases" else self.status

    def take(self) -> dict[str, Any]:
        return asyncio.run(self.snapshots.take())


def test_all_is_well() -> None:
    bench = Bench()
    bench.row.figures["in"][SESSIONS_NOW] += 4
    bench.row.publish()
    bench.counters.enter(0, packed("192.0.2.7"))
    found = bench.take()
    assert (found["open"], found["troubles"]) == (True, [])
    assert found["listeners"] == [{"name": "in", "protocol": "smtp", "sessions": 4}]
    assert found["leases"] == [
        {"address": "192.0.2.7", "login": "anna", "source": "pop3", "left": 100.0, "sessions": 1}
    ]
    assert (found["lease_count"], found["lease_trouble"]) == (1, "")


@pytest.mark.parametrize(
    ("change", "is_open", "trouble"),
    [
        ({"agent": "drain", "draining": True}, False, "draining"),
        ({"agent": "down # no mail server answers"}, False, "no mail server answers"),
        ({"error": "the supervisor does not answer: too slow"}, False, "the supervisor does not answer: too slow"),
        ({"upstreams": [SERVER | {"state": "down", "why": "refused"}]}, True, "smtp 192.0.2.10:25 is down: refused"),
        ({"certificates": [SOON]}, True, "the certificate /certs/mail.pem ends in 3 days"),
        ({"certificates": [SOON | {"expires": 1.0}]}, True, "the certificate /certs/mail.pem has expired"),
        (
            {"workers": [*STATUS["workers"], STATUS["workers"][0] | {"number": 1, "stalled": True}]},
            True,
            "the loop of worker 1 stands still",
        ),
    ],
)
def test_troubles_in_words(change: dict[str, Any], is_open: bool, trouble: str) -> None:
    bench = Bench()
    bench.status = FINE | change
    found = bench.take()
    assert found["open"] is is_open
    assert found["troubles"] == [trouble]


def test_a_store_that_is_down() -> None:
    bench = Bench()
    bench.row.figures[NODE][STORE_DOWN] = 1
    bench.row.publish()
    bench.leases = {"error": "the lease store is down: disk I/O error"}
    found = bench.take()
    assert (found["open"], found["store"], found["leases"], found["lease_count"]) == (True, False, [], None)
    assert found["lease_trouble"] == "the lease store is down: disk I/O error"
    assert len(found["troubles"]) == 1


def test_a_lease_of_an_old_answer_has_less_left() -> None:
    bench = Bench()
    bench.take()
    bench.now += 0.75
    assert bench.take()["leases"][0]["left"] == 99.25


def test_bounded_whatever_goes_on() -> None:
    bench = Bench()
    bench.leases = {"leases": [LEASE] * SHOWN, "count": 1_000_000}
    refusals = bench.counters.refusals.row(0)
    for _ in range(10 * KEPT):
        refusals.note("in", "192.0.2.7", "a", "b", "no lease")
    refusals.publish()
    found = bench.take()
    assert (len(found["leases"]), found["lease_count"], len(found["refusals"])) == (SHOWN, 1_000_000, KEPT)
