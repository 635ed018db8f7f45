"""wire/stanzas.py: lines up to an empty one, however they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.wire.stanzas import Stanzas

LINE = st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))
STANZA = st.lists(LINE, min_size=1, max_size=4)


def fed(data: bytes, pieces: list[int], limit: int = 2048) -> list[list[bytes]]:
    stanzas, found, start = Stanzas(limit), [], 0
    for end in [*sorted(piece % (len(data) + 1) for piece in pieces), len(data)]:
        found += stanzas.feed(data[start:end])
        start = end
    return found


@given(st.lists(STANZA, max_size=4), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 10**6), max_size=6))
def test_what_was_written_is_read_however_it_is_cut(written: list[list[bytes]], end: bytes, cuts: list[int]) -> None:
    octets = b"".join(b"".join(line + end for line in stanza) + end for stanza in written)
    assert fed(octets, cuts) == written


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=6))
def test_no_octets_are_an_accident_and_cuts_change_nothing(octets: bytes, cuts: list[int]) -> None:
    found = fed(octets, cuts)
    assert found == fed(octets, [])
    assert all(stanza and all(line and b"\n" not in line for line in stanza) for stanza in found)


def test_what_is_unfinished_waits() -> None:
    stanzas = Stanzas(100)
    assert stanzas.feed(b"QUERY 192.0.2.1\r\n") == []
    assert stanzas.feed(b"\r") == []
    assert stanzas.feed(b"\nQUERY") == [[b"QUERY 192.0.2.1"]]


def test_empty_lines_before_a_stanza_are_skipped() -> None:
    assert Stanzas(100).feed(b"\r\n\n\r\na\n\n\n\nb\n\n") == [[b"a"], [b"b"]]


@pytest.mark.parametrize("octets", [b"x" * 11, b"x" * 9 + b"\n" + b"y", b"x\n" * 6])
def test_over_the_limit_is_the_end(octets: bytes) -> None:
    with pytest.raises(ProtocolError, match="more than 10 octets"):
        Stanzas(10).feed(octets)


def test_a_stanza_at_the_limit_is_one_however_it_is_cut() -> None:
    """The CR of the empty line that ends it may come before its LF."""
    assert Stanzas(10).feed(b"12345678\r\n\r\n") == [[b"12345678"]]
    stanzas = Stanzas(10)
    assert stanzas.feed(b"12345678\r\n\r") == []
    assert stanzas.feed(b"\n") == [[b"12345678"]]


def test_the_limit_is_one_stanzas_and_counts_anew() -> None:
    stanzas = Stanzas(10)
    assert stanzas.feed(b"123456789\n\n" * 3) == [[b"123456789"]] * 3
    with pytest.raises(ProtocolError):
        for _ in range(11):
            stanzas.feed(b"x")
