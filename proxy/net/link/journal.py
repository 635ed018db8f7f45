"""How a link's facts read in the log: the words of each (rule N11).  Functions of values, no state.

The grammar of a line is log.py's; which facts there are is session/events.py's.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from ...log import Whole

if TYPE_CHECKING:
    import ssl

    from ...session.events import Refused, Relayed

Word = tuple[str, str | float | None]


def sender(address: str) -> Word:
    """Of a message; a bounce has none, and an empty value would not be seen."""
    return "sender", address or "<>"


def refused(event: Refused) -> list[Word]:
    return [sender(event.sender), ("recipient", event.recipient), ("reply", event.reply), ("why", event.why)]


def relayed(event: Relayed) -> list[Word]:
    whom = Whole(",".join(event.recipients))
    why = [
        ("login", event.verdict.login), ("why", event.verdict.why), sender(event.sender), ("recipients", whom),
    ]  # fmt: skip
    return [*why, ("octets", event.octets), ("reply", event.reply)]


def bug(error: Exception) -> list[Word]:
    """Where an exception came from: its class and the functions, never its text, which may hold what a peer sent."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return [("error", type(error).__name__), ("at", " < ".join([f"{frame.name}:{frame.lineno}" for frame in frames]))]


def tls(side: ssl.SSLObject | None) -> str:
    """Version and cipher of a connection: "TLSv1.3:TLS_AES_256_GCM_SHA384"."""
    cipher = side.cipher() if side is not None else None
    return f"{side.version()}:{cipher[0]}" if side is not None and cipher is not None else ""
