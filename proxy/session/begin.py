"""The session of a client that has connected: of the protocol that the settings are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .pop3.session import PopSession
from .pop3.settings import PopSettings
from .smtp.session import SmtpSession
from .smtp.settings import SmtpSettings
from .transcript import POP3_VERBS, SMTP_VERBS, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..gate.verdict import Verdict
    from .contract import Session

Settings: TypeAlias = SmtpSettings | PopSettings


def new_session(
    settings: Settings,
    client: str,
    *,
    tls: bool,
    preauthorised: Verdict | None,
    tell: Callable[[str, str], None] | None = None,
) -> Session:
    """A session with the client at this address; `tls`: it speaks TLS from its first octet.

    `preauthorised`: a verdict that always holds; `tell`: gets the lines of a transcript, if there is to be one.
    """
    if isinstance(settings, SmtpSettings):
        observer = None if tell is None else Transcript(tell, SMTP_VERBS)
        return SmtpSession(settings, client, tls=tls, preauthorised=preauthorised, observer=observer)
    return PopSession(settings, tls=tls, observer=None if tell is None else Transcript(tell, POP3_VERBS))
