"""Invariant: LoggedIn for an exact +OK that ends PASS, APOP or AUTH on this connection, and for nothing else.

The input is a game, see tests/support/popgame.py: flags, cut, then steps behind 0xFF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.popgame import play_octets
from ..support.storm import pop3_game
from . import demand

if TYPE_CHECKING:
    import random

TOKENS = [b"\xffC", b"\xffP", b"\xffS", b"\xffU", b"USER anna\r\n", b"PASS good\r\n", b"APOP a good\r\n", b"+OK\r\n"]
TOKENS += [b"AUTH PLAIN\r\n", b"good\r\n", b"*\r\n", b"CAPA\r\n", b"STLS\r\n", b"-ERR\r\n", b"+ \r\n"]


def generated(chance: random.Random) -> bytes:
    return pop3_game(chance)[2]


def one_input(data: bytes) -> None:
    wrong = play_octets(data)
    demand(not wrong, wrong)
