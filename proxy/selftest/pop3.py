"""What a POP3 server is, and whether it refuses a wrong password.

A server that says +OK to every password (a honeypot, a test house, a broken one) would give every visitor a lease,
that is, make popgate an open relay: the only finding here that must never be overlooked.  The user and password that
are tried are random, so the attempt shows as one failed login in the server's log.

The dialogue itself is upstream_client/pop3.py.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from ..errors import UpstreamUnavailable
from ..upstream_client.said import said
from ..wire.pop3 import Status, status
from ..wire.sasl import MECHANISMS

if TYPE_CHECKING:
    from ..upstream_client.pop3 import Pop3
    from .findings import Findings

_CAPABILITIES: Final = ("USER", "STLS", "UIDL", "TOP", "PIPELINING", "UTF8", "RESP-CODES")


async def interrogate(pop3: Pop3, found: Findings, checks: bool = False) -> None:
    """Ask all there is to ask, behind greeting and TLS; `checks`: it is to check passwords for `auth = "pop3"`."""
    found.about("CAPA")
    offers = await pop3.capabilities()
    if offers is None:
        found.ok("not known: an old server")
        offers = {}
    else:
        has = [word for word in _CAPABILITIES if word in offers]
        missing = [word for word in _CAPABILITIES if word not in offers]
        found.ok(f"offers {', '.join(has) or 'nothing'}; not {', '.join(missing) or 'missing anything'}")
    found.about("logins")
    offered = offers.get("SASL", [])
    carried = [word for word in offered if word.encode() in MECHANISMS]
    left = [word for word in offered if word not in carried]
    found.ok(
        f"APOP {'yes' if pop3.apop else 'no'}; SASL {' '.join(carried) or 'none'}"
        + (f"; not passed on: {' '.join(left)}" if left else "")
    )
    taken = await _wrong_password(pop3, found)
    if checks:
        _can_check(offers, taken, found)


def _can_check(offers: dict[str, list[str]], taken: bool, found: Findings) -> None:
    """Whether passwords can be tried here: popgate has them, and no APOP or challenge could use them (rule G15)."""
    found.about("AUTH")
    if offers and "USER" not in offers:
        found.fail('offers no USER: passwords can\'t be checked here; take auth = "upstream" or "off"')
    elif not offers and not taken:
        found.warn('USER is refused; if that is so for all users, take auth = "upstream" or "off"')
    else:
        found.ok("passwords can be checked here, by USER and PASS")


async def _wrong_password(pop3: Pop3, found: Findings) -> bool:
    """Whether it took USER."""
    found.about("password")
    user = f"popgate-selftest-{secrets.token_hex(4)}"
    taken = False
    try:
        line = await pop3.ask(f"USER {user}")
        if taken := status(line) is Status.OK:
            line = await pop3.ask(f"PASS {secrets.token_hex(8)}", shown="PASS")
    except UpstreamUnavailable as error:  # a tarpit or a hang-up: unkind to users who mistype, but it opens nothing
        found.warn(f"a wrong one is not answered: {error}")
        return taken
    if status(line) is Status.ERR:
        found.ok(f"a wrong one is refused, {said(line)}")
    else:
        found.fail("accepts any password: every visitor would get a lease")
    return taken
