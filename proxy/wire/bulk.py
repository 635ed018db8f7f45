"""The usual forms of MAIL and RCPT, each proved by one match; whatever is not proved goes the way of the full grammar.

Almost every client says the same: upper case, no white space too many, brackets, letters and digits in the address.
What matches here is a command that path.py, esmtp.py and session/smtp/envelope.py take, too, and would write in this
very form, octet for octet; its local part can't route (rule G16), and no octet of it ends a line.  A property test
holds that (tests/properties/test_smtp_bulk.py).  The forms are narrower than the grammar wherever it makes them
simpler.

Repeats of one set of octets are possessive (`++`), so that a match takes time linear in what it reads.  Repeats of
groups are not: Python before 3.11.5 errs there.
"""

from __future__ import annotations

import re
from typing import Final

_ATOM = rb"[A-Za-z0-9_+=-]{1,20}+"
_LOCAL = rb"%b(?:\.%b){0,2}" % (_ATOM, _ATOM)  # 62 octets at most: under path.MAX_LOCAL
_LABEL = rb"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*"
_DOMAIN = rb"(?=[^>]{1,255}+>)%b(?:\.%b)*" % (_LABEL, _LABEL)  # path.MAX_DOMAIN
_SIZE = rb" SIZE=[0-9]{1,20}+"
_BODY = rb" BODY=8BITMIME"

SENDER: Final = re.compile(
    rb"MAIL FROM:<(?P<path>(?:%b@%b)?)>(?P<parameters>(?P<size>%b)?(?P<body>%b)?)\r\n" % (_LOCAL, _DOMAIN, _SIZE, _BODY)
)
"""MAIL, a whole line."""

RECIPIENTS: Final = re.compile(
    rb"RCPT TO:<%b@(?P<domain>%b)>\r\n(?:RCPT TO:<%b@(?P=domain)>\r\n)*" % (_LOCAL, _DOMAIN, _LOCAL)
)
"""A run: whole lines of RCPT, one or more, to one domain in one spelling."""

_BEFORE, _BETWEEN, _BEHIND = b"RCPT TO:<", b">\r\nRCPT TO:<", b">\r\n"


def paths(run: bytes) -> list[bytes]:
    """The paths of what matched `RECIPIENTS`."""
    return run[len(_BEFORE) : -len(_BEHIND)].split(_BETWEEN)


def recipients(of: list[bytes]) -> bytes:
    """The lines of RCPT for these paths, written afresh: for those of a run, the run."""
    return _BEFORE + _BETWEEN.join(of) + _BEHIND
