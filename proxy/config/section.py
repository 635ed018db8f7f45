"""Reading one table: its values by the keys of schema.py, what is wrong, and at the end what nobody asked for.

Problems are collected, never raised: all of them reach the administrator at once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from .files import Given, Table
from .keys import Folders, keys_of
from .schema import TABLES
from .values import Parser, Wrong, kind, printable

T = TypeVar("T")


@dataclass(slots=True)
class Problems:
    """What was found wrong: the lines for the administrator, and the keys whose values can't be trusted since."""

    lines: list[str] = field(default_factory=list)
    """For the administrator."""
    bad: set[str] = field(default_factory=set)
    """Whole keys whose values can't be trusted."""

    def add(self, file: str, key: str, text: str) -> None:
        """Note a problem once: a table that is read for several listeners yields the same line again."""
        self.bad.add(key)
        line = printable(f"{file}: {key}: {text}")
        if line not in self.lines:
            self.lines.append(line)


class Section:
    """One table on its way to a dataclass."""

    def __init__(self, table: Table, problems: Problems) -> None:
        self.table = table
        self.problems = problems
        self._asked: set[str] = set()

    def take(self, name: str, parse: Parser[T], default: T) -> T:
        """The value of the key; the default if it is not there, or if it is wrong (which is noted)."""
        self._asked.add(name)
        entry = self.table.entries.get(name)
        if entry is None:
            return default
        if isinstance(entry, Table):
            self.problems.add(entry.file, entry.key, f"must be a value, not a table; write {name} = ... in its place")
            return default
        try:
            return parse(entry.value)
        except Wrong as error:
            for text in error.texts:
                self.problems.add(entry.file, entry.key, text)
            return default

    def need(self, name: str, parse: Parser[T], stand_in: T, example: str) -> T:
        """As `take`, for a key without a default; `stand_in` only lets reading go on to the other problems."""
        if name not in self.table.entries:
            self.problems.add(self.table.file, self._key(name), f"is missing; write for example {name} = {example}")
        return self.take(name, parse, stand_in)

    def values(self, kept: type, folders: Folders) -> dict[str, Any]:
        """The values of the keys that a class of schema.py has."""
        found: dict[str, Any] = {}
        for name, key in keys_of(kept):
            parse = key.parser(folders)
            if key.example:
                found[name] = self.need(name, parse, key.default, key.example)
            else:
                found[name] = self.take(name, parse, parse(key.default))
        return found

    def build(self, kept: type[T], folders: Folders, **known: object) -> T:
        """The whole table; `known` are the fields that are no keys of it."""
        made = kept(**self.values(kept, folders), **known)
        self.done()
        return made

    def section(self, table: Table) -> Section:
        """Another table, with the same list of problems."""
        return Section(table, self.problems)

    def inner(self, name: str) -> Table:
        """The table inside; empty if it is not there or is no table (which is noted)."""
        self._asked.add(name)
        entry = self.table.entries.get(name)
        if isinstance(entry, Given):
            self.problems.add(entry.file, entry.key, f"must be a table, not {kind(entry.value)}; write [{entry.key}]")
        return entry if isinstance(entry, Table) else Table(self._key(name), self.table.file)

    def done(self) -> None:
        """Note every key that nobody asked for."""
        for name, entry in self.table.entries.items():
            if name in self._asked:
                continue
            self.problems.add(entry.file, entry.key, self._unknown(name, entry))

    def _key(self, name: str) -> str:
        return f"{self.table.key}.{name}" if self.table.key else name

    def _unknown(self, name: str, entry: Table | Given) -> str:
        what = "unknown table" if isinstance(entry, Table) else "unknown key"
        for home, kept in TABLES.items():
            if name in {one.name for one in fields(kept)} - {"name"}:
                return f"{what}; it belongs in [{home}]"
        near = difflib.get_close_matches(name, sorted(self._asked), n=1)
        if near:
            return f'{what}; did you mean "{near[0]}"?'
        # By the entry's own key: what [gate] gave is read for each listener, too, and told once.
        home = entry.key.removesuffix(name).removesuffix(".")
        known = ", ".join(sorted(self._asked))
        return f"{what}; take it out; {f'[{home}]' if home else 'the top level'} knows {known}"
