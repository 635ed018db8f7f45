"""Keys of features that popgate does not have yet, each with the value that is true of what it does now.

Such a value is taken, because it says what happens; any other is an error: a key never does nothing in silence.  A
feature that arrives takes its line out of here and its key into schema.py.  Values of known keys that do not exist yet
(auth = "pop3") are told by their parsers in load.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Off(NamedTuple):
    """The value of a key that is not built, and what it says about popgate as it is."""

    value: str | int | bool | list[str]
    meaning: str

    def takes(self, value: object) -> bool:
        """Whether the value given says the same; 0 and "0s" are one duration, but false is not 0."""
        given = "0s" if self.value == "0s" and value == 0 and not isinstance(value, bool) else value
        return type(given) is type(self.value) and given == self.value


# The outer key is the kind of table, as in `Section`: for [listener.NAME] it is "listener".
LATER: Final[dict[str, dict[str, Off]]] = {
    "tls": {
        "old_clients": Off([], "min_version holds for everyone"),
    },
}
