"""proxy/leases/base.py: terms, logins as octets, the order of a list."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.leases.base import MAX_LOGIN, Lease, Term, in_order, login_octets, login_text
from tests.support.clocks import FakeClock


def lease(address: bytes, login: str, source: str = "pop3") -> Lease:
    return Lease(address, login, source, granted=0.0, expires=1.0, left=1.0)


def test_G1_a_lease_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        lease(b"\x7f\0\0\1", "al").left = 9.0  # type: ignore[misc]


def test_G8_a_term_ends_on_the_clocks_own_line() -> None:
    clock = FakeClock(boottime=50.0, wall=900.0)
    assert Term.starting(clock, b"\x7f\0\0\1", "al", "pop3", 30.0) == Term(
        (b"\x7f\0\0\1", "al", "pop3"), granted=900.0, expires=930.0, length=30.0, deadline=80.0
    )


@pytest.mark.parametrize("address", [b"", b"\x7f", b"127.0.0.1", bytes(15), bytes(17)])
def test_G2_a_term_takes_binary_addresses_only(address: bytes) -> None:
    with pytest.raises(AssertionError):
        Term.starting(FakeClock(), address, "al", "pop3", 30.0)


def test_a_login_has_a_bound_in_octets() -> None:
    Term.starting(FakeClock(), bytes(4), "x" * MAX_LOGIN, "pop3", 30.0)
    Term.starting(FakeClock(), bytes(4), "ä" * (MAX_LOGIN // 2), "pop3", 30.0)
    with pytest.raises(AssertionError):
        Term.starting(FakeClock(), bytes(4), "ä" * (MAX_LOGIN // 2 + 1), "pop3", 30.0)


@pytest.mark.parametrize("octets", [b"", b"al", "Jürgen".encode(), b"J\xfcrgen", b"\xff\xfe\x80", bytes(range(1, 256))])
def test_a_login_comes_back_octet_for_octet(octets: bytes) -> None:
    assert login_octets(login_text(octets)) == octets


def test_a_lone_surrogate_is_the_callers_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        login_octets("\ud800")


def test_leases_are_listed_by_address_then_login_then_source() -> None:
    ordered = [
        lease(b"\x09\0\0\1", "zoe"),
        lease(b"\x0a\0\0\1", "al", "admin"),
        lease(b"\x0a\0\0\1", "al", "pop3"),
        lease(b"\x0a\0\0\1", "bo"),
        lease(bytes(15) + b"\1", "al"),
    ]
    assert in_order(reversed(ordered)) == ordered
