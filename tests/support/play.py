r"""Dialogues as text, played against a session without sockets: one text, many cuts.

A transcript is a file in tests/transcripts/smtp or tests/transcripts/pop3; the folder says which session it is for.
Each line is one step; blank lines and lines that begin with `#` are remarks, and so is whatever stands behind two
blanks and `# `.

    settings: starttls bare_newline=reject     words for the session, see `new_session`; at the head
    use: esmtp                                  the steps of esmtp.part in the same folder stand here
    whole only: WHY                             not played in cuts, and why; at the head

    U> 250 ok | 250 reset                       the upstream sends these octets (one packet)
    C> MAIL FROM:<a@b> | RSET                   the client does
    EOF C      EOF U                            the client, the upstream closes its sending side
    FAIL U                                      there is no upstream connection
    TIME       DRAIN       LAPSE                over the limit of the wait; draining; the verdict's lease is over

    >C 250 ok                                   what the client got next; >U likewise for the upstream
    ?  relay x@far.test     ! allow LOGIN       RelayAsked, and its answer: allow [LOGIN], refuse [WHY], defer [WHY]
    ?  login anna           ! ok                LoggedIn; the answer, ok or down, is lease_settled()
    TLS                                         TlsAsked, and its answer
    REFUSED x@far.test      [REPLY]             facts: Refused, Relayed, LoginFailed, UpstreamAborted
    RELAYED a@b -> x@far.test, y@far.test
    FAILED anna
    ABORT
    END clean      END cut WORDS                Finished; the words must be part of its `why`
    DONE U                                      `upstream_done` (or with C `client_done`) has been set
    DOING waiting for the reply to DATA         `doing` says so now

Lines in a packet are joined by ` | ` and each ends in CRLF, but one that ends in `\` ends there.  Escapes: \xNN \r \n
\t \\ and \{600*a}, which is 600 times `a`.  A blank at the end is \x20, a ` | ` of the text is \x20\x7c\x20.

Exact: before every input, and at the end, nothing may be left that the session said and the transcript did not.  So the
order on each side, and between questions and octets, is held; the order between the two sides within one step is not.

`play` feeds whole packets, single octets, or random pieces.  Like the link (net/link.py) it feeds a session no client
octet while it is `holding`, and an end only behind all octets; unlike the link it goes on feeding a finished session,
which must stay silent.
"""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.session.events import (
    Event,
    Finished,
    LoggedIn,
    LoginFailed,
    Outcome,
    Refused,
    RelayAsked,
    Relayed,
    TlsAsked,
    UpstreamAborted,
    Verdict,
)
from proxy.session.pop3 import PopSession, PopSettings
from proxy.session.smtp import SmtpSession, SmtpSettings
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER = Path(__file__).parent.parent / "transcripts"
REFUSAL = "554 5.7.1 <{recipient}>: Relay access denied"
CUTS = 50  # random ones a transcript
DEFAULTS = {Outcome.ALLOW: "", Outcome.REFUSE: "no lease", Outcome.DEFER: "store down"}

_REMARK = re.compile(r"\s{2,}# .*$")
_STEP = re.compile(r"(U>|C>|>U|>C|\?|[A-Z]{3,})(?:\s+(.*))?$")
_HEAD = re.compile(r"(settings|use|whole only):\s*(.*)$")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([rnt\\])|\{(\d+)\*((?:\\x[0-9A-Fa-f]{2}|[^}])*)\})")
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


class Driver:
    """A session with its two sides kept: what it said to whom, and its events, until someone takes them."""

    def __init__(self, session: SmtpSession | PopSession) -> None:
        self.session = session
        self.to_client = b""
        self.to_upstream = b""
        self.events: list[Event] = []
        self._unread: deque[bytes | None] = deque()  # from the client while the session holds; None: its end

    def client(self, *pieces: bytes) -> None:
        self._unread += [piece for piece in pieces if piece]
        self.settle()

    def client_eof(self) -> None:
        self._unread.append(None)
        self.settle()

    def upstream(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.session.upstream_bytes(piece)
            self.settle()

    def call(self, method: Callable[[], None]) -> None:
        """An input that is no octets: upstream_eof, out_of_time, lease_settled ..."""
        method()
        self.settle()

    def answer(self, verdict: Verdict) -> None:
        assert isinstance(self.session, SmtpSession)
        self.session.relay_answered(verdict)
        self.settle()

    def settle(self) -> None:
        """Take what the session said; give it what the client sent, as long as it takes it."""
        session = self.session
        self._take()
        while self._unread and not session.holding:
            piece = self._unread.popleft()
            if piece is None:
                session.client_eof()
            else:
                session.client_bytes(piece)
            self._take()

    @property
    def finished(self) -> Finished | None:
        """The end of the session, if it has not been taken out of `events`."""
        return next((event for event in self.events if isinstance(event, Finished)), None)

    def _take(self) -> None:
        session = self.session
        self.to_client += b"".join(session.to_client)
        self.to_upstream += b"".join(session.to_upstream)
        self.events += session.events
        session.to_client.clear()
        session.to_upstream.clear()
        session.events.clear()


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
    return b"".join(_line(line.strip().encode("utf-8")) for line in text.split(" | "))


def _line(line: bytes) -> bytes:
    bare = line.endswith(b"\\") and not line.endswith(b"\\\\")
    return unescaped(line[:-1] if bare else line) + (b"" if bare else b"\r\n")


def unescaped(text: bytes) -> bytes:
    def value(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode("ascii"))
        return _LETTERS[match[2]] if match[2] else unescaped(match[4]) * int(match[3])

    return _ESCAPE.sub(value, text)


def new_session(protocol: str, words: Iterable[str] = ()) -> SmtpSession | PopSession:
    """A session for a client at 192.0.2.7.

    Words: tls (implicit), starttls (POP3: stls), tls_required, noauth, bare_newline=MODE, local=DOMAIN,DOMAIN (default
    local.test), ask_local, standing=OUTCOME, max_refusals=N, max_errors=N, max_failed_logins=N.
    """
    given = dict(word.partition("=")[::2] for word in words)

    def number(key: str, default: int) -> int:
        return int(given.pop(key, default))

    def flag(key: str) -> bool:
        return given.pop(key, None) is not None

    tls, required = flag("tls"), flag("tls_required")
    session: SmtpSession | PopSession
    if protocol == "pop3":
        pop = PopSettings(stls=flag("stls"), tls_required=required, max_failed_logins=number("max_failed_logins", 5))
        session = PopSession(pop, tls=tls)
    else:
        auth = not flag("noauth")
        standing = given.pop("standing", None)
        settings = SmtpSettings(
            LocalDomains(given.pop("local", "local.test").split(",")),
            EhloEditor(auth),
            REFUSAL,
            bare_newline="reject" if given.pop("bare_newline", "normalize") == "reject" else "normalize",
            auth=auth,
            starttls=flag("starttls"),
            tls_required=required,
            ask_local=flag("ask_local"),
            max_refusals=number("max_refusals", 20),
            max_errors=number("max_errors", 20),
        )
        verdict = Verdict(Outcome(standing), "standing") if standing else None
        session = SmtpSession(settings, "192.0.2.7", b"[192.0.2.7]", tls=tls, standing=verdict)
    if given:
        raise ValueError(f"no such settings: {', '.join(given)}")
    return session


def whole(data: bytes) -> list[bytes]:
    return [data]


def single(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def pieces(seed: str) -> Callable[[bytes], list[bytes]]:
    """Cut at random places; the seed is in the message of a failure."""
    chance = random.Random(seed)

    def cut(data: bytes) -> list[bytes]:
        places = sorted(chance.sample(range(1, len(data)), chance.randint(0, min(len(data) - 1, 12)))) if data else []
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]

    return cut


def play(transcript: Transcript) -> None:
    """Play a transcript in every cut; AssertionError tells the step, the cut and what was said instead."""
    Run(transcript, "whole", whole).go()
    if transcript.whole_only:
        return
    Run(transcript, "octet by octet", single).go()
    for number in range(CUTS):
        seed = f"{transcript.name} {number}"
        Run(transcript, f"cut {seed!r}", pieces(seed)).go()


class Run:
    """One transcript in one cut."""

    def __init__(self, transcript: Transcript, how: str, cut: Callable[[bytes], list[bytes]]) -> None:
        self._transcript, self._how, self._cut = transcript, how, cut
        self._driver = Driver(new_session(transcript.protocol, transcript.settings))
        self._place = ""

    def go(self) -> None:
        for step in self._transcript.steps:
            self._place = step.place
            if step.kind in _INPUTS:
                self._check_silence()
                _INPUTS[step.kind](self, step.rest)
            elif step.kind in _EXPECTED:
                _EXPECTED[step.kind](self, step.rest)
            else:
                raise ValueError(f"{step.place}: no step {step.kind}")
        self._place += " (behind it)"
        self._check_silence()

    def _fail(self, expected: object, found: object) -> None:
        raise AssertionError(f"{self._place} ({self._how})\n  expected {expected!r}\n  found    {found!r}")

    def _check_silence(self) -> None:
        """Nothing may have been said that no step has told."""
        driver = self._driver
        if driver.to_client or driver.to_upstream or driver.events:
            self._fail(
                "nothing more", {"client": driver.to_client, "upstream": driver.to_upstream, "events": driver.events}
            )

    # Inputs

    def _client(self, rest: str) -> None:
        self._driver.client(*self._cut(octets(rest)))

    def _upstream(self, rest: str) -> None:
        self._driver.upstream(*self._cut(octets(rest)))

    def _eof(self, rest: str) -> None:
        if rest == "C":
            self._driver.client_eof()
        else:
            self._driver.call(self._driver.session.upstream_eof)

    def _fail_upstream(self, rest: str) -> None:
        self._driver.call(self._driver.session.upstream_failed)

    def _time(self, rest: str) -> None:
        self._driver.call(self._driver.session.out_of_time)

    def _drain(self, rest: str) -> None:
        self._driver.call(self._driver.session.drain)

    def _lapse(self, rest: str) -> None:
        assert isinstance(self._driver.session, SmtpSession)
        self._driver.call(self._driver.session.verdict_lapsed)

    # What is expected

    def _to_client(self, rest: str) -> None:
        said = octets(rest)
        if not self._driver.to_client.startswith(said):
            self._fail(said, self._driver.to_client)
        self._driver.to_client = self._driver.to_client[len(said) :]

    def _to_upstream(self, rest: str) -> None:
        said = octets(rest)
        if not self._driver.to_upstream.startswith(said):
            self._fail(said, self._driver.to_upstream)
        self._driver.to_upstream = self._driver.to_upstream[len(said) :]

    def _question(self, rest: str) -> None:
        """A question is an input too: what was said before it must have been told."""
        asked, _, answer = (part.strip() for part in rest.partition(" ! "))
        kind, _, about = asked.partition(" ")
        found = self._event(rest)
        self._check_silence()
        words = _text(about.strip())
        if kind == "relay" and isinstance(found, RelayAsked) and found.recipient == words:
            self._driver.answer(_verdict(answer))
        elif kind == "login" and isinstance(found, LoggedIn) and found.login == words:
            assert isinstance(self._driver.session, PopSession)
            self._driver.call(self._driver.session.lease_settled)
        else:
            self._fail(f"{kind} {words}", found)

    def _tls(self, rest: str) -> None:
        found = self._event("TlsAsked")
        self._check_silence()
        if not isinstance(found, TlsAsked):
            self._fail("TlsAsked", found)
        self._driver.call(self._driver.session.tls_started)

    def _refused(self, rest: str) -> None:
        recipient, _, reply = rest.partition(" ")
        found = self._event(rest)
        if not isinstance(found, Refused) or found.recipient != _text(recipient) or reply.strip() not in found.reply:
            self._fail(rest, found)

    def _relayed(self, rest: str) -> None:
        sender, _, recipients = rest.partition("->")
        found = self._event(rest)
        expected = tuple(_text(recipient.strip()) for recipient in recipients.split(","))
        if not isinstance(found, Relayed) or found.sender != _text(sender.strip()) or found.recipients != expected:
            self._fail(rest, found)

    def _login_failed(self, rest: str) -> None:
        found = self._event(rest)
        if found != LoginFailed(_text(rest)):
            self._fail(LoginFailed(rest), found)

    def _aborted(self, rest: str) -> None:
        found = self._event("UpstreamAborted")
        if found != UpstreamAborted():
            self._fail("UpstreamAborted", found)

    def _end(self, rest: str) -> None:
        kind, _, words = rest.partition(" ")
        found = self._event(rest)
        if not isinstance(found, Finished) or found.clean != (kind == "clean") or words.strip() not in found.why:
            self._fail("END " + rest, found)

    def _done(self, rest: str) -> None:
        session = self._driver.session
        if not (session.client_done if rest == "C" else session.upstream_done):
            self._fail("DONE " + rest, "not set")

    def _doing(self, rest: str) -> None:
        if self._driver.session.doing != rest:
            self._fail(rest, self._driver.session.doing)

    def _event(self, expected: str) -> Event | None:
        if not self._driver.events:
            self._fail(expected, "no event")
        return self._driver.events.pop(0)


_INPUTS: dict[str, Callable[[Run, str], None]] = {
    "C>": Run._client,
    "U>": Run._upstream,
    "EOF": Run._eof,
    "FAIL": Run._fail_upstream,
    "TIME": Run._time,
    "DRAIN": Run._drain,
    "LAPSE": Run._lapse,
}
_EXPECTED: dict[str, Callable[[Run, str], None]] = {
    ">C": Run._to_client,
    ">U": Run._to_upstream,
    "?": Run._question,
    "TLS": Run._tls,
    "REFUSED": Run._refused,
    "RELAYED": Run._relayed,
    "FAILED": Run._login_failed,
    "ABORT": Run._aborted,
    "END": Run._end,
    "DONE": Run._done,
    "DOING": Run._doing,
}


def _text(words: str) -> str:
    """Octets written with escapes, as events show them."""
    return unescaped(words.encode("utf-8")).decode("utf-8", "backslashreplace")


def _verdict(answer: str) -> Verdict:
    word, _, rest = answer.partition(" ")
    outcome = Outcome(word)
    rest = rest.strip() or DEFAULTS[outcome]
    if outcome is Outcome.ALLOW:
        return Verdict(outcome, f"lease of {rest}" if rest else "allowed", rest)
    return Verdict(outcome, rest)
