"""What each POP3 verb does before the login: goes on to the upstream, rewritten, or is answered here (rules P2, P6).

`command` is called with a whole line; `VERBS` is the table.  What becomes of a reply is pop3_replies.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire.lines import TOO_LONG
from ...wire.pop3 import MAX_LINE, has_control
from ...wire.sasl import MECHANISMS, Exchange, shown_login
from ..events import TlsAsked
from . import replies, texts
from .state import TLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import PopSession


def command(session: PopSession, line: bytes) -> None:
    session.commands += 1
    if line is TOO_LONG or len(line) > MAX_LINE:
        return session.bad(texts.LINE_TOO_LONG)
    if has_control(line):
        return session.finish("client sent a control octet", texts.BAD_OCTETS)
    word, _, argument = line.partition(b" ")
    verb = word.upper()
    handler = VERBS.get(verb)
    if handler is None:
        return session.bad(texts.UNKNOWN)
    if session.settings.tls_required and not session.tls and verb in _LOGIN_VERBS:
        return session.bad(texts.TLS_REQUIRED)
    return handler(session, argument)


def capa(session: PopSession, argument: bytes) -> None:
    session.ask("CAPA", b"CAPA\r\n", replies.capa_replied) if not argument else session.bad(texts.SYNTAX)


def stls(session: PopSession, argument: bytes) -> None:
    if argument:
        session.bad(texts.SYNTAX)
    elif session.tls:
        session.bad(texts.TLS_ACTIVE)
    elif not session.settings.stls:
        session.bad(texts.TLS_NOT_OFFERED)
    elif session.lines.waiting:
        session.finish("client sent in the clear behind STLS")
    else:
        session.state = TLS
        session.say(texts.TLS_READY)
        session.events.append(TlsAsked())


def user(session: PopSession, argument: bytes) -> None:
    if not argument:
        return session.bad(texts.SYNTAX)
    session.user = None
    session.login = shown_login(argument)
    return session.ask("USER", b"USER %b\r\n" % argument, replies.user_replied)


def pass_(session: PopSession, argument: bytes) -> None:
    if session.user is None:
        return session.bad(texts.USER_FIRST)
    return session.ask("PASS", b"PASS %b\r\n" % argument, replies.login_replied)


def apop(session: PopSession, argument: bytes) -> None:
    name, _, digest = argument.rpartition(b" ")
    if not name or not digest:
        return session.bad(texts.SYNTAX)
    session.login = shown_login(name)
    return session.ask("APOP", b"APOP %b %b\r\n" % (name, digest), replies.login_replied)


def auth(session: PopSession, argument: bytes) -> None:
    mechanism, _, initial = argument.partition(b" ")
    mechanism = mechanism.upper()
    if not mechanism:  # the old form that asks for a list: Outlook Express does, and goes on with USER
        return session.say(texts.SYNTAX)
    if mechanism not in MECHANISMS:
        return session.bad(texts.BAD_MECHANISM)
    session.exchange = Exchange(mechanism)
    if initial:
        initial = session.exchange.response(initial)
        if initial == b"*":
            return session.bad(texts.SYNTAX)
        initial = b" " + initial
    return session.ask("AUTH", b"AUTH %b%b\r\n" % (mechanism, initial), replies.auth_replied)


def sasl_response(session: PopSession, line: bytes) -> None:
    assert session.exchange is not None
    line = session.exchange.response(b"*" if line is TOO_LONG else line)
    session.ask("AUTH", line + b"\r\n", replies.auth_replied)


def utf8(session: PopSession, argument: bytes) -> None:
    session.ask("UTF8", b"UTF8\r\n", replies.passed) if not argument else session.bad(texts.SYNTAX)


def lang(session: PopSession, argument: bytes) -> None:
    if argument:
        session.ask("LANG", b"LANG %b\r\n" % argument, replies.passed)
    else:
        session.ask("LANG", b"LANG\r\n", replies.list_replied)


def noop(session: PopSession, argument: bytes) -> None:
    session.ask("NOOP", b"NOOP\r\n", replies.passed)


def quit_(session: PopSession, argument: bytes) -> None:
    session.ask("QUIT", b"QUIT\r\n", replies.quit_replied)


VERBS: dict[bytes, Callable[[PopSession, bytes], None]] = {
    b"CAPA": capa,
    b"STLS": stls,
    b"USER": user,
    b"PASS": pass_,
    b"APOP": apop,
    b"AUTH": auth,
    b"UTF8": utf8,
    b"LANG": lang,
    b"NOOP": noop,
    b"QUIT": quit_,
}
_LOGIN_VERBS = frozenset({b"USER", b"PASS", b"APOP", b"AUTH"})
