"""The usual MAIL, runs of the usual RCPT, and runs of positive replies to these (RFC 2920), without much ado.

A shortcut and nothing else.  What is usual is proved by one match (wire/bulk.py); then it is sent on, written afresh,
if it needs neither a question nor a refusal nor a move (rules G6, S12).  For whatever is not proved `take` and
`replied` do nothing, and commands.py and replies.py treat one line and one reply after the other; the octets,
the counts and the limits are the same either way, which a property test holds (tests/properties/test_smtp_bulk.py).

A run is one line or more, to one domain: so all of its recipients have one fate, one question whether the domain is
local answers for all, and one entry in the ledger stands for all of their replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...gate.verdict import Outcome
from ...wire import bulk as usual
from . import commands, replies
from .state import CLOSED, Owed

if TYPE_CHECKING:
    from .session import SmtpSession
    from .transaction import Transaction


def take(session: SmtpSession) -> bool:
    """Send on the usual command at the head of the client's lines, or the run of them; whether there was one.

    Call only where the session may use a line as a command.
    """
    transaction = session.transaction
    return _sender(session) if transaction is None else _recipients(session, transaction)


def _sender(session: SmtpSession) -> bool:
    mail = session.lines.match(usual.SENDER)
    if mail is None:
        return False
    settings, offered = session.settings, session.offer.keywords
    if session.tls:
        if settings.starttls and not session.helo:
            return False
    elif settings.tls_required:
        return False
    sender, parameters = mail["path"], mail["parameters"]
    if parameters and ((mail["size"] and b"SIZE" not in offered) or (mail["body"] and b"8BITMIME" not in offered)):
        return False
    session.lines.used(mail.end() - mail.start())
    session.step += 1
    session.commands += 1
    commands.begin(session, b"MAIL FROM:<%b>%b\r\n" % (sender, parameters), sender, False)
    return True


def _recipients(session: SmtpSession, transaction: Transaction) -> bool:
    lines, settings = session.lines, session.settings
    run = lines.match(usual.RECIPIENTS)
    if run is None:
        return False
    foreign = settings.ask_local or not settings.local_domains.covers(run["domain"], transaction.smtputf8)
    room = min(1 if session.serial else session.ledger.room, transaction.room)
    if foreign:
        room = min(room, _room_abroad(session, transaction))
    if room < 1:
        return False
    paths = usual.paths(run[0])
    if len(paths) > room:
        del paths[room:]
    count, octets = len(paths), usual.recipients(paths)
    lines.used(len(octets))
    session.step += count
    session.commands += count
    transaction.unanswered += paths
    if foreign:
        transaction.relaying += count
        transaction.allowed = transaction.verdict
    session.send(octets, Owed(replies.rcpt_replied, "RCPT", transaction, foreign, count))
    return True


def _room_abroad(session: SmtpSession, transaction: Transaction) -> int:
    """How many recipients that are not local may go on without a word about any."""
    verdict = transaction.verdict
    if verdict is None or verdict.outcome is not Outcome.ALLOW:
        return 0
    if session.announced and not session.upstream_authenticated:
        return 0
    return transaction.room if verdict.recipients is None else verdict.recipients - transaction.relaying


def replied(session: SmtpSession) -> None:
    """Take further positive replies that are here for the run in front, and pass them on in one piece."""
    owed = session.ledger.front()
    if owed.settle is not replies.rcpt_replied or session.state is CLOSED:
        return
    octets, count = session.replies.take_positive(owed.count)
    if not count:
        return
    session.step += count
    replies.accepted(session, owed, count)
    session.ledger.settle(count)
    session.say(octets + session.ledger.released())
