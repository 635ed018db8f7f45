"""Random sessions, fast and the same for the same seed: what a million of them are made of (scripts/fuzz).

`smtp` makes games for tests/support/game.py: sessions out of a grammar of envelopes, attacks and noise; known attacks
with octets changed, dropped, doubled and put in; the upstream late, early, malformed, gone.  `pop3` does the same for
tests/support/popgame.py.  Hypothesis plays some thousand sessions and shrinks what it finds; this plays a thousand a
second.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from .game import RIGHT, SmtpGame, encoded
from .lax import PERSONALITIES
from .popgame import KNOWN as POP_KNOWN
from .popgame import PopGame
from .popgame import encoded as pop_encoded
from .smuggling import ADDRESSES, ATTACKS, ENDS, ENVELOPE, HEAD, LINES, NO_ENDS, SMUGGLED, TRUE_ENDS

if TYPE_CHECKING:
    import random

    from .game import Step

_PIECES = [
    *[b"a", b"user", b"@", b"local.test", b"far.test", b"local.test.", b"LOCAL.test", "b\u00fcro.test".encode()],
    *[b"<", b">", b"%", b"!", b":", b"::", b",", b";", b"(", b")", b'"', b"\\", b"[", b"]", b"[127.0.0.1]", b" ", b"."],
    *[b"..", b"\0", b"\n", b"\r", b"\t", b"\x0b", b"\x7f", b"\xc2\x85", "\u2028".encode(), "\uff20".encode()],
    *["\uff05".encode(), "\u3002".encode(), b"|", b"/", b"=", b"+", b"{recipient}", b"@far.test", b"%far.test"],
    *[b"<<", b">>", b" <", b"> ", b"\t<", b".a.", b"x" * 70, b"../"],
    *[b"far.test!", b"@local.test", b"user@local.test", b"v@far.test", b"RCPT TO:<v@far.test>", b"\xc0", b"\xa5"],
]
_KNOWN = [b"user@local.test", b"v@far.test", b"a@s.test", b"", "user@b\u00fcro.test".encode(), b"postmaster"]
_MORE = [b"", b"", b" SMTPUTF8", b" SIZE=1", b" BODY=8BITMIME", b" BODY=7BIT", b" ENVID=x+0D+0A", b" AUTH=<>"]
_RCPT_MORE = [
    b"",
    b"",
    b"",
    b" NOTIFY=NEVER",
    b" ORCPT=rfc822;v@far.test",
    b" ORCPT=rfc822;<v@far.test>",
    b" ORCPT=rfc822;v=x@far.test",
    b"\tNOTIFY=BAD",
    b" X=<v@far.test>",
]
_VERBS = [
    *[b"DATA", b"DATA", b"DATA", b"RSET", b"NOOP", b"QUIT", b"EHLO x", b"HELO x", b"VRFY a", b"AUTH PLAIN =", b""],
    *[b" NOOP", b"AUTH LOGIN", b"AUTH PLAIN good", b"AUTH PLAIN", b"*", b"=", b"good", b"BDAT 5 LAST", b"STARTTLS"],
    *[b"XCLIENT ADDR=1.2.3.4", b"ETRN x", b"GET / HTTP/1.1", b"NOOP " + b"x" * 700, b"HELP", b"EXPN a"],
]
_PASSWORDS = [
    b"AUTH PLAIN " + base64.b64encode(response) + b"\r\n"
    for response in (
        *[b"\0a\0" + RIGHT, b"\0a\0" + RIGHT, b"\0a\0wrong", b"\0a\0Right", b"\0a\0right ", b"\0a\0busy", b"\0a\0down"],
        *[b"b\0a\0" + RIGHT, b"\0\0" + RIGHT, b"\0a b\0" + RIGHT, b"\0a\0" + RIGHT + b"\r\nPASS x", b"a\0" + RIGHT],
    )
]
_PASSWORDS += [b"AUTH LOGIN YQ==\r\n" + base64.b64encode(word) + b"\r\n" for word in (RIGHT, b"wrong")]
_LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\0\n", b"\0\r\n", b"\n\r", b"\x0b", b"", b"\r\0\n"]
_ENDS = [*ENDS.values(), *TRUE_ENDS.values(), *NO_ENDS.values(), b"\x8d\x8a.\x8d\x8a", b"\r\n.\r\n"]
_TEXT = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0", b".", b"..", b"x", b"\x8d\x8a", b"\xae", b"x" * 1000]
_NOISE = [
    *[b"250 ok\r\n", b"354 go\r\n", b"235 in\r\n", b"334 \r\n", b"220 hi\r\n", b"421 bye\r\n", b"550 no\r\n", b"25"],
    *[b"250-a\r\n", b"250-a\r\n550 b\r\n", b"\r\n", b"\0", b"250ok\r\n", b"250 a\n", b"999 x\r\n", b"2", b"503 no\r\n"],
]
_KINDS = "CCCCCCCCCCCPPS"
_PUT = [b"", b"", b"\r", b"\n", b"\0", b".", b"\r\n", b"<", b">", b"@", b'"', b" ", b"\xfe", b"%", b"\x8a", b"\x0b"]


def smtp_game(chance: random.Random) -> tuple[SmtpGame, list[Step], bytes]:
    """A game, the steps to play, and both as octets (game.play_octets)."""
    how = chance.choice(PERSONALITIES)
    reject, pipelining = chance.random() < 0.2, chance.random() < 0.85
    cut = chance.choice((0, 0, 0, 0, 0, 0, 1, 2, 3, 7, 50))
    steps = _mutated(chance) if chance.random() < 0.45 else _made(chance)
    announced = chance.random() < 0.25
    if announced:
        steps.insert(0, ("A", b""))
    own_auth = chance.random() < 0.2
    if own_auth:
        for _ in range(chance.randrange(1, 4)):
            at = chance.choice((1, 1, chance.randrange(len(steps) + 1)))  # mostly behind EHLO
            steps.insert(at, (chance.choice("CCCP"), chance.choice(_PASSWORDS)))
    if chance.random() < 0.2:
        _disturbed(chance, steps)
    return (
        SmtpGame(how, reject=reject, pipelining=pipelining, announced=announced, own_auth=own_auth, cut=cut),
        steps,
        encoded(how, reject, pipelining, announced, cut, steps, own_auth),
    )


def _made(chance: random.Random) -> list[Step]:
    steps: list[Step] = [("A", b"")] if chance.random() < 0.15 else []
    if chance.random() < 0.97:
        steps.append(("C", HEAD))
    for _ in range(chance.randrange(1, 6)):
        kind = chance.random()
        if kind < 0.3:
            steps += [("C", ENVELOPE), ("C", _body(chance) + b"\r\n.\r\n")]
        elif kind < 0.35:
            steps.append((chance.choice("AARDL"), b""))
        elif kind < 0.6:
            steps += _transaction(chance)
        else:
            group = b"".join([_line(chance) for _ in range(chance.randrange(1, 5))])
            steps.append((chance.choice(_KINDS), group))
    return steps


def _transaction(chance: random.Random) -> list[Step]:
    """MAIL and recipients of all kinds, in a packet or several, and mostly a message behind them."""
    lines = [b"MAIL FROM:<a@s.test>" + chance.choice(_MORE) + b"\r\n"]
    for _ in range(chance.randrange(1, 4)):
        address = chance.choice((b"user@local.test", b"v@far.test", b"v@far.test", _address(chance)))
        lines.append(b"RCPT TO:<" + address + b">" + chance.choice(_RCPT_MORE) + b"\r\n")
    if chance.random() < 0.2:
        lines.insert(chance.randrange(len(lines) + 1), _line(chance))
    steps: list[Step] = [("C", b"".join(lines))] if chance.random() < 0.5 else [("C", line) for line in lines]
    if chance.random() < 0.1:
        steps.append(("L", b""))
        steps.append(("C", b"RCPT TO:<w@far.test>\r\n"))
    if chance.random() < 0.8:
        steps += [("C", b"DATA\r\n"), ("C", _body(chance) + b"\r\n.\r\n")]
    return steps


def _line(chance: random.Random) -> bytes:
    end = b"\r\n" if chance.random() < 0.85 else chance.choice(_LINE_ENDS)
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(list(LINES.values()))
    if kind < 0.5:
        argument = chance.choice(list(ADDRESSES.values())) if kind < 0.25 else b"<" + _address(chance) + b">"
        return b"RCPT TO:" + argument + chance.choice(_RCPT_MORE) + end
    if kind < 0.72:
        return b"MAIL FROM:<" + _address(chance) + b">" + chance.choice(_MORE) + end
    return chance.choice(_VERBS) + end


def _address(chance: random.Random) -> bytes:
    if chance.random() < 0.45:
        return chance.choice(_KNOWN)
    return b"".join(chance.choices(_PIECES, k=chance.randrange(1, 7)))


def _body(chance: random.Random) -> bytes:
    parts = []
    for _ in range(chance.randrange(1, 6)):
        kind = chance.random()
        parts.append(chance.choice(_ENDS) if kind < 0.4 else SMUGGLED if kind < 0.6 else chance.choice(_TEXT))
    return b"".join(parts)


def _mutated(chance: random.Random) -> list[Step]:
    """A known attack with octets changed, dropped, doubled or put in."""
    script = list(chance.choice(ATTACKS)[1])
    for _ in range(chance.randrange(5)):
        number = chance.randrange(len(script) > 1, len(script))
        script[number] = _mutation(chance, script[number], _PUT)
    return [("C", packet) for packet in script]


def _mutation(chance: random.Random, packet: bytes, put: list[bytes]) -> bytes:
    at, drop = chance.randrange(len(packet) + 1), chance.choice((0, 0, 1, 2, 3))
    piece = chance.choice(put) if chance.random() < 0.8 else packet[at : at + 4]
    return packet[:at] + piece + packet[at + drop :]


def _disturbed(chance: random.Random, steps: list[Step]) -> None:
    """The upstream, or an end, at a bad moment."""
    at = chance.randrange(len(steps) + 1)
    if chance.random() < 0.7:
        steps.insert(at, ("U", chance.choice(_NOISE)))
    else:
        steps.insert(at, (chance.choice("EFTXL"), b""))


_POP_PUT = [b"", b"\r", b"\n", b"\0", b"\r\n", b" ", b"\xfe", b"\t", b"+OK\r\n", b"\x0b"]
_POP_NOISE = [
    *[
        b"+OK\r\n",
        b"+OK in\r\n",
        b"-ERR no\r\n",
        b"+ \r\n",
        b"+OKAY\r\n",
        b"+ok\r\n",
        b" +OK\r\n",
        b".\r\n",
        b"+OK\0\r\n",
    ],
    *[
        b"+OK",
        b"+O",
        b"+OK\n",
        b"+OK\r",
        b"\xef\xbb\xbf+OK\r\n",
        b"+OK a\r\n+OK b\r\n",
        b"SASL\r\n",
        b"\r\n",
        b"+" * 5000,
    ],
]


def pop3_game(chance: random.Random) -> tuple[PopGame, list[Step], bytes]:
    """As `smtp_game`, for POP3."""
    how = chance.choice(PERSONALITIES)
    cut = chance.choice((0, 0, 0, 0, 1, 2, 3, 7))
    stls = chance.random() < 0.3
    steps: list[Step] = []
    for _ in range(chance.randrange(1, 8)):
        lines = b"".join([line + b"\r\n" for line in chance.choices(POP_KNOWN, k=chance.choice((1, 1, 1, 2, 3)))])
        if chance.random() < 0.25:
            lines = _mutation(chance, lines, _POP_PUT)
        steps.append((chance.choice(_KINDS), lines))
    for _ in range(chance.choice((0, 0, 1, 2))):
        steps.insert(chance.randrange(len(steps) + 1), ("U", chance.choice(_POP_NOISE)))
    if chance.random() < 0.1:
        steps.insert(chance.randrange(len(steps) + 1), (chance.choice("EFTX"), b""))
    return PopGame(how, stls=stls, cut=cut), steps, pop_encoded(how, stls, cut, steps)
