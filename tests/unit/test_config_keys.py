"""proxy/config/keys.py and schema.py: what the line of a key says, and that it is enough to write about it."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from proxy.config import Config, Gate, Store
from proxy.config.keys import Folders, Inside, key, keys_of, unreloadable
from proxy.config.places import path
from proxy.config.schema import TABLES
from proxy.config.values import Wrong, duration

SHIPPED = Path(__file__).parents[2] / "conf.d"
ALL = {"": Config, **TABLES}
"""Every table that has keys, by the name of its head."""


def shipped(table: str) -> dict[str, Any]:
    """What the shipped files say of a table; of those with names the one that explains every key."""
    found: dict[str, Any] = {}
    for file in sorted(SHIPPED.glob("*.toml")):
        said = tomllib.loads(file.read_text())
        for name in table.replace("NAME", "pop3").split(".") if table else ():
            said = said.get(name, {})
        found |= said
    return found


@pytest.mark.parametrize("table", ALL)
def test_the_shipped_files_say_every_key_with_the_default_of_its_line(table: str) -> None:
    said = shipped(table)
    by_protocol = {"upstream"} if table == "listener.NAME" else set()
    for name, one in keys_of(ALL[table]):
        assert name in said
        assert one.example or name in by_protocol or said[name] == one.default, name


@pytest.mark.parametrize("table", ALL)
def test_each_key_has_a_type_and_a_sentence(table: str) -> None:
    types = get_type_hints(ALL[table])
    for name, one in keys_of(ALL[table]):
        assert name in types
        assert one.text
        assert not one.text.endswith(".")


@pytest.mark.parametrize("table", [name for name in ALL if name])
def test_what_is_no_key_is_known_by_name(table: str) -> None:
    rest = {one.name for one in fields(ALL[table])} - {name for name, _ in keys_of(ALL[table])}
    assert rest == {"listener.NAME": {"name", "gate"}, "upstream.NAME": {"name"}}.get(table, set())


def test_a_default_is_read_as_a_file_is() -> None:
    assert Gate().window == 1800.0
    with pytest.raises(Wrong, match="is too short"):
        key("0s", duration(1), "never")


def test_a_path_starts_where_its_folder_is() -> None:
    [(_, url), *_] = keys_of(Store)
    assert url.parser(Folders(state=Path("/s")))(url.default) == "sqlite:/s/leases.db"
    inside = Inside(path)
    assert inside.parser(Path("/b"))("x") == Path("/b/x")


def test_N7_what_a_reload_cannot_change_is_named() -> None:
    old, new = Store("sqlite:/a", 0.5), Store("sqlite:/b", 0.5)
    assert list(unreloadable("store.", old, new)) == ["store.url"]
    assert list(unreloadable("gate.", Gate(), Gate(window=1.0))) == []
