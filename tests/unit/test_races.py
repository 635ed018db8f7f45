"""docs/races.md: each of the 25 races has its row, and every test that a row names is there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.config import schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "races.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if re.match(r"\| +\d+ +\|", line)
]
DEFINED = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
}
KEYS = {field.name for kept in (schema.Gate, schema.Store, schema.Whoson) for field in fields(kept)}
NO_KEYS = {"selftest", "shadow"}


def test_there_are_twenty_five_and_in_order() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 26)]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_shows_it_is_there(row: list[str]) -> None:
    _, race, done, shown = row
    assert race
    assert done
    names = re.findall(r"`([^`]+)`", shown)
    assert names
    for name in names:
        assert name in DEFINED, name


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z][a-z_]+)(?: = [^`]+)?`", "".join(r[2] for r in ROWS)))))
def test_every_key_that_it_names_exists(name: str) -> None:
    assert name in KEYS | NO_KEYS
