"""The SASL exchange as popgate overhears it, in SMTP (RFC 4954) and POP3 (RFC 5034).

`MECHANISMS` is the allow-list (rule S10): mechanisms that prove a password or token to the upstream and that send
nothing but base64 lines.  ANONYMOUS and EXTERNAL would give a lease to everybody; GSSAPI and NTLM may put a security
layer on the connection that popgate can't see through.

`PasswordExchange` is the server's side of PLAIN and LOGIN, for `auth = "pop3"`.
`Exchange` follows one AUTH command and names the login.  It checks the form of each line (base64, `=` or `*`), bounds
the rounds, and never keeps more of a response than the login: the password is not held, logged or returned.  Whether
the exchange succeeded is said by the upstream alone.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

MECHANISMS = frozenset(
    {b"PLAIN", b"LOGIN", b"CRAM-MD5", b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"XOAUTH2", b"OAUTHBEARER"},
)
MAX_LINE = 12288  # octets of one line, RFC 4954 4
MAX_ROUNDS = 10  # rule S10: SCRAM needs 3, LOGIN 2
MAX_LOGIN = 256  # octets of a login that is kept; a longer one is cut, with a mark that no real login ends in

_CONTROL = re.compile(rb"[\0-\x1f\x7f]")
_BASE64 = re.compile(rb"([A-Za-z0-9+/]*)(={0,2})")
_BLANKS = b" \t"


def decoded(response: bytes) -> bytes | None:
    """What a line of AUTH says; None where it is no base64.

    `=` and an empty line say nothing.  Small firmwares send blanks around a response, and leave its padding out: both
    can be read in one way only, and what goes on is written afresh.
    """
    match = _BASE64.fullmatch(response.strip(_BLANKS))
    if match is None:
        return None
    digits, padding = match[1], len(match[2])
    missing = -len(digits) % 4
    if missing == 3 or (padding not in (0, missing) and (digits or padding != 1)):
        return None
    return binascii.a2b_base64(digits + b"=" * missing)


def encoded(octets: bytes) -> bytes:
    """A line of AUTH that says this."""
    return binascii.b2a_base64(octets, newline=False) or b"="


def shown_login(name: bytes) -> str:
    """A login as text, its octets kept whatever they are (surrogate escapes), at most MAX_LOGIN of them."""
    cut = name if len(name) <= MAX_LOGIN else name[: MAX_LOGIN - 3] + b"..."
    return cut.decode("utf-8", "surrogateescape")


def split_auth(argument: bytes) -> tuple[bytes, bytes]:
    """The mechanism, in upper case, and the initial response in the argument of AUTH; blanks between them and behind
    are what some clients write."""
    mechanism, *rest = argument.replace(b"\t", b" ").split(b" ", 1)
    return mechanism.upper(), rest[0].strip(_BLANKS) if rest else b""


class Exchange:
    """One AUTH command from its first line to the reply that ends it."""

    __slots__ = ("_mechanism", "_rounds", "_unread", "cancelled", "login")

    def __init__(self, mechanism: bytes) -> None:
        self._mechanism = mechanism
        self._rounds = 0
        self.cancelled = False
        """Whether `*` was sent on: the upstream can only refuse now, and a success that it gives is none."""
        self._unread = self.login = "?" + mechanism.decode("ascii")
        """The authorisation identity if given, else the authentication identity; `?MECHANISM` if it can't be read."""

    def response(self, line: bytes) -> bytes:
        """Take a line of the client (the initial response too); return the line to send on.

        It is written afresh in canonical base64; an empty line stays empty.  What is no base64, `=` or `*`, and every
        line after MAX_ROUNDS, is replaced by `*`: the upstream then ends the exchange.
        """
        self._rounds += 1
        octets = decoded(line)
        if self._rounds > MAX_ROUNDS or octets is None:  # `*` among them
            self.cancelled = True
            return b"*"
        name = _LOGINS[self._mechanism](octets)
        if self._rounds == 1:
            if name and not _CONTROL.search(name):  # a client that mixed mechanisms up shows its password there
                self.login = shown_login(name)
        elif self._rounds > 2 if self._mechanism == b"LOGIN" else name and shown_login(name) != self.login:
            # The server asks for the name again: it passed over the first response, and so who logs in is not the one
            # who was named there (LOGIN has no initial response in its draft, CRAM-MD5 none in RFC 2195).
            self.login = self._unread
        return encoded(octets) if line.strip(_BLANKS) else b""


class BadResponse(ValueError):
    """The client cancels (`*`), or what it says is no base64 or no response of this mechanism."""


class PasswordExchange:
    """The server's side of PLAIN (RFC 4616) or LOGIN (draft-murchison-sasl-login): what the client says is its login
    and password.  Both are held by this object alone, and by nothing that prints."""

    MECHANISMS: Final = frozenset({b"LOGIN", b"PLAIN"})
    MAX: Final = 255
    """Octets of a login, and of a password (rule G15)."""

    __slots__ = ("_given", "_plain", "_whom", "login", "password")

    def __init__(self, mechanism: bytes) -> None:
        self._plain = mechanism == b"PLAIN"
        self._given = 0
        self._whom = b""  # the authorisation identity
        self.login = self.password = b""

    def answer(self, response: bytes | None) -> bytes | None:
        """Take a response, or None where the client has said nothing yet; return the challenge to make, or None at the
        end.  Raise BadResponse."""
        if response is None:
            return b"" if self._plain else b"Username:"
        octets = decoded(response)
        if octets is None:  # `*` among them
            raise BadResponse
        if self._plain:
            parts = octets.split(b"\0")
            if len(parts) != 3:
                raise BadResponse
            self._whom, self.login, self.password = parts
            self.login = self.login or self._whom  # some libraries put the name there alone
            return None
        self._given += 1
        if self._given == 1:
            self.login = octets
            return b"Password:"
        self.password = octets
        return None

    @property
    def plausible(self) -> bool:
        """Whether login and password may stand in POP3 commands (rule G15), for who says them and for nobody else: to
        act for another is not in a POP3 login's power."""
        if self._whom not in (b"", self.login):
            return False
        both = (self.login, self.password)
        return all(0 < len(one) <= self.MAX and not _CONTROL.search(one) for one in both)


def _plain(response: bytes) -> bytes:
    """RFC 4616: authzid NUL authcid NUL passwd."""
    parts = response.split(b"\0")
    return (parts[0] or parts[1]) if len(parts) == 3 else b""


def _cram_md5(response: bytes) -> bytes:
    """RFC 2195: user SP digest."""
    return response.rpartition(b" ")[0]


def _gs2(response: bytes) -> bytes:
    """RFC 5801 header `n,a=authzid,`; then SCRAM's `n=user,` (RFC 5802) or a bearer token (RFC 7628)."""
    head = response.split(b",", 3)
    if len(head) < 3:
        return b""
    if head[1].startswith(b"a="):
        return _saslname(head[1][2:])
    if head[2].startswith(b"n="):
        return _saslname(head[2][2:])
    return b""


def _saslname(name: bytes) -> bytes:
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")


def _xoauth2(response: bytes) -> bytes:
    """Google's form: user=NAME ^A auth=Bearer TOKEN ^A ^A."""
    first, separator, _ = response.partition(b"\1")
    return first[5:] if separator and first.startswith(b"user=") else b""


def _login(response: bytes) -> bytes:
    """The first response of LOGIN is the name."""
    return response


_LOGINS = {
    b"PLAIN": _plain,
    b"LOGIN": _login,
    b"CRAM-MD5": _cram_md5,
    b"SCRAM-SHA-1": _gs2,
    b"SCRAM-SHA-256": _gs2,
    b"XOAUTH2": _xoauth2,
    b"OAUTHBEARER": _gs2,
}
