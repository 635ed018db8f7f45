"""Invariant: a path is written so that it is read back as itself, and if it is local no server reads a foreign one.

The input is what stands behind `RCPT TO:`.
"""

from __future__ import annotations

from proxy.gate.local import is_local
from proxy.session.smtp.envelope import BadCommand, rcpt_command
from proxy.wire.path import MAX_DOMAIN, MAX_LOCAL, BadPath, parse
from proxy.wire.recipients import LocalDomains

from ..support.lax import LOCAL, is_foreign
from . import demand

DOMAINS = LocalDomains(sorted(LOCAL))
OFFERED = frozenset({b"DSN"})
TOKENS = [b"<", b">", b"@", b'"', b"\\", b"%", b"!", b":", b",", b";", b"(", b")", b"[127.0.0.1]", b"local.test", b"."]
TOKENS += [b"far.test", b"user", b"\xc3\xbc", b"b\xc3\xbcro.test", b" ", b"\0", b"\x7f", b"\xef\xbc\xa0", b"::", b"|"]
TOKENS += [b"<user@local.test>", b" NOTIFY=NEVER", b" ORCPT=rfc822;<v@far.test>", b"LOCAL.TEST.", b"\xe2\x80\xa8"]


def one_input(data: bytes) -> None:
    if set(data) & set(b"\r\n\0"):
        return  # lines.is_clean keeps these away (rule S1)
    try:
        path, rest = parse(data)
    except BadPath:
        return
    demand(data.endswith(rest), "the rest is no rest")
    demand(not set(path.text) & set(b"\r\n\0<>"), "an octet of two meanings", path)
    demand(len(path.domain) <= MAX_DOMAIN and len(path.local) <= MAX_LOCAL, "too long", path)
    if path.text and not path.text.endswith(b"]"):
        again, left = parse(b"<%b>" % path.text)
        demand(again == path._replace(routed=False) and not left, "read back as something else", path, again)
    for smtputf8 in (False, True):
        try:
            line, written, _ = rcpt_command(b"TO:" + data, OFFERED, smtputf8)
        except BadCommand:
            continue
        demand(line.count(b"\r") == line.count(b"\n") == 1 and line.endswith(b"\r\n"), "more than a line", line)
        demand(line.count(b"<") == line.count(b">") == 1, "brackets", line)
        demand(not is_local(written, smtputf8, DOMAINS) or not is_foreign(line[:-2]), "local and foreign", line)
