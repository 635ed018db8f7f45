"""Each fuzz target plays its corpus and some generated inputs, without atheris; the runner tells what was found."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from . import FOLDER, TARGETS, Finding
from . import __main__ as runner

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = 200
targets = pytest.mark.parametrize("name", TARGETS)


@targets
def test_the_corpus_and_generated_inputs_find_nothing(name: str) -> None:
    target = runner.load(name)
    for data in [b"", *runner.seeds(name), *islice(runner.inputs(name, target, 0), GENERATED)]:
        target.one_input(data)


@targets
def test_each_target_says_its_invariant_and_has_seeds(name: str) -> None:
    first = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith('"""Invariant: ')
    assert len(runner.seeds(name)) >= 4


def test_inputs_are_the_same_for_the_same_seed() -> None:
    target = runner.load("path")
    first, again, other = (list(islice(runner.inputs("path", target, seed), 50)) for seed in (3, 3, 4))
    assert first == again != other


def test_a_finding_is_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = runner.load("lines")

    def one_input(data: bytes) -> None:
        if len(data) > 3:
            raise Finding("too long for this test")

    monkeypatch.setattr(target, "one_input", one_input)
    assert not runner.run_random("lines", 1000, 10.0, 0, tmp_path)
    assert "too long for this test" in capsys.readouterr().out
    (kept,) = (tmp_path / "found").iterdir()
    with pytest.raises(Finding):
        runner.replay(kept)


def test_the_command_counts_and_ends_well() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--sessions", "20", "lines", "sasl"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" 20 executions") == 2


def test_a_name_that_is_no_target_is_an_error() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent.parent, check=False)
    assert done.returncode == 2
    assert "smtp_session" in done.stderr
