"""One value of a configuration file: from what TOML gave to what the program uses, or what is wrong with it.

A parser takes any object and returns its value or raises `Wrong`, whose texts read "what is wrong; what to do" and go
behind "FILE: KEY: ".  Parsers know neither files nor other keys (section.py, check.py).  Addresses, names and paths
have places.py.  `bool` is never taken for a number, and nothing else for a truth value: TOML has types, so a mix-up is
a mistake worth telling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
L = TypeVar("L", bound=str)
Parser = Callable[[object], T]

UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # in milliseconds
LONGEST: Final = 365 * UNITS["d"]  # what is longer is a typing error, and sums of it would leave the timers' range

MAX_REFUSAL: Final = 400  # octets; leaves room for a recipient in a reply line of 512 (RFC 5321 4.5.3.1.5)


class Wrong(ValueError):
    """A value that can't be used; a list may have several reasons."""

    def __init__(self, *texts: str) -> None:
        super().__init__("; ".join(texts))
        self.texts = texts


def printable(text: str) -> str:
    """The text with what can't be shown on one line escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def quoted(text: str) -> str:
    """A text of the configuration as an error message shows it, cut after 80 characters."""
    return f'"{text}"' if len(text) <= 80 else f'"{text[:80]}..."'


def kind(value: object) -> str:
    """What TOML calls the value, for "must be a list, not a string"."""
    for types, name in (
        ((bool,), "true or false"),
        ((int, float), "a number"),
        ((str,), "a string"),
        ((list,), "a list"),
    ):
        if isinstance(value, types):
            return name
    return "a table" if isinstance(value, dict) else "a date or time"


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {kind(value)}; write it without quotes")
    return value


def count(minimum: int, maximum: int) -> Parser[int]:
    """A whole number from `minimum` to `maximum`, both taken."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            what = "a fraction" if isinstance(value, float) else kind(value)
            raise Wrong(f"must be a whole number, not {what}; write it without quotes or point")
        if not minimum <= value <= maximum:
            shown = value if abs(value) < 10**30 else "it"  # Python writes no number of thousands of digits
            raise Wrong(f"{shown} is out of range; take {minimum} to {maximum}")
        return value

    return parse


def duration(minimum: float, maximum: float = math.inf) -> Parser[float]:
    """Seconds, from a whole number of them or a text like "500ms", "30s", "30m", "12h", "30d"."""
    most = min(LONGEST, maximum * UNITS["s"])

    def parse(value: object) -> float:
        milliseconds = _milliseconds(value)
        if milliseconds < minimum * UNITS["s"]:
            raise Wrong(f"is too short; take at least {quoted(duration_text(minimum))}")
        if milliseconds > most:
            raise Wrong(f"is too long; take at most {quoted(duration_text(most / UNITS['s']))}")
        return milliseconds / UNITS["s"]

    return parse


def _milliseconds(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise Wrong('must not be negative; write for example "30s"')
        return value * UNITS["s"]
    if not isinstance(value, str):
        what = "a fraction" if isinstance(value, float) else kind(value)
        raise Wrong(f'must be a duration, not {what}; write for example 30, "30s", "30m", "12h" or "500ms"')
    if value.startswith("-"):
        raise Wrong(f'{quoted(value)} must not be negative; write for example "30s"')
    if re.fullmatch("[0-9]{1,12}", value):
        raise Wrong(f"{quoted(value)} has no unit; write {quoted(value + 's')} if seconds are meant")
    match = re.fullmatch("([0-9]{1,12})(ms|s|m|h|d)", value)
    if match is None:
        raise Wrong(f'{quoted(value)} is not a duration; write one number with ms, s, m, h or d, like "90m" or "500ms"')
    return int(match[1]) * UNITS[match[2]]


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that holds it whole; finer than a millisecond is rounded."""
    milliseconds = round(seconds * UNITS["s"])
    if milliseconds == 0:
        return "0s"
    unit = max((unit for unit in UNITS if milliseconds % UNITS[unit] == 0), key=lambda unit: UNITS[unit])
    return f"{milliseconds // UNITS[unit]}{unit}"


def line(value: object) -> str:
    """A text of one line, without control or invisible characters; may be empty."""
    if not isinstance(value, str):
        raise Wrong(f"must be a string, not {kind(value)}; put it in quotes")
    if not value.isprintable():
        raise Wrong(f"{quoted(value)} has a character in it that can't be shown; take it out")
    return value


def choice(allowed: tuple[L, ...]) -> Parser[L]:
    """One of the texts in `allowed`."""
    offer = " or ".join(quoted(one) for one in allowed)

    def parse(value: object) -> L:
        given = line(value)
        for one in allowed:
            if given == one:
                return one
        raise Wrong(f"{quoted(given)} is not known here; take {offer}")

    return parse


def each(parse: Parser[T], at_least: int = 0) -> Parser[tuple[T, ...]]:
    """A list, each item by `parse`; every bad item is told."""

    def parse_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            cure = f"write [{quoted(value)}]" if isinstance(value, str) and value else "write [] around it"
            raise Wrong(f"must be a list, not {kind(value)}; {cure}")
        if len(value) < at_least:
            raise Wrong("must not be empty; name at least one")
        items: list[T] = []
        wrong: list[str] = []
        for item in value:
            try:
                items.append(parse(item))
            except Wrong as error:
                wrong += error.texts
        if wrong:
            raise Wrong(*wrong)
        return tuple(items)

    return parse_all


def refusal(value: object) -> str:
    """The reply to a recipient that may not be relayed to: one line, permanent, with {recipient} and {client} only."""
    text = line(value)
    if not text.isascii():
        raise Wrong("has a character outside ASCII; SMTP replies are ASCII")
    if len(text) > MAX_REFUSAL:
        raise Wrong(f"has {len(text)} characters; take at most {MAX_REFUSAL}")
    if re.match("4[0-9][0-9] ", text):
        raise Wrong("a 4xx code makes clients try again for days; begin with 554")
    if not re.match("5[0-5][0-9] .*[!-~]", text):
        raise Wrong('must begin with a 5xx code and a space; write for example "554 5.7.1 Relay access denied"')
    if re.match(r"... [0-46-9]\.[0-9]{1,3}\.[0-9]{1,3}( |$)", text):
        raise Wrong("the enhanced status code contradicts the 5xx code; begin it with 5, like 5.7.1 (RFC 3463)")
    if re.search("[{}]", text.replace("{recipient}", "").replace("{client}", "")):
        raise Wrong("has a brace that is not {recipient} or {client}; take it out")
    return text
