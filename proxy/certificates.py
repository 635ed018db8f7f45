"""Certificates as files: reading what the administrator has, making one where there is none.

Promises: `read` says in one line what is wrong with a file, and which command makes a good one; nothing that it
accepts makes `ssl` ask for a pass phrase on the terminal.  `make` never shows a private key to another user, not even
for an instant, and never leaves half a file.

Not here: TLS itself, and the choice of a certificate for a client (net/tls/contexts.py); ACME (certbot, lego and their
like keep `fullchain.pem` and `privkey.pem` in a folder, and such a folder is taken as it is).

An expired certificate is not an error: the mail of a whole company would stop for something that most mail clients
only warn of.  The caller says it loudly.

Rejected: the `openssl` program (not installed everywhere, and its options differ by version).  RSA for what is made by
default: P-256 is four times as cheap a handshake, and is known to everything that knows TLS 1.2.  RSA is for printers
that know only TLS 1.0 and no elliptic curves.

RFC 5280 (certificates), RFC 2986 (requests), RFC 6125 6.4.4 (the common name counts only where there are no DNS
names), RFC 7468 (PEM).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAYS = 825  # the longest life that Apple's and Mozilla's clients take (CA/Browser Forum ballot 193)
BACKDATED = datetime.timedelta(days=1)  # for clients whose clock is slow
RSA_BITS = 2048  # what authorities ask for at least; old printers often take no more
COMMON_NAME = 64  # octets, RFC 5280 appendix A: ub-common-name
_SIZE = 1 << 20  # octets; a chain with its key is some 10 KiB, so more is the wrong file

_PEM_KEY = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server certificate, its chain and its key, as files that were read and fit together."""

    path: Path  # as configured: a file, or a folder
    chain: Path  # PEM, the server's own certificate first
    key: Path  # PEM, not encrypted; often the same file
    names: tuple[str, ...]  # DNS names in lower case, "*.example.com" among them; the common name where there are none
    not_after: float  # wall-clock epoch seconds
    fingerprint: str  # "sha256:" and the hash of the certificate's DER form in hex
    rsa: bool = False  # its key is of that kind, the only one that every client knows

    def expired(self, now: float) -> bool:
        """Is its time over at `now` (wall-clock epoch seconds)?"""
        return now > self.not_after


def fingerprint(der: bytes) -> str:
    """The SHA-256 of a certificate in DER form, as popgate writes it: `sha256:` and 64 hex digits in lower case.

    `openssl x509 -noout -fingerprint -sha256` prints the same digits.  Rejected: the hash of the public key alone,
    which outlives a renewal but needs a parser, and the certificates of old appliances are those that parsers refuse.
    """
    return "sha256:" + hashlib.sha256(der).hexdigest()


def read(path: Path) -> Certificate:
    """Read a PEM file with chain and key, or a folder with `fullchain.pem` and `privkey.pem`.

    Raises ConfigError with one line (file, what is wrong, the command that makes one).
    """
    folder = path.is_dir()
    chain, key = (path / "fullchain.pem", path / "privkey.pem") if folder else (path, path)
    try:
        leaf = _leaf(chain)
        if _public(leaf) != _key(key):
            raise _Unfit(key, f"the private key does not belong to the first certificate of {chain.name}")
    except _Unfit as unfit:
        raise ConfigError([f"{unfit}; {_cure(path, folder=folder)}"]) from None
    return Certificate(
        path=path,
        chain=chain,
        key=key,
        names=_names(leaf),
        not_after=leaf.not_valid_after_utc.timestamp(),
        fingerprint=fingerprint(leaf.public_bytes(serialization.Encoding.DER)),
        rsa=isinstance(leaf.public_key(), rsa.RSAPublicKey),
    )


def make(
    names: Sequence[str],
    folder: Path,
    *,
    days: int = DAYS,
    file: str = "",
    force: bool = False,
    now: float | None = None,
    for_old: bool = False,
    request: bool = False,
) -> Path:
    """Make a self-signed certificate (ECDSA P-256) for hosts and addresses; return the one file with chain and key.

    names: at least one; "*.example.com" is taken.  days: its life from `now` (wall-clock epoch seconds, None: the
    system's). file: the file's name in `folder`, else the first name with ".pem".  force: replace what is there.
    for_old: RSA, for clients that know no elliptic curves.  request: write a signing request for its key, too
    (`request_path`).
    Raises ConfigError: a bad name, a file that exists, a folder that can't be written.
    """
    general = _general_names(names)
    path = folder / (file or names[0].lower().replace("*", "_") + ".pem")
    if path.name != (file or path.name):
        raise ConfigError([f"{file}: the name of a file in {folder}, not a path"])
    if os.path.lexists(path) and not force:
        raise ConfigError([f"{path}: exists already; --force replaces it"])
    start = datetime.datetime.fromtimestamp(time.time() if now is None else now, datetime.UTC)
    key = rsa.generate_private_key(65537, RSA_BITS) if for_old else ec.generate_private_key(ec.SECP256R1())
    leaf = _self_signed(key, names[0].lower(), general, start - BACKDATED, start + datetime.timedelta(days=days))
    text = leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if request:
            _write_secret(request_path(path), _request(key, names[0].lower(), general))
        _write_secret(path, text)
    except OSError as error:
        raise ConfigError([f"{path}: can't be written: {error.strerror}"]) from error
    return path


def request_path(path: Path) -> Path:
    """Where the signing request for a made certificate is: beside it, "mail.csr" for "mail.pem"."""
    return path.with_suffix(".csr")


# -- reading ------------------------------------------------------------


class _Unfit(Exception):
    """A file that is no good; what to do about it depends on what was configured."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def _cure(path: Path, *, folder: bool) -> str:
    if folder:  # what we make is one file, so it is none of the two
        makes = f"`popgate certs make NAME --folder {path}` makes a self-signed certificate"
        return f"a folder wants fullchain.pem and privkey.pem, or list one file with both: {makes}"
    place = f" --folder {path.parent} --file {path.name}" if path.suffix else ""
    return f"`popgate certs make NAME{place}` makes a self-signed certificate"


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            raise ConfigError([f"{path}: is no regular file; list a PEM file with certificate and private key"])
        with path.open("rb") as file:
            data = file.read(_SIZE + 1)
    except FileNotFoundError:
        raise _Unfit(path, "no such file") from None
    except PermissionError as error:  # it is there, and may be a good one
        text = f"{path}: can't be read: {error.strerror}; give it to the user that popgate runs as (chown)"
        raise ConfigError([text]) from None
    except OSError as error:
        raise _Unfit(path, f"can't be read: {error.strerror}") from None
    if len(data) > _SIZE:
        raise _Unfit(path, "too large for a certificate")
    return data


def _leaf(path: Path) -> x509.Certificate:
    data = _bytes(path)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise _Unfit(path, "no certificate inside (PEM is wanted)")
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise _Unfit(path, "the certificate inside is damaged") from None


def _key(path: Path) -> bytes:
    """The public half of the first private key in the file, which is the one that OpenSSL takes."""
    found = _PEM_KEY.search(_bytes(path))
    if not found:
        raise _Unfit(path, "no private key inside (PEM is wanted)")
    try:
        return _public(serialization.load_pem_private_key(found[0], password=None))
    except TypeError:
        raise _Unfit(path, "the private key is encrypted, and popgate starts without a pass phrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Unfit(path, "the private key is damaged, or of a kind that is not known") from None


def _public(owner: x509.Certificate | PrivateKeyTypes) -> bytes:
    # DER of SubjectPublicKeyInfo: equal exactly where the keys are
    return owner.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    names: list[str] = []
    # A malformed or unknown extension is no reason to refuse what OpenSSL will serve: it is only not chosen by name.
    with contextlib.suppress(x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternative.get_values_for_type(x509.DNSName)
    if not names:
        names = [str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower().rstrip(".") for name in names)


# -- making -------------------------------------------------------------


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    if not names:
        raise ConfigError(["certs make: a host name or an address is wanted, as clients write it"])
    general: list[x509.GeneralName] = []
    problems = []
    for name in names:
        if "%" not in name:  # ipaddress takes a zone id, a certificate can't
            with contextlib.suppress(ValueError):
                general.append(x509.IPAddress(ipaddress.ip_address(name)))
                continue
        if _is_host(name.lower()):
            general.append(x509.DNSName(name.lower()))
        else:
            problems.append(
                f"{name!a}: neither a host name (letters, digits, hyphens; others as xn--) nor an IP address"
            )
    if problems:
        raise ConfigError(problems)
    return general


def _is_host(name: str) -> bool:
    """RFC 1123 2.1, a wildcard as first label; the last not all digits: a mistyped address (RFC 3696 2)."""
    labels = name.removeprefix("*.").split(".")
    return len(name) <= 253 and all(map(_LABEL.match, labels)) and not labels[-1].isdigit()


def _subject(name: str) -> x509.Name:
    # An overlong name is left to the SAN, which is all that a client of this century looks at.
    common = name if len(name) <= COMMON_NAME else "popgate"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _request(key: PrivateKey, name: str, names: list[x509.GeneralName]) -> bytes:
    """PKCS #10 (RFC 2986); an authority decides on the other extensions by itself."""
    asked = x509.CertificateSigningRequestBuilder().subject_name(_subject(name))
    asked = asked.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return asked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _self_signed(
    key: PrivateKey,
    name: str,
    names: list[x509.GeneralName],
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.Certificate:
    subject = _subject(name)
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Not a CA: a client that trusts this certificate trusts this server, and nothing that its key could sign.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(isinstance(key, rsa.RSAPrivateKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        # Both identifiers, because Python 3.13 and later check strictly (VERIFY_X509_STRICT) by default.
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(encipherment: bool) -> x509.KeyUsage:
    """`encipherment`: the client sends its secret under the key, as TLS 1.0 without Diffie-Hellman does."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_secret(path: Path, data: bytes) -> None:
    """Write a whole file or none, readable by its owner alone from the first octet on.

    Through a new file beside it and a rename: a file that is there already may be open to others, and keeps its mode.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
