r"""Dialogues as text: what a transcript may say, and how it is read.  Played by tests/support/play.py.

A transcript is a file in tests/transcripts/smtp or tests/transcripts/pop3; the folder says which session it is for.
Each line is one step; blank lines and lines that begin with `#` are remarks, and so is whatever stands behind two
blanks and `# `.

    settings: starttls bare_newline=reject     words for the session, see driver.new_session; at the head
    use: esmtp                                  the steps of esmtp.part in the same folder stand here
    whole only: WHY                             not played in cuts, and why; at the head

    U> 250 ok | 250 reset                       the upstream sends these octets (one packet)
    C> MAIL FROM:<a@b> | RSET                   the client does
    EOF C      EOF U                            the client, the upstream closes its sending side
    FAIL U                                      there is no upstream connection
    TIME       LAPSE                            over the limit of the wait; the verdict's lease is over
    DRAIN      CUT                              draining has begun; its limit is over

    >C 250 ok                                   what the client got next; >U likewise for the upstream
    ?  relay x@far.test     ! allow LOGIN       RelayAsked, and its answer: allow [LOGIN], refuse [WHY], defer [WHY],
                                                spent [WHY]; allow LOGIN/2 is for two recipients at a time
    ?  relay x@far.test                         RelayAsked, and its answer comes later: ANSWER refuse [WHY]
    ?  login anna           ! ok                LoggedIn; the answer, ok or down, is lease_settled()
    ?  authenticated anna x@far.test ! allow    the same of a session that anna's AUTH opened
    ?  password anna secret ! right             PasswordGiven, and its answer: right, wrong, in use, unknown
    ?  password anna secret                     the same, and its answer comes later: CHECKED right
    TLS                                         TlsAsked, and its answer
    MOVE EHLO c.test | MAIL FROM:<a@b>          UnannouncedAsked, with these lines; its answer comes later:
    MOVED 250-new | 250 SIZE                    the other connection is there; its reply to EHLO, if there is one
    STAYS                                       there is no other connection
    REFUSED x@far.test      [REPLY]             facts: Refused, Relayed, LoginFailed, UpstreamAborted
    RELAYED a@b -> x@far.test, y@far.test
    FAILED anna                                 ... noted at once; with `settings: slow` later: NOTED, NOTED close
    ABORT
    END clean      END cut WORDS                Finished; the words must be part of its `why`
    DONE U                                      `upstream_done` has been set
    DOING waiting for the reply to DATA         `doing` says so now

Lines in a packet are joined by ` | ` and each ends in CRLF, but one that ends in `\` ends there.  Escapes: \xNN \r \n
\t \\ and \{600*a}, which is 600 times `a`.  A blank at the end is \x20, a ` | ` of the text is \x20\x7c\x20.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent.parent / "transcripts"

_REMARK = re.compile(r"\s{2,}# .*$")
_STEP = re.compile(r"(U>|C>|>U|>C|\?|[A-Z]{3,})(?:\s+(.*))?$")
_HEAD = re.compile(r"(settings|use|whole only):\s*(.*)$")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([rnt\\])|\{(\d+)\*((?:\\x[0-9A-Fa-f]{2}|[^}])*)\})")
_JOIN = re.compile(r" \|(?= |$)")
_LETTERS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Step:
    """One line of a transcript."""

    place: str
    """File and line, for the message of a failure."""
    kind: str
    rest: str


@dataclass(frozen=True)
class Transcript:
    name: str
    protocol: str
    settings: tuple[str, ...]
    steps: tuple[Step, ...]
    whole_only: bool


def transcripts(protocol: str) -> list[Transcript]:
    """All transcripts of "smtp" or "pop3", by name."""
    return [read(path) for path in sorted((FOLDER / protocol).glob("*.txt"))]


def read(path: Path) -> Transcript:
    """A transcript out of its file; ValueError names the line that is none."""
    settings: list[str] = []
    steps: list[Step] = []
    whole_only = False
    for head, step in _lines(path):
        if step is not None:
            steps.append(step)
        elif head[0] == "settings":
            settings += head[1].split()
        elif head[0] == "whole only":
            whole_only = True
    return Transcript(path.stem, path.parent.name, tuple(settings), tuple(steps), whole_only)


def _lines(path: Path) -> Iterator[tuple[tuple[str, str], Step | None]]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = _REMARK.sub("", text).strip()
        if not line or line.startswith("#"):
            continue
        place = f"{path.name}:{number}"
        if head := _HEAD.match(line):
            if head[1] == "use":
                yield from _lines(path.parent / f"{head[2]}.part")
            else:
                yield (head[1], head[2]), None
        elif step := _STEP.match(line):
            yield ("", ""), Step(place, step[1], step[2] or "")
        else:
            raise ValueError(f"{place}: no step: {line}")


def octets(text: str) -> bytes:
    """The octets of a packet: lines joined by ` | `, each with CRLF unless it ends in a backslash, escapes resolved."""
    return b"".join(_line(line.strip().encode("utf-8")) for line in _JOIN.split(text))


def _line(line: bytes) -> bytes:
    bare = line.endswith(b"\\") and not line.endswith(b"\\\\")
    return unescaped(line[:-1] if bare else line) + (b"" if bare else b"\r\n")


def unescaped(text: bytes) -> bytes:
    def value(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode("ascii"))
        return _LETTERS[match[2]] if match[2] else unescaped(match[4]) * int(match[3])

    return _ESCAPE.sub(value, text)
