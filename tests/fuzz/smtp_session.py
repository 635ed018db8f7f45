"""Invariant: no foreign recipient, no message boundary and no command at a lax server but what the session wrote.

The input is a game, see tests/support/game.py: flags, cut, then steps behind 0xFF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.game import play_octets
from ..support.storm import smtp_game
from . import demand

if TYPE_CHECKING:
    import random

TOKENS = [b"\xffC", b"\xffP", b"\xffS", b"\xffU", b"\xffA", b"\xffL", b"MAIL FROM:<", b"RCPT TO:<", b"@local.test>\r\n"]
TOKENS += [b"@far.test>\r\n", b"DATA\r\n", b"\r\n.\r\n", b"RSET\r\n", b"AUTH LOGIN\r\n", b"250 ok\r\n", b"354 go\r\n"]


def generated(chance: random.Random) -> bytes:
    return smtp_game(chance)[2]


def one_input(data: bytes) -> None:
    wrong = play_octets(data)
    demand(not wrong, wrong)
