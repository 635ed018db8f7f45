"""net/local_addresses.py: which addresses are this machine's (rules G3, N10)."""

from __future__ import annotations

import socket

import pytest

from proxy.net.local_addresses import is_local, is_own, listens_there
from proxy.wire.address import packed

STRANGERS = ["192.0.2.77", "198.51.100.1", "2001:db8::77", "255.255.255.255", "224.0.0.1", "ff02::1"]


def addresses() -> list[str]:
    """This machine's own addresses that are not loopback, as far as its route to the world tells them."""
    found = []
    for family, stranger in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::77")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((stranger, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return [address for address in found if not address.startswith(("127.", "::1"))]


def test_G3_our_own_addresses_are_own() -> None:
    own = addresses()
    if not own:
        pytest.skip("this machine has loopback only")
    for address in own:
        assert is_own(packed(address)), address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.200.3.4", "::1"])
def test_G3_loopback_is_apart(address: str) -> None:
    """A client on this machine may have a lease."""
    assert not is_own(packed(address))
    assert is_local(address)


@pytest.mark.parametrize("address", STRANGERS)
def test_G3_a_stranger_is_none_of_ours(address: str) -> None:
    assert not is_own(packed(address))
    assert not is_local(address)


def test_a_name_that_leads_nowhere_is_not_local() -> None:
    assert not is_local("name.invalid")


@pytest.mark.parametrize(
    ("host", "bound", "there"),
    [
        ("127.0.0.1", ("127.0.0.1", 25), True),
        ("127.0.0.1", ("127.0.0.1", 26), False),
        ("127.0.0.1", ("127.0.0.2", 25), False),
        ("127.0.0.1", ("0.0.0.0", 25), True),
        ("127.9.9.9", ("0.0.0.0", 25), True),
        ("0.0.0.0", ("0.0.0.0", 25), True),
        ("0.0.0.0", ("127.0.0.1", 25), True),
        ("::", ("::1", 25), True),
        ("::ffff:127.0.0.1", ("127.0.0.1", 25), True),
        ("0:0::1", ("::1", 25), True),
        ("localhost", ("127.0.0.1", 25), True),
        ("name.invalid", ("0.0.0.0", 25), False),
        ("198.51.100.1", ("0.0.0.0", 25), False),
        ("::1", ("::", 25), True),
        ("::1", ("0.0.0.0", 25), False),  # another program may well listen there: our sockets are of one family
        ("127.0.0.1", ("::", 25), False),
        ("2001:db8::77", ("::", 25), False),
    ],
)
def test_N10_whether_a_connection_would_reach_us(host: str, bound: tuple[str, int], there: bool) -> None:
    assert listens_there(host, 25, frozenset([bound])) is there
