"""proxy/config/section.py: reading a table key by key, and what is said of the rest."""

from __future__ import annotations

import pytest

from proxy.config.files import Table
from proxy.config.section import Problems, Section
from proxy.config.values import boolean, count, each, line


def section(entries: dict[str, object], sort: str = "gate") -> Section:
    table = Table(sort, "f")
    table.merge(entries, "f")
    return Section(table, Problems())


def test_a_value_is_taken_and_a_missing_one_is_the_default() -> None:
    read = section({"a": 5})
    assert read.take("a", count(0, 9), 1) == 5
    assert read.take("b", count(0, 9), 1) == 1
    read.done()
    assert read.problems == Problems()


def test_a_wrong_value_is_noted_once_and_the_default_stands_in() -> None:
    read = section({"a": 10, "l": [1, True], "t": {"x": 1}})
    none: tuple[str, ...] = ()
    for _ in range(2):
        assert read.take("a", count(0, 9), 1) == 1
    assert read.take("l", each(line), none) == none
    assert read.take("t", boolean, True) is True
    assert read.problems.lines == [
        "f: gate.a: 10 is out of range; take 0 to 9",
        "f: gate.l: must be a string, not a number; put it in quotes",
        "f: gate.l: must be a string, not true or false; put it in quotes",
        "f: gate.t: must be a value, not a table; write t = ... in its place",
    ]
    assert read.problems.bad == {"gate.a", "gate.l", "gate.t"}


def test_a_needed_key_is_missed() -> None:
    read = section({"a": 5})
    assert read.need("a", count(0, 9), 1, "3") == 5
    assert read.need("b", count(0, 9), 1, "3") == 1
    assert read.problems.lines == ["f: gate.b: is missing; write for example b = 3"]


def test_an_inner_table_is_there_empty_or_none() -> None:
    read = section({"t": {"x": 1}, "v": 1}, sort="")
    assert read.inner("t").entries
    assert read.inner("missing") == Table("missing", "f")
    assert read.inner("v") == Table("v", "f")
    assert read.problems.lines == ["f: v: must be a table, not a number; write [v]"]
    read.done()
    assert len(read.problems.lines) == 1


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"windoe": 1}, 'f: gate.windoe: unknown key; did you mean "window"?'),
        ({"data_end_timeout": 1}, "f: gate.data_end_timeout: unknown key; it belongs in [limits]"),
        ({"tls_required": True}, "f: gate.tls_required: unknown key; it belongs in [listener.NAME]"),
        ({"send_proxy": "v2"}, "f: gate.send_proxy: unknown key; it belongs in [upstream.NAME]"),
        ({"name": "x"}, "f: gate.name: unknown key; take it out; [gate] knows window"),
        ({"zzz": {}}, "f: gate.zzz: unknown table; take it out; [gate] knows window"),
        ({"z\nz": 1}, "f: gate.z\\nz: unknown key; take it out; [gate] knows window"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(entries: dict[str, object], problem: str) -> None:
    read = section(entries)
    read.take("window", line, "")
    read.done()
    assert read.problems.lines == [problem]


def test_a_key_of_gate_that_nobody_knows_is_told_once_for_all_listeners() -> None:
    gate = Table("gate", "f")
    gate.merge({"zzz": 1}, "f")
    problems = Problems()
    for table in (gate, Table("listener.smtp.gate", "f").over(gate)):
        read = Section(table, problems)
        read.take("window", line, "")
        read.done()
    assert problems.lines == ["f: gate.zzz: unknown key; take it out; [gate] knows window"]


def test_at_the_top_tables_are_named_too() -> None:
    read = section({"zzz": 1}, sort="")
    read.inner("gate")
    read.take("user", line, "")
    read.done()
    assert read.problems.lines == ["f: zzz: unknown key; take it out; the top level knows gate, user"]
