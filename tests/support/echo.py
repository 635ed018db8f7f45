"""For properties of the SMTP session: a driver that checks what goes up, and a server that answers with an echo."""

from __future__ import annotations

import re

from proxy.session.smtp.session import SmtpSession

from .driver import Driver, new_session

COMMAND = re.compile(rb"[A-Z]{4,8}[ -~\x80-\xff]*\r\n")  # what popgate writes: no CR, LF or NUL but at the end
RESPONSE = re.compile(rb"(?:[A-Za-z0-9+/]*=*|\*)\r\n")
OFFER = [b"PIPELINING", b"SIZE", b"8BITMIME", b"DSN", b"SMTPUTF8", b"AUTH PLAIN LOGIN"]


class Watched(Driver):
    """A driver that checks the shape of everything that goes up, and keeps all of it."""

    def __init__(self, *words: str) -> None:
        session = new_session("smtp", words)
        assert isinstance(session, SmtpSession)
        self.smtp = session
        self.commands = b""  # all command lines sent up
        self.bodies = 0  # ended ones
        self._before = (False, "")
        self._body = b""
        super().__init__(session)

    def _take(self) -> None:
        sent = self.smtp.output.to_upstream
        streaming, doing = self._before
        self._before = (self.smtp.streaming, self.smtp.doing)
        super()._take()
        if streaming:
            sent = self._take_body(sent)
        for line in re.findall(rb"[^\n]*\n|[^\n]+", sent):
            shape = RESPONSE if doing == "waiting for an AUTH response" else COMMAND
            assert shape.fullmatch(line), line
            assert len(line) <= 12290
            self.commands += line

    def _take_body(self, sent: bytes) -> bytes:
        """What goes up of a message has CRLF alone, and one end; return what is behind it."""
        text = (self._body or b"\r\n") + sent
        at = text.find(b"\r\n.\r\n")
        body, behind = (text, b"") if at < 0 else (text[: at + 5], text[at + 5 :])
        rest = body.replace(b"\r\n", b"")
        assert b"\r" not in rest
        assert b"\n" not in rest
        self._body = b"" if at >= 0 else body
        self.bodies += at >= 0
        return behind


class Echo:
    """A server that answers each line with it; `codes` says how, one after another."""

    def __init__(self, codes: list[int], *, pipelining: bool) -> None:
        self._codes = codes
        self._turn = 0
        self._offer = OFFER if pipelining else OFFER[1:]
        self._data = b""
        self._in_message = self._in_auth = False

    def feed(self, sent: bytes) -> bytes:
        self._data += sent
        replies = b""
        while True:
            end = b"\r\n.\r\n" if self._in_message else b"\r\n"
            line, found, rest = self._data.partition(end)
            if not found:
                return replies
            self._data = rest
            replies += self._reply(line)

    def _reply(self, line: bytes) -> bytes:
        code = self._codes[self._turn % len(self._codes)]
        self._turn += 1
        if self._in_message:
            self._in_message = False
            return b"%d echo message\r\n" % code
        verb = line[:4]
        if self._in_auth or verb == b"AUTH":
            self._in_auth = code == 451
            return b"334 AAAA\r\n" if self._in_auth else b"235 echo AUTH\r\n" if code == 250 else b"535 echo AUTH\r\n"
        if verb == b"EHLO" and code == 250:
            return b"".join([b"250-%b\r\n" % text for text in (b"echo " + line, *self._offer)]) + b"250 HELP\r\n"
        if verb == b"DATA" and code == 250:
            self._in_message = True
            self._data = b"\r\n" + self._data
            return b"354 echo DATA\r\n"
        return b"%d echo %b\r\n" % (221 if verb == b"QUIT" else code, line)


# Commands and bodies of a polite client, with a place for a number; LAST is what a pipelined group may end in.
PIPELINED = [
    "MAIL FROM:<m%d@s.test>",
    "RCPT TO:<r%d@local.test>",
    "RCPT TO:<r%d@far.test>",
    "RSET",
    "NOOP %d",
    "VRFY r%d",
]
PIPELINED += ["RCPT TO:<r%d@a%%b@local.test>", "HELP", "XYZZY %d", "MAIL FROM:<m%d@s.test> SMTPUTF8", "EXPN %d"]
LAST = ["DATA", "EHLO c%d.test", "HELO c%d.test", "QUIT", "AUTH PLAIN AGEAYg==", "STARTTLS", "AUTH LOGIN"]
LAST += ["NOOP %d\0", "RSET"]
BODIES = [b"x\r\n.\r\n", b".\r\n", b"x\n.\r\ny\r\n.\r\nMAIL FROM:<m0@s.test>\r\n", b"..\r\n" * 50 + b".\r\n"]
