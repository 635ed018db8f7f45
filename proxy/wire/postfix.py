"""What Postfix asks a policy service, and the answer (Postfix's SMTPD_POLICY_README).

A request is `name=value` lines and an empty one, the answer `action=...` and an empty line.  Attributes that nobody
here needs are ignored, and a repeated one counts as it was last.  `request=smtpd_access_policy` is the only kind.

The actions (Postfix's access(5)):

- OK: this list of restrictions permits the recipient.
- DUNNO: the next restriction decides.
- DEFER_IF_REJECT: if a later restriction would refuse, 450 instead.  Not DEFER_IF_PERMIT: that would defer mail to
  Postfix's own domains, and let mail to others be refused for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REQUEST: Final = 32768
"""Octets of a request: Postfix sends some 30 attributes, each shorter than its line_length_limit of 2048."""

OK: Final = b"action=OK\n\n"
DUNNO: Final = b"action=DUNNO\n\n"
DEFER: Final = b"action=DEFER_IF_REJECT 4.3.0 Can't tell now whether you may relay, try again later\n\n"


def parse(lines: Sequence[bytes]) -> dict[str, str]:
    """The attributes of a request; raise ProtocolError for what is none.

    Octets that are no UTF-8 are surrogate escapes.
    """
    attributes = {}
    for line in lines:
        name, equals, value = line.partition(b"=")
        if not equals:
            raise ProtocolError("a line of a policy request without =")
        attributes[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    if attributes.get("request") != "smtpd_access_policy":
        raise ProtocolError("not a policy request")
    return attributes
