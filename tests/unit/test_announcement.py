"""net/upstream/announcement.py: the source of a connection, and its PROXY header."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from proxy.config.endpoint import CLIENT
from proxy.net.upstream.announcement import Announcement, Announcing, endpoint
from proxy.wire.address import packed
from proxy.wire.proxyheader import LOCAL_V2, read, tls_tlv

if TYPE_CHECKING:
    from typing import Literal

SOURCE, HERE = (packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25)
ANNOUNCED = Announcement(SOURCE, HERE)
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


@pytest.mark.parametrize(
    ("announcing", "announces"),
    [
        (Announcing(), False),
        (Announcing(source="192.0.2.1"), False),
        (Announcing(always=True), False),
        (Announcing(proxy="v1"), True),
        (Announcing(xclient=True), True),
        (Announcing(source=CLIENT), True),
    ],
)
def test_S12_whether_there_is_any_way_of_showing(announcing: Announcing, announces: bool) -> None:
    assert announcing.announces is announces


def test_the_source_of_a_connection() -> None:
    assert Announcing().source_address(ANNOUNCED) == ""
    assert Announcing(source="192.0.2.1").source_address(ANNOUNCED) == "192.0.2.1"
    assert Announcing(source="192.0.2.1").source_address(None) == "192.0.2.1"
    assert Announcing(source=CLIENT).source_address(ANNOUNCED) == "192.0.2.7"
    assert Announcing(source=CLIENT).source_address(None) == ""


@VERSIONS
def test_S12_the_header_of_an_announced_connection(version: Literal["v1", "v2"]) -> None:
    with socket.socket() as sock:
        header = read(Announcing(proxy=version).proxy_header(ANNOUNCED, sock, ("192.0.2.10", 25)))
    assert header is not None
    assert (header.source, header.destination, header.tlvs) == (SOURCE, HERE, ())


@VERSIONS
def test_S12_the_header_of_an_unannounced_connection_is_popgate_s_own_address(version: Literal["v1", "v2"]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        header = read(Announcing(proxy=version).proxy_header(None, sock, server.getsockname()))
        assert header is not None
        assert header.source == endpoint(sock.getsockname())
        assert header.destination == endpoint(server.getsockname())


@VERSIONS
def test_a_unix_socket_has_no_address_of_its_own(version: Literal["v1", "v2"]) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        header = read(Announcing(proxy=version).proxy_header(None, sock, "/run/up"))
        assert header is not None
        assert header.source is None
        header = read(Announcing(proxy=version).proxy_header(ANNOUNCED, sock, "/run/up"))
        assert header is not None
        assert header.source == SOURCE


def test_a_probe_is_for_no_client_where_servers_take_that() -> None:
    """Postfix refuses version 1's UNKNOWN."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        name = server.getsockname()
        assert Announcing(proxy="v2").proxy_header(None, sock, name, probe=True) == LOCAL_V2
        assert (
            Announcing(proxy="v1")
            .proxy_header(None, sock, name, probe=True)
            .startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        )
        assert Announcing().proxy_header(None, sock, name, probe=True) == b""


def test_the_client_s_tls_is_in_version_2() -> None:
    announced = Announcement(SOURCE, HERE, ("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
    with socket.socket() as sock:
        header = read(Announcing(proxy="v2").proxy_header(announced, sock, ("192.0.2.10", 25)))
        assert header is not None
        assert header.tlvs == (tls_tlv("TLSv1.3", "TLS_AES_256_GCM_SHA384"),)
        assert (
            Announcing(proxy="v1")
            .proxy_header(announced, sock, ("192.0.2.10", 25))
            .startswith(b"PROXY TCP4 192.0.2.7 ")
        )
        assert Announcing().proxy_header(announced, sock, ("192.0.2.10", 25)) == b""


def test_a_socket_s_name() -> None:
    assert endpoint(("fe80::1%eth0", 5, 0, 3)) == (packed("fe80::1"), 5)
    assert endpoint(("::ffff:192.0.2.7", 5, 0, 0)) == (packed("192.0.2.7"), 5)
