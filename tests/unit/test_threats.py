"""docs/threats.md: every threat has a row, and every test that a row names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "threats.md"
LAST = {"A": 35, "B": 21, "C": 96, "D": 7, "E": 27, "F": 15, "G": 20, "H": 27}
_RANGE = re.compile(r"([A-H])(\d+)(?:-\1(\d+))?b?")
_DEFINED = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"`([^`]+)`")


def rows() -> list[tuple[str, str]]:
    """Threats, and what is said to hold against them."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [(row[0], row[2]) for row in cells if len(row) == 3 and row[0] != "threat"]


def letters() -> dict[str, str]:
    """What the page says of each letter, at its head."""
    return dict(re.findall(r"^\| ([A-H]) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE))


ROWS = rows()
DEFINED = {name for path in TESTS.rglob("test_*.py") for name in _DEFINED.findall(path.read_text())}


def test_every_threat_has_one_row() -> None:
    found = []
    for threats, _ in ROWS:
        for one in threats.split(", "):
            match = _RANGE.fullmatch(one)
            assert match is not None, one
            if not one.endswith("b"):
                found += [f"{match[1]}{number}" for number in range(int(match[2]), int(match[3] or match[2]) + 1)]
    assert sorted(found) == sorted([f"{letter}{n}" for letter, last in LAST.items() for n in range(1, last + 1)])


def test_the_head_says_what_each_letter_is() -> None:
    headings = re.findall(r"^## ([A-H])\. (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert letters() == dict(headings)
    assert sorted(letters()) == sorted(LAST)


@pytest.mark.parametrize(("threats", "held"), ROWS, ids=[threats for threats, _ in ROWS])
def test_what_holds_is_there(threats: str, held: str) -> None:
    names = _NAMED.findall(held)
    assert names or held.startswith("no test: ")
    for name in names:
        if name.startswith(("smtp/", "pop3/")):
            assert list((TESTS / "transcripts").glob(name + ".txt")), name
        elif name.endswith(".py"):
            assert list(TESTS.rglob(name)), name
        else:
            assert name in DEFINED, name
