"""What EHLO offers and what may stand behind the paths of MAIL and RCPT (RFC 1869's service extensions).

`Offer` is what an upstream's reply to EHLO offers, cut to what popgate carries; `edited` writes the reply that the
client gets (rule S7).  `mail_parameters` and `rcpt_parameters` check and rewrite parameters: an allow-list, each with
a grammar of its own, each only when the upstream offered its extension, each once (rule S2).  Values in xtext are
decoded, searched for control octets and encoded again, so that `+0D+0A` can't end a command in a server that decodes
early.

A malformed value of a parameter that only advises the server (SIZE, RET, ENVID, NOTIFY, ORCPT, AUTH) is corrected where
it can be read in one way, and left out where not: it is no reason to lose a message.

Numbers are matched as ASCII digits: `int()` also takes signs, underscores and the digits of other scripts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from .sasl import MECHANISMS

if TYPE_CHECKING:
    from .replies import Reply

CARRIED = frozenset({b"SIZE", b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES"})  # AUTH apart, see Offer.of
_MAX_REMEMBERED = (
    64  # edited replies; a pool of upstreams gives a handful, one that echoes addresses must not fill memory
)

_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
_XTEXT = re.compile(rb"(?:[!-*,-~]|\+[0-9A-Fa-f]{2})*")  # RFC 3461 4, and lower case and `=`, as clients write it
_XCHAR = re.compile(rb"\+([0-9A-Fa-f]{2})")
_ADVICE: Final = frozenset({b"SIZE", b"RET", b"ENVID", b"NOTIFY", b"ORCPT", b"AUTH"})
"""Parameters without which a message means the same."""
_AFTER_HELO = re.compile(rb" (?:SIZE|BODY)(?:=(?:[0-9]*|7BIT|8BITMIME))?(?= |\Z)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\0-\x1f\x7f]")
_TO_ENCODE = re.compile(rb"[^!#-\x27*\-.-;?-\[\]-~]")  # RFC 3461 4's, and `" ( ) , < > \`: no bracket outside the path
_NOTIFY = re.compile(rb"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE)
_ORCPT = re.compile(rb"([A-Za-z0-9-]{1,40});(.+)", re.DOTALL)


class BadParameter(ValueError):
    """A parameter that is unknown, not offered, given twice, or malformed and no advice: 555 5.5.4."""


class Malformed(BadParameter):
    """A value that is no value of its parameter."""


class Offer(NamedTuple):
    """What the upstream offers now, as far as popgate carries it."""

    lines: tuple[bytes, ...] = ()
    """Keyword lines for the client, AUTH's among them, cut to the allow-list of mechanisms."""
    keywords: frozenset[bytes] = frozenset()
    """The keywords of `lines`, upper case."""
    mechanisms: frozenset[bytes] = frozenset()
    pipelining: bool = False
    """Whether the upstream itself takes pipelined commands; to the client popgate always offers it."""

    @classmethod
    def of(cls, reply: Reply, auth: bool, ours: frozenset[bytes] = frozenset()) -> Offer:
        """Read an upstream's positive reply to EHLO; `auth`: whether AUTH may be offered, with `ours` for mechanisms
        where there are any, else with the upstream's."""
        lines: list[bytes] = []
        keywords: set[bytes] = set()
        mechanisms: set[bytes] = set()
        pipelining = False
        for text in reply.texts()[1:]:
            keyword, *values = text.upper().replace(b"AUTH=", b"AUTH ").split()[:100] or [b""]
            if keyword == b"PIPELINING":
                pipelining = True
            elif keyword == b"AUTH":
                mechanisms.update(value for value in values if value in MECHANISMS)
            elif keyword in CARRIED and keyword not in keywords:
                keywords.add(keyword)
                number = keyword == b"SIZE" and values and values[0].isdigit() and len(values[0]) <= 20
                lines.append(b"SIZE " + values[0] if number else keyword)
        if ours:
            mechanisms = set(ours)
        if auth and mechanisms:
            keywords.add(b"AUTH")
            words = b" ".join(sorted(mechanisms))
            lines += [b"AUTH " + words, b"AUTH=" + words]  # the second form is for Outlook Express and its like
        return cls(tuple(lines), frozenset(keywords), frozenset(mechanisms) if auth else frozenset(), pipelining)


NO_OFFER = Offer()
"""Nothing: before EHLO, after HELO."""


def edited(reply: Reply, offer: Offer, starttls: bool) -> bytes:
    """The reply to EHLO for the client: the upstream's first line, then what popgate and upstream can do together."""
    first = reply.texts()[0]
    lines = [first, b"PIPELINING", *offer.lines]
    if starttls:
        lines.append(b"STARTTLS")
    *heads, last = lines
    return b"".join([b"250-%b\r\n" % line for line in heads]) + b"250 %b\r\n" % last


class EhloEditor:
    """`Offer.of` and `edited`, remembered: an upstream gives every client the same reply."""

    __slots__ = ("_auth", "_known", "_ours")

    def __init__(self, auth: bool, ours: frozenset[bytes] = frozenset()) -> None:
        """`auth`: whether AUTH is offered at all; `ours`: the mechanisms that popgate answers itself, under TLS only
        (then `closed` is said of every session in the clear)."""
        self._auth = auth
        self._ours = ours
        self._known: dict[tuple[bytes, bool, bool], tuple[Offer, bytes]] = {}

    def edit(self, reply: Reply, starttls: bool, closed: bool = False) -> tuple[Offer, bytes]:
        """Return the offer in an upstream's reply to EHLO and the octets for the client.

        `starttls`: offer it; `closed`: no AUTH yet, TLS must come first (RFC 4954 4).
        """
        key = (reply.octets, starttls, closed)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            offer = Offer.of(reply, self._auth and not closed, self._ours)
            found = self._known[key] = (offer, edited(reply, offer, starttls))
        return found


def mail_parameters(
    text: bytes, offered: frozenset[bytes], authenticated: bool, own_auth: bool = False, helo: bool = False
) -> tuple[bytes, tuple[bytes, ...]]:
    """Rewrite the parameters of MAIL; `text` begins with a space or is empty, and so is what is returned, with the
    names of those that were left out.

    `authenticated`: by the upstream, in this session; `own_auth`: AUTH is popgate's, the upstream may not know AUTH=;
    `helo`: the client has said HELO, and says SIZE or BODY all the same: they are left out.  Raise BadParameter.
    """
    if helo:
        text = _AFTER_HELO.sub(b"", text)
        if not text:
            return b"", ()
    return _rewritten(text, offered, _MAIL, authenticated, own_auth)


def rcpt_parameters(text: bytes, offered: frozenset[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """Rewrite the parameters of RCPT, as `mail_parameters` does."""
    return _rewritten(text, offered, _RCPT, False)


def asks_smtputf8(parameters: bytes) -> bool:
    """Whether rewritten parameters of MAIL say SMTPUTF8."""
    return b"SMTPUTF8" in parameters.split(b" ")


def _rewritten(
    text: bytes, offered: frozenset[bytes], known: dict[bytes, bytes], authenticated: bool, own_auth: bool = False
) -> tuple[bytes, tuple[bytes, ...]]:
    if text[:1] != b" ":
        raise BadParameter("something is glued to the address")
    written: dict[bytes, bytes] = {}
    dropped: list[bytes] = []
    for word in text.split(b" "):
        if not word:
            continue
        keyword, equals, value = word.partition(b"=")
        keyword = keyword.upper()
        if known.get(keyword) not in offered or keyword in written:
            raise BadParameter("not offered, or given twice")
        try:
            written[keyword] = keyword + equals + _value(keyword, value, bool(equals))
        except Malformed:
            if keyword not in _ADVICE:
                raise
            dropped.append(keyword)
    if written.get(b"BODY") == b"BODY=7BIT":
        # It says no more than its absence (RFC 6152 3); but Sendmail, told so, clears the eighth bit before it looks
        # for the end of data, and finds one in \x8d\x8a.\x8d\x8a.
        del written[b"BODY"]
    if own_auth:
        written.pop(b"AUTH", None)
    elif not authenticated and b"AUTH" in written:
        written[b"AUTH"] = b"AUTH=<>"  # only a session that the upstream authenticated may name an identity (rule S2)
    return b"".join([b" " + word for word in written.values()]), tuple(dropped)


def _value(keyword: bytes, value: bytes, given: bool) -> bytes:
    """The value of a known parameter in normal form."""
    if given == (keyword == b"SMTPUTF8"):
        raise Malformed("a value where none belongs, or none where one does")
    upper = value.upper()
    if (
        (keyword == b"SMTPUTF8")
        or (keyword == b"SIZE" and re.fullmatch(rb"[0-9]{1,20}", value))
        or (keyword == b"BODY" and upper in (b"7BIT", b"8BITMIME"))
        or (keyword == b"RET" and upper in (b"FULL", b"HDRS"))
        or (keyword == b"NOTIFY" and _NOTIFY.fullmatch(value))
    ):
        return upper
    if keyword in (b"ENVID", b"AUTH") and value:
        return value if keyword == b"AUTH" and value == b"<>" else _xtext(value)
    if keyword == b"ORCPT":
        match = _ORCPT.fullmatch(value)
        if match is not None:
            return match[1] + b";" + _xtext(match[2])
    raise Malformed("malformed value")


def _xtext(value: bytes) -> bytes:
    """Decode and encode again (RFC 3461 4); raise Malformed for what is no xtext, BadParameter for control octets:
    no client has those by mistake."""
    if not _XTEXT.fullmatch(value):
        raise Malformed("not xtext")
    plain = _XCHAR.sub(lambda match: bytes([int(match[1], 16)]), value)
    if _CONTROL.search(plain):
        raise BadParameter("a control octet in xtext")
    return _TO_ENCODE.sub(lambda match: b"+%02X" % match[0][0], plain)


_MAIL = {
    b"SIZE": b"SIZE",
    b"BODY": b"8BITMIME",
    b"SMTPUTF8": b"SMTPUTF8",
    b"RET": b"DSN",
    b"ENVID": b"DSN",
    b"AUTH": b"AUTH",
}
_RCPT = {b"NOTIFY": b"DSN", b"ORCPT": b"DSN"}
