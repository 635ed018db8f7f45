"""rotation.py: a log file that grows, is moved, is removed, can't be moved (rule N11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.node import rotation
from proxy.node.rotation import KEPT, Rotation

from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from pathlib import Path


class Writer:
    """What the processes of a popgate do with the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = 0
        self.log = KeptLog()
        self.reopen()

    def reopen(self) -> None:
        with self.path.open("a"):
            self.opened += 1

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(rotation, "SIZE", 10)
    return Writer(tmp_path / "popgate.log")


def test_N11_a_file_that_is_large_enough_is_rotated_and_the_oldest_goes(writer: Writer, tmp_path: Path) -> None:
    one = Rotation(str(writer.path), writer.reopen)
    for number in range(KEPT + 3):
        one.tick(writer.log)
        assert writer.path.read_text() == "", "not before it is"
        writer.write(f"number {number:03d}")
        one.tick(writer.log)
    assert writer.opened == 1 + KEPT + 3
    assert {path.name for path in tmp_path.iterdir()} == {
        "popgate.log", *[f"popgate.log.{number}" for number in range(1, KEPT + 1)]
    }  # fmt: skip
    assert (tmp_path / "popgate.log.1").read_text() == f"number {KEPT + 2:03d}"
    assert (tmp_path / f"popgate.log.{KEPT}").read_text() == "number 003"
    assert writer.log.lines == []


def test_N11_a_small_one_stays(writer: Writer) -> None:
    one = Rotation(str(writer.path), writer.reopen)
    writer.write("small")
    for _ in range(3):
        one.tick(writer.log)
    assert writer.opened == 1


@pytest.mark.parametrize("removed", [True, False])
def test_a_file_that_was_moved_or_removed_is_opened_anew(writer: Writer, removed: bool) -> None:
    one = Rotation(str(writer.path), writer.reopen)
    if removed:
        writer.path.unlink()
    else:
        writer.path.rename(writer.path.with_suffix(".old"))
        writer.path.touch()  # logrotate's `create`
    one.tick(writer.log)
    assert writer.opened == 2
    one.tick(writer.log)
    assert writer.opened == 2


def test_what_can_t_be_done_is_said_once_an_hour_and_tried_again(writer: Writer, tmp_path: Path) -> None:
    def fails() -> None:
        raise PermissionError(13, "Permission denied")

    one = Rotation(str(writer.path), fails)
    writer.path.unlink()
    for _ in range(5):
        one.tick(writer.log)
    assert writer.log.lines == [
        ("error", "popgate", "log-failed", {"path": str(writer.path), "why": "Permission denied"})
    ]


@pytest.mark.parametrize("file", ["", "syslog", "syslog:bsd"])
def test_what_is_no_file_is_not_looked_at(file: str, writer: Writer) -> None:
    Rotation(file, writer.reopen).tick(writer.log)
    assert writer.opened == 1
