"""Values that name a place: addresses to bind and to connect to, networks, domains, files.

Parsers as in values.py.  Only form is checked here: nothing is resolved, opened or asked for.  A host *name* is taken
for an upstream server, never for a bind: what is bound must not depend on a resolver that may not be up at boot.
No zone ids ("fe80::1%eth0"), anywhere: an address with one is never leasable (rule G2).
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ..wire.recipients import LocalDomains
from . import redis_url
from .endpoint import CLIENT, MEMORY, SQLITE, Endpoint, Transport
from .values import Parser, Wrong, line, quoted

if TYPE_CHECKING:
    from pathlib import Path

HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
MAX_LOGIN: Final = 256  # octets, as leases/base.py
MAX_DOMAIN: Final = 255  # octets of a domain (RFC 5321 4.5.3.1.2)
_TRANSPORTS: Final[tuple[Transport, ...]] = ("udp", "tcp")
MAX_SOCKET_PATH: Final = 107  # octets: sockaddr_un.sun_path on Linux holds 108 with its end


def address(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address that the text is; None if it is none or has a zone id."""
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def network(value: object) -> str:
    """An address range as written ("192.0.2.0/24"), or a single address."""
    text = line(value)
    try:
        found = ip_network(text, strict=False) if "%" not in text else None
    except ValueError:
        found = None
    if found is None:
        raise Wrong(f'{quoted(text)} is not a network; write for example "192.0.2.0/24" or "2001:db8::/32"')
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped and found.prefixlen >= 96:
        inner = IPv4Network((found.network_address.ipv4_mapped, found.prefixlen - 96))
        raise Wrong(f"{quoted(text)} is IPv4 in IPv6's clothes; write {quoted(str(inner))}")
    head, slash, prefix = text.partition("/")
    if slash and prefix != str(found.prefixlen):  # a netmask, which ipaddress takes, and Cisco's kind of it, too
        raise Wrong(f"{quoted(text)} has a netmask; write {quoted(str(found))}")
    if slash and address(head) != found.network_address:
        raise Wrong(f"{quoted(text)} has bits set behind its prefix; write {quoted(str(found))} or a single address")
    return text


def domain(value: object) -> str:
    """A local domain: "example.com", or ".example.com" for its subdomains; U-labels are taken (rule G16)."""
    text = line(value)
    if text.startswith("*."):
        raise Wrong(f"{quoted(text)} has a wildcard; write {quoted(text[1:])} for all subdomains")
    if "@" in text:
        raise Wrong(f"{quoted(text)} is an address; write the domain alone, {quoted(text.rpartition('@')[2])}")
    try:
        LocalDomains([text])  # whose word counts: it compares them with the recipients'
    except ValueError:
        raise Wrong(f'{quoted(text)} is not a domain; write for example "example.com" or ".example.com"') from None
    return text


def login(value: object) -> str:
    """A login, as users write it."""
    text = line(value)
    if not text or len(text.encode()) > MAX_LOGIN:
        raise Wrong(f"{quoted(text)} is no login; take 1 to {MAX_LOGIN} octets")
    return text


def bind(value: object) -> Endpoint:
    """An IP address and port to listen on; port 0 lets the system choose."""
    text = line(value)
    if text.startswith("unix:"):
        raise Wrong(f"{quoted(text)}: a client on a unix socket has no address to judge by; bind an IP address")
    host, port = _host_and_port(text)
    if address(host) is None:
        raise Wrong(
            f'{quoted(text)} does not begin with an IP address; write for example "0.0.0.0:{port}" or "[::]:{port}"'
        )
    return Endpoint(host, port)


def bind_or_none(value: object) -> Endpoint | None:
    """As `bind`; an empty text means none."""
    return None if value == "" else bind(value)


def server(value: object) -> Endpoint:
    """A server to connect to: "host:port", "[v6]:port" or "unix:/path"."""
    text = line(value)
    if text.startswith("unix:"):
        return Endpoint("", 0, _unix_path(text))
    host, port = _host_and_port(text)
    if port == 0:
        raise Wrong(f"{quoted(text)} has port 0; write the port that the server listens on")
    # Digits and dots only are a mistyped address ("192.0.2.300"), never a name: no top-level domain is a number.
    if address(host) is None and (
        not HOST_NAME.fullmatch(host) or len(host) > MAX_DOMAIN or re.search(r"(^|\.)\d+\.?$", host)
    ):
        raise Wrong(
            f'{quoted(text)} does not begin with a host name or address; write for example "mail.example.com:25"'
        )
    return Endpoint(host, port)


def source(value: object) -> str:
    """Where connections come from: "" (the system chooses), "client", or an address of this machine."""
    text = line(value)
    if text in ("", CLIENT) or address(text) is not None:
        return text
    raise Wrong(f'{quoted(text)} is not an IP address; write one of this machine, without a port, or "client"')


def whoson_bind(value: object) -> Endpoint:
    """Where to answer whoson questions: "udp:ADDRESS:PORT", "tcp:ADDRESS:PORT" or "unix:/path".

    UDP at every address of the machine is not taken: the kernel chooses the address that an answer comes from, and
    libwhoson takes none from another than it asked.
    """
    place = _whoson(value)
    if place.transport == "udp" and ip_address(place.host).is_unspecified:
        raise Wrong(f"{quoted(str(place))}: over UDP, answers could come from another address; name each one apart")
    return place


def whoson_server(value: object) -> Endpoint:
    """A whoson server, written as for `whoson_bind`; no names, since a question to it must not wait for a resolver."""
    place = _whoson(value)
    if not place.path and place.port == 0:
        raise Wrong(f"{quoted(str(place))} has port 0; write the port that the server listens on")
    return place


def _whoson(value: object) -> Endpoint:
    text = line(value)
    if text.startswith("unix:"):
        return Endpoint("", 0, _unix_path(text))
    given, _, rest = text.partition(":")
    for transport in _TRANSPORTS:
        if given == transport:
            return replace(bind(rest), transport=transport)
    raise Wrong(f'{quoted(text)} does not say how; write for example "udp:127.0.0.1:9876", "tcp:..." or "unix:/path"')


def socket_or_none(value: object) -> Endpoint | None:
    """Where to listen for other servers, "ADDRESS:PORT" or "unix:/path"; an empty text means nowhere."""
    text = line(value)
    if not text:
        return None
    return Endpoint("", 0, _unix_path(text)) if text.startswith("unix:") else bind(text)


def _host_and_port(text: str) -> tuple[str, int]:
    """Split "host:port" and "[v6]:port"; the host's form is the caller's to judge, the port is 0 to 65535."""
    host, colon, port = text.rpartition(":")
    if address(text) is not None:
        whole = f"[{text}]" if ":" in text else text
        raise Wrong(f"{quoted(text)} has no port; write {quoted(whole + ':PORT')}")
    if not colon or text.endswith("]"):
        raise Wrong(f"{quoted(text)} has no port; write {quoted(text + ':PORT')}")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise Wrong(f"{quoted(text)} has no usable port; write a number from 1 to 65535 behind the last colon")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(address(host), IPv6Address):
            raise Wrong(
                f'{quoted(text)}: only an IPv6 address is put in brackets; write for example "[2001:db8::1]:{port}"'
            )
    elif isinstance(address(host), IPv6Address):
        raise Wrong(f"{quoted(text)}: an IPv6 address needs brackets; write {quoted(f'[{host}]:{port}')}")
    return host, int(port)


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/"):
        raise Wrong(
            f"{quoted(text)} needs the whole path of the socket; write for example {quoted('unix:/run/' + path)}"
        )
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise Wrong(f"{quoted(text)} is longer than a socket's path may be; take at most {MAX_SOCKET_PATH} octets")
    return path


def path(base: Path) -> Parser[Path]:
    """A file or folder; a relative one is taken from `base`."""

    def parse(value: object) -> Path:
        text = line(value)
        if not text:
            raise Wrong("must not be empty; write a path")
        return base / text

    return parse


def path_or_none(base: Path) -> Parser[Path | None]:
    """As `path`; an empty text means none."""
    return lambda value: None if value == "" else path(base)(value)


def socket_path(base: Path) -> Parser[Path]:
    """As `path`, and short enough for a unix socket; "unix:" may stand before it, as elsewhere."""

    def parse(value: object) -> Path:
        place = path(base)(line(value).removeprefix("unix:"))
        if len(os.fsencode(place)) > MAX_SOCKET_PATH:
            raise Wrong(
                f"{quoted(str(place))} is longer than a socket's path may be; take at most {MAX_SOCKET_PATH} octets"
            )
        return place

    return parse


def log_file(base: Path) -> Parser[str]:
    """Where the log goes: "" (stderr), "syslog", "syslog:bsd", or a path, made absolute."""
    names = ("", "syslog", "syslog:bsd")
    return lambda value: value if isinstance(value, str) and value in names else str(path(base)(value))


def store_url(base: Path) -> Parser[str]:
    """ "memory:", "sqlite:PATH", "redis://..." or "rediss://...", paths made absolute.  A redis URL is never quoted."""

    def parse(value: object) -> str:
        text = line(value)
        if text == MEMORY:
            return text
        if text.startswith(redis_url.SCHEMES):
            return redis_url.parse(text, base).text()
        place = text.removeprefix(SQLITE)
        if place in ("", text, MEMORY) or place.startswith((":", "//")):
            raise Wrong(
                f"{quoted(redis_url.masked(text))} is not a lease store; "
                'take "memory:", "sqlite:PATH", like "sqlite:leases.db", or "redis://HOST:PORT/DB"'
            )
        return f"{SQLITE}{base / place}"

    return parse
