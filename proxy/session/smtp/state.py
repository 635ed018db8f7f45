"""The types that the three files of the SMTP session share: its states, its settings, a reply owed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from ...wire.esmtp import EhloEditor  # noqa: TC001 - a compiled dataclass needs the types of its fields
from ...wire.recipients import LocalDomains  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.replies import Reply
    from .session import SmtpSession
    from .transaction import Transaction


class State(Enum):
    """How the client's octets are used."""

    GREETING = "waiting for the greeting"
    COMMANDS = "waiting for a command"
    SASL = "waiting for an AUTH response"
    BODY = "receiving a message"
    TLS = "starting TLS"
    CLOSED = "closed"


# Members by name: a look-up in an Enum class costs as much as the comparison it is for, some forty times a session.
GREETING, COMMANDS, SASL, BODY, TLS, CLOSED = State


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """What all sessions of a listener share."""

    local_domains: LocalDomains
    editor: EhloEditor
    refusal: str
    """Template of the refusal, with {recipient} and {client}."""
    bare_newline: Literal["normalize", "reject"] = "normalize"
    auth: Literal["upstream", "pop3", "off"] = "upstream"
    """Who answers AUTH; "pop3": a POP3 login at the upstream tells whether the password is right (rule G15)."""
    doubts_authenticated: bool = False
    """Whether the gate is asked about authenticated clients, too (rules G10, G13)."""
    starttls: bool = False
    tls_required: bool = False
    ask_local: bool = False
    """Whether local recipients need a right to relay too (submission ports)."""
    max_refusals: int = 20
    max_errors: int = 20
    max_failed_logins: int = 5


class Owed:
    """A reply that the upstream owes: who treats it (replies.py), and what it is about.

    `count`: it stands for a run of recipients, and so for as many replies (smtp_usual.py).
    """

    __slots__ = ("count", "foreign", "settle", "transaction", "what")

    def __init__(
        self,
        settle: Callable[[SmtpSession, Reply, Owed], bytes],
        what: str,
        transaction: Transaction | None = None,
        foreign: bool = False,
        count: int = 1,
    ) -> None:
        self.settle = settle
        self.what = what
        self.transaction = transaction
        self.foreign = foreign
        self.count = count


def shown(octets: bytes) -> str:
    """Octets of a peer as text for an event; the log escapes what is not printable."""
    return octets.decode("utf-8", "backslashreplace")
