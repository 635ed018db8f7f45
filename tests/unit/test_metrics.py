"""metrics.py and shared_memory/figures.py: figures that several processes share."""

from __future__ import annotations

import os

import pytest

from proxy import metrics
from proxy.metrics import CONNECT_SECONDS, FAMILIES, LOGINS, NODE, SECOND, SESSIONS, SESSIONS_NOW, LookUps
from proxy.shared_memory.figures import NodeFigures

LISTENERS = {"in": "smtp", "pop": "pop3"}


def family(name: str) -> metrics.Family:
    return next(one for one in FAMILIES if one.name == name)


def counted(board: NodeFigures, worker: int, listener: str, cell: int, many: int) -> None:
    row = board.row(worker)
    row.figures[listener][cell] += many
    row.publish()


def noted(board: NodeFigures, worker: int, seconds: float) -> None:
    row = board.row(worker)
    CONNECT_SECONDS.note(row.figures["in"], seconds)
    row.publish()


def histogram(board: NodeFigures, name: str, listener: str) -> list[int]:
    """The cells of a histogram, the sum last."""
    one = family(name)
    return [board.total(one.first + place, listener) for place in range(one.cells)]


def test_N5_workers_share_the_memory_and_each_listener_has_its_own_figures() -> None:
    """What a child counts the parent sees: the memory is made before the fork."""
    board = NodeFigures(2, LISTENERS)
    counted(board, 0, "in", SESSIONS, 5)
    child = os.fork()
    if child == 0:
        counted(board, 1, "in", SESSIONS, 2)
        counted(board, 1, "pop", LOGINS["failed"], 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.total(SESSIONS, "in") == 7
    assert board.total(SESSIONS, "pop") == 0
    assert (board.total(LOGINS["failed"], "pop"), board.total(LOGINS["accepted"], "pop")) == (1, 0)
    assert board.total(SESSIONS, NODE) == 0


def test_N5_of_a_dead_worker_what_was_stays_and_what_is_goes() -> None:
    board = NodeFigures(2, LISTENERS)
    for number in (0, 1):
        for cell in (SESSIONS, SESSIONS_NOW):
            counted(board, number, "in", cell, 3)
        counted(board, number, NODE, metrics.WAITING, 1)
        noted(board, number, 0.5)
    board.forget(0)
    assert board.total(SESSIONS, "in") == 6
    assert board.total(SESSIONS_NOW, "in") == 3
    assert board.total(metrics.WAITING, NODE) == 1
    assert sum(histogram(board, "popgate_upstream_connect_seconds", "in")[:-1]) == 2


def test_N5_a_worker_that_comes_back_goes_on_counting() -> None:
    board = NodeFigures(1, LISTENERS)
    counted(board, 0, "in", SESSIONS, 3)
    counted(board, 0, "in", SESSIONS_NOW, 2)
    board.forget(0)
    counted(board, 0, "in", SESSIONS, 1)
    assert (board.total(SESSIONS, "in"), board.total(SESSIONS_NOW, "in")) == (4, 0)


def test_no_cell_has_two_meanings() -> None:
    cells = [one.first + place for one in FAMILIES for place in range(one.cells)]
    assert cells == list(range(len(cells)))


def test_names_follow_the_conventions() -> None:
    """https://prometheus.io/docs/practices/naming/"""
    for one in FAMILIES:
        if not one.name:
            continue
        assert one.name.startswith("popgate_")
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert one.name.endswith("_seconds") == (one.kind == "histogram"), one.name
        assert bool(one.label) == bool(one.values), one.name
        assert list(one.bounds) == sorted(set(one.bounds))
        assert one.text.endswith(".")
    assert len({one.name for one in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize(
    ("seconds", "place"), [(0.0, 0), (0.0009, 0), (0.001, 0), (0.0011, 1), (10.0, 12), (10.1, 13), (1e6, 13), (-1.0, 0)]
)
def test_a_bound_belongs_to_what_is_below_it(seconds: float, place: int) -> None:
    """`le` means less or equal."""
    board = NodeFigures(1, LISTENERS)
    noted(board, 0, seconds)
    *counts, total = histogram(board, "popgate_upstream_connect_seconds", "in")
    assert counts == [int(number == place) for number in range(14)]
    assert total == max(0, int(seconds * SECOND))


def test_a_look_up_is_timed_and_tells_how_the_store_is() -> None:
    now = [100.0]
    board = NodeFigures(1, LISTENERS)
    row = board.row(0)
    look_ups = LookUps(row.figures[NODE], lambda: now[0])
    begun = look_ups.clock()
    now[0] += 0.0002
    look_ups.answered(begun, is_down=True)
    row.publish()
    *counts, total = histogram(board, "popgate_store_lookup_seconds", NODE)
    assert counts.index(1) == metrics.FAMILIES[-3].bounds.index(0.00025)
    assert 190_000 < total < 210_000
    assert board.total(metrics.STORE_DOWN, NODE) == 1
    look_ups.seen(is_down=False)
    row.publish()
    assert board.total(metrics.STORE_DOWN, NODE) == 0
    assert sum(histogram(board, "popgate_store_lookup_seconds", NODE)[:-1]) == 1
