"""net/upstream/transparent.py: foreign addresses, and what a client wanted.  With nftables and routes: tests/e2e."""

from __future__ import annotations

import socket

import pytest

from proxy.net.upstream import transparent
from proxy.net.upstream.transparent import is_permitted, make_transparent, original_destination

from ..support.needs import need
from ..support.nobody import as_nobody


@pytest.mark.parametrize(("family", "foreign"), [(socket.AF_INET, "192.0.2.7"), (socket.AF_INET6, "2001:db8::7")])
def test_a_transparent_socket_may_have_any_address(family: socket.AddressFamily, foreign: str) -> None:
    need("root")
    with socket.socket(family) as sock:
        with pytest.raises(OSError, match="assign"):
            sock.bind((foreign, 0))
        make_transparent(sock)
        sock.bind((foreign, 0))
        assert sock.getsockname()[0] == foreign


def test_who_may_make_one() -> None:
    assert as_nobody("print(is_permitted())") == "False\n"
    assert is_permitted()


def test_one_that_is_transparent_already_needs_no_right(monkeypatch: pytest.MonkeyPatch) -> None:
    need("root")
    with socket.socket() as sock:
        make_transparent(sock)
        monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: pytest.fail("asked again"))
        make_transparent(sock)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET6, "::1")])
def test_what_was_not_rewritten_is_the_socket_s_own_address(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        name = server.getsockname()[:2]
        with socket.create_connection(name), server.accept()[0] as accepted:
            assert original_destination(accepted) == name


@pytest.mark.parametrize(
    ("family", "raw", "found"),
    [
        (socket.AF_INET, b"\x02\x00\x00\x19\xc0\x00\x02\x0a" + bytes(8), ("192.0.2.10", 25)),
        (
            socket.AF_INET6,
            b"\x0a\x00\x00\x6e" + bytes(4) + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x0a" + bytes(4),
            ("2001:db8::a", 110),
        ),
    ],
)
def test_what_was_rewritten(family: socket.AddressFamily, raw: bytes, found: tuple[str, int]) -> None:
    class Rewritten(socket.socket):
        def getsockopt(self, level: int, option: int, length: int = 0) -> bytes:  # type: ignore[override]
            assert option == transparent._ORIGINAL_DST
            assert length >= len(raw)
            return raw

    with Rewritten(family) as sock:
        assert original_destination(sock) == found
