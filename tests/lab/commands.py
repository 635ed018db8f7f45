"""The C rows on lines and verbs (C1 to C15, C76 to C91) and the D rows: two programs, one stream of octets.

Left out, because no real server does it: C89 (334 for ever), C92 to C94 (replies out of turn); C95 and C96 are the
link's.  tests/unit, tests/e2e and the transcripts have them.  D4 and D6 are load: tests/e2e.
"""

from __future__ import annotations

from .steps import DATA, EHLO, MAIL, MARK, MESSAGE, QUIT, RCPT, SENDER, SMUGGLED, USER, Case, R, Wait, line, raw, verb

GOOD, BAD = b"RCPT TO:<%b>" % USER, b"RCPT TO:<b@%b>" % R
START = b"MAIL FROM:<%b>\r\n%b\r\n" % (SENDER, GOOD)
FORGED = b"192.0.2.77"  # an address that only XCLIENT or XFORWARD could have brought upstream

FRAMING: list[tuple[str, bytes]] = [
    ("C1", GOOD + b"\n" + BAD + b"\r\n"),
    ("C1 noop", b"NOOP\n" + BAD + b"\r\n"),
    ("C2", b"NOOP\rNOOP\r\n"),
    ("C2 rcpt", GOOD + b"\r" + BAD + b"\r\n"),
    ("C3", GOOD + b"\r\r\n" + BAD + b"\r\n"),
    ("C3 noop", b"NOOP\r\r\n" + BAD + b"\r\n"),
    ("C4", GOOD + b"\0" + BAD + b"\r\n"),
    ("C4 foreign", BAD + b"\0" + GOOD + b"\r\n"),
    ("C4 in it", b"RCPT TO:<b@%b\0>%b>\r\n" % (R, USER)),
    ("C5", GOOD + b"\0\n" + BAD + b"\r\n"),
    ("C6", GOOD + b"\n\r" + BAD + b"\r\n"),
    ("C7 VT", b"NOOP\x0b" + BAD + b"\r\n"),
    ("C7 FF", b"NOOP\x0c" + BAD + b"\r\n"),
    ("C7 NEL", b"NOOP\xc2\x85" + BAD + b"\r\n"),
    ("C7 85", b"NOOP\x85" + BAD + b"\r\n"),
    ("C7 U+2028", b"NOOP\xe2\x80\xa8" + BAD + b"\r\n"),
    *[(f"C8 {size}", b"NOOP " + b"x" * (size - 5) + BAD + b"\r\n") for size in
      (512, 1000, 1001, 1002, 2047, 2048, 2049, 4096, 8192, 12288, 16383, 16384, 16385, 16386, 32768, 65535, 65536)],
    ("C9", b"NOOP " + b"x" * 595 + b"\r\n" + BAD + b"\r\n"),
    ("C9 rcpt", b"RCPT TO:<" + b"x" * 2048 + b"\r\n" + BAD + b"\r\n"),
    ("C10 space", b" NOOP\r\n " + BAD + b"\r\n"),
    ("C10 tab", b"\tNOOP\r\n\t" + BAD + b"\r\n"),
    ("C11", b"RCPT\tTO:<b@%b>\r\n" % R),
    ("C12 NUL", b"\0NOOP\r\n\0" + BAD + b"\r\n"),
    ("C12 IAC", b"\xff\xf1" + BAD + b"\r\n"),
    ("C12 BOM", b"\xef\xbb\xbf" + BAD + b"\r\n"),
    ("C13", b"\r\n   \r\n" + BAD + b"\r\n"),
    ("C14", "MA\u0131L FROM:<x@y.test>\r\nR\u017fET\r\n".encode() + BAD + b"\r\n"),
    ("C15", b"NOOP\r\n" * 40 + GOOD + b"\r\n" + BAD + b"\r\n" + b"NOOP\r\n" * 8),
]  # fmt: skip

STATE: list[tuple[str, bytes]] = [
    ("C77", b"XFORWARD ADDR=%b NAME=forged.test\r\n" % FORGED),
    ("C78 turn", b"TURN\r\n"),
    ("C78 atrn", b"ATRN x\r\n"),
    ("C78 etrn", b"ETRN x\r\n"),
    ("C79 send", b"SEND FROM:<a@%b>\r\n" % R),
    ("C79 soml", b"SOML FROM:<a@%b>\r\n" % R),
    ("C79 saml", b"SAML FROM:<a@%b>\r\n" % R),
    ("C80 helo", b"HELO x\r\n"),
    ("C80 ehlo", b"EHLO x\r\n"),
    ("C81 rset", b"RSET x\r\n"),
    ("C81 noop", b"NOOP " + b"x" * 4000 + b"\r\n"),
    ("C82", b"VRFY \xc3\xa9@local.test\r\n"),
    ("C83 expn", b"EXPN root\r\n"),
    ("C83 vrfy", b"VRFY root\r\n"),
    ("C84 xexch50", b"XEXCH50 8 2\r\n" + b"QUIT\r\n\r\n"),
    ("C84 x-exps", b"X-EXPS GSSAPI\r\n"),
    ("C84 x-anonymoustls", b"X-ANONYMOUSTLS\r\n"),
    ("C85", b"BURL imap://x.test/ LAST\r\n"),
    ("C86 verb", b"VERB\r\n"),
    ("C86 onex", b"ONEX\r\n"),
    ("C86 debug", b"DEBUG\r\n"),
    ("C86 wiz", b"WIZ\r\n"),
    ("C86 help", b"HELP\r\n"),
    ("C86 ehlo", b"EHLO " + b"a" * 600 + b"\r\n"),
]

SIZES = (
    b" +6 LAST", b" 06 LAST", b" 0x10", b" -1", b" 1_0", b" \xd9\xa3", b" 99999999999999999999", b"  6  LAST",
    b"\t6 LAST", b" 6 LASTX", b"6 LAST", b":6",
)  # fmt: skip
"""What stands behind BDAT: D2."""


def _verbs() -> list[Case]:
    made = [verb(name, text) for name, text in STATE]
    xclient = b"XCLIENT ADDR=%b NAME=forged.test HELO=forged.test PROTO=ESMTP\r\n" % FORGED
    made.append(
        Case(
            "C76",
            (EHLO, (xclient, Wait.REPLY), (b"EHLO c.test\r\n", Wait.REPLY), MAIL, RCPT, MARK, DATA, MESSAGE, QUIT),
            never=FORGED,
        )
    )
    made.append(verb("C76 in mid-transaction", xclient, never=FORGED))
    for name, text in (("C81 data", b"DATA x\r\n"), ("C81 quit", b"QUIT x\r\n")):
        made.append(Case(name, (EHLO, MAIL, RCPT, (text, Wait.REPLY), (SMUGGLED + b"QUIT\r\n", Wait.END))))
    return made


def _out_of_step() -> list[Case]:
    """C87 to C91: one side in a dialogue that the other is not in."""
    whole = b"MAIL FROM:<%b>\r\n%b\r\nDATA\r\nSubject: {tag}\r\n\r\nx\r\n.\r\nQUIT\r\n" % (SENDER, GOOD)
    made = [
        raw(f"C88 {word}", b"AUTH LOGIN\r\n" + word.encode() + b"\r\n" + SMUGGLED + b"QUIT\r\n", most=0)
        for word in ("QUIT", "DATA", "RSET", "NOOP", "*")
    ]
    made += [
        raw("C90", b"QUIT\r\n" + whole, most=0),
        Case("C91", ((b"EHLO c.test\r\n" + whole, Wait.END),), most=0, hasty=True),
        Case("C91 helo", ((b"HELO c.test\r\n" + whole, Wait.END),), most=0, hasty=True),
        raw("C91 behind ehlo", b"EHLO c.test\r\n" + whole, most=0, hasty=True),
        raw("C91 http", b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n" + whole, most=0),
        raw("C91 body before 354", START + b"DATA\r\nSubject: {tag}\r\n.\r\nQUIT\r\n", most=0, hasty=True),
    ]
    return made


def _chunks() -> list[Case]:
    """D1 to D3, D5, D7: chunks that one side takes for commands.

    `DATA` inside one makes a careless proxy stop looking.
    """
    hidden = b"BDAT 6 LAST\r\nDATA\r\n"
    made = [
        raw("D1", START, hidden + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D1 noop", START, b"BDAT 6 LAST\r\nNOOP\r\nQUIT\r\n", most=0),
        raw("D1 first", b"BDAT 6 LAST\r\nDATA\r\n" + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D3 data after", START, b"BDAT 6\r\nDATA\r\nDATA\r\n" + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D3 after last", START, b"BDAT 0 LAST\r\n" + hidden + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D3 rset", START, b"BDAT 6\r\nDATA\r\nRSET\r\n" + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D3 bdat after data", START, b"DATA\r\n", b"BDAT 6 LAST\r\nDATA\r\n\r\n.\r\nQUIT\r\n", most=1),
        raw("D5", b"BDAT 6 LAST\r\nDATA\r\nDATA\r\n" + SMUGGLED + b"QUIT\r\n", most=0),
        raw("D7", START, b"BDAT 21 LAST\r\nx\n.\nMAIL FROM:<x@y>DATA\r\n" + SMUGGLED + b"QUIT\r\n", most=0),
    ]
    for number, size in enumerate(SIZES, 1):
        made.append(raw(f"D2 {number}", START, b"BDAT%b\r\nDATA\r\n" % size + SMUGGLED + b"QUIT\r\n", most=0))
    return made


def _honest() -> list[Case]:
    """Not an attack: what must arrive, or the lab looks at nothing."""
    return [Case("honest", (EHLO, MAIL, RCPT, DATA, MESSAGE, QUIT), least=1)]


def cases() -> list[Case]:
    made = [line(name, text) for name, text in FRAMING]
    return made + _verbs() + _out_of_step() + _chunks() + _honest()
