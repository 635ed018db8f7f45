"""`popgate trace`: who follows which client's sessions, in the supervisor, between the workers and the terminals.

The workers are told all traced addresses at once, again and again, so that one that was restarted knows them too; a
trace ends with its asker (control.py).  Lines come from the workers in batches; each goes to all that follow that
client.  A terminal that does not read loses lines, and is told how many (`MAX_UNREAD` octets may wait for it).

What a worker says is checked, as it talks to the world: strings and numbers, nothing else, pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..wire.address import packed, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .channel import Message
    from .control import Asker, ControlServer

MAX_TRACED: Final = 16
"""Traces at a time."""
LONGEST: Final = 86400.0
"""Seconds of one trace."""
_FIELDS: Final = ("time", "client", "id", "protocol", "who", "text")


class Tracing:
    """See the module."""

    def __init__(self, control: ControlServer, order: Callable[[Message], None]) -> None:
        self._control, self._order = control, order
        self.followers: dict[Asker, str] = {}
        """Those that follow, and the client's address as text."""
        self._lost: dict[Asker, int] = {}  # lines that a terminal was not sent since the last one that it was

    def begin(self, question: Message, asker: Asker) -> None:
        """Answer {"do": "trace", "client": ADDRESS, "seconds": number or None}: a stream."""
        try:
            client = shown(packed(str(question["client"])))
            seconds = min(float(question.get("seconds") or LONGEST), LONGEST)
        except (KeyError, TypeError, ValueError) as error:
            self._control.answer(asker, {"error": f"not a question: {error}"})
            return
        if len(self.followers) >= MAX_TRACED:
            self._control.answer(asker, {"error": f"{MAX_TRACED} traces are under way; end one of them"})
            return
        self.followers[asker] = client
        self._control.stream(asker, seconds, lambda: self._end(asker))
        self._tell()  # first: a client may come the moment that the terminal says so
        self._control.push(asker, {"tracing": client})

    def heard(self, message: Message) -> bool:
        """Take what a worker said, if it is lines of transcripts; return whether it was."""
        lines = message.get("trace")
        if not isinstance(lines, list):
            return False
        lost = message.get("lost")
        for asker in list(self.followers):
            self._lost[asker] = self._lost.get(asker, 0) + (lost if isinstance(lost, int) else 0)
        for line in lines:
            if isinstance(line, list) and len(line) == len(_FIELDS) and all(isinstance(x, str | float) for x in line):
                self._pass_on(dict(zip(_FIELDS, line, strict=True)))
        return True

    def tick(self) -> None:
        """Call about once a second."""
        if self.followers:
            self._tell()

    def _pass_on(self, line: dict[str, Any]) -> None:
        for asker, client in list(self.followers.items()):
            if line["client"] != client:
                continue
            lost = self._lost.pop(asker, 0)
            if not self._control.push(asker, line | ({"lost": lost} if lost else {})):
                self._lost[asker] = lost + 1

    def _end(self, asker: Asker) -> None:
        self.followers.pop(asker, None)
        self._lost.pop(asker, None)
        self._tell()

    def _tell(self) -> None:
        self._order({"order": "trace", "clients": sorted(set(self.followers.values()))})
