"""Plays transcripts (tests/support/transcript.py) against a session without sockets: one text, many cuts.

Exact: before every input, and at the end, nothing may be left that the session said and the transcript did not.  So the
order on each side, and between questions and octets, is held; the order between the two sides within one step is not.

`play` feeds whole packets, single octets, or random pieces.  Like the link (net/link/link.py) it feeds a session no
client octet while it is `holding`, and an end only behind all octets; unlike the link it goes on feeding a finished
session, which must stay silent.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from proxy.gate.verdict import Outcome, Password, Reason, RelayAsked, Verdict
from proxy.session.events import (
    ClientDone,
    Event,
    Finished,
    LoggedIn,
    LoginFailed,
    PasswordGiven,
    Refused,
    Relayed,
    TlsAsked,
    UnannouncedAsked,
    UpstreamAborted,
)

from .driver import Driver, new_session
from .transcript import Transcript, octets, unescaped

if TYPE_CHECKING:
    from collections.abc import Callable

CUTS = 50  # random ones a transcript
DEFAULTS = {
    Outcome.ALLOW: "",
    Outcome.REFUSE: "no lease",
    Outcome.DEFER: "store down",
    Outcome.OVER_QUOTA: "budget spent",
}


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
        words = [word for word in transcript.settings if word != "slow"]
        self._driver = Driver(new_session(transcript.protocol, words))
        self._driver.notes_failures = words == [*transcript.settings]
        self._place = ""
        self._login = ""  # whose password is being checked

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

    def _cut_off(self, rest: str) -> None:
        self._driver.call(self._driver.session.cut)

    def _lapse(self, rest: str) -> None:
        self._driver.call(self._driver.session.verdict_lapsed)

    def _answer(self, rest: str) -> None:
        self._driver.answer(_verdict(rest))

    def _noted(self, rest: str) -> None:
        self._driver.note_failure(rest == "close")

    def _checked(self, rest: str) -> None:
        self._driver.check_password(self._login, Password(rest))

    def _moved(self, rest: str) -> None:
        self._driver.move(octets(rest) if rest else b"")

    def _stays(self, rest: str) -> None:
        self._driver.move(None)

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
        if answer or kind != "password":  # to take a password is no input, and its session may be over by then
            self._check_silence()
        words = _text(about.strip())
        if kind == "relay" and isinstance(found, RelayAsked) and found.recipient == words:
            if answer:
                self._driver.answer(_verdict(answer))
        elif kind == "authenticated" and isinstance(found, RelayAsked) and found.authenticated:
            if words != f"{found.login} {found.recipient}":
                self._fail(words, found)
            self._driver.answer(_verdict(answer))
        elif kind == "password" and isinstance(found, PasswordGiven):
            self._login = found.login
            if about.strip().encode() != b" ".join(self._driver.take_password()):
                self._fail(words, found)
            if answer:
                self._checked(answer)
        elif kind == "login" and isinstance(found, LoggedIn) and found.login == words:
            self._driver.lease()
        else:
            self._fail(f"{kind} {words}", found)

    def _tls(self, rest: str) -> None:
        found = self._event("TlsAsked")
        self._check_silence()
        if not isinstance(found, TlsAsked):
            self._fail("TlsAsked", found)
        self._driver.start_tls()

    def _move(self, rest: str) -> None:
        found = self._event(rest)
        self._check_silence()
        said = octets(rest)
        if not isinstance(found, UnannouncedAsked) or found.hello + found.mail != said:
            self._fail(said, found)

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
        found = self._event("DONE " + rest)
        if rest != "U" or found != ClientDone():
            self._fail("DONE " + rest, found)

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
    "CUT": Run._cut_off,
    "LAPSE": Run._lapse,
    "ANSWER": Run._answer,
    "MOVED": Run._moved,
    "STAYS": Run._stays,
    "NOTED": Run._noted,
    "CHECKED": Run._checked,
}
_EXPECTED: dict[str, Callable[[Run, str], None]] = {
    ">C": Run._to_client,
    ">U": Run._to_upstream,
    "?": Run._question,
    "TLS": Run._tls,
    "MOVE": Run._move,
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
        login, _, most = rest.partition("/")
        reason = Reason.LEASE if login else Reason.TRUSTED
        return Verdict(outcome, reason, login, login, int(most) if most else None)
    return Verdict(outcome, Reason(rest))
