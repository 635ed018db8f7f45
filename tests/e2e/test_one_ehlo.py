"""A real server that takes one EHLO a connection, OpenSMTPD, behind STARTTLS of popgate's (rule S7)."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from ..support.house import HOSTED
from ..support.needs import need
from ..support.opensmtpd import OpenSmtpd
from ..support.popgate import Popgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENDER, NAME = "alice@client.test", "localhost"
MESSAGE = f"From: {SENDER}\r\nSubject: one EHLO\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSmtpd]:
    house = OpenSmtpd()
    yield house
    house.close()


@pytest.fixture(scope="module")
def gate(server: OpenSmtpd, certificate: Path) -> Iterator[Popgate]:
    config = {
        "workers": 1,
        "gate": {"local_domains": [HOSTED]},
        "tls": {"certificates": [str(certificate)]},
        "listener": {"smtp": {"protocol": "smtp", "bind": ["127.0.0.1:0"], "tls": "starttls", "upstream": "smtp"}},
        "upstream": {"smtp": {"servers": ["{}:{}".format(*server.address)]}},
    }
    with Popgate(config) as running:
        yield running


def by_smtplib(host: str, port: int, certificate: Path, folder: Path, recipient: str) -> str:
    with smtplib.SMTP(host, port, timeout=30) as smtp:
        smtp.ehlo("client.test")
        smtp.starttls(context=ssl.create_default_context(cafile=str(certificate)))
        smtp.ehlo("client.test")
        assert smtp.has_extn("size"), smtp.esmtp_features  # ESMTP is still there
        smtp.sendmail(SENDER, [recipient], MESSAGE)
    return ""


def run(*argv: str, given: str = "") -> str:
    done = subprocess.run(argv, input=given.encode(), capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode(errors="backslashreplace")
    assert done.returncode == 0, said
    return said


def by_swaks(host: str, port: int, certificate: Path, folder: Path, recipient: str) -> str:
    swaks, _ = need("swaks", "ssleay")
    options = ["--server", host, "--port", str(port), "--tls", "--helo", "client.test"]
    return run(swaks, *options, "--from", SENDER, "--to", recipient)


def by_curl(host: str, port: int, certificate: Path, folder: Path, recipient: str) -> str:
    (curl,) = need("curl")
    file = folder / "message"
    file.write_bytes(MESSAGE.encode())
    url = f"smtp://{NAME}:{port}/client.test"
    options = ["--ssl-reqd", "--cacert", str(certificate), "--resolve", f"{NAME}:{port}:{host}"]
    return run(curl, "-sSv", *options, url, "--mail-from", SENDER, "--mail-rcpt", recipient, "--upload-file", str(file))


def by_msmtp(host: str, port: int, certificate: Path, folder: Path, recipient: str) -> str:
    (msmtp,) = need("msmtp")
    options = [f"--host={host}", f"--port={port}", "--tls=on", "--tls-starttls=on", f"--tls-trust-file={certificate}"]
    return run(msmtp, *options, f"--from={SENDER}", "--debug", recipient, given=MESSAGE.replace("\r\n", "\n"))


@pytest.mark.parametrize("send", [by_smtplib, by_swaks, by_curl, by_msmtp], ids=lambda send: send.__name__)
def test_S7_clients_send_behind_starttls(
    server: OpenSmtpd, gate: Popgate, certificate: Path, tmp_path: Path, send: object
) -> None:
    assert callable(send)
    host, port = gate.address("smtp")
    recipient = f"{send.__name__}@{HOSTED}"
    said = send(host, port, certificate, tmp_path, recipient)
    assert any(recipient.encode() in message.recipients for message in server.arrived()), said
