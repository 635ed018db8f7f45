"""proxy/config/later.py: keys that are not built do nothing in no case in silence."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from proxy.config import load
from proxy.config.later import LATER, Off
from proxy.config.section import HOMES
from tests.support.configuration import loaded, problems, written

if TYPE_CHECKING:
    from pathlib import Path

ALL = [(sort, key, off) for sort, keys in LATER.items() for key, off in keys.items()]
NAMES = [f"{sort}.{key}" for sort, key, _ in ALL]


def table(sort: str) -> str:
    return f"{sort}.smtp" if sort in ("listener", "upstream") else sort


@pytest.mark.parametrize(("sort", "key", "off"), ALL, ids=NAMES)
def test_the_value_that_is_true_is_taken_and_no_other(tmp_path: Path, sort: str, key: str, off: Off) -> None:
    loaded(tmp_path, f"[{table(sort)}]\n{key} = {json.dumps(off.value)}\n")
    for other in ('"on"', "5", "true", '["192.0.2.1"]', "1.5", "{ x = 1 }"):
        [problem] = problems(tmp_path, f"[{table(sort)}]\n{key} = {other}\n")
        assert problem.startswith(f"{table(sort)}.{key}: not built yet; ")
        assert off.meaning in problem


def test_every_gate_key_is_judged_for_a_listener_too(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, '[listener.smtp.gate]\npatience = "2m"\n')
    assert problem == 'listener.smtp.gate.patience: is too long; take at most "1m"'


def test_no_duration_has_two_forms_and_false_is_not_one_of_them() -> None:
    assert Off("0s", "").takes("0s")
    assert Off("0s", "").takes(0)
    assert not Off("0s", "").takes(False)
    assert not Off(0, "").takes(False)
    assert not Off(False, "").takes(0)


def test_a_key_is_built_or_not_never_both() -> None:
    for home, kept in HOMES.items():
        assert {one.name for one in fields(kept)}.isdisjoint(LATER.get(home.partition(".")[0], {}))


def test_an_empty_table_of_what_is_not_built_is_no_error(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[whoson]\n[postfix]\n"))
