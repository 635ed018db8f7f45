"""What the self-test found, as lines that a person reads at a glance and `grep '^FAIL'` finds.

A `Findings` is one paragraph, about one server or one thing of this machine: every line is level, place, topic, text.
Octets of a peer enter a text only by `said`, which escapes and cuts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..config.values import printable

if TYPE_CHECKING:
    from typing import TextIO

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "FAIL"

_TOPIC: Final = 12  # characters: the longest topic


class Findings:
    """Findings about one place; `about` says what the next ones are about."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.relays: bool | None = None
        """Whether the server relays for our address; None: not asked, or it can't be told."""
        self._topic = ""
        self._found: list[tuple[str, str, str]] = []

    def about(self, topic: str) -> None:
        self._topic = topic

    def ok(self, text: str) -> None:
        """As it should be, or simply so."""
        self._found.append((OK, self._topic, text))

    def warn(self, text: str) -> None:
        """Works, or may work, but an administrator will want to know."""
        self._found.append((WARN, self._topic, text))

    def fail(self, text: str) -> None:
        """popgate needs it, and it does not work."""
        self._found.append((FAIL, self._topic, text))

    def lines(self, width: int = 0) -> list[tuple[str, str]]:
        """Level and whole line of each finding; the places take at least `width` characters."""
        return [
            (level, f"{level:<4}  {self.place:<{width}}  {topic:<{_TOPIC}}  {printable(text)}")
            for level, topic, text in self._found
        ]


class Sheet:
    """All findings, written to `out` as they come, and counted."""

    def __init__(self, out: TextIO, width: int) -> None:
        """`width`: characters of the longest place."""
        self._out, self._width = out, width
        self._counts = {OK: 0, WARN: 0, FAIL: 0}

    @property
    def failed(self) -> bool:
        return self._counts[FAIL] > 0

    def write(self, found: Findings) -> None:
        for level, line in found.lines(self._width):
            self._counts[level] += 1
            print(line, file=self._out, flush=True)

    def sum_up(self) -> None:
        """The last line."""
        good, warnings, failures = (self._counts[level] for level in (OK, WARN, FAIL))
        worst = FAIL if failures else WARN if warnings else OK
        text = f"{good} ok, {_number(warnings, 'warning')}, {_number(failures, 'failure')}"
        print(f"{worst:<4}  selftest: {text}", file=self._out, flush=True)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
