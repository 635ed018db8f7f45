"""The types that the three files of the POP3 session share: its states and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where the session is; before OPEN only one command is out at a time."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    REPLY = "waiting for a reply"
    SASL = "waiting for an AUTH response"
    LEASE = "waiting for the lease"
    REFUSED = "waiting for the gate"
    """The upstream has refused a login, and the link has not noted it yet."""
    OPEN = "reading mail"
    TLS = "starting TLS"
    CLOSED = "closed"


# Members by name: see session/smtp/state.py.
GREETING, COMMANDS, REPLY, SASL, LEASE, REFUSED, OPEN, TLS, CLOSED = State


@dataclass(frozen=True, slots=True)
class PopSettings:
    """What all sessions of a listener share."""

    stls: bool = False
    tls_required: bool = False
    max_failed_logins: int = 5
