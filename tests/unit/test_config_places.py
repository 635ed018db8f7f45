"""proxy/config/places.py: addresses, networks, domains, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Endpoint
from proxy.config.places import (
    bind,
    domain,
    log_file,
    network,
    path,
    path_or_none,
    server,
    socket_or_none,
    socket_path,
    store_url,
    whoson_bind,
    whoson_server,
)
from proxy.config.values import Parser, Wrong

BASE = Path("/etc/popgate")


def said(parse: Parser[Any], value: object) -> str:
    with pytest.raises(Wrong) as caught:
        parse(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("0.0.0.0:110", Endpoint("0.0.0.0", 110)),
        ("127.0.0.1:0", Endpoint("127.0.0.1", 0)),
        ("[::]:65535", Endpoint("::", 65535)),
        ("[2001:db8::1]:25", Endpoint("2001:db8::1", 25)),
    ],
)
def test_a_bind_is_taken_and_written_as_it_was(text: str, endpoint: Endpoint) -> None:
    assert bind(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0.0.0.0", 'write "0.0.0.0:PORT"'),
        ("::1", 'write "[::1]:PORT"'),
        ("[::1]", 'write "[::1]:PORT"'),
        ("localhost", 'write "localhost:PORT"'),
        ("2001:db8::1:25", 'write "[2001:db8::1:25]:PORT"'),  # an address in itself, so no guess
        ("1:2:3:4:5:6:7:8:25", 'write "[1:2:3:4:5:6:7:8]:25"'),
        ("0.0.0.0:65536", "usable port"),
        ("0.0.0.0:", "usable port"),
        ("0.0.0.0:smtp", "usable port"),
        ("0.0.0.0:-1", "usable port"),
        ("0.0.0.0:٢٥", "usable port"),
        ("localhost:25", '"0.0.0.0:25" or "[::]:25"'),
        ("*:25", '"0.0.0.0:25" or "[::]:25"'),
        (":25", '"0.0.0.0:25" or "[::]:25"'),
        ("[127.0.0.1]:25", "only an IPv6 address"),
        ("[::1:25", "does not begin with an IP address"),
        ("::1]:25", "does not begin with an IP address"),
        ("[fe80::1%eth0]:25", "only an IPv6 address"),
        ("192.0.2.300:25", "IP address"),
        ("010.0.0.1:25", "IP address"),
        ("unix:/run/x", "no address to judge by"),
        (25, "must be a string"),
    ],
)
def test_a_bind_is_refused_with_the_cure(text: object, hint: str) -> None:
    assert hint in said(bind, text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.10:25", Endpoint("192.0.2.10", 25)),
        ("[2001:db8::1]:25", Endpoint("2001:db8::1", 25)),
        ("mail.example.com:25", Endpoint("mail.example.com", 25)),
        ("mail1:25", Endpoint("mail1", 25)),
        ("old_box.lan.:25", Endpoint("old_box.lan.", 25)),
        ("unix:/run/mail.sock", Endpoint("", 0, "/run/mail.sock")),
    ],
)
def test_a_server_is_taken_and_written_as_it_was(text: str, endpoint: Endpoint) -> None:
    assert server(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("192.0.2.10:0", "port 0"),
        ("192.0.2.300:25", "host name or address"),
        ("127.1:25", "host name or address"),
        ("mail.300:25", "host name or address"),
        ("-mail:25", "host name or address"),
        ("mail..example:25", "host name or address"),
        (f"{'a' * 64}:25", "host name or address"),
        (f"{'a.' * 128}a:25", "host name or address"),
        ("mail example:25", "host name or address"),
        ("http://mail:25", "host name or address"),
        ("unix:run/x", 'write for example "unix:/run/run/x"'),
        ("unix:", "whole path"),
        ("unix:/" + "x" * 107, "at most 107"),
        ("mail", "no port"),
    ],
)
def test_a_server_is_refused_with_the_cure(text: str, hint: str) -> None:
    assert hint in said(server, text)


@given(st.ip_addresses().filter(lambda one: getattr(one, "scope_id", None) is None), st.integers(1, 65535))
def test_any_address_and_port_come_back(address: object, port: int) -> None:
    endpoint = Endpoint(str(address), port)
    assert server(str(endpoint)) == bind(str(endpoint)) == endpoint


def test_networks_and_single_addresses_are_taken() -> None:
    for text in ("192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "::1", "0.0.0.0/0"):
        assert network(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("192.0.2.1/24", 'write "192.0.2.0/24"'),
        ("2001:db8::1/32", 'write "2001:db8::/32"'),
        ("192.0.2.0/255.255.255.0", 'has a netmask; write "192.0.2.0/24"'),
        ("192.0.2.0/0.0.0.255", 'has a netmask; write "192.0.2.0/24"'),
        ("192.0.0.0/08", 'has a netmask; write "192.0.0.0/8"'),
        ("192.0.2.0/33", "is not a network"),
        ("192.0.2", "is not a network"),
        ("example.com", "is not a network"),
        ("fe80::1%eth0", "is not a network"),
        ("", "is not a network"),
        ("::ffff:192.0.2.0/120", 'write "192.0.2.0/24"'),
        ("::ffff:0:0/96", 'write "0.0.0.0/0"'),
        (192, "must be a string"),
    ],
)
def test_G2_a_network_has_one_form(text: object, hint: str) -> None:
    assert hint in said(network, text)


def test_G16_domains_are_taken_as_written() -> None:
    for text in (
        "example.com",
        ".example.com",
        "Example.COM.",
        "localhost",
        "münchen.example",
        "xn--mnchen-3ya.example",
    ):
        assert domain(text) == text
    longest = ".".join(["a" * 63] * 3 + ["b" * 63])
    assert domain(longest) == longest


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("*.example.com", '".example.com" for all subdomains'),
        ("anna@example.com", '"example.com"'),
        ("", "is not a domain"),
        (".", "is not a domain"),
        ("..example.com", "is not a domain"),
        ("a..b", "is not a domain"),
        ("a b", "is not a domain"),
        ("a,b", "is not a domain"),
        ("[192.0.2.1]", "is not a domain"),
        ("192.0.2.0/24", "is not a domain"),
        ("192.0.2.1", "is not a domain"),
        ("lan.42", "is not a domain"),
        ("my_lan.example", "is not a domain"),
        ("-a.example", "is not a domain"),
        ("MÜNCHEN.example", "is not a domain"),
        ("a" * 64, "is not a domain"),
        (".".join(["a" * 63] * 5), "is not a domain"),
        (5, "must be a string"),
    ],
)
def test_G16_what_is_no_domain_is_refused(text: object, hint: str) -> None:
    assert hint in said(domain, text)


def test_paths_start_at_the_base_unless_they_are_absolute() -> None:
    assert path(BASE)("certs/mail.pem") == BASE / "certs/mail.pem"
    assert path(BASE)("/x/y") == Path("/x/y")
    assert path_or_none(BASE)("") is None
    assert path_or_none(BASE)("ca.pem") == BASE / "ca.pem"
    assert "must not be empty" in said(path(BASE), "")
    assert "must be a string" in said(path(BASE), 5)


def test_the_control_socket_fits_a_unix_address() -> None:
    assert socket_path(BASE)("popgate.sock") == BASE / "popgate.sock"
    assert socket_path(BASE)("unix:/run/popgate.sock") == Path("/run/popgate.sock")
    longest = "/" + "x" * 106
    assert str(socket_path(BASE)(longest)) == server(f"unix:{longest}").path == longest
    assert "at most 107 octets" in said(socket_path(BASE), longest + "x")
    assert "at most 107 octets" in said(server, f"unix:{longest}x")


def test_the_log_goes_to_stderr_syslog_or_a_file() -> None:
    assert log_file(BASE)("") == ""
    assert log_file(BASE)("syslog") == "syslog"
    assert log_file(BASE)("gate.log") == "/etc/popgate/gate.log"
    assert "must be a string" in said(log_file(BASE), False)


def test_the_store_is_memory_or_a_file() -> None:
    assert store_url(BASE)("memory:") == "memory:"
    assert store_url(BASE)("sqlite:leases.db") == "sqlite:/etc/popgate/leases.db"
    assert store_url(BASE)("sqlite:/var/lib/x.db") == "sqlite:/var/lib/x.db"


@pytest.mark.parametrize(
    "text", ["", "leases.db", "sqlite:", "sqlite::memory:", "sqlite:memory:", "sqlite:///x", "memory", "mysql:x"]
)
def test_what_is_no_store_is_refused(text: str) -> None:
    assert "is not a lease store" in said(store_url(BASE), text)


def test_whoson_places_say_by_which_way() -> None:
    assert whoson_bind("udp:127.0.0.1:0") == Endpoint("127.0.0.1", 0, transport="udp")
    assert whoson_bind("tcp:[::]:9876") == Endpoint("::", 9876, transport="tcp")
    assert whoson_server("unix:/run/x") == Endpoint("", 0, "/run/x")
    assert whoson_server("udp:[2001:db8::1]:9876") == Endpoint("2001:db8::1", 9876, transport="udp")
    for text in ("udp:127.0.0.1:9876", "tcp:[::1]:9876", "unix:/run/x"):
        assert str(whoson_bind(text)) == text


@pytest.mark.parametrize(
    ("parse", "text", "hint"),
    [
        (whoson_bind, "127.0.0.1:9876", "does not say how; write for example"),
        (whoson_bind, "sctp:127.0.0.1:9876", "does not say how"),
        (whoson_bind, "udp:0.0.0.0:9876", "name each one apart"),
        (whoson_bind, "udp:[::]:9876", "name each one apart"),
        (whoson_bind, "udp:127.0.0.1", 'has no port; write "127.0.0.1:PORT"'),
        (whoson_bind, "tcp:mail:9876", "does not begin with an IP address"),
        (whoson_bind, "unix:x", "needs the whole path"),
        (whoson_server, "udp:mail.example.com:9876", "does not begin with an IP address"),
        (whoson_server, "tcp:127.0.0.1:0", "has port 0"),
        (socket_or_none, "10031", "has no port"),
        (socket_or_none, "unix:policy", "needs the whole path"),
    ],
)
def test_a_place_for_other_servers_is_refused_with_the_cure(parse: Parser[Any], text: str, hint: str) -> None:
    assert hint in said(parse, text)


def test_a_socket_may_be_nowhere() -> None:
    assert socket_or_none("") is None
    assert socket_or_none("127.0.0.1:10031") == Endpoint("127.0.0.1", 10031)
    assert socket_or_none("unix:/run/x") == Endpoint("", 0, "/run/x")
