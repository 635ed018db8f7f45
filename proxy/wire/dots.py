r"""The body of a message on its way from client to upstream: where it ends, so that both sides agree (rule S8).

Promises, whatever the client sends and however it is cut into chunks:
  - the end of data is CRLF.CRLF and nothing else (RFC 5321 4.1.1.4; the CRLF of the DATA line counts as the first
    one);
  - what is forwarded holds no CR without LF, no LF without CR, and one CRLF.CRLF, at its very end. So a server that
    takes CR, LF or CRLF for the end of a line, alone or mixed, finds the end of data where the client's CRLF.CRLF put
    it;
  - nor does a server find another one that drops NULs, or cuts a line at its first NUL, before it looks for the end;
  - a body whose lines end in CRLF, and which has no NUL (RFC 5322 4: none may be sent), passes octet for octet, most
    of it as the chunks that came in, not copied;
  - at most LINE_LIMIT + 1 octets are held back: a CR that may still become CRLF, and a line that may still need a
    dot.

Stray newlines.  A CR that no LF follows, and a LF that no CR precedes, is stray; `\r\r\n` is a stray CR, then
CRLF. "normalize" makes each a CRLF, and a line that a stray newline began or ended, and that starts with one dot but
not two, gets another dot, so that no server reads an end that the client did not make.  "reject" forwards nothing
from then on, reads to CRLF.CRLF, and leaves the 550 and the closing of the upstream connection to the session.

NUL passes, in both modes, but `\r\n.\0` and `\r\n\0.` (any number of NULs) get another dot: old Sendmails, which read
by fgets(), end the message at the first, and services were found that end it at a dot with NULs beside it (threat list
A13, A14).  `\r\0\n.\r\n` (A12) is a stray CR, a line, a stray LF and a dotted line here.

Not defended: a server that breaks lines at VT, FF, NEL or U+2028 finds an end in `\v.\v` (A20).  None that was measured
does, all of these may stand in correct mail, and a dot in mid-line is never taken out again.  Nor one that clears the
eighth bit of every message (`\x8d\x8a.\r\n`), since UTF-8 text has such octets; Sendmail does by default on BODY=7BIT
alone, which is therefore not sent on (wire/esmtp.py).  Nor one that breaks over-long lines in two, so that a dot comes
to stand alone (an fgets() of fixed length, as in those Sendmails): lines are never re-broken here, because RFC 5321's
limit is passed by mail that is read every day.  The lab tries the lengths at which buffers end (tests/lab/ends.py, A24)
with what is run today, and none of it does.

A bound on the letter of S8: a line that a CRLF began, with one dot, more than LINE_LIMIT octets and a stray newline at
its end gets no further dot, since it would have to be held back whole.  There is text behind its dot: no end to anyone.

Does not: limit the length of lines or of the message, unstuff dots, time anything, or answer (session/smtp/session.py).

Speed (CPython 3.11 to 3.13 alike, GB/s at 256 KiB): base64, or any text whose lines have one length, 11; random short
lines with dots 1.2; text that came with bare LF 0.27.  Most octets are in order, so what counts is the proof
(`passes`): _even 11.5, which fails at once on other text; then rfind of the end 2.9 (its absence; find 2.2) and
_in_order 2.1.  No objects of the text's size are made: malloc gives their pages back each time, and a third of all CPU
went into fetching them again.  Rejected, on short lines: count CR == LF == CRLF 0.6; translate to two indicator
strings, shifted and compared, 2.0; `\r[^\n]` 1.9 and then the LFs counted 2.2; splitting into lines 0.8.
"""

from __future__ import annotations

import io
import re
from typing import Literal

LINE_LIMIT = 998  # octets of text in a line without its CRLF, RFC 5321 4.5.3.1.6
_END = b"\r\n.\r\n"
_EVEN_FROM = 4096  # octets: below it the fixed 3 us of `passes` cost more than they save
_EVEN_PERIOD = 32  # octets: shorter lines make the strided slices dearer than the scan they save
_PIECE = 65536  # octets that _in_order makes an object of: under the 128 KiB from which malloc gives pages back at once
_WORK = bytearray(
    262144
)  # one a process; `_copied` alone writes to it, what is read at once (net/sockets/leg.py) fits in
_WORK_VIEW = memoryview(_WORK)

# What the current line began with.  Sent in front of a body that is mended, so that the first line is like all others.
_CRLF, _STRAY, _MIDDLE, _NULS = b"\r\n", b"\n", b"", b"\r\n\0"  # the last: any newline, and nothing but NULs behind it

_STRAY_CR = re.compile(rb"\r(?!\n)")
# Both on text in which "\r" stands for the client's CRLF and "\n" for a stray newline.
_DOT_AFTER_STRAY = re.compile(rb"\n\.(?!\.)")
_DOT_BEFORE_STRAY = re.compile(rb"\r\.(?=\n|\0|[^.\r\n][^\r\n]{0,%d}\n)" % (LINE_LIMIT - 2))  # or before NUL
_DOT_AFTER_NULS = re.compile(rb"([\r\n]\0+)\.")
_LOOKALIKE = re.compile(rb"[\r\n]\.[\r\n]{1,3}\Z")


class Body:
    """One message body.  Make a new one for each DATA, once the upstream has answered 354."""

    def __init__(self, mode: Literal["normalize", "reject"]) -> None:
        self.octets = 0  # forwarded so far, the end of data included
        self.stray = False  # a bare CR or LF was seen
        self.rejected = False  # mode "reject" and stray: nothing is forwarded any more
        self._mode = mode
        self._began = _CRLF  # the line that `_held` or the next octet is in; DATA's own CRLF began the first
        self._held = b""  # undecided octets: not forwarded, part of the next chunk
        self._last = _CRLF  # the last five octets received, for `lookalike`

    @property
    def lookalike(self) -> bool:
        """Whether the octets so far end in what an old client may have meant as the end (LF.LF, CR.CR, LF.CRLF ...)."""
        return _LOOKALIKE.search(self._last) is not None

    def feed(self, data: bytes) -> tuple[list[bytes], int | None]:
        """Take the client's next octets; return the chunks to forward, and how much of `data` the body used.

        None: the body goes on, and all of `data` is used.  A number: the end of data is in the chunks (unless
        `rejected`), data[used:] are the client's next commands, and this object is done.
        """
        if self.passes(data):
            return [data], None
        self._last = (self._last + data[-5:])[-5:]
        text = self._held + data if self._held else data
        dotted = b"." in text
        end = self._find_end(text) if dotted else -1
        cut = end if end >= 0 else self._decided(text, dotted)
        body = text[:cut]  # the same object when nothing is cut off
        used = end - len(self._held) if end >= 0 else None
        self._held = text[cut:] if end < 0 else b""
        if not body:
            return [], used
        chunk = self._forwardable(body, dotted)
        self._began = self._beginning(body)
        self.octets += len(chunk)
        return [chunk] if chunk else [], used

    def passes(self, data: bytes | memoryview) -> bool:
        """Whether octets in mid-message may go on just as they are: then they count as forwarded, and nothing is held.

        The usual case, for who reads into a buffer of its own: `feed` would hand on the same octets.  False says
        nothing about them: `feed` them.
        """
        count, fresh = len(data), self._began == _CRLF
        if count < _EVEN_FROM or self._held or self.rejected or not (fresh or self._began == _MIDDLE):
            return False
        text = _copied(data)
        if text.find(b"\0", 0, count) >= 0 or text.endswith((b"\r", _END), 0, count):
            return False
        last = text.rfind(b"\n", 0, count) + 1  # where the line begins that goes on behind them
        if (fresh or last) and text.startswith(b".", last, count) and not text.startswith(b"..", last, count):
            return False
        if fresh and text.startswith(b".\r\n", 0, count):
            return False
        # Even lines are too long for an end of data between them.
        if not (_even(text, count) or (text.rfind(_END, 0, count) < 0 and _in_order(data))):
            return False
        self._last = (self._last + bytes(data[-5:]))[-5:]
        self._began = _CRLF if last == count else _MIDDLE
        self.octets += count
        return True

    def _find_end(self, text: bytes) -> int:
        """The index behind the end of data, or -1.  A literal CRLF.CRLF is one, whatever stands before it."""
        if self._began == _CRLF and text.startswith(b".\r\n"):
            return 3
        if text.rfind(_END) < 0:  # rfind proves absence almost twice as fast as find
            return -1
        return text.find(_END) + len(_END)

    def _decided(self, text: bytes, dotted: bool) -> int:
        """How much of a text without an end of data can be judged now: not a last CR, not a last line with one dot."""
        cut = len(text) - text.endswith(b"\r")
        if not dotted:
            return cut
        start = max(text.rfind(b"\n", 0, cut), text.rfind(b"\r", 0, cut)) + 1
        if start == 0 and self._began in (_MIDDLE, _NULS):
            return cut
        one_dot = text.startswith(b".", start, cut) and not text.startswith(b"..", start, cut)
        return start if one_dot and cut - start <= LINE_LIMIT else cut

    def _beginning(self, body: bytes) -> bytes:
        """What the line began with that goes on behind these octets."""
        if body.endswith(_CRLF):
            return _CRLF
        if body.endswith((b"\r", b"\n")):
            return _STRAY
        if not body.endswith(b"\0"):
            return _MIDDLE
        before = body.rstrip(b"\0")
        alone = before.endswith((b"\r", b"\n")) or (not before and self._began != _MIDDLE)
        return _NULS if alone else _MIDDLE

    def _forwardable(self, body: bytes, dotted: bool) -> bytes:
        """The octets to forward for these, whose newlines are all whole and whose dots are all decided."""
        even = len(body) >= _EVEN_FROM and _even(_copied(body), len(body))
        in_order = even or _in_order(body)
        if not in_order:
            self.stray = True
            self.rejected = self._mode == "reject"
        if self.rejected:
            return b""
        if in_order and not (dotted and (b"\0" in body or self._began in (_STRAY, _NULS))):
            return body
        return _mended(self._began, body)


def _copied(data: bytes | memoryview) -> bytearray:
    """The octets in a buffer that may be written to, good until the next call; what is behind them means nothing."""
    if len(data) > len(_WORK):
        return bytearray(data)
    _WORK_VIEW[: len(data)] = data
    return _WORK


def _even(text: bytearray, count: int) -> bool:
    """Whether all lines have one length and end in CRLF, and no other CR or LF is there: base64, which is most octets.

    Two strided slices must be nothing but LF and CR; with these blanked out, no CR or LF may be left.  All of it is
    memory-speed work, on the first `count` octets; the text stays blanked if it is true.  False only means: ask
    _in_order.
    """
    first = text.find(b"\n", 0, count)
    period = text.find(b"\n", first + 1, count) - first
    if first < 1 or period < _EVEN_PERIOD:
        return False
    lines = (count - first - 1) // period + 1
    if text[first:count:period] != b"\n" * lines or text[first - 1 : count - 1 : period] != b"\r" * lines:
        return False
    text[first:count:period] = text[first - 1 : count - 1 : period] = bytearray(lines)
    if text.find(b"\n", 0, count) < 0 and text.find(b"\r", 0, count) < 0:
        return True
    text[first:count:period], text[first - 1 : count - 1 : period] = b"\n" * lines, b"\r" * lines
    return False


def _in_order(data: bytes | memoryview) -> bool:
    """Whether every CR is followed by LF and every LF preceded by CR.

    The universal-newlines decoder of `io` notes which of CR, LF and CRLF it meets, in one C loop; latin-1 is one
    character an octet.  It keeps a CR at the very end back, as half a CRLF; here that one is decided, and stray.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=False)
    view = memoryview(data)
    for at in range(0, len(view), _PIECE):
        newlines.decode(str(view[at : at + _PIECE], "latin-1"))
    return newlines.newlines in (None, "\r\n") and bytes(view[-1:]) != b"\r"


def _mended(began: bytes, body: bytes) -> bytes:
    """The body with its stray newlines made CRLF and the dots added that S8 asks for; `began` as in Body."""
    text = _STRAY_CR.sub(b"\n", began + body)
    text = text.replace(b"\r\n", b"\r")  # now "\r" is the client's CRLF, and "\n" was stray
    if b"." in text:
        text = _DOT_AFTER_STRAY.sub(b"\n..", text)
        text = _DOT_BEFORE_STRAY.sub(b"\r..", text)
        text = _DOT_AFTER_NULS.sub(rb"\1..", text)
    text = text.replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if began == _STRAY:
        return text[2:]  # it has become CRLF
    return text[len(began) :]
