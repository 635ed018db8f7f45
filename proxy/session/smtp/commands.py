"""What each SMTP verb does: it goes on to the upstream, written afresh, or is answered here (rules S2 to S6, S10).

`command` is called with a whole line; `VERBS` is the table.  A function here may send, inject, ask the gate or finish,
by the methods of `SmtpSession` (smtp.py); it never waits.  What becomes of a reply is replies.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...gate.local import is_local
from ...gate.verdict import Outcome, RelayAsked, Verdict
from ...wire.lines import TOO_LONG, is_clean
from ...wire.sasl import MAX_LINE
from ..events import Refused
from . import replies, texts
from .auth import auth
from .envelope import BadCommand, mail_command, rcpt_command
from .state import CLOSED, Owed, shown
from .transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.path import Path
    from .session import SmtpSession

# Octets with CRLF: RFC 5321 4.5.3.1.4's 512, plus what the extensions add: SIZE 26, 8BITMIME 17, DSN 100 and 500, AUTH
# 500, SMTPUTF8 10 (RFC 1870, 6152, 3461, 4954, 6531).
LIMIT: Final = 512
LIMITS: Final = {b"MAIL": 1165, b"RCPT": 1012, b"AUTH": MAX_LINE}

_HELO = re.compile(rb"[!-~]{1,255}")
_HTTP = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE", b"HOST:", b"PRI"},
)


def command(session: SmtpSession, line: bytes) -> None:
    """Do what one line asks."""
    session.commands += 1
    verb, argument = line, b""
    action = VERBS.get(line)  # a bare verb, as it is in the table, needs no further look
    if action is None:
        if line is TOO_LONG:
            return session.error(texts.LINE_TOO_LONG)
        if not is_clean(line):
            return session.error(texts.BAD_OCTETS)
        verb, _, argument = line.rstrip(b" ").partition(b" ")
        verb = verb.upper()
        if len(line) + 2 > LIMIT and len(line) + 2 > LIMITS.get(verb, LIMIT) and verb not in _HTTP:
            return session.error(texts.LINE_TOO_LONG)
        action = VERBS.get(verb)
        if action is None:
            return _unknown(session, verb)
    if session.settings.tls_required and not session.tls and verb not in _BEFORE_TLS:
        return session.error(texts.TLS_REQUIRED)
    action(session, argument)
    if session.lines.waiting and verb in _SYNCHRONISING and not session.quitting and session.state is not CLOSED:
        where = "in the clear behind STARTTLS" if verb == b"STARTTLS" else "more before the reply"
        session.violated("sent " + where)
    return None


def _unknown(session: SmtpSession, verb: bytes) -> None:
    if verb in _HTTP:
        session.expel("client speaks HTTP")
    elif verb.startswith(b"BDAT"):  # what follows can't be told from commands (RFC 3030 2), a tab behind it or not
        session.expel("client sent BDAT", texts.UNKNOWN_COMMAND)
    else:
        session.error(texts.UNKNOWN_COMMAND if verb else texts.EMPTY_LINE)


def _introduced(session: SmtpSession, verb: bytes, argument: bytes, owed: Owed) -> None:
    session.helo = argument if _HELO.fullmatch(argument) else session.literal
    session.transaction = None
    session.synchronising = True
    session.hello = b"%b %b\r\n" % (verb, session.helo)
    session.send(session.hello, owed)


def ehlo(session: SmtpSession, argument: bytes) -> None:
    _introduced(session, b"EHLO", argument, replies.EHLO)


def helo(session: SmtpSession, argument: bytes) -> None:
    _introduced(session, b"HELO", argument, replies.HELO)


def mail(session: SmtpSession, argument: bytes) -> None:
    if session.transaction is not None:
        return session.error(texts.NESTED_MAIL)
    if not session.helo and session.tls and session.settings.starttls:
        return session.error(texts.EHLO_FIRST)  # what was said before STARTTLS does not count
    try:
        own = session.settings.auth == "pop3"
        line, sender, smtputf8 = mail_command(argument, session.offer.keywords, session.upstream_authenticated, own)
    except BadCommand as bad:
        return session.error(bad.reply)
    return begin(session, line, sender, smtputf8)


def begin(session: SmtpSession, line: bytes, sender: bytes, smtputf8: bool) -> None:
    """Begin a transaction with MAIL, as it is sent on."""
    transaction = session.transaction = Transaction(sender, smtputf8, line, verdict=session.standing)
    session.send(line, Owed(replies.mail_replied, "MAIL", transaction))


def rcpt(session: SmtpSession, argument: bytes) -> None:
    transaction = session.transaction
    if transaction is None:
        return session.error(texts.MAIL_FIRST)
    try:
        line, path = rcpt_command(argument, session.offer.keywords, transaction.smtputf8)
    except BadCommand as bad:
        return session.error(bad.reply)
    if transaction.room < 1:
        return session.inject(texts.TOO_MANY_RECIPIENTS)
    settings = session.settings
    if not settings.ask_local and is_local(path, transaction.smtputf8, settings.local_domains):
        return _forward(session, transaction, line, path, foreign=False)
    return foreign(session, transaction, line, path)


def foreign(session: SmtpSession, transaction: Transaction, line: bytes, path: Path) -> None:
    """A recipient that is not local: by the verdict of this transaction, or by asking for it."""
    if transaction.verdict is None:
        if not session.authenticated or session.settings.doubts_authenticated:
            return _ask(session, transaction, line, path)
        transaction.verdict = session.verdict = Verdict(Outcome.ALLOW, "authenticated", session.login)
    return judged(session, transaction, line, path)


def _ask(session: SmtpSession, transaction: Transaction, line: bytes, path: Path) -> None:
    """The gate decides; until then no further command is used."""
    session.pending = (transaction, line, path)
    question = RelayAsked(shown(transaction.sender), shown(path.text), session.authenticated, session.login)
    session.events.append(question)


def judged(session: SmtpSession, transaction: Transaction, line: bytes, path: Path) -> None:
    """Apply the verdict of this transaction to a recipient that is not local."""
    verdict = transaction.verdict
    assert verdict is not None
    why = verdict.why
    if verdict.outcome is Outcome.ALLOW:
        if verdict.recipients is not None and transaction.relaying >= verdict.recipients:
            if not transaction.sender and verdict.recipients == 1:  # rule G10
                return defer(
                    session, transaction, path, texts.TOO_MANY_RECIPIENTS, f"a bounce has one recipient: {why}"
                )
            return defer(
                session, transaction, path, texts.BUDGET_SPENT, f"{why}, {verdict.recipients} recipients at once"
            )
        if session.announced and not session.upstream_authenticated:
            return session.move(transaction, line, path)
        transaction.allowed = verdict
        return _forward(session, transaction, line, path, foreign=True)
    if verdict.outcome is Outcome.SPENT:
        return defer(session, transaction, path, texts.BUDGET_SPENT, why)
    if verdict.outcome is Outcome.DEFER:
        return defer(session, transaction, path, texts.DEFERRED, why)
    reply = texts.refusal(session.settings.refusal, path.text, session.client, why)
    return _refuse(session, transaction, path, reply, why)


def defer(session: SmtpSession, transaction: Transaction, path: Path, reply: bytes, why: str) -> None:
    """A temporary answer (rules G7, G11, S12): told in the log, and counted as a refusal, once a transaction.

    A client that was closed before its DATA would never get rid of the recipients that were accepted.  Who sends no end
    of such recipients makes us do as much as by NOOP; who begins a transaction for each is closed as ever.
    """
    told, transaction.deferred = transaction.deferred, reply
    if told:
        return session.inject(reply)
    return _refuse(session, transaction, path, reply, why)


def _refuse(session: SmtpSession, transaction: Transaction, path: Path, reply: bytes, why: str) -> None:
    """Answer a recipient here, and count it."""
    session.refused += 1
    session.events.append(Refused(shown(transaction.sender), shown(path.text), shown(reply[:-2]), why))
    session.inject(reply)
    if session.refused >= session.settings.max_refusals:
        session.expel("too many refused recipients", texts.TOO_MANY_REFUSALS)


def _forward(session: SmtpSession, transaction: Transaction, line: bytes, path: Path, *, foreign: bool) -> None:
    transaction.unanswered.append(path.text)
    transaction.relaying += foreign
    session.send(line, Owed(replies.rcpt_replied, "RCPT", transaction, foreign))


def data(session: SmtpSession, argument: bytes) -> None:
    transaction = session.transaction
    if argument:
        session.error(texts.NO_ARGUMENT)
    elif transaction is None:
        session.error(texts.MAIL_FIRST)
    elif not transaction.unanswered and not transaction.accepted:
        session.error(texts.NO_RECIPIENTS)
    else:
        session.synchronising = True
        session.send(b"DATA\r\n", Owed(replies.data_replied, "DATA", transaction))


def rset(session: SmtpSession, argument: bytes) -> None:
    if argument:
        return session.error(texts.NO_ARGUMENT)
    session.transaction = None
    return session.send(b"RSET\r\n", replies.RSET)


def noop(session: SmtpSession, argument: bytes) -> None:
    """Its argument is a comment (RFC 5321 4.1.1.9) and stays here."""
    session.send(b"NOOP\r\n", replies.NOOP)


def vrfy(session: SmtpSession, argument: bytes) -> None:
    session.inject(texts.VRFY)


def expn(session: SmtpSession, argument: bytes) -> None:
    session.error(texts.UNKNOWN_COMMAND)


def help_(session: SmtpSession, argument: bytes) -> None:
    session.inject(texts.HELP)


def quit_(session: SmtpSession, argument: bytes) -> None:
    if argument:
        return session.error(texts.NO_ARGUMENT)
    session.quitting = session.synchronising = True
    return session.send(b"QUIT\r\n", replies.QUIT)


def starttls(session: SmtpSession, argument: bytes) -> None:
    if argument:
        session.error(texts.NO_ARGUMENT)
    elif session.tls:
        session.error(texts.TLS_ACTIVE)
    elif not session.settings.starttls:
        session.error(texts.TLS_NOT_OFFERED)
    elif session.transaction is not None or session.authenticated:
        session.error(texts.TLS_TOO_LATE)
    else:
        session.synchronising = session.starting_tls = True
        session.start_tls_if_settled()


VERBS: Final[dict[bytes, Callable[[SmtpSession, bytes], None]]] = {
    b"EHLO": ehlo,
    b"HELO": helo,
    b"MAIL": mail,
    b"RCPT": rcpt,
    b"DATA": data,
    b"RSET": rset,
    b"NOOP": noop,
    b"VRFY": vrfy,
    b"EXPN": expn,
    b"HELP": help_,
    b"AUTH": auth,
    b"STARTTLS": starttls,
    b"QUIT": quit_,
}
_SYNCHRONISING = frozenset({b"DATA", b"EHLO", b"HELO", b"AUTH", b"STARTTLS", b"QUIT"})  # RFC 2920 3.1, rule S5
_BEFORE_TLS = frozenset({b"NOOP", b"EHLO", b"STARTTLS", b"QUIT"})  # RFC 3207 4
