"""The log: one line a fact, in a fixed grammar, escaped, in batches.

    2026-11-23 13:11:05.123 INFO smtp end client=192.0.2.7 id=1-4f listener=smtp ...

A line is time, level, protocol (or `popgate`), event, `client=` where there is one, always in this place (fail2ban),
then `key=value` words.  A value with a space or a quote in it is quoted, what is not printable is written `\\xNN` and
cut at `MAX_VALUE`: peers choose these octets (rule N11, promise 7).  Secrets never come here; nothing is
filtered.

Lines are formatted once and handed to loguru in batches, at a tick or when `BATCH` lines wait, so that a line costs
microseconds; warnings and errors go at once.  A batch is one write, so that the lines of several workers do not mix.
"""

from __future__ import annotations

import json
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from loguru import logger

from . import sinks
from .shared_memory.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_VALUE: Final = 256
"""Characters of one value."""
HOUR: Final = 3600.0
"""Seconds."""
MAX_SAID: Final = 4096
"""Places for warnings whose hour is remembered; of two that meet in one, the older may be said again."""
BATCH: Final = 200
"""Lines that may wait for the tick."""

_PLAIN = re.compile(r"[!#-\[\]-~]+")
_HARMLESS = re.compile(r"[ !#-\[\]-~]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Whole(str):
    """A value that is not cut: the recipients in the audit trail, bounded by what a transaction may hold."""

    __slots__ = ()


def quoted(value: str) -> str:
    """A value as it stands in a line."""
    if _PLAIN.fullmatch(value) and (len(value) <= MAX_VALUE or isinstance(value, Whole)):
        return value
    cut = _cut(value)
    if not _HARMLESS.fullmatch(cut):
        cut = "".join([_shown(character) for character in cut])
    return f'"{cut}"'


# Addresses, names of listeners and of clients, reasons: most come again and again.
_quoted_short = lru_cache(maxsize=4096)(quoted)
_SHORT = 64  # characters


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE or isinstance(value, Whole) else value[:MAX_VALUE] + "..."


def _shown(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else _octets(character)


def _octets(character: str) -> str:
    """What stands for an octet that is no UTF-8 (a surrogate escape) is shown as that octet."""
    form = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join([f"\\x{octet:02x}" for octet in character.encode("utf-8", form)])


def _json_value(value: str | float) -> str | float:
    """JSON escapes by itself; what it can't carry is an octet that is no UTF-8."""
    if not isinstance(value, str) or (value.isascii() and len(value) <= MAX_VALUE):
        return value
    return _SURROGATE.sub(lambda match: _octets(match[0]), _cut(value))


class WarningThrottle:
    """Which warnings were given within the hour, in memory that the processes of a node share.

    Not locked: two that find out the same in one moment may both say it.
    """

    def __init__(self) -> None:
        [self._whats] = rows("q", MAX_SAID, 1)  # hashes, under a secret of this process and those it forks
        [self._times] = rows("d", MAX_SAID, 1)

    def is_new(self, what: Hashable, now: float) -> bool:
        """Whether it was not asked about within the last hour."""
        digest = hash(what)
        place = digest % MAX_SAID
        if self._whats[place] == digest and now - self._times[place] < HOUR:
            return False
        self._whats[place], self._times[place] = digest, now
        return True


_SAID: Final = WarningThrottle()
"""Of this node: made when the module is loaded, before the supervisor forks, so that all workers know of each other."""


class Log:
    """The log of one process."""

    def __init__(
        self,
        level: str = "info",
        form: str = "text",
        clock: Callable[[], float] = time.time,
        *,
        batches: bool = True,
        levels: bool = False,
        said: WarningThrottle | None = None,
    ) -> None:
        """`batches`: whether a sink takes several lines at once (a file does, syslog does not); `levels`: whether it
        wants each line with its severity in front; `said`: shared with other logs of the node."""
        self._clock = clock
        self._waiting: list[str] = []  # lines for the next batch
        self._configure(level, form, sinks.Manner(batches, levels))
        self._said = said or WarningThrottle()
        self._stamped = -1  # milliseconds of the clock
        self._second = -1
        self._day = self._stamp = ""

    def point(self, level: str, form: str, file: str) -> None:
        """Write to `file` (sinks.py) from now on, in this form, what is of this level at least.

        Raise OSError when it can't be opened, having changed nothing.  Called again after a fork and by a reload;
        all that have this log go on with it.
        """
        self.flush()
        self._configure(level, form, sinks.point(file))

    def reopen(self, file: str) -> None:
        """Open `file` again, where this log writes to: it was moved away; raise OSError as `point` does."""
        self.flush()
        sinks.point(file)

    def _configure(self, level: str, form: str, manner: sinks.Manner) -> None:
        self._threshold = LEVELS[level]
        self._json = form == "json"
        self._batches = manner.batches
        self._marks = {name: f"<{number}>" if manner.levels else "" for name, number in sinks.SEVERITIES.items()}

    def set_level(self, level: str) -> None:
        """From now on, what is below `level` is left out."""
        self._threshold = LEVELS[level]

    def line(self, level: str, subject: str, event: str, *words: tuple[str, str | int | float | None]) -> None:
        """Write a fact; words whose value is None or "" are left out."""
        number = LEVELS[level]
        if number < self._threshold:
            return
        if self._json:
            fields = {key: _json_value(value) for key, value in words if value or value == 0}
            fact = {"time": self._time(), "level": level, "subject": subject, "event": event} | fields
            self._waiting.append(self._marks[level] + json.dumps(fact))
        else:
            tail = [
                f"{key}={value}" if not isinstance(value, str)
                else f"{key}={_quoted_short(value)}" if len(value) < _SHORT
                else f"{key}={quoted(value)}"
                for key, value in words if value or value == 0
            ]  # fmt: skip
            self._waiting.append(" ".join([self._marks[level] + self._time(), level.upper(), subject, event, *tail]))
        if number >= LEVELS["warning"] or len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        if self._waiting:
            lines, self._waiting = self._waiting, []
            for text in ["\n".join(lines)] if self._batches else lines:
                logger.opt(raw=True).info("{}\n", text)

    def first_this_hour(self, what: Hashable) -> bool:
        """Whether `what` was not asked about within the last hour, by any worker: for warnings that strangers could
        repeat at will."""
        return self._said.is_new(what, self._clock())

    def _time(self) -> str:
        now = int(self._clock() * 1000)
        if now != self._stamped:
            self._stamped = now
            second, milliseconds = divmod(now, 1000)
            if second != self._second:
                self._second = second
                self._day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._stamp = f"{self._day}.{milliseconds:03d}"
        return self._stamp


def node_log() -> Log:
    """A log that shares with the others of this node what was said within the hour; `point` it somewhere."""
    return Log(said=_SAID)
