"""Two SMTP sessions that are told the same; the second knows no short way (session/smtp/bulk.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.session.smtp.pipeline import Kind

from .echo import Watched
from .smtp import ALLOW, DEFER, REFUSE

if TYPE_CHECKING:
    from proxy.session.smtp.session import SmtpSession

HOW: list[tuple[str, ...]] = [(), ("standing=allow",), ("announced",), ("announced", "standing=allow"), ("ask_local",)]
HOW += [("starttls", "tls_required"), ("tls", "tls_required")]
OFFERS = [b"250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n", b"250-PIPELINING\r\n250 DSN\r\n", b"250 SIZE\r\n"]
VERDICTS = {"allow": ALLOW, "refuse": REFUSE, "defer": DEFER, "two": replace(ALLOW, recipients=2)}


class Twins:
    """Past their EHLO; words as in driver.new_session."""

    def __init__(self, *how: str, offer: bytes = OFFERS[0]) -> None:
        self.drivers = [Watched(*how), Watched(*how)]
        self.drivers[1].smtp.pipeline.bulk = False
        for what, octets in (
            ("upstream", b"220 x\r\n"),
            ("client", b"EHLO c.test\r\n"),
            ("upstream", b"250-x\r\n" + offer),
        ):
            self.act(what, octets)

    def act(self, what: str, octets: bytes = b"") -> None:
        """Let the client or the upstream say something, or the upstream take everything ("serve"), or anything else
        happen."""
        for driver in self.drivers:
            session = driver.smtp
            if what == "client":
                driver.client(octets)
            elif what == "upstream":
                driver.upstream(octets)
            elif what == "serve":
                driver.upstream(*[_positive(session) for _ in range(session.pipeline.ledger.awaited)])
            elif what == "eof":
                driver.client_eof()
            elif what in VERDICTS:
                driver.answer(VERDICTS[what])
            elif what == "lapse":
                driver.call(session.verdict_lapsed)
            else:
                driver.move(b"250-new\r\n250 PIPELINING\r\n" if what == "moved" else None)

    def differ(self) -> str:
        """What the two have said or know, where that is not the same."""
        short, long = (_seen(driver) for driver in self.drivers)
        return "" if short == long else f"the short way: {short}; the long one: {long}"


def _positive(session: SmtpSession) -> bytes:
    """What an upstream that takes everything says next."""
    if not session.pipeline.ledger.awaited:
        return b"421 over\r\n"
    return b"354 go\r\n" if session.pipeline.ledger.front().kind is Kind.DATA else b"250 ok\r\n"


def _seen(driver: Watched) -> list[object]:
    """All that shows of a session, and what it knows of its transaction."""
    session, ledger = driver.smtp, driver.smtp.pipeline.ledger
    said = [driver.to_client, driver.to_upstream, driver.events]
    state = [session.step, session.holding, session.streaming, session.doing, session.wait, session.facts()]
    owed = [len(ledger), ledger.awaited, ledger.full]
    envelope = session.transaction
    known = [] if envelope is None else [getattr(envelope, name) for name in envelope.__slots__]
    return [*said, *state, *owed, session.counts.errors, session.pipeline.lines.waiting != b"", known]
