"""certificates.py: what is read and made, and what is said of a file that can't be used."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from proxy import certificates
from proxy.certificates import fingerprint, make, read
from proxy.errors import ConfigError

NOW = 1_900_000_000.0
DAY = 86400.0


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path)
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.startswith(str(path))
    assert "popgate certs make" in line
    return line


def halves(path: Path) -> tuple[bytes, bytes]:
    """The certificate and the key of a file that `make` made."""
    head, mark, tail = path.read_bytes().partition(b"-----BEGIN PRIVATE KEY-----")
    return head, mark + tail


# -- make


def test_made_file_is_read_back(tmp_path: Path) -> None:
    path = make(["Mail.Example.COM", "*.example.net", "192.0.2.1", "2001:db8::1"], tmp_path, days=30, now=NOW)
    assert path == tmp_path / "mail.example.com.pem"
    found = read(path)
    assert found.path == found.chain == found.key == path
    assert found.names == ("mail.example.com", "*.example.net")
    assert found.not_after == NOW + 30 * DAY
    assert not found.expired(NOW + 30 * DAY)
    assert found.expired(NOW + 30 * DAY + 1)


def test_a_certificate_for_clients_without_elliptic_curves(tmp_path: Path) -> None:
    path = make(["a.example"], tmp_path, for_old=True)
    assert read(path).rsa
    assert not read(make(["b.example"], tmp_path)).rsa
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    key = leaf.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("for_old", [False, True])
def test_a_signing_request_is_for_the_same_key_and_names(tmp_path: Path, for_old: bool) -> None:
    path = make(["A.example", "*.b.example", "192.0.2.1"], tmp_path, file="mail.pem", for_old=for_old, request=True)
    request = x509.load_pem_x509_csr((tmp_path / "mail.csr").read_bytes())
    assert request.is_signature_valid
    assert b"PRIVATE KEY" not in (tmp_path / "mail.csr").read_bytes()
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    assert request.public_key() == leaf.public_key()
    assert request.subject == leaf.subject
    for one in (request, leaf):
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["a.example", "*.b.example"]
        assert [str(found) for found in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]


def test_what_an_authority_signed_takes_the_place_of_the_self_signed_one(tmp_path: Path) -> None:
    """As `certs make --csr` says: into the file, before the key."""
    path = make(["a.example"], tmp_path, request=True)
    request = x509.load_pem_x509_csr(path.with_suffix(".csr").read_bytes())
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    signed = x509.CertificateBuilder(request.subject and name, request.subject, request.public_key(), 5, begin,
                                     begin + datetime.timedelta(days=90), list(request.extensions))  # fmt: skip
    _, key = halves(path)
    path.write_bytes(signed.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + key)
    assert read(path).not_after == NOW + 90 * DAY


def test_made_certificate_says_what_clients_ask_of_it(tmp_path: Path) -> None:
    leaf = x509.load_pem_x509_certificate(
        make(["a.example", "192.0.2.1", "2001:db8::1"], tmp_path, now=NOW).read_bytes()
    )
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    assert leaf.not_valid_before_utc.timestamp() < NOW
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(days=826)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(leaf)


def test_default_time_is_now(tmp_path: Path) -> None:
    found = read(make(["a.example"], tmp_path))
    made = os.stat(tmp_path / "a.example.pem").st_mtime
    assert abs(found.not_after - made - certificates.DAYS * DAY) < 60


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_key_is_never_readable_by_others(tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    opened = os.open

    def watched(path: os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        assert flags & os.O_EXCL
        return descriptor

    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", watched)
            path = make(["a.example"], tmp_path)
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    path = make(["a.example"], tmp_path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already; --force"):
        make(["a.example"], tmp_path)
    assert path.read_bytes() == before
    path.chmod(0o644)
    assert make(["a.example"], tmp_path, force=True) == path
    assert path.read_bytes() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "a.example.pem").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="exists already"):
        make(["a.example"], tmp_path)
    make(["a.example"], tmp_path, force=True)
    assert not elsewhere.exists()


def test_file_can_be_named(tmp_path: Path) -> None:
    assert make(["a.example"], tmp_path / "new" / "certs", file="mail.pem") == tmp_path / "new" / "certs" / "mail.pem"
    assert make(["*.a.example"], tmp_path) == tmp_path / "_.a.example.pem"
    with pytest.raises(ConfigError, match="not a path"):
        make(["a.example"], tmp_path, file="../mail.pem")


def test_unwritable_folder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't be written: (File exists|Not a directory)"):
        make(["a.example"], tmp_path / "file")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        make(["a.example"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "-a.example", "a-.example", "a..example", "a.example.", "a_b.example", "mail.*.example", "*"),
        *("ä.example", "a.example\n", "fe80::1%eth0", "192.0.2.256", "1.2.3", "../etc/passwd"),
        *("x" * 64, ".".join(["x" * 60] * 5)),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(["good.example", name, "also bad"], tmp_path)
    assert len(caught.value.problems) == 2
    assert all("\n" not in line and line.isascii() for line in caught.value.problems)
    assert list(tmp_path.iterdir()) == []


def test_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="host name or an address"):
        make([], tmp_path)


def test_longest_names_fit(tmp_path: Path) -> None:
    name = ".".join(["x" * 60] * 4)
    assert read(make([name], tmp_path, file="long.pem")).names == (name,)


# -- read


def test_folder_of_an_acme_client_is_read(tmp_path: Path) -> None:
    chain, key = halves(make(["a.example"], tmp_path))
    folder = tmp_path / "live"
    folder.mkdir()
    assert problem(folder / "fullchain.pem").endswith("self-signed certificate")
    (folder / "fullchain.pem").write_bytes(chain + halves(make(["issuer.example"], tmp_path))[0])
    (folder / "privkey.pem").write_bytes(key)
    found = read(folder)
    assert (found.path, found.chain, found.key) == (folder, folder / "fullchain.pem", folder / "privkey.pem")
    assert found.names == ("a.example",)


@pytest.mark.parametrize("order", ["key first", "with parameters", "old form"])
def test_forms_of_keys(tmp_path: Path, order: str) -> None:
    path = make(["a.example"], tmp_path)
    chain, key = halves(path)
    if order == "key first":
        path.write_bytes(key + chain)
    else:
        old = serialization.load_pem_private_key(key, None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        # what `openssl ecparam -genkey` writes in front of a P-256 key
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        path.write_bytes(chain + (parameters if order == "with parameters" else b"") + old)
    read(path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in problem(tmp_path / "mail.pem")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(["a.example"], tmp_path)

    def denied(*_: object) -> None:  # root, who may run the tests, reads everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert caught.value.problems == [
        f"{path}: can't be read: Permission denied; give it to the user that popgate runs as (chown)"
    ]


def test_wrong_files(tmp_path: Path) -> None:
    path = make(["a.example"], tmp_path)
    chain, key = halves(path)
    for content, words in [
        (b"", "no certificate inside"),
        (key, "no certificate inside"),
        (chain, "no private key inside"),
        (chain.replace(b"M", b"A", 1) + key, "the certificate inside is damaged"),
        (chain + key.replace(b"M", b"A", 1), "damaged"),
        (b"x" * (1 << 20 | 1), "too large"),
    ]:
        path.write_bytes(content)
        assert words in problem(path)


def test_key_of_another_certificate(tmp_path: Path) -> None:
    chain, key = halves(make(["a.example"], tmp_path))
    other, _ = halves(make(["b.example"], tmp_path))
    path = tmp_path / "mail.pem"
    path.write_bytes(other + key)
    assert "does not belong to the first certificate" in problem(path)
    path.write_bytes(other + chain + key)  # the issuer in front, a usual mistake
    assert "does not belong to the first certificate" in problem(path)


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_encrypted_key(tmp_path: Path, form: serialization.PrivateFormat) -> None:
    path = make(["a.example"], tmp_path)
    chain, key = halves(path)
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret")
    )
    path.write_bytes(chain + locked)
    assert "the private key is encrypted" in problem(path)


def test_expired_certificate_is_no_error(tmp_path: Path) -> None:
    assert read(make(["a.example"], tmp_path, days=1, now=NOW - 2 * DAY)).expired(NOW)


def signed(names: list[x509.GeneralName], common: str) -> bytes:
    """A certificate as other programs make them, with its key."""
    key = ed25519.Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + datetime.timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, None).public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_common_name_counts_only_without_dns_names(tmp_path: Path) -> None:
    path = tmp_path / "mail.pem"
    path.write_bytes(signed([], "Old.Example."))
    assert read(path).names == ("old.example",)
    path.write_bytes(signed([x509.DNSName("New.example")], "old.example"))
    assert read(path).names == ("new.example",)


def test_fingerprint_is_the_one_of_openssl(tmp_path: Path) -> None:
    path = make(["a.example"], tmp_path)
    der = ssl.PEM_cert_to_DER_cert(halves(path)[0].decode())
    assert read(path).fingerprint == fingerprint(der)
    assert fingerprint(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("missing", ["fullchain.pem", "privkey.pem"])
def test_the_cure_for_a_folder_puts_no_pair_into_one_of_its_files(tmp_path: Path, missing: str) -> None:
    chain, key = halves(make(["a.example"], tmp_path))
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "fullchain.pem").write_bytes(chain)
    (folder / "privkey.pem").write_bytes(key)
    (folder / missing).unlink()
    line = problem(folder)
    assert line.startswith(f"{folder / missing}: no such file; a folder wants fullchain.pem and privkey.pem, ")
    assert f"certs make NAME --folder {folder}`" in line
    assert "--file" not in line


@pytest.mark.parametrize("inside", [False, True])
def test_a_pipe_is_not_waited_for(tmp_path: Path, inside: bool) -> None:
    pipe = tmp_path / "fullchain.pem"
    os.mkfifo(pipe)
    for path in (tmp_path if inside else pipe, Path("/dev/zero")):
        with pytest.raises(ConfigError) as caught:
            read(path)
        (line,) = caught.value.problems
        assert line.endswith(": is no regular file; list a PEM file with certificate and private key")
