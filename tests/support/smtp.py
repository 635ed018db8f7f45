"""An SMTP session past its EHLO, and how a careless server would cut what it was sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.gate.verdict import Outcome, Reason, RelayAsked, Verdict

from .driver import Driver, new_session

if TYPE_CHECKING:
    from collections.abc import Iterable

OFFER = b"250-old\r\n250-%bSIZE\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\r\n"
ALLOW = Verdict(Outcome.ALLOW, Reason.LEASE, "anna", "anna")
REFUSE = Verdict(Outcome.REFUSE, Reason.NO_LEASE)
DEFER = Verdict(Outcome.DEFER, Reason.STORE_DOWN)

_LINE_ENDS = re.compile("[\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


def ready(*words: str, pipelining: bool = True) -> Driver:
    """A session that has greeted and answered EHLO, with nothing left to be taken; words as in driver.new_session."""
    driver = Driver(new_session("smtp", words))
    driver.upstream(b"220 old\r\n")
    driver.client(b"EHLO c.test\r\n")
    driver.upstream(OFFER % (b"PIPELINING\r\n250-" if pipelining else b""))
    driver.to_client = driver.to_upstream = b""
    return driver


def in_body(*words: str) -> Driver:
    """A session that has passed a 354 on, for a message to one local recipient, with nothing left to be taken."""
    driver = ready(*words)
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n")
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.to_client = driver.to_upstream = b""
    return driver


def asked(driver: Driver) -> RelayAsked | None:
    """The open question of the session, taken out of its events."""
    for event in driver.events:
        if isinstance(event, RelayAsked):
            driver.events.remove(event)
            return event
    return None


def fragments(sent: bytes) -> Iterable[str]:
    """What was sent upstream, cut wherever any server was ever seen to cut: a tokenizer independent of popgate's."""
    for text in (sent.decode("latin-1"), sent.decode("utf-8", "replace")):
        yield from _LINE_ENDS.split(text)


def recipients(sent: bytes) -> list[str]:
    """The arguments of everything that some server may take for a RCPT."""
    return [part[4:] for part in fragments(sent) if part.lstrip(" \t").upper().startswith("RCPT")]
