"""What is known of a key: how it is read, its default, and what a reader is told, all in the line of its field.

schema.py has one line a key, such as

    window: float = key("30m", duration(1), "a lease lives this long after the login")

and from it come the reading of files (section.py), the defaults of the dataclasses, what a reload can't change
(`unreloadable`), and whatever is written for people: the type is the field's annotation.  A default is written as in
a file and read by the key's own parser, when the program is loaded: one that the parser refuses never starts.

Rejected: a parser chosen by the annotation.  Two keys of one type differ in what they take (a duration of 0, a port 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .values import Parser

T = TypeVar("T")

_KEY: Final = "key"  # of a field's metadata


class Folders(NamedTuple):
    """Where relative paths start."""

    base: Path = Path()
    """The parent of conf.d, or the folder of a single file."""
    state: Path = Path()
    """$STATE_DIRECTORY (systemd.exec(5)), or `base`."""
    runtime: Path = Path()
    """$RUNTIME_DIRECTORY, or `base`."""


@dataclass(frozen=True, slots=True)
class Inside(Generic[T]):
    """A parser of paths, relative ones being in a folder that is known when the files are read."""

    parser: Callable[[Path], Parser[T]]
    """Makes the parser for a folder."""
    folder: Literal["base", "state", "runtime"] = "base"
    """Which one: a field of `Folders`."""


@dataclass(frozen=True, slots=True)
class Key:
    """All that is known of a key but its name and type, which are its field's."""

    parse: Parser[Any] | Inside[Any]
    """Makes a value of what TOML gave, or raises `Wrong`."""
    default: object
    """As a file would say it; of a key that must be given, what stands in while the other problems are looked for."""
    text: str
    """What it does, for people."""
    unit: str = ""
    """What a number counts; a duration has its unit in the file."""
    example: str = ""
    """Of a key that must be given, as TOML; "": it has a default."""
    restart: bool = False
    """A reload can't change it."""
    secret: bool = False
    """It may hold a password: it is in no `repr`."""
    since: str = "0.1"
    """The first version that knew it."""

    def parser(self, folders: Folders) -> Parser[Any]:
        """How its value is read."""
        if isinstance(self.parse, Inside):
            return self.parse.parser(getattr(folders, self.parse.folder))
        return self.parse


def key(default: object, parse: Parser[T] | Inside[T], text: str, **more: Any) -> T:
    """A field whose value is read by `parse`; `more` as in `Key`."""
    made = Key(parse, default, text, **more)
    return cast("T", field(default=made.parser(Folders())(default), repr=not made.secret, metadata={_KEY: made}))


def needed(example: str, parse: Parser[T], stand_in: T, text: str, **more: Any) -> T:
    """A field without a default: the key must be given."""
    return cast("T", field(metadata={_KEY: Key(parse, stand_in, text, example=example, **more)}))


def keys_of(table: Any) -> Iterator[tuple[str, Key]]:
    """The keys of a dataclass of schema.py, or of one of its values, by name."""
    for one in fields(table):
        if _KEY in one.metadata:
            yield one.name, one.metadata[_KEY]


def unreloadable(where: str, old: Any, new: Any) -> Iterator[str]:
    """The keys of a table that a reload can't change, and that are different in `new`; `where` goes in front."""
    for name, key in keys_of(old):
        if key.restart and getattr(old, name) != getattr(new, name):
            yield where + name
