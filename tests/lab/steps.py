"""What an attacker says and when he waits: the small language of the cases in this folder.

A `Case` is a list of packets, each with what the client waits for before the next one.  `{tag}` stands for five
letters that are another word at each playing, so that what arrived can be told apart; `{ip}` and `{host}` for the
address and the name of the upstream server; R is a foreign domain of the case's own, L the hosted one.

How they are played is player.py, what comes of it is judged in verdicts.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

L = b"local.test"
R = b"{tag}.remote.test"
USER = b"user-{tag}@local.test"
SENDER = b"a@{tag}.s.test"


class Wait(Enum):
    REPLY = "a whole reply"
    MARK = "the 252 to VRFY, so that all replies to what went before are in"
    DATA = "the reply to DATA; unless it is 354, the next packet is left out"
    PAUSE = "a moment"
    BREATH = "a reply, if this was a command; after one silence no longer than a moment"
    END = "the end of the connection"
    CLOSE = "nothing: the client closes"


Step = tuple[bytes, Wait]


@dataclass(frozen=True)
class Case:
    name: str
    """The row of the threat list, and the variant."""
    steps: tuple[Step, ...]
    most: int = 1
    """So many messages at most may arrive: the ends of data that the client did send, CRLF.CRLF."""
    least: int = 0
    never: bytes = b""
    """Octets that must not be in what arrives."""
    hasty: bool = False
    """It breaks the rules only by not waiting; octet by octet it may come late enough to be in order, and arrive."""


EHLO: Step = (b"EHLO c.test\r\n", Wait.REPLY)
MAIL: Step = (b"MAIL FROM:<%b>\r\n" % SENDER, Wait.REPLY)
RCPT: Step = (b"RCPT TO:<%b>\r\n" % USER, Wait.REPLY)
DATA: Step = (b"DATA\r\n", Wait.DATA)
QUIT: Step = (b"QUIT\r\n", Wait.END)
MARK: Step = (b"VRFY mark@local.test\r\n", Wait.MARK)
MESSAGE: Step = (b"Subject: {tag}\r\n\r\nbody\r\n.\r\n", Wait.REPLY)
SMUGGLED = (
    b"MAIL FROM:<smuggled@{tag}.s.test>\r\nRCPT TO:<v@%b>\r\nDATA\r\nSubject: smuggled {tag}\r\n\r\nx\r\n.\r\n" % R
)


def body(name: str, text: bytes, least: int = 0) -> Case:
    """`text` as the message to a local recipient, QUIT behind it in the same packet."""
    return Case(name, (EHLO, MAIL, RCPT, DATA, (text + b"QUIT\r\n", Wait.END)), 1, least)


def line(name: str, text: bytes, *, sender: bytes = SENDER, most: int = 1, never: bytes = b"") -> Case:
    """`text` where RCPT is due; then a message, if the server wants one."""
    mail: Step = (b"MAIL FROM:<%b>\r\n" % sender, Wait.REPLY)
    return Case(name, (EHLO, mail, (text + MARK[0], Wait.MARK), DATA, MESSAGE, QUIT), most, never=never)


def recipient(name: str, argument: bytes, sender: bytes = SENDER) -> Case:
    """RCPT TO: with `argument` behind the colon."""
    return line(name, b"RCPT TO:" + argument + b"\r\n", sender=sender)


def verb(name: str, text: bytes, never: bytes = b"") -> Case:
    """`text` before a transaction and again within it, which then goes to a local recipient and a foreign one."""
    steps = (
        EHLO,
        (text + MARK[0], Wait.MARK),
        MAIL,
        RCPT,
        (text + MARK[0], Wait.MARK),
        (b"RCPT TO:<v@%b>\r\n" % R, Wait.REPLY),
        DATA,
        MESSAGE,
        QUIT,
    )
    return Case(name, steps, 1, never=never)


def raw(name: str, *packets: bytes, most: int = 1, hasty: bool = False) -> Case:
    """EHLO, then these packets, a moment between them; then the end."""
    return Case(name, (EHLO, *((packet, Wait.PAUSE) for packet in packets), (b"", Wait.END)), most, hasty=hasty)
