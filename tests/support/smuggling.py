"""Known attacks on an SMTP proxy, by their numbers in the threat list, as packets of a client that waits for replies.

A rows: ends of data.  B, D: what is not for the upstream.  C1 to C15: lines.  C16 to C75: addresses.  C76 on: verbs.
"""

from __future__ import annotations

HEAD = b"EHLO c.test\r\n"
MAIL = b"MAIL FROM:<a@s.test>\r\n"
ENVELOPE = b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<e@s.test>\r\nRCPT TO:<v@far.test>\r\nDATA\r\nx\r\n.\r\n"

Script = list[bytes]
"""Packets of a client, which waits for the replies to each before it sends the next."""

ENDS = {
    "A1": b"\n.\n",
    "A2": b"\n.\r\n",
    "A3": b"\r\n.\n",
    "A4": b"\n.\r",
    "A5": b"\r.\r",
    "A6": b"\r.\n",
    "A7": b"\r.\r\n",
    "A8": b"\r\n.\r",
    "A9": b"\r\r\n.\r\r\n",
    "A10": b"\r\n.\r\r\n",
    "A12": b"\r\0\n.\r\n",
    "A13": b"\r\n\0.\r\n",
    "A14": b"\r\n.\0\r\n",
    "A14b": b"\r\n.\0\0\0\r\n",
    "A14c": b"\r\n.\0x\r\n",
    "A15": b"\r\n.\r\0\n",
    "A16": b"\n\n.\n\n",
}
TRUE_ENDS = {"A11": b"\r\r\n.\r\n", "A17": b"\0\r\n.\r\n", "A18": b"\r\n.\r\n\0"}
"""These hold CRLF.CRLF: they are the end, for everybody."""
NO_ENDS = {
    "A19": b"\r\n. \r\n",
    "A19b": b"\r\n\t.\r\n",
    "A19c": b"\r\n.\x0b\r\n",
    "A19d": b"\r\n.\x1a\r\n",
    "A20": b"\xc2\x85.\xc2\x85",
    "A20b": b"\x0b.\x0b",
    "A20c": b"\x0c.\x0c",
    "A20d": b"\x1c.\x1c",
    "A20e": "\u2028.\u2028".encode(),
    "A21": b"\r\n..\r\n",
}

LINES = {
    "C1": b"RCPT TO:<a@local.test>\nRCPT TO:<b@far.test>\r\n",
    "C2": b"NOOP\rRCPT TO:<b@far.test>\r\n",
    "C3": b"RCPT TO:<a@local.test>\r\r\nRCPT TO:<b@far.test>\r\n",
    "C4": b"RCPT TO:<b@far.test\x00@local.test>\r\n",
    "C5": b"RCPT TO:<a@local.test>\x00\nRCPT TO:<b@far.test>\r\n",
    "C6": b"RCPT TO:<a@local.test>\n\rRCPT TO:<b@far.test>\r\n",
    "C7": b"NOOP\x0bRCPT TO:<b@far.test>\r\n",
    "C7b": b"NOOP\x0cRCPT TO:<b@far.test>\r\n",
    "C7c": "NOOP\u2028RCPT TO:<b@far.test>\r\n".encode(),
    "C8": b"NOOP " + b"x" * 595 + b"RCPT TO:<b@far.test>\r\n",
    "C11": b"RCPT\tTO:<b@far.test>\r\n",
    "C10": b" RCPT TO:<b@far.test>\r\n",
    "C12": b"\x00RCPT TO:<b@far.test>\r\n",
    "B14": b"STARTTLS\r\n",
    "C76": b"XCLIENT ADDR=10.0.0.1\r\n",
    "C77": b"XFORWARD ADDR=10.0.0.1\r\n",
    "C78": b"TURN\r\n",
    "C78b": b"ETRN far.test\r\n",
    "C79": b"SEND FROM:<a@far.test>\r\n",
    "C79b": b"SOML FROM:<a@far.test>\r\n",
    "C79c": b"SAML FROM:<a@far.test>\r\n",
    "C84": b"XEXCH50 10 2\r\n",
    "C86": b"VERB\r\n",
    "D1": b"BDAT 6 LAST\r\n",
}

ADDRESSES = {
    "C20": b"<v%far.test@[127.0.0.1]>",
    "C22": b'<"v@far.test">',
    "C23": b'<"v%far.test">',
    "C28": b"<@local.test,@x.test:v@far.test>",
    "C30": b"<far.test!v@[127.0.0.1]>",
    "C36": b"<v@far.test..>",
    "C38": b'<"|id"@local.test>',
    "C38b": b"<v::far@local.test>",
    "C38c": b"</etc/x@local.test>",
    "C38d": b'<":include:/etc/passwd"@local.test>',
    "C39": b"<a@local.test<b@far.test>>",
    "C40": b"<b@far.test<a@local.test>>",
    "C42": b"<a@local.test>,<b@far.test>",
    "C43": b"<a@local.test><b@far.test>",
    "C44": b"<a@local.test> <b@far.test>",
    "C45": b"<a@local.test,b@far.test>",
    "C45b": b"<b@far.test;a@local.test>",
    "C46": b"<grp:b@far.test;>",
    "C47": b"<a@local.test(x@far.test)>",
    "C48": b"<b@far.test(>@local.test)>",
    "C50": b"<b%far.test@local.test>",
    "C51": b"<b%far.test>",
    "C52": b"<far.test!b@local.test>",
    "C52b": b"<far.test!b>",
    "C53": b"<@far.test:b@local.test>",
    "C54": b'<"b@far.test">',
    "C55": b'<"b@far.test"@local.test>',
    "C56": b'<"b%far.test"@local.test>',
    "C57": b"<b@far.test@local.test>",
    "C57b": b'<"b\\"@far.test"@local.test>',
    "C58": b"<b\\@far.test@local.test>",
    "C60": b"b@far.test>",
    "C61": b'"a@local.test" <b@far.test>',
    "C65": b"<a@local.test> ORCPT=rfc822;<b@far.test>",
    "C65b": b"<a@local.test>ORCPT=rfc822;b@far.test",
    "C66": "<a@\u212aocal.test>".encode(),
    "C67": "<a\uff20far.test@local.test>".encode(),
    "C69": b"<a@[IPv6:::ffff:127.0.0.1]>",
    "C71": b"<a@local.test.far.test>",
}
# A careless proxy refuses these, or passes them on as harmless: nothing shows against it.
_SAFE_ANYWAY = {
    *{"C3", "C11", "C20", "C22", "C23", "C28", "C30", "C36", "C39", "C45", "C46", "C47", "C48", "C51", "C52b", "C54"},
    *{"C60", "C61", "C66", "C69", "C71", "C90", "C91", "A25"},
}


def attacks() -> list[tuple[str, Script]]:
    """All of them, by name."""
    found: list[tuple[str, Script]] = [(name, [HEAD, MAIL, line]) for name, line in LINES.items()]
    found += [(name, [HEAD, MAIL, b"RCPT TO:" + address + b"\r\n"]) for name, address in ADDRESSES.items()]
    utf8 = '"a\u2028RCPT TO:<b@far.test>"@s.test'.encode()
    found.append(("C14", [HEAD, MAIL, b"MAIL FROM:<%b> SMTPUTF8\r\n" % utf8]))
    ends = ENDS | TRUE_ENDS | NO_ENDS
    found += [(name, [HEAD, ENVELOPE, b"x" + end + SMUGGLED, b".\r\n"]) for name, end in ends.items()]
    found.append(("A22", [HEAD, ENVELOPE, b"Subject: x\n\nbody\r\n.\n" + SMUGGLED, b".\r\n"]))
    found.append(("A25", [HEAD, ENVELOPE, b".\r\n" + SMUGGLED]))
    seven = ENVELOPE.replace(b"t>\r\nRCPT", b"t> BODY=7BIT\r\nRCPT")
    found.append(("eighth bit", [HEAD, seven, b"x\x8d\x8a.\x8d\x8a" + SMUGGLED, b".\r\n"]))
    found.append(("A31", [HEAD, MAIL + b"DATA\r\nSubject: x\r\n" + SMUGGLED]))
    found.append(("C91", [HEAD + ENVELOPE + b"x\r\n.\r\n" + SMUGGLED]))
    found.append(("C90", [HEAD, b"QUIT\r\n" + SMUGGLED]))
    found.append(("C88", [HEAD, b"AUTH LOGIN\r\n", b"DATA\r\n", SMUGGLED]))
    return found


ATTACKS = attacks()
CAUGHT = [name for name, _ in ATTACKS if name not in _SAFE_ANYWAY | set(TRUE_ENDS) | set(NO_ENDS)]
"""The attacks that work against a careless proxy, with one server at least."""
