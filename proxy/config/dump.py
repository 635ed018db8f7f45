"""The effective configuration as TOML that loads again to an equal `Config`: what `popgate check` prints.

Every key is written, with its default where nobody set it; of [listener.NAME.gate] only what differs from [gate].
Durations are written in their largest whole unit, paths absolute.  The one secret that a configuration may hold, the
password in a redis URL, is masked, and then `load` takes the URL no more.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from .endpoint import Endpoint
from .keys import keys_of
from .redis_url import masked
from .schema import SINGLE, Config
from .values import duration_text


def dump(config: Config) -> str:
    """The whole configuration.  Durations finer than a millisecond (which `load` never makes) are rounded."""
    lines = [f"# read from {', '.join(str(file) for file in config.files) or 'nowhere'}"]
    lines += _keys(config)
    lines += _table("gate", config.gate)
    lines += _table("store", replace(config.store, url=masked(config.store.url)))
    for listener in config.listeners.values():
        where = f"listener.{listener.name}"
        lines += _table(where, listener)
        if listener.gate != config.gate:
            lines += _table(f"{where}.gate", listener.gate, config.gate)
    for upstream in config.upstreams.values():
        lines += _table(f"upstream.{upstream.name}", upstream)
    for name in SINGLE:
        lines += _table(name, getattr(config, name))
    return "\n".join(lines) + "\n"


def _table(name: str, table: object, but: object = None) -> list[str]:
    """A table's head and its keys; without those that are the same in `but`."""
    return ["", f"[{name}]", *_keys(table, but)]


def _keys(table: object, but: object = None) -> list[str]:
    values = {key: getattr(table, key) for key, _ in keys_of(table)}
    return [f"{key} = {_toml(one)}" for key, one in values.items() if but is None or one != getattr(but, key)]


def _toml(value: object) -> str:
    """A value of the schema as TOML: `float` is always a duration there, and None an absent path or address."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f'"{duration_text(value)}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    assert value is None or isinstance(value, (str, Path, Endpoint)), value
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped; the parsers let no DEL in.
    return json.dumps("" if value is None else str(value), ensure_ascii=False)
