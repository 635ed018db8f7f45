"""The errors of popgate.

Each floor maps the exceptions of the libraries it uses to one of these at its edge, so that no caller has to know that
a lease store is SQLite or that an upstream is a socket.  Texts are for the log and for `popgate check`; what a peer is
told is fixed text in the sessions, never the text of an exception.
"""

from __future__ import annotations


class PopgateError(Exception):
    """The root: anything popgate itself raises on purpose."""


class ConfigError(PopgateError):
    """The configuration can't be used.

    `problems` holds every problem found, one line each, with file, key and what to do: an administrator mends all of
    them at once, not one per start.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ProtocolError(PopgateError):
    """A peer's bytes do not follow the protocol; the text is for the log."""


class UpstreamUnavailable(PopgateError):
    """No connection to an upstream server, or none that is fit for use."""


class StoreUnavailable(PopgateError):
    """The lease store did not answer, or not in time.  Never means "no lease"."""
