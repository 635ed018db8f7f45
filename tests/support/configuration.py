"""Configurations for tests: a complete small one, as text, and what `load` says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config import Config, load
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SERVES = """
[listener.smtp]
protocol = "smtp"
bind = ["127.0.0.1:0"]
[upstream.smtp]
servers = ["192.0.2.10:25"]
"""


def loaded(folder: Path, text: str) -> Config:
    """`SERVES` with `text` read after it."""
    return load(written(folder, text))


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with `SERVES` and `text` after it, as "KEY: what"; each line must name one of the files."""
    place = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(place)
    found = [line.split(".toml: ", 1) for line in caught.value.problems]
    assert {file for file, _ in found} <= {f"{place}/10-serves", f"{place}/50-test"}
    return [what for _, what in found]


def written(folder: Path, text: str) -> Path:
    """A conf.d in `folder` with both texts."""
    place = folder / "conf.d"
    place.mkdir(exist_ok=True)
    (place / "10-serves.toml").write_text(SERVES)
    (place / "50-test.toml").write_text(text)
    return place
