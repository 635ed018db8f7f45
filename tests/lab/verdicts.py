"""What came of the cases: judged by the messages that left the upstream server, never by what a client was told.

The oracle is a sink behind each server (tests/support/sink.py): it sees every recipient as the server itself read it,
after percent hacks, routes and quotes were resolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .steps import L

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..support.sink import Message
    from .steps import Case

_QUEUED = re.compile(rb"^250 [^\n]*(?:queued as|OK id=|Message accepted)", re.MULTILINE)
"""How Postfix and aiosmtpd's house, Exim, Sendmail and OpenSMTPD acknowledge a message; the gate hands it on."""
_OUT_OF_STEP = re.compile(rb"^421 4\.3\.0 ", re.MULTILINE)
"""The gate has had a reply that answers nothing: the server saw an end or a command that the gate did not."""
_ID = re.compile(rb"\bid ([0-9A-Za-z-]+)")


@dataclass(frozen=True)
class Playing:
    """One case as it was played: the word it had for `{tag}`, and all that the client was told."""

    case: Case
    tag: bytes
    told: bytes
    way: str


def is_foreign(recipient: bytes, own: Container[bytes]) -> bool:
    """Whether `recipient`, as a server sent it to the sink, is not local there; `own`: domains of its own."""
    domain = recipient.rpartition(b"@")[2].rstrip(b".").lower()
    return b"@" in recipient and domain != L and domain not in own


def breaches(playings: Sequence[Playing], arrived: Sequence[Message], own: Container[bytes]) -> dict[str, str]:
    """By case: what is wrong with it."""
    by_tag: dict[bytes, list[Message]] = {}
    known = {playing.tag for playing in playings}
    for message in arrived:
        if _is_bounce(message):
            continue
        whole = b" ".join((message.sender, *message.recipients, message.octets))
        for tag in known.intersection(re.findall(rb"z[0-9a-z]{4}", whole)):
            by_tag.setdefault(tag, []).append(message)
    found = {}
    for playing in playings:
        wrong = _wrong(playing, by_tag.get(playing.tag, []), own)
        if wrong:
            found[playing.case.name] = wrong
    return found


def _wrong(playing: Playing, messages: Sequence[Message], own: Container[bytes]) -> str:
    case = playing.case
    foreign = [recipient for message in messages for recipient in message.recipients if is_foreign(recipient, own)]
    count = len({_identity(message) for message in messages})
    told = len(_QUEUED.findall(playing.told))
    if foreign:
        return f"reached {foreign}"
    most = max(case.most, case.hasty and playing.way == "dripped")
    if count > most:
        return f"{count} messages arrived, of {most}"
    if count != told:
        return f"{count} messages arrived, {told} were acknowledged: {playing.told!r}"
    if _OUT_OF_STEP.search(playing.told):
        return f"out of step: {playing.told!r}"
    if count < case.least and not playing.way.startswith("naive"):
        return f"{count} messages arrived, {case.least} were sent: {playing.told!r}"
    if case.never and any(case.never in message.octets for message in messages):
        return f"{case.never!r} arrived"
    return ""


def _identity(message: Message) -> bytes:
    """The queue's name for it: one message may leave in several deliveries."""
    received = message.octets[:2000].partition(b"\r\n\r\n")[0]
    match = _ID.search(received)
    return match[1] if match else message.octets


def _is_bounce(message: Message) -> bool:
    """The server's own word about a message, which it sends to that one's sender (RFC 3834 5)."""
    header = message.octets.partition(b"\r\n\r\n")[0].lower()
    return not message.sender and b"\r\nauto-submitted: auto-" in header
