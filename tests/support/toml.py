"""Writes a nested dict as TOML: the standard library only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | list[str] | list[int] | Mapping[str, Value]"
Table: TypeAlias = Mapping[str, Value]


def dumps(table: Table, name: str = "") -> str:
    """`table` as TOML text; `name` is the dotted name it stands under."""
    own = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    text = f"[{name}]\n" if name and own else ""
    # JSON's strings, numbers, booleans and lists are TOML's too.
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())
    for key, value in table.items():
        if isinstance(value, Mapping):
            text += dumps(value, f"{name}.{key}" if name else key)
    return text
