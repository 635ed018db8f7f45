"""Certificates of the running program: renewed under it, deployed by certbot's hook, TLS 1.0 for printers alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.certificates import fingerprint, make, read

from ..support import popgate
from ..support.needs import need
from ..support.popgate import Popgate, config

if TYPE_CHECKING:
    from ..support.appliance import SampleAppliance

HOOK = Path(__file__).parents[2] / "scripts" / "certbot" / "popgate-deploy.sh"
HURRIED = """
from proxy.cli import main
from proxy.node import certificate_watch
certificate_watch.PAUSE = 0.1
raise SystemExit(main())
"""


def shown(address: tuple[str, int]) -> str:
    """The fingerprint of the certificate at a port with implicit TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 20) as sock, context.wrap_socket(sock) as tls:
        return fingerprint(tls.getpeercert(binary_form=True) or b"")


def old_client(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def settings(appliance: SampleAppliance, certificate: Path, **changes: Any) -> dict[str, Any]:
    return config(appliance.pop3, appliance.smtp, certificate, workers=2, **changes)


def test_a_renewed_certificate_is_shown_by_all_workers_and_a_bad_one_is_not(
    appliance: SampleAppliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(popgate, "_COMMAND", (sys.executable, "-c", HURRIED))
    path = make(["a.example"], tmp_path, file="mail.pem")
    with Popgate(settings(appliance, path)) as gate:
        before = read(path).fingerprint
        assert shown(gate.address("smtps")) == before
        make(["a.example"], tmp_path, file="mail.pem", force=True)
        after = read(path).fingerprint
        gate.process.expect("INFO popgate certificates-reloaded")
        for _ in range(100):  # a worker may still be about to
            if {shown(gate.address("pop3s")) for _ in range(12)} == {after}:
                break
        else:
            pytest.fail("not all workers show the new certificate")
        path.write_bytes(path.read_bytes().partition(b"-----BEGIN PRIVATE KEY")[0])
        gate.process.expect("ERROR popgate certificate-refused why=.*no private key inside")
        assert {shown(gate.address("smtps")) for _ in range(6)} == {after}
        assert "ends in 825 days" in gate.command("status").stdout


def test_certbot_s_hook_copies_for_the_user_and_reloads(appliance: SampleAppliance, tmp_path: Path) -> None:
    need("root")
    tmp_path.chmod(0o755)
    live, certs = tmp_path / "live" / "a.example", tmp_path / "certs"
    live.mkdir(parents=True)
    (tmp_path / "live").chmod(0o700)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "popgate").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m proxy "$@"\n')
    (bin_ / "popgate").chmod(0o755)
    user = pwd.getpwnam("nobody")

    def renewed() -> str:
        """As certbot leaves it: two files behind links, readable by root alone."""
        made = make(["a.example"], tmp_path, file="new.pem", force=True)
        for name in ("fullchain.pem", "privkey.pem"):
            (live / name).unlink(missing_ok=True)
            shutil.copy(made, live / name)
        return read(made).fingerprint

    def deploy(gate_config: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "RENEWED_LINEAGE": str(live),
               "POPGATE_USER": "nobody", "POPGATE_CERTS": str(certs), "POPGATE_CONFIG": gate_config,
               "PYTHONPATH": str(HOOK.parents[2])}  # fmt: skip
        return subprocess.run([str(HOOK)], env=env, capture_output=True, text=True, timeout=60, check=False)

    first = renewed()
    done = deploy("/nowhere")
    assert done.returncode == 0, done.stderr
    assert "has not taken it" in done.stderr, "it does not run: no failure of the renewal"
    found = (certs / "a.example" / "privkey.pem").stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 0, user.pw_gid)
    with Popgate(settings(appliance, certs / "a.example")) as gate:
        assert shown(gate.address("smtps")) == first
        second = renewed()
        done = deploy(str(gate.folder / "conf.d"))
        assert done.returncode == 0, done.stderr
        assert done.stdout == "reloaded\n"
        assert shown(gate.address("smtps")) == second
        assert not [path for path in (certs / "a.example").iterdir() if path.name.endswith(".new")]


def test_certbot_s_hook_without_its_folder_says_so() -> None:
    done = subprocess.run([str(HOOK)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "RENEWED_LINEAGE" in done.stderr


def test_N9_old_clients_alone_may_use_tls_1_0(appliance: SampleAppliance, tmp_path: Path) -> None:
    first, second = make(["a.example"], tmp_path), make(["a.example"], tmp_path, file="rsa.pem", for_old=True)
    tls = {"certificates": [str(first), str(second)], "old_clients": ["127.0.0.2/32"]}
    with Popgate(settings(appliance, first, tls=tls)) as gate:

        def connected(source: str, context: ssl.SSLContext) -> str:
            with (
                socket.create_connection(gate.address("smtps"), 20, (source, 0)) as sock,
                context.wrap_socket(sock) as tls,
            ):
                assert tls.recv(100).startswith(b"220")
                tls.sendall(b"NOOP\r\n")
                assert tls.recv(100).startswith(b"250")
                return tls.version() or ""

        assert connected("127.0.0.2", old_client()) == "TLSv1"
        assert connected("127.0.0.2", old_client(ssl.TLSVersion.TLSv1_3)) == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            connected("127.0.0.3", old_client())
        assert connected("127.0.0.3", old_client(ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"
        gate.process.expect(r"smtp end client=127.0.0.2 .* tls=TLSv1:")


def test_N9_openssl_s_own_client_sees_the_same(appliance: SampleAppliance, tmp_path: Path) -> None:
    """STARTTLS, as a printer does it."""
    (openssl,) = need("openssl")
    path = make(["a.example"], tmp_path, for_old=True)
    with Popgate(settings(appliance, path, tls={"old_clients": ["127.0.0.0/8"]})) as gate:

        def version() -> str:
            argv = [openssl, "s_client", "-connect", gate.endpoint("smtp"), "-starttls", "smtp", "-tls1",
                    "-cipher", "ALL:@SECLEVEL=0"]  # fmt: skip
            done = subprocess.run(argv, input="QUIT\r\n", capture_output=True, text=True, timeout=30, check=False)
            return done.stdout

        assert "New, TLSv1.0, Cipher is ECDHE-RSA-AES" in version()
        gate.write(settings(appliance, path, tls={"old_clients": ["192.0.2.0/24"]}))
        gate.reload("reloaded")
        assert "Cipher is (NONE)" in version()
