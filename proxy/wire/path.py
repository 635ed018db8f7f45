"""Reverse-path and forward-path: what stands in the brackets of MAIL FROM:<...> and RCPT TO:<...>.

`parse` takes the argument of MAIL or RCPT behind its colon and returns a `Path` with the parts that the gate judges
and the one text that is sent on.  The text is written from the parts, so that an octet that the grammar did not
account for can't reach the upstream (rule S2), and server and gate can't read two addresses out of one (reference:
the recipients that Postfix, Exim and Sendmail were seen to read differently).

The grammar is RFC 5321 4.1.2 (RFC 6531 3.3 for UTF-8), and what real senders write beside it and nobody can read in two
ways: blanks before and behind the brackets, and between them and the address; doubled brackets; an address without
brackets, with a domain or without; dots at the ends of a local part and side by side in it; a trailing dot behind the
domain; an underscore in a label.  A quoted local part is unescaped and written quoted again only if its content needs
it (rule G16).  Not taken: comments, white space within an address, several addresses, brackets within quotes.

A local part may have more than RFC 5321's 64 octets: VERP, SRS and the confirmations of list managers do, and the RFC
asks for no such limit where that is possible (4.5.3.1).  Postfix and Exim take as much as a line holds.

Whether a domain is local is told by wire/recipients.py; parameters behind the path are wire/esmtp.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_LOCAL = 256  # octets: RFC 5321 4.5.3.1.3 has as many for a whole path
MAX_DOMAIN = 255  # octets, RFC 5321 4.5.3.1.2

_ATEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\xff]"
_ATOMS = rb"%b+(?:\.%b+)*" % (_ATEXT, _ATEXT)
_DOT_STRING = rb"\.*%b(?:%b|\.)*" % (_ATEXT, _ATEXT)  # dots anywhere: real mailboxes of large providers have them
_BLANK = rb"[ \t]*"
_QUOTED = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
_LET_DIG = rb"[A-Za-z0-9_\x80-\xff]"
_LABEL = rb"%b(?:[A-Za-z0-9_\x80-\xff-]*%b)?" % (_LET_DIG, _LET_DIG)
_DOMAIN = rb"%b(?:\.%b)*" % (_LABEL, _LABEL)
_LITERAL = rb"\[[A-Za-z0-9.:-]+\]"  # RFC 5321's dcontent has < > @ , too, which nobody needs and a lax server may read
_ROUTE = rb"@%b(?:,@%b)*:" % (_DOMAIN, _DOMAIN)

_PLAIN = re.compile(rb"<(%b)@(%b)>" % (_ATOMS, _DOMAIN))
_ANY = re.compile(
    rb"(?P<double><)?<%b(?P<route>%b)?(?P<local>%b|%b)(?:@(?:(?P<domain>%b)\.?|(?P<literal>%b)))?%b>(?(double)>)"
    % (_BLANK, _ROUTE, _DOT_STRING, _QUOTED, _DOMAIN, _LITERAL, _BLANK)
)
_BARE = re.compile(rb"(?P<local>%b)(?:@(?P<domain>%b)\.?)?(?=[ \t]+[A-Za-z0-9]|[ \t]*\Z)" % (_DOT_STRING, _DOMAIN))
_NOTHING = re.compile(rb"<%b>" % _BLANK)
_STRICT = re.compile(_ATOMS)
_LOOSE = re.compile(_DOT_STRING)
_ESCAPE = re.compile(rb'(["\\])')


class Path(NamedTuple):
    """An address as the gate reads it and as the upstream gets it; `b""` in all fields is the null path `<>`."""

    text: bytes
    """The address written afresh, without brackets."""
    local: bytes
    """The content of the local part, quotes and escapes removed."""
    domain: bytes
    """The domain, without a trailing dot; empty when there is none."""
    routed: bool = False
    """A source route or an address literal: never local (rule G16)."""


NULL = Path(b"", b"", b"")


class BadPath(ValueError):
    """The argument is no path; the text says why."""


def parse(argument: bytes) -> tuple[Path, bytes]:
    """Return the path at the head of `argument` and what stands behind it (parameters, with their leading blank).

    Raise BadPath for anything that the grammar does not take.
    """
    match = _PLAIN.match(argument)
    if match is not None:
        local, domain = match[1], match[2]
        if len(local) <= MAX_LOCAL and len(domain) <= MAX_DOMAIN:
            return Path(argument[1 : match.end() - 1], local, domain), argument[match.end() :]
    return _parse_any(argument.lstrip(b" \t"))


def _parse_any(argument: bytes) -> tuple[Path, bytes]:
    match = _NOTHING.match(argument)
    if match is not None:
        return NULL, argument[match.end() :]
    match = _ANY.match(argument)
    if match is not None:
        domain = match["domain"] or b""
        path = _written(match["local"], domain, match["literal"] or b"", bool(match["route"]))
    else:
        match = _BARE.match(argument)
        if match is None:
            raise BadPath("not an address")
        path = _written(match["local"], match["domain"] or b"", b"", False)
    return path, argument[match.end() :]


def _written(local: bytes, domain: bytes, literal: bytes, routed: bool) -> Path:
    """The path of these parts, its text in normal form; the source route is dropped (RFC 5321 4.1.1.3 allows it)."""
    content = _unquoted(local)
    if b"<" in content or b">" in content:  # legal within quotes; a server that looks for the first or last one errs
        raise BadPath("a bracket inside")
    if not content or len(local) > MAX_LOCAL or len(domain) > MAX_DOMAIN or len(literal) > MAX_DOMAIN:
        raise BadPath("a part is empty or too long")
    if _STRICT.fullmatch(content):
        local = content
    elif local[:1] == b'"' or not _LOOSE.fullmatch(content):  # else it has odd dots, and stays as it came
        local = b'"%b"' % _ESCAPE.sub(rb"\\\1", content)
    host = domain or literal
    return Path(local + b"@" + host if host else local, content, domain, routed or bool(literal))


def _unquoted(local: bytes) -> bytes:
    if local[:1] != b'"':
        return local
    return re.sub(rb"\\(.)", rb"\1", local[1:-1], flags=re.DOTALL)
