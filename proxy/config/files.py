"""The configuration files: which ones there are, and what they say together, with every value's origin.

Files of a folder are read in name order; tables merge, and a later file wins key by key.  Each value remembers the file
that it came from, because an error message without it sends the administrator searching.  Nothing is judged here but
TOML's own syntax.

Rejected: stopping at the first file that does not parse.  All of them are told; but keys are not judged until every
file parses, since half a configuration yields errors that aren't there.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACES: Final = (Path("conf.d"), Path("/etc/popgate/conf.d"))  # where to look when nobody says


@dataclass(frozen=True, slots=True)
class Given:
    """A value as TOML gave it, the whole key it was given for, and the file."""

    value: object
    """As TOML gave it."""
    key: str
    """Whole: "gate.window"."""
    file: str
    """Where it stands."""


@dataclass(slots=True)
class Table:
    """A table, merged from all files."""

    key: str
    """Whole: "listener.smtp"; "" is the top."""
    file: str
    """The last one that wrote into it."""
    entries: dict[str, Table | Given] = field(default_factory=dict)
    """By name."""

    def merge(self, found: Mapping[str, object], file: str) -> None:
        """Lay what one file says over what the earlier ones said."""
        for name, value in found.items():
            key = f"{self.key}.{name}" if self.key else name
            if not isinstance(value, dict):
                self.entries[name] = Given(value, key, file)
                continue
            inner = self.entries.get(name)
            if not isinstance(inner, Table):
                inner = self.entries[name] = Table(key, file)
            inner.file = file
            inner.merge(value, file)

    def over(self, lower: Table) -> Table:
        """This table with the entries of `lower` where it has none; each keeps its own origin."""
        return Table(self.key, self.file, {**lower.entries, **self.entries})

    def origin(self, key: str) -> str:
        """The file that set the dotted key, or, where none did, that wrote the innermost table around it."""
        place: Table | Given = self
        for name in key.split("."):
            inner = place.entries.get(name) if isinstance(place, Table) else None
            if inner is None:
                break
            place = inner
        return place.file


@dataclass(frozen=True, slots=True)
class Source:
    """What was found: the files in their order, and the folder that relative paths start from (absolute)."""

    shown: str
    """What was found, as it is told."""
    base: Path
    """Where relative paths start; absolute."""
    files: tuple[Path, ...]
    """In the order in which they are read."""


def find(path: Path | None) -> Source:
    """Find the files of a folder, or one file; None: the first of `PLACES` that exists.  Raises ConfigError."""
    if path is None:
        path = next((place for place in PLACES if _is_there(place)), None)
        if path is None:
            looked = " and ".join(str(place.absolute()) for place in PLACES)
            raise ConfigError([f"no configuration: looked for {looked}; `popgate init` makes one, -c names one"])
    # abspath, not resolve: what a symbolic link points to may lie anywhere, its written place is what people know.
    base = Path(os.path.abspath(path)).parent
    try:
        if not path.is_dir():
            path.stat()
            return Source(str(path), base, (path,))
        files = tuple(sorted(file for file in path.iterdir() if _is_ours(file)))
    except (FileNotFoundError, NotADirectoryError):
        text = f"{path}: does not exist; name a folder with *.toml files, or one file, with -c"
        raise ConfigError([text]) from None
    except OSError as error:
        cure = "mend its permissions" if isinstance(error, PermissionError) else "name another with -c"
        raise ConfigError([f"{path}: can't be read ({error.strerror}); {cure}"]) from error
    if not files:
        raise ConfigError([f"{path}: has no configuration; looked for {path / '*.toml'}"])
    return Source(str(path), base, files)


def _is_there(place: Path) -> bool:
    """What may not be looked at counts: to pass it by would take another configuration, or say that there is none."""
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_ours(file: Path) -> bool:
    """Editors leave ".#name.toml" behind: hidden files don't count."""
    return file.suffix == ".toml" and not file.name.startswith(".") and not file.is_dir()


def read(source: Source) -> Table:
    """Read and merge the files.  Raises ConfigError with one line a file that is not TOML."""
    root, problems = readable(source)
    if problems:
        raise ConfigError(problems)
    return root


def readable(source: Source) -> tuple[Table, list[str]]:
    """What those files say that can be read, and one line for each that can't."""
    root = Table("", source.shown)
    problems: list[str] = []
    for file in source.files:
        try:
            # Some editors begin a file of UTF-8 with a mark of their own, which is no TOML.
            root.merge(tomllib.loads(file.read_bytes().decode("utf-8-sig")), str(file))
        except OSError as error:
            problems.append(f"{file}: can't be read ({error.strerror}); mend its permissions")
        except UnicodeDecodeError as error:
            number = error.object.count(b"\n", 0, error.start) + 1
            problems.append(f"{file}: line {number}: is not UTF-8; save the file as UTF-8")
        except tomllib.TOMLDecodeError as error:
            problems.append(_syntax(file, str(error)))
        except (ValueError, RecursionError):  # what Python's integers and its stack have no room for
            problems.append(f"{file}: a number is too long, or tables or lists are nested too deep; mend that")
    return root, problems


def _syntax(file: Path, text: str) -> str:
    """tomllib says "Expected ... (at line 3, column 5)", or "(at end of document)"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", text, re.DOTALL)
    if match is None:
        return f"{file}: {text.splitlines()[0]}; mend the TOML"
    where = f"line {match[2]}, column {match[3]}" if match[2] else "last line"
    return f"{file}: {where}: {match[1]}; mend the TOML there"
