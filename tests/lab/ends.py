"""The A rows: ends of data that are none, ends that are one, and what lies around them (SMTP smuggling).

Left out, because a real server can't be made to do it: A30 (a message refused behind its end), A32 and A33 (354 out of
turn); tests/unit and the transcripts play them.  A34 is in commands.py with the other D rows, A35 is the whole lab.
"""

from __future__ import annotations

from ..support.smuggling import ENDS, NO_ENDS, TRUE_ENDS
from .steps import DATA, EHLO, MAIL, QUIT, RCPT, SMUGGLED, Case, R, Step, Wait, body

SEQUENCES = (
    ENDS
    | TRUE_ENDS
    | NO_ENDS
    | {
        # Ours: mixtures of the above, for what the gate itself might make of them.
        "A21 lf": b"\n..\n",
        "A21 cr": b"\r..\r",
        "A8 nul": b"\r\n.\r\0\r\n",
        "A4 double": b"\n.\r\r\n",
        "A6 double": b"\r\r.\n\n",
        "A10 lf": b"\n.\r\r\r\n",
        "A14 lf": b"\n.\0\n",
        "A13 lf": b"\n\0.\n",
        "A15 lf": b"\n.\r\0\r\n",
        "A1 cut": b"\n.\n.\n",
    }
)
HEAD = b"Subject: outer {tag}\r\n\r\nbody"
LF_HEAD = b"Subject: outer {tag}\n\nbody"  # A22: Exim takes LF for the rest of the message, if the first line has it

LENGTHS = (512, 998, 999, 1000, 1001, 2040, 2046, 2048, 4096, 8192, 16384, 65536)
"""Octets at which some program ends a buffer or a line: RFC 5321, Sendmail, Postfix, Exim, and powers of two."""


def _smuggling() -> list[Case]:
    cases = []
    for name, sequence in SEQUENCES.items():
        cases.append(body(name, HEAD + sequence + SMUGGLED))
        cases.append(body(f"A22 {name}", LF_HEAD + sequence + SMUGGLED))
        cases.append(_slowly(name, MAIL, sequence))
    return cases


def _slowly(name: str, mail: Step, sequence: bytes) -> Case:
    """Command by command, for servers that take no pipelining."""
    slow = [(line, Wait.BREATH) for line in (HEAD + sequence, *SMUGGLED.splitlines(keepends=True)[:3])]
    rest = b"Subject: smuggled {tag}\r\n\r\nx\r\n.\r\n"
    return Case(f"{name} slowly", (EHLO, mail, RCPT, DATA, *slow, (rest, Wait.REPLY), QUIT))


def _cut() -> list[Case]:
    """A23: the end in four packets; A26: half of the end, and the rest with a command."""
    pieces = ((HEAD + b"\r", Wait.PAUSE), (b"\n.", Wait.PAUSE), (b"\r", Wait.PAUSE))
    start = (EHLO, MAIL, RCPT, DATA)
    return [
        Case("A23", (*start, *pieces, (b"\nQUIT\r\n", Wait.END)), least=1),
        Case("A26", (*start, (b".\r", Wait.PAUSE), (b"\n" + SMUGGLED + b"QUIT\r\n", Wait.END)), least=1),
        Case("A29 half an end", (*start, (HEAD + b"\r\n.\r", Wait.CLOSE)), most=0),
        Case("A29 half a body", (*start, (HEAD + b"\r\n", Wait.CLOSE)), most=0),
        Case("A29 LF.LF", (*start, (HEAD + b"\n.\n", Wait.CLOSE)), most=0),
    ]


def _long() -> list[Case]:
    """A24: ends at the edge of a buffer, and dots that only a re-broken line would put at the start of one."""
    cases = [body("A24 a MiB", HEAD + b"\r\n" + b"a" * (1 << 20) + b"\r\n.\r\n")]
    for length in sorted({length + more for length in LENGTHS for more in (-1, 0, 1)}):
        text = b"\r\n" + b"a" * length
        cases.append(body(f"A24 {length}", HEAD + text + b"\r\n.\r\n"))
        cases.append(body(f"A24 {length} dot", HEAD + text + b".\r\n" + SMUGGLED))
    return cases


EIGHTH_BIT = {
    "newlines": b"\x8d\x8a.\x8d\x8a",
    "newline before": b"\x8d\x8a.\r\n",
    "dot": b"\r\n\xae\r\n",
    "all": b"\x8d\x8a\xae\x8d\x8a",
}
"""Ends of data for a server that clears the eighth bit before it looks; Sendmail does where BODY=7BIT is announced."""


def _eighth_bit() -> list[Case]:
    seven: Step = (MAIL[0].replace(b"\r\n", b" BODY=7BIT\r\n"), Wait.REPLY)
    cases = []
    for name, sequence in EIGHTH_BIT.items():
        text = HEAD + sequence + SMUGGLED + b"QUIT\r\n"
        cases.append(Case(f"7BIT {name}", (EHLO, seven, RCPT, DATA, (text, Wait.END))))
        cases.append(_slowly(f"7BIT {name}", seven, sequence))
    return cases


def _others() -> list[Case]:
    evil = b"MAIL FROM:<evil@{tag}.s.test>\r\nRCPT TO:<v@%b>\r\n" % R
    return [
        body("A25", b".\r\n", least=1),
        body("A27", HEAD + b"\r\n..\x41\r\n..\r\n...\r\n.x\r\n.\r\n", least=1),
        body("A27 strays", HEAD + b"\r\n.\r\r\n.\n.\r\n"),
        body("A28", b"From x\r\n" + HEAD + b"\r\n.\r\n"),
        body("A28 received", b"Received: x\r\n" * 20 + HEAD + b"\r\n.\r\n"),
        Case(
            "A31",
            (
                EHLO,
                (b"MAIL FROM:<a@{tag}.s.test>\r\nDATA\r\nSubject: x\r\n%bDATA\r\nx\r\n.\r\nQUIT\r\n" % evil, Wait.END),
            ),
            most=0,
        ),
        Case(
            "A31 refused",
            (
                EHLO,
                MAIL,
                (b"RCPT TO:<v@%b>\r\nDATA\r\nSubject: x\r\n%bDATA\r\nx\r\n.\r\nQUIT\r\n" % (R, evil), Wait.END),
            ),
            most=0,
        ),
    ]


def cases() -> list[Case]:
    return [*_smuggling(), *_cut(), *_long(), *_eighth_bit(), *_others()]
