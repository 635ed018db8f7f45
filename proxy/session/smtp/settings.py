"""What all SMTP sessions of a listener share: the configuration's keys, as the session needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...wire.esmtp import EhloEditor  # noqa: TC001 - a compiled dataclass needs the types of its fields
from ...wire.recipients import LocalDomains  # noqa: TC001


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Of one listener; made again by every reload."""

    local_domains: LocalDomains
    editor: EhloEditor
    """What becomes of the upstream's reply to EHLO (rule S7)."""
    refusal: str
    """Template of the refusal, with {recipient} and {client}."""
    bare_newline: Literal["normalize", "reject"] = "normalize"
    auth: Literal["upstream", "pop3", "off"] = "upstream"
    """Who answers AUTH; "pop3": a POP3 login at the upstream tells whether the password is right (rule G15)."""
    doubts_authenticated: bool = False
    """Whether the gate is asked about authenticated clients, too (rules G10, G13)."""
    starttls: bool = False
    """Whether STARTTLS is offered to a client in the clear."""
    tls_required: bool = False
    """Whether a client in the clear may do nothing else."""
    ask_local: bool = False
    """Whether local recipients need a right to relay too (submission ports)."""
    max_refusals: int = 20
    """Refused recipients before 421 and close."""
    max_errors: int = 20
    """Bad commands before 421 and close."""
    max_failed_logins: int = 5
    """Failed logins before 421 and close."""
