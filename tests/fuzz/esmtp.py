"""Invariant: parameters and EHLO's reply hold what is on the allow-lists and nothing else, in a form that stays itself.

The input: one octet that says which (MAIL, RCPT, EHLO), then the text.
"""

from __future__ import annotations

import re

from proxy.errors import ProtocolError
from proxy.wire.esmtp import BadParameter, Offer, edited, mail_parameters, rcpt_parameters
from proxy.wire.replies import ReplyBuffer
from proxy.wire.sasl import MECHANISMS

from . import demand

ALL = frozenset({b"SIZE", b"8BITMIME", b"SMTPUTF8", b"DSN", b"AUTH", b"ENHANCEDSTATUSCODES"})
TOKENS = [b" ", b"=", b"SIZE=", b"BODY=", b"7BIT", b"8BITMIME", b"SMTPUTF8", b"RET=FULL", b"ENVID=", b"AUTH=<>", b"+0D"]
TOKENS += [b"+0A", b"+3C", b"<", b">", b"NOTIFY=", b"NEVER", b"SUCCESS", b",", b"ORCPT=rfc822;", b"a@b", b"1" * 20]
TOKENS += [
    b"250-",
    b"250 ",
    b"\r\n",
    b"PIPELINING",
    b"XCLIENT",
    b"AUTH PLAIN ANONYMOUS",
    b"AUTH=",
    b"CHUNKING",
    b"STARTTLS",
]

_VALUE = rb"[!-~]+"
_MAIL = re.compile(
    rb"(?: (?:SIZE=[0-9]{1,20}|BODY=8BITMIME|SMTPUTF8|RET=(?:FULL|HDRS)|ENVID=%b|AUTH=(?:<>|%b)))*" % (_VALUE, _VALUE)
)
_RCPT = re.compile(rb"(?: (?:NOTIFY=[A-Z,]+|ORCPT=[A-Za-z0-9-]+;%b))*" % _VALUE)
_OFFERED = re.compile(
    rb"250[ -](?:PIPELINING|SIZE(?: [0-9]{1,20})?|8BITMIME|SMTPUTF8|DSN|ENHANCEDSTATUSCODES|AUTH[ =](?:[A-Z0-9-]+ ?)+)"
)


def one_input(data: bytes) -> None:
    if not data:
        return
    kind, text = data[0] % 4, data[1:]
    if kind == 3:
        _ehlo(text)
        return
    try:
        written = (rcpt_parameters(text, ALL) if kind == 2 else mail_parameters(text, ALL, kind == 1))[0]
    except BadParameter:
        return
    demand((_RCPT if kind == 2 else _MAIL).fullmatch(written), "not of ours", written)
    demand(not set(written.replace(b"AUTH=<>", b"")) & set(b'<>"(),\\') or b"NOTIFY=" in written, "brackets", written)
    if written:
        again = (rcpt_parameters(written, ALL) if kind == 2 else mail_parameters(written, ALL, kind == 1))[0]
        demand(again == written, "written otherwise a second time", written, again)


def _ehlo(text: bytes) -> None:
    buffer = ReplyBuffer()
    buffer.feed(text)
    try:
        reply = buffer.take()
    except ProtocolError:
        return
    if reply is None:
        return
    offer = Offer.of(reply, True)
    demand(offer.mechanisms <= MECHANISMS and offer.keywords <= ALL, "offered", offer)
    _, *lines = edited(reply, offer, False).split(b"\r\n")[:-1]
    for line in lines:
        demand(_OFFERED.fullmatch(line), "offered", line)
