"""neighbours/reminders.py: other servers hear of an open POP session again and again."""

from __future__ import annotations

from proxy.neighbours.reminders import EVERY, Reminders

from ..support.clocks import FakeClock


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reminders = Reminders(self.clock.now)
        self.told: list[str] = []

    def begin(self, name: str, max_age: float = 43200.0) -> None:
        self.reminders.begin(name, lambda: self.told.append(name), max_age)

    def after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        self.reminders.tick()
        told, self.told = self.told, []
        return told


def test_before_the_c_daemon_forgets() -> None:
    bench = Bench()
    bench.begin("alice")
    assert bench.after(EVERY - 1) == []
    assert bench.after(1) == ["alice"]
    assert bench.after(EVERY - 1) == []
    assert bench.after(1) == ["alice"]
    assert EVERY < 300.0


def test_each_in_its_own_time() -> None:
    bench = Bench()
    bench.begin("alice")
    bench.clock.advance(100)
    bench.begin("bob")
    assert bench.after(EVERY - 100) == ["alice"]
    assert bench.after(100) == ["bob"]
    assert bench.after(EVERY) == ["alice", "bob"]


def test_who_has_gone_is_not_told_of() -> None:
    bench = Bench()
    bench.begin("alice")
    bench.begin("bob")
    bench.reminders.end("alice")
    bench.reminders.end("nobody")
    assert bench.after(EVERY) == ["bob"]


def test_never_past_max_age() -> None:
    bench = Bench()
    bench.begin("alice", max_age=EVERY * 2)
    assert bench.after(EVERY) == ["alice"]
    assert bench.after(EVERY) == ["alice"]
    assert bench.after(EVERY) == []
    assert len(bench.reminders) == 0
