"""MAIL and RCPT, parsed and written afresh (rule S2): from the argument of the client to the line for the upstream.

Pure functions; whether the command may come now, and whether the recipient may be relayed to, is the session's
business. A command that is not taken raises `BadCommand` with the reply for the client.
"""

from __future__ import annotations

import re
import unicodedata

from ...wire.esmtp import BadParameter, asks_smtputf8, mail_parameters, rcpt_parameters
from ...wire.path import NULL, BadPath, Path, parse
from . import texts

_FROM = re.compile(rb"FROM[ \t]*:", re.IGNORECASE)  # blanks around the colon: devices, old libraries
_TO = re.compile(rb"TO[ \t]*:", re.IGNORECASE)
_LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp"})  # Unicode categories: controls, line and paragraph separators


class BadCommand(Exception):
    """The command is not taken; `reply` says why."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


def mail_command(
    argument: bytes, offered: frozenset[bytes], authenticated: bool, own_auth: bool = False, helo: bool = False
) -> tuple[bytes, bytes, bool, tuple[bytes, ...]]:
    """Return the line for the upstream, the reverse-path in it, whether SMTPUTF8 was asked for, and the parameters
    that were left out as malformed.  The keywords: see `esmtp.mail_parameters`."""
    match = _FROM.match(argument)
    if match is None:
        raise BadCommand(texts.SYNTAX_MAIL)
    path, rest = _path(argument[match.end() :], texts.BAD_SENDER)
    parameters: bytes = b""
    dropped: tuple[bytes, ...] = ()
    if rest:
        try:
            parameters, dropped = mail_parameters(rest, offered, authenticated, own_auth, helo)
        except BadParameter:
            raise BadCommand(texts.BAD_PARAMETER) from None
    smtputf8 = asks_smtputf8(parameters)
    _check_utf8(path, smtputf8)
    return b"MAIL FROM:<%b>%b\r\n" % (path.text, parameters), path.text, smtputf8, dropped


def rcpt_command(argument: bytes, offered: frozenset[bytes], smtputf8: bool) -> tuple[bytes, Path, tuple[bytes, ...]]:
    """Return the line for the upstream, the forward-path, and the parameters that were left out as malformed."""
    match = _TO.match(argument)
    if match is None:
        raise BadCommand(texts.SYNTAX_RCPT)
    path, rest = _path(argument[match.end() :], texts.BAD_RECIPIENT)
    if path is NULL:
        raise BadCommand(texts.BAD_RECIPIENT)
    parameters: bytes = b""
    dropped: tuple[bytes, ...] = ()
    if rest:
        try:
            parameters, dropped = rcpt_parameters(rest, offered)
        except BadParameter:
            raise BadCommand(texts.BAD_PARAMETER) from None
    _check_utf8(path, smtputf8)
    return b"RCPT TO:<%b>%b\r\n" % (path.text, parameters), path, dropped


def _path(argument: bytes, bad: bytes) -> tuple[Path, bytes]:
    try:
        path, rest = parse(argument)
    except BadPath:
        raise BadCommand(bad) from None
    rest = rest.replace(b"\t", b" ")
    if rest and rest[:1] != b" ":
        raise BadCommand(bad)  # glued: <a@b>SIZE=1, <a@b><c@d>, <a@b>,<c@d>
    return path, rest.rstrip(b" ")


def _check_utf8(path: Path, smtputf8: bool) -> None:
    """Octets above 127 are UTF-8 and need SMTPUTF8 (RFC 6531 3.4).

    U+0085, U+2028 and U+2029 end a line for a server that decodes before it splits, and C1 controls have no place here.
    """
    if path.text.isascii():
        return
    if not smtputf8:
        raise BadCommand(texts.NEEDS_SMTPUTF8)
    try:
        text = path.text.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCommand(texts.NEEDS_SMTPUTF8) from None
    if any(unicodedata.category(char) in _LINE_BREAKERS for char in text):
        raise BadCommand(texts.NEEDS_SMTPUTF8)
