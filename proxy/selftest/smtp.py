"""What an SMTP server is, and whether it relays for our address.

The relay question: MAIL from an address of ours, RCPT to one of a reserved domain, RSET.  DATA is never said, so
nothing can be sent.  The answer to the RCPT is what every client of popgate with a lease will get, because the server
sees popgate's address and no other.

Why the question is put twice, in other words: example.com and its like belong to nobody (RFC 2606), so that no server
that verifies recipients by a call troubles a stranger; but a server may refuse the domain itself (they take no
mail, RFC 7505), or our sender (an unknown user of its own domain).  Such a refusal says nothing about relaying:
`_verdict` tells it by the enhanced code (RFC 3463) or its words, and then the other sender and domain are tried.  The
null sender is used only where no local domain is known: some servers relay by the sender's domain.

The dialogue itself is upstream_client/smtp.py.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..errors import UpstreamUnavailable
from ..upstream_client.said import said
from ..upstream_client.smtp import extensions
from ..wire.recipients import LocalDomains
from ..wire.sasl import MECHANISMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..upstream_client.smtp import Smtp
    from ..wire.replies import Reply
    from .findings import Findings

FOREIGN: Final = ("example.com", "example.net", "example.org", "popgate-selftest.invalid")
_EXTENSIONS: Final = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS", "XCLIENT")
# 556 and 521: RFC 7504; X.1.x is about addresses, X.4.x about routing there (RFC 3463, X.1.10: RFC 7505).
_OTHER_CODES = re.compile(rb"(?:521|556)|5[0-9][0-9][ -]5\.[14]\.")
_OTHER_WORDS = re.compile(
    rb"sender|starttls|null ?mx|domain[^\r]*(?:not found|not exist|not accept)|(?:unknown|no such|bad) (?:domain|host)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(rb"<[^>\r]*>|[^ \r]+@[^ \r]+")


class Relays(Enum):
    """What the answer to a RCPT says about relaying for our address."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


async def interrogate(smtp: Smtp, found: Findings, local_domains: Sequence[str], auth: bool, xclient: bool) -> None:
    """Ask all there is to ask, behind greeting and TLS.

    auth: whether popgate passes AUTH on; xclient: whether it says XCLIENT.
    """
    offers = await _extensions(smtp, found)
    if xclient:
        found.about("XCLIENT")
        if "ADDR" in offers.get("XCLIENT", []):
            found.ok("takes clients' addresses from popgate")
        else:
            found.fail(
                "xclient = true, but it does not offer that to popgate (Postfix: smtpd_authorized_xclient_hosts)"
            )
    mechanisms = _auth(found, offers, auth)
    domain = next((one.rstrip(".") for one in local_domains if one.isascii() and not one.startswith(".")), "")
    await _local(smtp, found, domain, bool(local_domains))
    known = LocalDomains(local_domains)
    foreign = [one for one in FOREIGN if not known.covers(one.encode(), smtputf8=False)]
    await _relay(smtp, found, domain, foreign, bool(mechanisms) and auth)


async def _extensions(smtp: Smtp, found: Findings) -> dict[str, list[str]]:
    found.about("EHLO")
    reply = await smtp.ask(f"EHLO {smtp.name}")
    if reply.code == 250:
        offers = extensions(reply)
        words = [" ".join([word, *offers[word]]) for word in _EXTENSIONS if word in offers]
        missing = [word for word in _EXTENSIONS if word not in offers]
        found.ok(f"offers {', '.join(words) or 'nothing'}; not {', '.join(missing) or 'missing anything'}")
        return offers
    found.warn(f"refused, {said(reply.octets)}: clients will fall back to HELO, without extensions")
    hello = await smtp.ask(f"HELO {smtp.name}")
    if hello.code != 250:
        raise UpstreamUnavailable(f"HELO is refused as well: {said(hello.octets)}")
    return {}


def _auth(found: Findings, offers: dict[str, list[str]], auth: bool) -> list[str]:
    """The mechanisms that popgate would pass on."""
    found.about("AUTH")
    offered = offers.get("AUTH", [])
    carried = [word for word in offered if word.encode() in MECHANISMS]
    if not offered:
        found.ok("not offered: who has no lease can't send")
    elif not auth:
        found.ok(f'{" ".join(offered)}; not passed on (auth = "off")')
    elif carried == offered:
        found.ok(" ".join(offered))
    else:
        left = " ".join(word for word in offered if word not in carried)
        found.ok(f"{' '.join(carried) or 'nothing'} is passed on; not {left}")
    return carried


async def _local(smtp: Smtp, found: Findings, domain: str, any_local: bool) -> None:
    found.about("local mail")
    if not any_local:
        found.warn("gate.local_domains is empty: the outside can't write to your users")
        return
    if not domain:
        return  # a suffix or a U-label alone names no address that must exist
    # RFC 5321 4.5.1: postmaster exists wherever mail is taken
    recipient = f"<postmaster@{domain}>"
    reply, _ = await _transaction(smtp, "<>", recipient)
    if reply.code // 100 == 2:
        found.ok(f"takes {recipient}")
    elif reply.code // 100 == 4:
        found.warn(f"defers {recipient}, {said(reply.octets)}")
    else:
        found.warn(f"refuses {recipient}, {said(reply.octets)}: is {domain} its domain?")


async def _relay(smtp: Smtp, found: Findings, domain: str, foreign: list[str], auth: bool) -> None:
    """foreign: domains that are not ours; auth: there is another way for users to send."""
    found.about("relaying")
    senders = [f"<popgate-selftest@{domain}>", f"<postmaster@{domain}>"] if domain else ["<>", "<>"]
    for sender, target in zip(senders, foreign, strict=False):
        # What begins a new transaction must be known to have worked: a reply too many would be taken for RCPT's.
        await smtp.ask("RSET")
        reply, at_mail = await _transaction(smtp, sender, f"<popgate-selftest@{target}>")
        verdict = _verdict(reply, at_mail)
        if verdict is not Relays.UNKNOWN:
            break
    found.relays = {Relays.YES: True, Relays.NO: False, Relays.UNKNOWN: None}[verdict]
    if verdict is Relays.YES:
        found.ok("relays for our address: popgate is the only thing between it and the world (expected)")
    elif verdict is Relays.NO:
        text = (
            f"does not relay for our address, {said(reply.octets)}: leased clients would be refused by the server; "
            "allow popgate's address there"
        )
        if auth:
            found.warn(text + " (as it is, only users with AUTH can send)")
        else:
            found.fail(text)
    else:
        what = f"MAIL FROM:{sender}" if at_mail else f"RCPT TO:<popgate-selftest@{target}>"
        found.warn(f"can't tell whether it relays for our address: {what} got {said(reply.octets)}")


async def _transaction(smtp: Smtp, sender: str, recipient: str) -> tuple[Reply, bool]:
    """MAIL and RCPT: the reply that decides, and whether it is MAIL's, a refusal."""
    reply = await smtp.ask(f"MAIL FROM:{sender}")
    if reply.code // 100 != 2:
        return reply, True
    return await smtp.ask(f"RCPT TO:{recipient}"), False


def _verdict(reply: Reply, at_mail: bool) -> Relays:
    """What the reply to RCPT says, or, at_mail, the refusal of MAIL."""
    if reply.code // 100 == 2:
        return Relays.YES
    text = _ADDRESS.sub(b"", reply.octets)  # servers repeat it, and it may hold any word
    if reply.code // 100 != 5:
        return Relays.UNKNOWN  # greylisting, a look-up that failed
    if re.search(rb"relay", text, re.IGNORECASE):
        return Relays.NO
    if _OTHER_CODES.match(text) or _OTHER_WORDS.search(text):
        return Relays.UNKNOWN
    return Relays.NO if reply.code == 530 or not at_mail else Relays.UNKNOWN  # 530: AUTH is wanted (RFC 4954 6)
