"""admin/history.py: what happened in each minute."""

from __future__ import annotations

from proxy.admin.history import ROWS, SERIES, History
from proxy.metrics import LOGINS, RELAYS
from proxy.shared_memory.figures import NodeFigures

COLUMNS = list(SERIES)


class Bench:
    def __init__(self) -> None:
        self.now = 6000.0
        self.board = NodeFigures(1, {"in": "smtp", "pop": "pop3"})
        self.row = self.board.row(0)
        self.history = History(self.board, lambda: self.now)

    def happens(self, listener: str, cell: int, many: int = 1) -> None:
        self.row.figures[listener][cell] += many
        self.row.publish()

    def minutes(self, many: int) -> None:
        for _ in range(many):
            self.now += 60
            self.history.tick()

    def column(self, name: str) -> list[int]:
        place = COLUMNS.index(name) + 1
        return [row[place] for row in self.history.table()["rows"]]


def test_a_minute_is_what_has_come_in_it() -> None:
    bench = Bench()
    bench.happens("pop", LOGINS["accepted"], 2)
    bench.happens("in", LOGINS["accepted"], 1)
    bench.minutes(1)
    bench.happens("pop", LOGINS["accepted"], 5)
    assert bench.column("logins") == [3, 5]
    assert bench.history.table()["names"] == COLUMNS
    assert [row[0] for row in bench.history.table()["rows"]] == [6000, 6060]


def test_what_was_before_it_began_is_not_of_its_first_minute() -> None:
    board = NodeFigures(1, {"in": "smtp"})
    row = board.row(0)
    row.figures["in"][RELAYS["refused"]] += 9
    row.publish()
    assert History(board, lambda: 0.0).table()["rows"][0][1:] == [0] * len(SERIES)


def test_a_spent_budget_is_deferred() -> None:
    bench = Bench()
    bench.happens("in", RELAYS["deferred"])
    bench.happens("in", RELAYS["spent"])
    assert bench.history.hour()["deferred"] == 2


def test_an_hour_forgets_and_a_day_is_the_end() -> None:
    bench = Bench()
    bench.happens("in", RELAYS["refused"])
    bench.minutes(59)
    assert bench.history.hour()["refused"] == 1
    bench.minutes(1)
    assert bench.history.hour()["refused"] == 0
    assert sum(bench.column("refused")) == 1
    bench.minutes(ROWS)
    assert sum(bench.column("refused")) == 0
    assert len(bench.history.table()["rows"]) == ROWS + 1


def test_minutes_in_which_nobody_looked_are_one_row() -> None:
    """The process was stopped, or the clock was set."""
    bench = Bench()
    bench.happens("in", RELAYS["allowed"])
    bench.now += 600
    bench.history.tick()
    assert [row[0] for row in bench.history.table()["rows"]] == [6000, 6600]
