"""The C rows on recipients, C16 to C75: every form that a server was seen, or is known, to send elsewhere."""

from __future__ import annotations

from .steps import DATA, EHLO, MAIL, MARK, MESSAGE, QUIT, RCPT, SENDER, USER, Case, L, R, Step, Wait, line, recipient

IP_SENDER = b"a@[{ip}]"

# nmap's smtp-open-relay and the MAPS and abuse.net lists: name, sender, what stands behind RCPT TO:
CLASSIC: list[tuple[str, bytes, list[bytes]]] = [
    ("C16", b"", [b"<v@%b>" % R]),
    ("C17", b"a@%b" % R, [b"<v@%b>" % R]),
    ("C18", b"a@{host}", [b"<v@%b>" % R]),
    ("C19", IP_SENDER, [b"<v@%b>" % R]),
    ("C20", IP_SENDER, [b"<v%%%b@[{ip}]>" % R]),
    ("C21", IP_SENDER, [b"<v%%%b@{host}>" % R, b"<v%%%b@%b>" % (R, L)]),
    ("C22", IP_SENDER, [b'<"v@%b">' % R]),
    ("C23", IP_SENDER, [b'<"v%%%b">' % R]),
    ("C24", IP_SENDER, [b"<v@%b@[{ip}]>" % R]),
    ("C25", IP_SENDER, [b'<"v@%b"@[{ip}]>' % R, b'<"v@%b"@%b>' % (R, L)]),
    ("C26", IP_SENDER, [b"<v@%b@{host}>" % R, b"<v@%b@%b>" % (R, L)]),
    ("C27", IP_SENDER, [b"<@[{ip}]:v@%b>" % R]),
    ("C28", IP_SENDER, [b"<@{host}:v@%b>" % R, b"<@%b:v@%b>" % (L, R), b"<@%b,@x.test:v@%b>" % (L, R)]),
    ("C29", IP_SENDER, [b"<%b!v>" % R]),
    ("C30", IP_SENDER, [b"<%b!v@[{ip}]>" % R]),
    ("C31", IP_SENDER, [b"<%b!v@{host}>" % R, b"<%b!v@%b>" % (R, L)]),
    ("C32", b"a@localhost", [b"<v@%b>" % R]),
    ("C33", b"a-{tag}", [b"<v@%b>" % R]),
    ("C34", b"v@%b" % R, [b"<v@%b>" % R]),
    ("C35", b"a-{tag}@%b" % L, [b"<v@%b>" % R]),
    ("C36", b"a@{host}", [b"<v%%%b>" % R, b"<v@%b.>" % R, b"<v@%b..>" % R, b"<v@.%b>" % R]),
    ("C37", SENDER, [b"<v-{tag}>", b"<postmaster>", b"<PoStMaStEr>", b"<>"]),
    (
        "C38",
        SENDER,
        [
            b"<v::%b@%b>" % (R, L),
            b"</c=us/prmd=x/dd.rfc-822=v(a)%b/@%b>" % (R, L),
            b'<":include:/etc/passwd"@%b>' % L,
            b'<"|id"@%b>' % L,
            b"<|id@%b>" % L,
            b"</etc/x@%b>" % L,
            b"<|id>",
            b"</tmp/x>",
        ],
    ),
]

# C39 to C73: what some server reads otherwise than a careless parser; a is local, b is not.
A, B = b"a@" + L, b"b@" + R
CONFUSING: list[tuple[str, list[bytes]]] = [
    ("C39", [b"<%b<%b>>" % (A, B)]),
    ("C40", [b"<%b<%b>>" % (B, A)]),
    ("C41", [b"<<%b>>" % A, b"<<%b>>" % B]),
    ("C42", [b"<%b>,<%b>" % (A, B), b"<%b>, <%b>" % (A, B)]),
    ("C43", [b"<%b><%b>" % (A, B), b"<%b><%b>" % (B, A)]),
    ("C44", [b"<%b> <%b>" % (A, B), b"<%b>;<%b>" % (A, B)]),
    ("C45", [b"<%b,%b>" % (A, B), b"<%b;%b>" % (A, B)]),
    ("C46", [b"<grp:%b;>" % B, b"<grp:%b;@%b>" % (B, L), b"<:%b>" % B]),
    ("C47", [b"<%b(x@%b)>" % (A, R), b"<a(x)@%b>" % L, b"<a@(%b)%b>" % (L, R)]),
    ("C48", [b"<%b(>@%b)>" % (B, L), b'<b@%b"(">@%b)' % (R, L)]),
    ("C49", [b"<a @ %b>" % L, b"< %b >" % A, b"<%b\t>" % A, b"<b @ %b>" % R, b"< %b >" % B, b"<%b\t>" % B]),
    ("C50", [b"<b%%%b@%b>" % (R, L), b"<b%%%b%%%b@%b>" % (R, L, L), b"<b%%%b@%b.>" % (R, L)]),
    ("C51", [b"<b%%%b>" % R, b"b%%%b" % R]),
    ("C52", [b"<%b!b>" % R, b"<%b!b@%b>" % (R, L), b"<%b!%b!b@%b>" % (L, R, L)]),
    ("C53", [b"<@%b:%b>" % (L, B), b"<@%b:%b>" % (R, A), b"<@%b@%b:%b>" % (L, L, B)]),
    ("C54", [b'<"%b">' % B, b'"%b"' % B]),
    ("C55", [b'<"%b"@%b>' % (B, L), b'<"b"@%b@%b>' % (R, L)]),
    ("C56", [b'<"b%%%b"@%b>' % (R, L), b'<"b"%%%b@%b>' % (R, L)]),
    ("C57", [b"<%b@%b>" % (B, L)]),
    ("C57b", [b'<"b\\"@%b"@%b>' % (R, L), b"<.a.@%b>" % L, b"<a@>", b"<@%b>" % L]),
    (
        "C57c",
        [b"<.a..b.@%b>" % L, b"<..b..@%b>" % R, b"<.b%%%b@%b>" % (R, L), b"<b..%%%b@%b>" % (R, L), b"<b.@%b>" % R],
    ),
    ("C57d", [b"<../x@%b>" % L, b"<x/../y@%b>" % L, b"<..%b@%b>" % (R, L), b"<.%b!b@%b>" % (R, L)]),
    (
        "C57e",
        [b"<%b%%%b@%b>" % (b"b" * 80, R, L), b"<%b@%b>" % (b"b" * 200, R), b"<SRS0=x=%b=%b@%b>" % (R, b"b" * 70, L)],
    ),
    ("C58", [b"<b\\@%b@%b>" % (R, L), b'<"b\\@%b"@%b>' % (R, L)]),
    ("C59", [b"<%b>\0@%b>" % (A, R), b"<%b>\0@%b>" % (B, L), b"<%b\0@%b>" % (B, L), b"<%b\0>" % B]),
    ("C60", [B, b"%b>" % B, b"<%b" % A, b"<%b" % B, A]),
    ("C61", [b'"%b" <%b>' % (A, B), b"Joe <%b>" % B, b"<%b> Joe <%b>" % (A, B), b"(<%b>) <%b>" % (A, B)]),
    ("C62", [b" <%b>" % B, b"  <%b>" % B, b"\t<%b>" % B, b" \t %b" % B]),
    (
        "C62b",
        [b"<<%b>> <%b>" % (A, B), b"<< %b >>" % B, b"<<%b> <%b>>" % (A, B), b"< <%b>>" % B, b"<<b%%%b@%b>>" % (R, L)],
    ),
    (
        "C62c",
        [b"b b@%b" % R, b"a %b" % B, b"b%%%b" % R, b"b %%%b" % R, b"a <%b>" % B, b"a\t<%b>" % B, b"a NOTIFY=<%b>" % B],
    ),
    (
        "C65",
        [
            b"<%b> NOTIFY=NEVER ORCPT=rfc822;x@%b" % (B, R),
            b"<%b>NOTIFY=NEVER" % B,
            b"<%b> FOO=BAR" % B,
            b"<%b> NOTIFY=NEVER NOTIFY=NEVER" % A,
            b"<%b> ORCPT=rfc822;a+0D+0ARCPT" % A,
            b"<%b> ORCPT=rfc822;a+0D+0ARCPT+20TO:<%b>" % (A, B),
            b"<%b> ORCPT=rfc822;%b" % (A, B),
            b"<%b> <%b>" % (A, B),
        ],
    ),
    ("C66", [b"<a@\xe2\x84\xaa%b>" % L, b"<a@loca\xe2\x84\x93.test>"]),
    (
        "C67",
        [
            b"<a@b\xc3\xbccher.test>",
            b"<a@b\xfccher.test>",
            b"<a@local\xe3\x80\x82test>",
            b"<a@local\xef\xbc\x8etest>",
            b"<a@xn--bcher-kva.test>",
            b"<a@xn--->",
            b"<b\xef\xbc\xa0%b@%b>" % (R, L),
        ],
    ),
    ("C68", [b"<a@%b.>" % L, b"<a@LOCAL.TEST>", b"<A@%b>" % L, b"<a@%b..>" % L]),
    (
        "C69",
        [
            b"<a@[127.0.0.1]>",
            b"<a@[IPv6:::1]>",
            b"<a@127.0.0.1>",
            b"<a@0x7f000001>",
            b"<a@[IPv6:::ffff:127.0.0.1]>",
            b"<b%%%b@[127.0.0.1]>" % R,
            b"<a@[%b]>" % L,
        ],
    ),
    (
        "C70",
        [
            b"<%b@%b>" % (b"a" * 64, L),
            b"<%b@%b>" % (b"a" * 65, L),
            b"<%b@%b>" % (b"a" * 1000, L),
            b"<a@%b%b>" % (b"a." * 130, L),
            b"<a@%b>" % (b"a" * 3000),
            b"<a@%b%b>" % (b"a" * 1990, R),
        ],
    ),
    ("C71", [b"<a@sub.%b>" % L, b"<a@x%b>" % L, b"<a@%b.evil.test>" % L, b"<a@evil-%b>" % L, b"<a@%b.%b>" % (L, R)]),
    (
        "C72",
        [
            "<a@loc\u0430l.test>".encode(),
            "<a@local\u200d.test>".encode(),
            "<a@lo\u00adcal.test>".encode(),
            "<a@LOCAL.TE\u1e9eT>".encode(),
            "<a@loc\u0131al.test>".encode(),
            "<a@\uff4cocal.test>".encode(),
        ],
    ),
]

# C63, C64: the verb and its white space.
VERBS = [
    b"RCPT TO :<%b>" % B,
    b"RCPT  TO : <%b>" % B,
    b"RCPTTO:<%b>" % B,
    b"RCPT TO<%b>" % B,
    b"RCPT TO <%b>" % B,
    b"RCPT TO:%b:<%b>" % (A, B),
    b"RCPT\tTO:<%b>" % B,
    b" RCPT TO:<%b>" % B,
    b"rcpt to:<%b>" % B,
    b"rCpT tO:<%b>" % B,
    b"RCPT TO=<%b>" % B,
    b"RCPT FROM:<%b>" % B,
    b"RCPT TO:\x0b<%b>" % B,
    b"RCPT TO:\xc2\xa0<%b>" % B,
]

MAIL_TAILS = [
    b" SIZE=-1", b" SIZE=99999999999999999999", b" SIZE=1_0", b" SIZE=+5", b" BODY=BINARYMIME", b" AUTH=<>", b" RET=",
    b" ENVID=a+00", b" ENVID=a+0D+0ARCPT+20TO:<%b>" % B, b" SMTPUTF8 SMTPUTF8", b" MT-PRIORITY=3", b" REQUIRETLS",
    b" SIZE=\xd9\xa3", b"<%b>" % B,
]  # fmt: skip


def _numbered(name: str, arguments: list[bytes], sender: bytes = SENDER) -> list[Case]:
    several = len(arguments) > 1
    return [
        recipient(f"{name} {number}" if several else name, argument, sender)
        for number, argument in enumerate(arguments, 1)
    ]


def _mail() -> list[Case]:
    """C73: the same on MAIL, then a local recipient and a foreign one."""
    both = (RCPT, (b"RCPT TO:<%b>\r\n" % B, Wait.REPLY), DATA, MESSAGE, QUIT)
    cases = []
    for number, tail in enumerate(MAIL_TAILS, 1):
        cases.append(Case(f"C73 {number}", (EHLO, (b"MAIL FROM:<%b>%b\r\n" % (SENDER, tail), Wait.REPLY), *both)))
    for number, path in enumerate((b"<%b<%b>>" % (A, B), b"<%b>\nRCPT TO:<%b>" % (SENDER, B), b"<{tag}\0>"), 20):
        cases.append(Case(f"C73 {number}", (EHLO, (b"MAIL FROM:" + path + b"\r\n", Wait.PAUSE), *both)))
    utf8 = b"MAIL FROM:<%b> SMTPUTF8\r\n" % SENDER
    for number, path in enumerate(
        (b"b\xef\xbc\xa0%b@%b" % (R, L), b"b\xef\xbc\x85%b@%b" % (R, L), b"a@local\xe3\x80\x82test"), 30
    ):
        steps = (EHLO, (utf8, Wait.REPLY), (b"RCPT TO:<%b>\r\n" % path, Wait.REPLY), DATA, MESSAGE, QUIT)
        cases.append(Case(f"C73 {number}", steps))
    return cases


def _many() -> list[Case]:
    """C74, C75: many recipients, and a foreign one among the good."""
    foreign: Step = (b"RCPT TO:<%b>\r\n" % B, Wait.REPLY)
    hundred = b"".join(b"RCPT TO:<user-%d-{tag}@%b>\r\n" % (number, L) for number in range(101))
    bad = b"".join(b"RCPT TO:<v%d@%b>\r\n" % (number, R) for number in range(1000))
    good, wrong = b"RCPT TO:<%b>\r\n" % USER, b"RCPT TO:<%b>\r\n" % B
    text: Step = (b"Subject: {tag}\r\n\r\nbody\r\n.\r\nQUIT\r\n", Wait.END)
    head = b"MAIL FROM:<%b>\r\n" % SENDER
    return [
        Case("C74 hundred", (EHLO, MAIL, (hundred + MARK[0], Wait.MARK), DATA, MESSAGE, QUIT)),
        Case("C74 thousand refused", (EHLO, MAIL, RCPT, (bad, Wait.PAUSE), (b"DATA\r\n", Wait.DATA), MESSAGE, QUIT)),
        Case("C75 good first", (EHLO, MAIL, RCPT, foreign, DATA, MESSAGE, QUIT), least=1),
        Case("C75 foreign first", (EHLO, MAIL, foreign, RCPT, DATA, MESSAGE, QUIT), least=1),
        Case(
            "C75 one packet",
            (EHLO, (head + good + wrong + b"DATA\r\n", Wait.PAUSE), text),
        ),
        Case(
            "C75 other order",
            (EHLO, (head + wrong + good + b"DATA\r\n", Wait.PAUSE), text),
        ),
        Case("C75 only foreign", (EHLO, MAIL, foreign, DATA, MESSAGE, QUIT), most=0),
    ]


def cases() -> list[Case]:
    made = [case for name, sender, arguments in CLASSIC for case in _numbered(name, arguments, sender)]
    made += [case for name, arguments in CONFUSING for case in _numbered(name, arguments)]
    made += [line(f"C63 {number}", text + b"\r\n") for number, text in enumerate(VERBS, 1)]
    return made + _mail() + _many()
