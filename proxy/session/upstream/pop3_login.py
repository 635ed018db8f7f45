"""A POP3 login that popgate makes itself, to learn whether a password is right (rule G15).

Sans-IO: the upstream's octets in by `upstream_bytes`, ours out in `to_upstream`, the result in `result` once there is
one.  Greeting, USER, PASS; then the connection is closed without QUIT: no mailbox is changed, and none of these servers
waits for it.

`-ERR` is no proof of a wrong password: the mailbox may be in use, by this very user's mail client.  Servers that know
RFC 2449 and 3206 say so in a code; of a server without codes it is believed when its words say so, as those of known
servers do, or when popgate sees an open POP session of that login (`is_open`, asked when the answer comes).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...errors import ProtocolError, UpstreamUnavailable
from ...gate.verdict import Password
from ...wire.pop3 import ReplyLines, Status, status

if TYPE_CHECKING:
    from collections.abc import Callable

_CODE = re.compile(rb"-ERR \[([A-Za-z0-9/-]{1,64})\]")
# Dovecot, Cyrus, qpopper, UW, Courier, Exchange: "Mailbox is locked", "POP lock is busy", "maildrop already locked",
# "Mailbox in use", "is being used".  Not "account locked": that is about the login.
_IN_USE = re.compile(
    rb"(?:mail ?(?:box|drop)|inbox|pop)\b[^\r\n]{0,40}\b(?:lock(?:ed)?|in use|being used|busy)"
    rb"|\bunable to lock|can't get lock",
    re.IGNORECASE,
)
_BUSY: Final = (b"IN-USE", b"LOGIN-DELAY", b"SYS/TEMP")  # RFC 2449 8.1, RFC 3206 4: not now; nothing of the password


class PopLogin:
    """One try."""

    __slots__ = ("_commands", "_is_open", "_lines", "result", "to_upstream")

    def __init__(self, login: bytes, password: bytes, is_open: Callable[[], bool]) -> None:
        """`login` and `password` have no control octets (wire/sasl.py's `plausible`)."""
        self.to_upstream: list[bytes] = []
        self.result: Password | None = None
        self._is_open = is_open
        self._lines = ReplyLines()
        self._commands = [b"USER %b\r\n" % login, b"PASS %b\r\n" % password]

    def upstream_bytes(self, data: bytes) -> None:
        """Raise UpstreamUnavailable when there will be no result."""
        self._lines.feed(data)
        try:
            while self.result is None and (line := self._lines.take()) is not None:
                self._take(line)
        except ProtocolError as error:
            raise UpstreamUnavailable(str(error)) from error

    def take_to_upstream(self) -> bytes:
        """Take the octets for the upstream."""
        octets = b"".join(self.to_upstream)
        self.to_upstream.clear()
        return octets

    def _take(self, line: bytes) -> None:
        said = status(line)
        if said is Status.CONTINUE or (self._commands and len(self._lines)):
            raise ProtocolError("a reply that answers nothing")
        if said is Status.ERR:
            self.result = self._refused(line)
            self._commands.clear()
        elif self._commands:
            self.to_upstream.append(self._commands.pop(0))
        else:
            self.result = Password.RIGHT

    def _refused(self, line: bytes) -> Password:
        if len(self._commands) == 2:
            return Password.UNKNOWN  # the greeting: it serves nobody now
        code = _CODE.match(line)
        if code is not None:
            return Password.UNKNOWN if code[1].upper() in _BUSY else Password.WRONG
        return Password.IN_USE if self._is_open() or _IN_USE.search(line) else Password.WRONG
