"""One server of an upstream: reached, secured as configured, asked what it is.

TLS is what popgate itself uses (net/tls/contexts.py).  Where it fails, a second connection looks at the certificate
without checking it, for the `tls_pin` to paste; over that one nothing is said (rule N9).  An address at which popgate
listens is not even connected to (rule N10); a loop through a third machine can't be seen here, since popgate's
greeting is its upstream's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from ..config.values import duration_text
from ..errors import ConfigError, PopgateError, ProtocolError, UpstreamUnavailable
from ..net.local_addresses import listens_there
from ..net.tls.contexts import shown_pin, upstream_context
from ..net.upstream.announcement import Announcing
from ..upstream_client.pop3 import Pop3
from ..upstream_client.said import said
from ..upstream_client.smtp import Smtp
from ..upstream_client.talk import HandshakeFailed, Silent, addresses, connect
from . import pop3, smtp
from .findings import Findings

if TYPE_CHECKING:
    import ssl

    from ..config.endpoint import Endpoint
    from ..config.schema import MailProtocol, Upstream
    from ..net.tls.contexts import UpstreamTls
    from ..upstream_client.talk import Address, Talk

VISIT: Final = 6  # times connect_timeout: a server whose every answer comes at the last moment is given up
SOON: Final = 14  # days before its end at which a certificate is worth a warning; ACME clients renew at 30
_WAITS: Final = '; if it is waiting for TLS: tls = "implicit"'
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Server:
    """What a visit has to know."""

    upstream: Upstream
    endpoint: Endpoint
    protocol: MailProtocol
    local_domains: tuple[str, ...]  # of all listeners in front of it
    auth: bool  # whether one of them passes AUTH on
    ours: frozenset[tuple[str, int]]  # (address, port) at which popgate listens
    checks: bool = False  # whether it checks the passwords of AUTH (auth = "pop3")


def place(server: Server) -> str:
    """Its name in the findings."""
    return f"upstream.{server.upstream.name} {server.endpoint}"


async def visit(server: Server) -> Findings:
    """Ask one server everything; what goes wrong is a finding, never an exception."""
    found = Findings(place(server))
    limit = VISIT * server.upstream.connect_timeout
    try:
        async with asyncio.timeout(limit):
            await _visit(server, found)
    except ConfigError as error:
        found.fail("; ".join(error.problems))
    except ProtocolError as error:
        found.fail(f"does not speak {server.protocol.upper()} as popgate takes it: {error}")
    except PopgateError as error:
        found.fail(str(error))
    except TimeoutError:
        found.fail(f"too slow: given up after {duration_text(limit)} in all")
    return found


async def _visit(server: Server, found: Findings) -> None:
    found.about("TLS")
    tls = _context(server.upstream)
    address, talk = await _reach(server, found)
    try:
        speaker = _speaker(server, talk)
        if tls and server.upstream.tls == "implicit" and not await _secure(server, found, talk, tls, address):
            return
        found.about("greeting")
        try:
            found.ok(said(await speaker.greet()))
        except Silent as error:
            raise error if server.upstream.tls == "implicit" else Silent(f"{error}{_WAITS}") from error
        found.about("TLS")
        if tls is None:
            found.ok("off: everything goes in the clear")
        if tls and server.upstream.tls == "starttls":
            await speaker.upgrade()
            if not await _secure(server, found, talk, tls, address):
                return
        if isinstance(speaker, Pop3):
            await pop3.interrogate(speaker, found, server.checks)
        else:
            await smtp.interrogate(speaker, found, server.local_domains, server.auth, server.upstream.xclient)
        with contextlib.suppress(PopgateError):  # all is known; how it takes leave is no matter
            await speaker.leave()
    finally:
        await talk.close()


def _speaker(server: Server, talk: Talk) -> Smtp | Pop3:
    return Smtp(talk) if server.protocol == "smtp" else Pop3(talk)


def _context(upstream: Upstream) -> UpstreamTls | None:
    if upstream.tls == "off":
        return None
    return upstream_context(
        upstream.tls_verify, upstream.tls_min_version, upstream.tls_ca, upstream.tls_name, upstream.tls_pin
    )


async def _reach(server: Server, found: Findings) -> tuple[Address, Talk]:
    """Connect to the first address that answers, as popgate does; the others are told."""
    found.about("reachable")
    patience = server.upstream.connect_timeout
    known = await addresses(server.endpoint, patience)
    for number, address in enumerate(known, 1):
        try:
            if not server.endpoint.path and listens_there(address.host, address.port, server.ours):
                raise UpstreamUnavailable("popgate itself listens there: a loop; give the mail server's own address")
            begun = time.monotonic()
            talk = await connect(address, patience, Announcing.from_config(server.upstream))
        except UpstreamUnavailable as error:
            if number == len(known):
                raise
            found.warn(f"{address.host}: {error}; its next address is tried")
            continue
        where = "" if address.host in (server.endpoint.host, server.endpoint.path) else f" to {address.host}"
        found.ok(f"connected{where} in {(time.monotonic() - begun) * 1000:.0f} ms")
        return address, talk
    raise UpstreamUnavailable(f"{server.endpoint.host} has no address")


async def _secure(server: Server, found: Findings, talk: Talk, tls: UpstreamTls, address: Address) -> bool:
    """TLS as configured, and a line about it; False where the server is not to be talked to."""
    found.about("TLS")
    try:
        side = await talk.start_tls(tls, server.endpoint.host)
    except HandshakeFailed as error:
        found.fail(str(error))
        found.warn(await _unverified(server, tls, address))
        return False
    _describe(server.upstream, found, side)
    return True


def _describe(upstream: Upstream, found: Findings, side: ssl.SSLObject) -> None:
    name, left = _certificate(side)
    text = f"{upstream.tls}, {side.version()}, {name}"
    if not upstream.tls_verify and not upstream.tls_pin:
        found.warn(f"{text}; not verified (tls_verify = false)")
    elif left is not None and left < SOON:
        found.warn(text)
    else:
        found.ok(text)


async def _unverified(server: Server, tls: UpstreamTls, address: Address) -> str:
    """What the server shows when nothing is checked, on a connection of its own over which nothing is said."""
    talk = await connect(address, server.upstream.connect_timeout, Announcing.from_config(server.upstream))
    try:
        if server.upstream.tls == "starttls":
            speaker = _speaker(server, talk)
            await speaker.greet()
            await speaker.upgrade()
        side = await talk.start_tls(tls.unverified(), server.endpoint.host)
        seen, pin = _certificate(side)[0], shown_pin(side)
        return f'unchecked, it shows {side.version()}, {seen}; tls_pin = "{pin}" would trust it'
    except HandshakeFailed as error:
        return f"unchecked, it fails as well: {error}"
    finally:
        await talk.close()


def _certificate(side: ssl.SSLObject) -> tuple[str, float | None]:
    """The server's certificate in words, and the days that it is still good (None: can't be read)."""
    der = side.getpeercert(binary_form=True)
    try:
        leaf = x509.load_der_x509_certificate(der or b"")
        left = (leaf.not_valid_after_utc.timestamp() - time.time()) / _DAY
        names = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        with contextlib.suppress(x509.ExtensionNotFound, x509.DuplicateExtension):
            alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = alternative.get_values_for_type(x509.DNSName) or names
    except (ValueError, x509.UnsupportedGeneralNameType):  # certificates of old servers are those that parsers refuse
        return "a certificate that can't be read", None
    name = said(names[0].encode()) if names else "nobody"
    return f"certificate of {name}, {days(left)}", left


def days(left: float) -> str:
    """How long a certificate is still good, in words; `left` in days."""
    if left < 0:
        return f"expired {-left:.0f} days ago"
    return f"{left:.0f} days left"
