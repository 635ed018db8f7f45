"""The effective configuration as TOML that loads again to an equal `Config`: what `popgate check` prints.

Every key is written, with its default where nobody set it; of [listener.NAME.gate] only what differs from [gate].
Durations are written in their largest whole unit, paths absolute.  The one secret that a configuration may hold, the
password in a redis URL, is masked, and then `load` takes the URL no more.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

from .redis_url import masked
from .schema import Admin, Config, Endpoint, Gate, Limits, Listener, Log, Postfix, Store, Tls, Upstream, Whoson
from .values import duration_text


def dump(config: Config) -> str:
    """The whole configuration.  Durations finer than a millisecond (which `load` never makes) are rounded."""
    lines = [f"# read from {', '.join(str(file) for file in config.files) or 'nowhere'}"]
    lines += [f"{name} = {_toml(getattr(config, name))}" for name in ("workers", "user", "drain_timeout")]
    lines += _table("gate", config.gate)
    lines += _table("store", replace(config.store, url=masked(config.store.url)))
    for listener in config.listeners.values():
        where = f"listener.{listener.name}"
        lines += _table(where, listener, leave_out={"name", "gate"})
        same = {one.name for one in fields(Gate) if getattr(listener.gate, one.name) == getattr(config.gate, one.name)}
        if listener.gate != config.gate:
            lines += _table(f"{where}.gate", listener.gate, leave_out=same)
    for upstream in config.upstreams.values():
        lines += _table(f"upstream.{upstream.name}", upstream, leave_out={"name"})
    lines += _table("tls", config.tls)
    lines += _table("limits", config.limits)
    lines += _table("whoson", config.whoson)
    lines += _table("postfix", config.postfix)
    lines += _table("admin", config.admin)
    lines += _table("log", config.log)
    return "\n".join(lines) + "\n"


def _table(
    name: str,
    table: Gate | Store | Listener | Upstream | Tls | Limits | Whoson | Postfix | Admin | Log,
    leave_out: set[str] | frozenset[str] = frozenset(),
) -> list[str]:
    keys = [one.name for one in fields(table) if one.name not in leave_out]
    return ["", f"[{name}]", *(f"{key} = {_toml(getattr(table, key))}" for key in keys)]


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
