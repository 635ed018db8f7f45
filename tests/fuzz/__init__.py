"""Fuzzing: a module a parser and a session, each with an invariant in its first line and seeds in corpus/NAME.

A target has `one_input(data)`, which raises for what must not be, and `TOKENS`, words that inputs are made of when
there is no atheris to find them out by coverage.  It may have `generated(chance)`, where tokens alone would say little.

`python -m tests.fuzz` (scripts/fuzz) runs them; test_targets.py runs each for a moment.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
TARGETS = (
    *("smtp_session", "smtp_bulk", "pop3_session", "replies", "pop3_replies", "path", "esmtp", "dots", "lines"),
    *("sasl", "clienthello", "proxyheader", "whoson", "stanzas", "postfix", "pop3_login", "password"),
)


class Finding(AssertionError):
    """An invariant does not hold."""


def demand(holds: object, *what: object) -> None:
    """`assert` that python -O keeps, and that says what it was about."""
    if not holds:
        raise Finding(*what)
