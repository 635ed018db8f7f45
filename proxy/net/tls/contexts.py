"""TLS towards clients (certificate by name, tickets that outlive a reload) and upstream servers (four ways of trust).

Promises, clients' side (`ServerTls`, one for all listeners of a protocol):
- A certificate is chosen by SNI; without a match the first one is shown.  Where two have one name the first counts.
- ALPN that is offered and does not name the listener's protocol ends the handshake (rule S11).
- Tickets are made by one context that lives as long as the process and is made before the workers are forked, so that
  every worker accepts them, after a reload too (N7).  A ticket of the POP3 listeners means nothing to the SMTP
  listeners: their contexts have other keys, and OpenSSL makes those keys at random.  All names of one protocol are one
  service: a ticket that was issued under one name is accepted under another.
- No renegotiation, no compression.  TLS 1.2 at least, unless the operator says otherwise, and then for that context
  alone (N9).  Clients of `old_clients` get a context of their own, with other ticket keys, chosen by their address
  before the first octet; what it allows is allowed to nobody else.

Promises, upstream's side (`UpstreamTls`): exactly one of four ways of trust decides (see `upstream_context`), and a
failure tells what to write into the configuration.

How the clients' side works: every certificate has a context.  All connections begin in the living one, the first
that was made, and so they share its ticket keys; when the ClientHello has come, a connection that is to see another
certificate is switched to the context of that one.  A reload swaps new contexts in; connections keep what they have.

Not here: what a client asks for, and what it is refused for (net/tls/client_hello.py); sockets
(net/sockets/tls_leg.py); files (certificates.py).

Rejected: loading a new pair into the living context.  A pair that does not fit breaks it, and a pair of another kind
(RSA, ECDSA) is added to the old one and does not replace it, so that some clients go on seeing the expired
certificate.  `ssl`'s own ALPN: it goes on without a match, and does not tell that anything was offered.  Asking for
client certificates.  `sni_callback`: it costs something in every handshake, and tells what was read here anyway.
Changing the tickets' keys by time: `ssl` does not reach them; they live as long as the process.

RFC 8446, RFC 5246, RFC 5746 (renegotiation), RFC 6066 (SNI), RFC 7301 (ALPN); rules S11, N7, N9.
"""

from __future__ import annotations

import re
import ssl
import sys
import warnings
from typing import TYPE_CHECKING

from ...certificates import fingerprint, read
from ...errors import ConfigError, UpstreamUnavailable
from ...wire.address import Networks
from .client_hello import ClientSide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ...certificates import Certificate

    Wrap = Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD = ("TLSv1", "TLSv1.1")
OLDEST = "TLSv1"

# For clients: forward secrecy and authenticated encryption only (Mozilla's "intermediate" list; so the client's order
# counts, which knows its processor), said here because Python's own depends on who built it.  TLS 1.3 has another list.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL"
# What TLS 1.0 can do at all: SHA-1 and CBC, which Python's own list leaves out, and short keys.
_OLD_CIPHERS = "DEFAULT:@SECLEVEL=0"
# ssl.OP_LEGACY_SERVER_CONNECT is there from Python 3.12 on; the figure is OpenSSL's SSL_OP_LEGACY_SERVER_CONNECT.
_LEGACY_SERVER_CONNECT = 0x4

_TICKETS = 1  # OpenSSL's two are for browsers; mail clients keep the last one, and each costs 12 µs (measured)


class ServerTls:
    """TLS for the listeners of one protocol, "pop3" or "smtp"; it outlives every reload."""

    certificates: tuple[Certificate, ...]
    """What is shown now, in the configured order."""

    def __init__(
        self,
        protocol: str,
        certificates: Sequence[Path],
        min_version: str = "TLSv1.2",
        old_clients: Sequence[str] = (),
    ) -> None:
        """min_version: a key of VERSIONS; old_clients: networks whose clients may use TLS 1.0.

        Raises ConfigError with a line for each file that can't be used.
        """
        self._side, self._old = _Side(protocol), _Side(protocol)
        self._min_version = min_version
        self.reload(certificates, min_version, old_clients)

    def reload(
        self, certificates: Sequence[Path], min_version: str | None = None, old_clients: Sequence[str] = ()
    ) -> None:
        """From the next handshake on: these (None: the same version).  Raises ConfigError, having changed nothing."""
        min_version = min_version or self._min_version
        if not certificates:
            raise ConfigError(["tls.certificates: empty; `popgate certs make NAME` makes a self-signed certificate"])
        problems: list[str] = []
        found: list[Certificate] = []
        contexts: list[ssl.SSLContext] = []
        for path in certificates:
            try:
                certificate = read(path)
                contexts.append(self._side.shown(certificate, min_version))
                found.append(certificate)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        # A client that speaks only TLS 1.0 often has no elliptic curves.
        for_old = sorted(found, key=lambda one: not one.rsa) if old_clients else []
        old_contexts = [self._old.shown(certificate, OLDEST) for certificate in for_old]
        # From here on nothing can fail.
        self._side.adopt(found, contexts, min_version)
        if for_old:
            self._old.adopt(for_old, old_contexts, OLDEST)
        self._old_clients = Networks(old_clients)
        self._min_version = min_version
        self.certificates = tuple(found)

    def wrap_for(self, address: bytes) -> Wrap:
        """What makes the TLS of a client at this address (wire/address.py)."""
        return self._old.wrap if address in self._old_clients else self._side.wrap

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ClientSide:
        """The TLS of one connection of anyone."""
        return self._side.wrap(incoming, outgoing)


class _Side:
    """A living context, and those that a connection may be switched to."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._living: ssl.SSLContext | None = None

    def shown(self, certificate: Certificate, min_version: str) -> ssl.SSLContext:
        """A context to be adopted; raise ConfigError for a certificate that OpenSSL does not take."""
        return _shown(certificate, self._protocol, min_version)

    def adopt(self, certificates: Sequence[Certificate], contexts: Sequence[ssl.SSLContext], min_version: str) -> None:
        """Show these from now on."""
        by_name: dict[str, ssl.SSLContext] = {}
        for certificate, context in zip(certificates, contexts, strict=True):
            for name in certificate.names:
                by_name.setdefault(name, context)
        if self._living is None:
            self._living = contexts[0]
            self._living.sslobject_class = ClientSide
            self._living.num_tickets = _TICKETS
        else:
            # The version is taken from the living context, before a connection is switched; ciphers and security level
            # from the other, so that old ciphers which this one has kept from before do no harm.
            _harden(self._living, self._protocol, min_version)
        self._first, self._contexts = contexts[0], by_name

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ClientSide:
        """The only way in, because the ClientHello is judged there."""
        assert self._living is not None
        side = self._living.wrap_bio(incoming, outgoing, server_side=True)
        assert isinstance(side, ClientSide)
        side.read_before(incoming, outgoing, self._protocol, self._switch)
        return side

    def _switch(self, side: ssl.SSLObject, name: str) -> None:
        """Let `side`, which is in the living context, show the certificate for this server name ("": none was said)."""
        context = self._first
        if name:
            name = name.lower().rstrip(".")
            # The wildcard stands for one label, the leftmost (RFC 6125 6.4.3).
            wildcard = "*." + name.partition(".")[2]
            context = self._contexts.get(name) or self._contexts.get(wildcard) or context
        if context is not self._living:
            side.context = context


class UpstreamTls:
    """TLS towards the servers of one upstream; made by `upstream_context`."""

    def __init__(self, context: ssl.SSLContext, name: str, pin: str) -> None:
        self.context = context
        self._name = name
        self._pin = pin

    def server_hostname(self, host: str) -> str | None:
        """What `wrap_bio` gets: `tls_name`, else the host as configured; None for a Unix socket.

        Raises UpstreamUnavailable where a name must be compared and there is none.
        """
        name = self._name or host
        if not name and self.context.check_hostname:
            raise UpstreamUnavailable("no host name to check the certificate against; set tls_name or tls_pin")
        return name or None

    def check(self, side: ssl.SSLObject) -> None:
        """The pin, after the handshake, before anything is sent.  Raises UpstreamUnavailable with the pin seen."""
        if not self._pin:
            return
        seen = shown_pin(side)
        if seen != self._pin:
            raise UpstreamUnavailable(f'the server shows another certificate; if that is right: tls_pin = "{seen}"')

    def refused(self, error: ssl.SSLError, side: ssl.SSLObject) -> UpstreamUnavailable:
        """A handshake that failed, in words for the log, with the setting that fixes it where there is one.

        Before Python 3.13 `ssl` shows no certificate of a handshake that failed; then the words point to `popgate
        selftest`, which connects again by `unverified` to see it.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            pin = _pin_seen(side)
            cure = (
                f'tls_pin = "{pin}" would trust it'
                if pin
                else "`popgate selftest` shows the tls_pin that would trust it"
            )
            return UpstreamUnavailable(f"the server's certificate is refused: {error.verify_message}; {cure}")
        reason = getattr(error, "reason", None) or str(error)
        cure = '; for an old server set tls_min_version = "TLSv1"' if reason in _OLD_SERVER else ""
        return UpstreamUnavailable(f"TLS with the server failed: {reason.lower().replace('_', ' ')}{cure}")

    def unverified(self) -> UpstreamTls:
        """The same server, trusted blindly: for `selftest`, to see its certificate and to send nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers(_OLD_CIPHERS)
        _set_minimum(context, "TLSv1")
        context.options |= _LEGACY_SERVER_CONNECT
        return UpstreamTls(context, self._name, "")


# What OpenSSL says of a server that is too old for the context's version, ciphers, keys or renegotiation.
_OLD_SERVER = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SSL_VERSION",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "NO_PROTOCOLS_AVAILABLE",
        "NO_CIPHERS_AVAILABLE",
        "DH_KEY_TOO_SMALL",
        "EE_KEY_TOO_SMALL",
        "CA_MD_TOO_WEAK",
        "WRONG_SIGNATURE_TYPE",
        "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED",
        "UNSAFE_LEGACY_RENEGOTIATION_DISABLED",
    }
)


def upstream_context(
    tls_verify: bool = True,
    tls_min_version: str = "TLSv1.2",
    tls_ca: Path | None = None,
    tls_name: str = "",
    tls_pin: str = "",
) -> UpstreamTls:
    """TLS towards an upstream.  Of the four ways of trust, the first that is set decides, alone:

    tls_pin: the server's certificate has this SHA-256 (`sha256:` and 64 hex digits; colons, upper case and no prefix
    are taken too); expiry, issuer and name don't matter.  tls_verify false: anything, the traffic is only encrypted.
    tls_ca: a PEM file or a folder (`openssl rehash`) of the only issuers that count.  Else the system's issuers.
    The last two also compare the name: tls_name, or the host as configured.

    tls_min_version below TLSv1.2 also takes old ciphers, short keys and servers without RFC 5746, here and nowhere
    else.

    Raises ConfigError: a pin or a tls_ca that can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pin = _pin(tls_pin) if tls_pin else ""
    if pin or not tls_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif tls_ca is not None:
        try:
            if tls_ca.exists() and not (tls_ca.is_file() or tls_ca.is_dir()):  # OpenSSL would wait for a pipe for ever
                raise ConfigError([f"tls_ca: {tls_ca}: is no regular file"])
            context.load_verify_locations(**{"capath" if tls_ca.is_dir() else "cafile": str(tls_ca)})
        except OSError as error:  # SSLError too: no certificate inside
            problem = "no certificate inside (PEM is wanted)" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError([f"tls_ca: {tls_ca}: {problem}"]) from error
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if tls_min_version in _OLD:
        context.set_ciphers(_OLD_CIPHERS)
        context.options |= _LEGACY_SERVER_CONNECT
    _set_minimum(context, tls_min_version)
    return UpstreamTls(context, tls_name, pin)


def shown_pin(side: ssl.SSLObject) -> str:
    """The pin of the certificate that the server showed in a handshake that succeeded."""
    der = side.getpeercert(binary_form=True)
    if der is None:
        raise UpstreamUnavailable("the server shows no certificate")
    return fingerprint(der)


def _pin(text: str) -> str:
    digits = text.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ConfigError(
            [f"tls_pin: {text!a} is not sha256: and 64 hex digits; `popgate selftest` shows the right one"]
        )
    return "sha256:" + digits


def _pin_seen(side: ssl.SSLObject) -> str:
    """The pin after a handshake that failed; "" where the interpreter can't tell."""
    if sys.version_info >= (3, 13):
        chain = side.get_unverified_chain()
        return fingerprint(chain[0]) if chain else ""
    return ""


def _shown(certificate: Certificate, protocol: str, min_version: str) -> ssl.SSLContext:
    """A context with this certificate, else made as the living one is: a handshake takes settings from both."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, protocol, min_version)
    try:
        # With a pass phrase given OpenSSL never asks on the terminal, whatever the file has become since it was read.
        context.load_cert_chain(certificate.chain, certificate.key, password=b"")
    except OSError as error:
        problem = getattr(error, "reason", None) or error
        raise ConfigError([f"{certificate.path}: OpenSSL does not take it: {problem}"]) from error
    return context


def _harden(context: ssl.SSLContext, protocol: str, min_version: str) -> None:
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([protocol])
    if min_version in _OLD:
        context.set_ciphers(_OLD_CIPHERS)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.set_ciphers(_CIPHERS)
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _set_minimum(context, min_version)


def _set_minimum(context: ssl.SSLContext, version: str) -> None:
    with warnings.catch_warnings():
        # Python calls the old versions deprecated; an operator that configures them knows.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = VERSIONS[version]
