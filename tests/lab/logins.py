"""The E rows that a real Dovecot can be made to take part in: how to get a lease without a login, and logins as such.

Each case has a user of its own, who may log in with "secret", so that Dovecot's log tells which of them did.
Left out: what only a scripted server says (E7, E13 to E15, E17, E18, E22: transcripts), content (E8) and load (E20).
"""

from __future__ import annotations

import base64

from .steps import Case, Wait


def pop(name: str, *packets: bytes, end: bool = True) -> Case:
    """`{user}` stands for the user; packets go a moment apart."""
    steps = [(packet, Wait.PAUSE) for packet in packets]
    return Case(name, (*steps, (b"", Wait.END if end else Wait.CLOSE)))


def _plain(user: bytes, more: bytes = b"") -> bytes:
    return base64.b64encode(b"\0" + user + b"\0secret" + more)


USER, PASS, QUIT = b"USER {user}\r\n", b"PASS secret\r\n", b"QUIT\r\n"
BAD = b"PASS bad\r\n"

HONEST = [
    pop("login", USER, PASS, QUIT),
    pop("login in lower case", b"user {user}\r\n", b"pass secret\r\n", QUIT),
    pop("login in one packet", USER + PASS + b"STAT\r\n" + QUIT),
    pop("login at the second try", USER + BAD + USER + PASS + QUIT),
    pop("login, other user first", b"USER nobody\r\n", USER + PASS, QUIT),
    pop("login by AUTH PLAIN", b"AUTH PLAIN {plain}\r\n", QUIT),
    pop("login by AUTH PLAIN in two steps", b"AUTH PLAIN\r\n", b"{plain}\r\n", QUIT),
    pop("login by AUTH LOGIN", b"AUTH LOGIN\r\n", b"{user64}\r\n", b"{secret64}\r\n", QUIT),
    pop("login behind a cancelled AUTH", b"AUTH PLAIN\r\n", b"*\r\n", USER + PASS + QUIT),
]
"""These must make a lease."""

HOSTILE = [
    pop("E1", USER),
    pop("E2", USER, b"CAPA\r\n", b"NOOP\r\n", b"AUTH\r\n", b"LANG\r\n", b"UTF8\r\n", QUIT),
    pop("E2 xclient", b"XCLIENT ADDR=192.0.2.77 LOGIN={user}\r\n", USER, QUIT),
    pop("E3", USER + BAD + b"CAPA\r\n" + QUIT),
    pop("E3 user", USER + BAD + USER + USER + QUIT),
    pop("E3 noop", USER + BAD + b"NOOP\r\nNOOP\r\n" + QUIT),
    pop("E3 auth", USER + BAD + b"AUTH PLAIN\r\n*\r\nCAPA\r\n" + QUIT),
    pop("E4", USER + b"USER other\r\n" + PASS + QUIT),
    pop("E5", PASS + USER + QUIT),
    pop("E5 noop", b"PASS {user}\r\n" + USER + b"CAPA\r\n" + QUIT),
    pop("E6 LF", b"USER {user}\n" + PASS, QUIT),
    pop("E6 LF both", b"USER {user}\nPASS secret\n", b"QUIT\n"),
    pop("E6 CR", b"USER {user}\r" + PASS, QUIT),
    pop("E6 CR CR LF", b"USER {user}\r\r\n" + PASS, QUIT),
    pop("E6 pass CR CR LF", USER + b"PASS secret\r\r\n", QUIT),
    pop("E6 NUL", b"USER {user}\0x\r\n" + PASS, QUIT),
    pop("E6 pass NUL", USER + b"PASS secret\0x\r\n", QUIT),
    pop("E6 other NUL", b"USER nobody\0{user}\r\n" + PASS, QUIT),
    pop("E6 pass LF", USER + b"PASS bad\nPASS secret\r\n", QUIT),
    pop("E6 capa LF", b"CAPA\nUSER {user}\nPASS secret\nCAPA\r\n", QUIT),
    pop("E6 tab", b"USER\t{user}\r\n" + PASS, QUIT),
    pop("E6 spaces", b"USER  {user} \r\n" + PASS, QUIT),
    pop("E6 long", b"NOOP " + b"x" * 8190 + USER + PASS, QUIT),
    pop("E6 pass long", USER + b"PASS " + b"x" * 9000 + b"\r\n" + PASS, QUIT),
    pop("E9", b"RETR 1\r\n", b"LIST\r\n", b"TOP 1 1\r\n", b"STAT\r\n", USER, QUIT),
    pop("E10", USER + b"AUTH PLAIN\r\n*\r\nCAPA\r\n" + QUIT),
    pop("E10 bad", b"AUTH PLAIN {bad}\r\nCAPA\r\nNOOP\r\n" + QUIT),
    pop("E10 plain NUL", b"AUTH PLAIN {more}\r\n", b"CAPA\r\n", QUIT),
    pop("E10 authzid", b"AUTH PLAIN {authzid}\r\n", b"CAPA\r\n", QUIT),
    pop("E10 login line", b"AUTH LOGIN\r\nUSER {user}\r\nPASS secret\r\n" + QUIT),
    pop("E11", USER + b"AUTH PLAIN\r\nQUIT\r\n", b"CAPA\r\n", PASS, QUIT),
    pop("E12 anonymous", b"AUTH ANONYMOUS e30=\r\n", b"CAPA\r\n", QUIT),
    pop("E12 external", b"AUTH EXTERNAL =\r\n", b"AUTH EXTERNAL {user64}\r\n", QUIT),
    pop("E12 user", b"USER anonymous\r\nPASS a@b\r\n", b"CAPA\r\n", QUIT),
    pop("E16", USER + PASS, end=False),
    pop("E21", USER + PASS + b"XTND XMIT\r\n" + QUIT),
    pop("E24", b"USER {user}%evil\r\n" + PASS, b"USER {user}@x.test\r\n" + PASS, QUIT),
    pop("E24 quoted", b'USER "{user}"\r\n' + PASS, QUIT),
    pop("E25 http", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + USER + PASS + QUIT),
    pop("E25 smtp", b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + USER + PASS + QUIT),
    pop("C12", b"\xff\xf1" + USER, b"\xef\xbb\xbf" + USER + PASS, QUIT),
    pop("B3", b"STLS\r\n" + USER + PASS + QUIT),
    pop("B3 half", b"STLS\r\nUS", b"ER {user}\r\n" + PASS + QUIT),
]
"""These may, if Dovecot says that the user logged in."""

CASES = [*HONEST, *HOSTILE]


def words(number: int) -> dict[bytes, bytes]:
    """What stands for the placeholders in case `number` of CASES."""
    user = user_of(number).encode()
    return {
        b"{plain}": _plain(user),
        b"{more}": _plain(user, b"\0x"),
        b"{authzid}": base64.b64encode(b"nobody\0" + user + b"\0secret"),
        b"{bad}": base64.b64encode(b"\0" + user + b"\0bad"),
        b"{user64}": base64.b64encode(user),
        b"{secret64}": base64.b64encode(b"secret"),
        b"{user}": user,
    }


def user_of(number: int) -> str:
    return f"e{number}"
