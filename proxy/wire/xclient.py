"""XCLIENT: telling an SMTP server whose connection this really is (Postfix, XCLIENT_README).

`attributes` reads from a reply to EHLO what the server takes; `command` writes the one command.  Only attributes that
are offered are named; addresses carry `IPV6:` where they are; names are `[UNAVAILABLE]`, because a name that comes from
DNS is whatever its owner wants (CVE-2026-28753: it held line ends).  Values are xtext, so that a login can't end the
command.  PROTO and HELO are not sent: after the 220 the client says its EHLO itself.

It is at most MAX octets; a login that does not fit is left out, and the server judges the client without it.  Rejected:
a second command for it; the first one's 220 has begun the session anew, and servers differ in what they take then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .address import shown

if TYPE_CHECKING:
    from .proxyheader import Endpoint
    from .replies import Reply

MAX: Final = 512
"""Octets with the CRLF, RFC 5321 4.5.3.1.4's: XCLIENT does not stretch it."""

_UNAVAILABLE = b"[UNAVAILABLE]"  # there is none, and asking again would not help; not [TEMPUNAVAIL]
_TO_ENCODE = re.compile(rb"[^!-*,-<>-~]")  # RFC 3461 4


def attributes(reply: Reply) -> frozenset[bytes]:
    """The attributes that the server takes, upper case; none where XCLIENT is not offered."""
    for text in reply.texts()[1:]:
        keyword, *names = text.upper().split()[:100] or [b""]
        if keyword == b"XCLIENT":
            return frozenset(names)
    return frozenset()


def command(offered: frozenset[bytes], client: Endpoint, destination: Endpoint, login: str = "") -> bytes:
    """The command, with its CRLF; `destination`: where the client connected to; `login`: whose lease it has."""
    values = {
        b"NAME": _UNAVAILABLE,
        b"REVERSE_NAME": _UNAVAILABLE,
        b"ADDR": _address(client[0]),
        b"PORT": b"%d" % client[1],
        b"DESTADDR": _address(destination[0]),
        b"DESTPORT": b"%d" % destination[1],
    }
    line = b"XCLIENT" + b"".join([b" %b=%b" % pair for pair in values.items() if pair[0] in offered])
    if login and b"LOGIN" in offered:
        value = b" LOGIN=" + _TO_ENCODE.sub(
            lambda match: b"+%02X" % match[0][0], login.encode("utf-8", "surrogateescape")
        )
        if len(line) + len(value) + 2 <= MAX:
            line += value
    return line + b"\r\n"


def _address(address: bytes) -> bytes:
    return (b"" if len(address) == 4 else b"IPV6:") + shown(address).encode("ascii")
