"""AUTH in one session (RFC 4954): the exchange that is under way, and what has come of it (rules G14, G15, S10).

Made at the first AUTH.  The dialogue itself is the session's; the mechanisms are wire/sasl.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...wire.sasl import Exchange, PasswordExchange


class Auth:
    """See the module."""

    __slots__ = ("accepted", "by_upstream", "exchange", "failures", "login")

    def __init__(self) -> None:
        self.exchange: Exchange | PasswordExchange | None = None
        """Under way; None between two AUTH commands."""
        self.login = ""
        """Who is authenticated."""
        self.accepted = False
        """Whether AUTH was answered with 235 in this session."""
        self.by_upstream = False
        """Whether it was the upstream that said so: it lets this session relay by itself."""
        self.failures = 0
        """How many logins have failed."""

    def begin(self, exchange: Exchange | PasswordExchange) -> None:
        """An AUTH command begins an exchange."""
        self.exchange = exchange

    def end(self) -> None:
        """It is over, whatever has come of it."""
        self.exchange = None

    def accept(self, login: str, *, by_upstream: bool) -> None:
        """G14, G15: the login opens this session, and nothing else."""
        self.login, self.accepted, self.by_upstream = login, True, by_upstream

    def fail(self) -> None:
        """A login has failed."""
        self.failures += 1
