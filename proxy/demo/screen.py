"""What the demo shows: text to a person, dialogue lines as `C: ` and `S: `, in colours if it is a terminal.

Also the transcript of a failure: `Unexpected` says what was waited for and what came.
"""

from __future__ import annotations

import os
from typing import TextIO

_RESET = "\x1b[0m"
_STYLES = {  # ECMA-48 8.3.117, the eight colours that every terminal has
    "title": "\x1b[1m",
    "client": "\x1b[36m",
    "server": "\x1b[32m",
    "refused": "\x1b[31m",
    "quiet": "\x1b[2m",
}


class Unexpected(Exception):
    """A step of the story went another way; the text says which and what was seen."""


class Screen:
    """Writes to `out`.  Colours only on a terminal, and not if NO_COLOR is set (no-color.org)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._coloured = self._terminal and not os.environ.get("NO_COLOR")

    def title(self, text: str) -> None:
        self._write("\n" + self._styled("title", text) + "\n\n")

    def tell(self, text: str) -> None:
        self._write(text + "\n")

    def quietly(self, text: str) -> None:
        """Something by the way: a command that was run, a note."""
        self._write(self._styled("quiet", text) + "\n")

    def client(self, line: str) -> None:
        self._write("  " + self._styled("client", f"C: {line}") + "\n")

    def server(self, line: str) -> None:
        style = "refused" if line.startswith(("4", "5", "-ERR")) else "server"
        self._write("  " + self._styled(style, f"S: {line}") + "\n")

    def countdown(self, left: int) -> None:
        """The seconds left: on a terminal in place, elsewhere a line at every fifth and at the last three."""
        if self._terminal:
            self._write(f"\r  the lease ends in {left:3d} s " + ("" if left else "\n"))
        elif left % 5 == 0 or left <= 3:
            self._write(f"  the lease ends in {left} s\n")

    def _styled(self, style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}{_RESET}" if self._coloured else text

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
