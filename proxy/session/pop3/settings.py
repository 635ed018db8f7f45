"""What all POP3 sessions of a listener share: the configuration's keys, as the session needs them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PopSettings:
    """Of one listener; made again by every reload."""

    stls: bool = False
    """Whether STLS is offered to a client in the clear."""
    tls_required: bool = False
    """Whether a client in the clear may not log in."""
    max_failed_logins: int = 5
    """Failed logins before the session ends."""
