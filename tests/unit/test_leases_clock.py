"""proxy/leases/clock.py: the machine's clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from proxy.leases import clock as module
from proxy.leases.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path


def test_G8_the_boot_clock_is_the_kernels() -> None:
    clock = Clock()
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.boottime() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.now() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.reader()() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(clock.wall() - time.time()) < 5


def test_G8_every_process_of_a_boot_reads_the_same_id() -> None:
    assert Clock().boot_id == Clock().boot_id
    assert Clock().boot_id == Clock().boot_id.strip() != ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_G8_without_a_boot_id_the_wall_clock_is_the_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "boot_id").write_bytes(content)
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "boot_id")
    clock = Clock()
    assert clock.boot_id == ""
    assert abs(clock.now() - time.time()) < 5
    assert clock.reader() is time.time
