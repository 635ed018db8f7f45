"""What a server has said, for people."""

from __future__ import annotations

from typing import Final

from ..config.values import printable

_MAX_SAID: Final = 120  # characters of a peer's line: a greeting and most refusals are shorter


def said(octets: bytes) -> str:
    """A peer's octets for people: in quotes, not printable ones escaped, cut; of several lines the first."""
    first, _, rest = octets.strip(b"\r\n").partition(b"\r\n")
    text = printable(first[: _MAX_SAID + 1].decode("ascii", "backslashreplace"))
    return f'"{text[:_MAX_SAID]}"' + (" ..." if rest or len(text) > _MAX_SAID else "")
