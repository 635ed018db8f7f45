"""TLS on every listener, with clients that we did not write: STLS, STARTTLS and TLS from the first octet.

rules S11 and P6 (nothing injected behind STLS or STARTTLS), and upstream TLS of all three kinds.
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.dovecot import Dovecot
from ..support.legacy import Call, Legacy
from ..support.needs import need
from ..support.popgate import Popgate, config
from ..support.postfix import Postfix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance

NAME = "mail.example.com"


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def openssl(certificate: Path, address: tuple[str, int], *options: str) -> str:
    """All that `openssl s_client` says when it connects, waits for the greeting and says QUIT."""
    (program,) = need("openssl")
    argv = [program, "s_client", "-connect", f"{address[0]}:{address[1]}", "-servername", NAME, "-crlf"]
    argv += ["-CAfile", str(certificate), "-verify_return_error", *options]
    # With -starttls it takes the greeting itself, and reports this when TLS is up.
    ready = b"Verify return code" if "-starttls" in options else (b"+OK", b"220 ")
    said, waiting = b"", True
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in client.stdout:
            said += line
            if waiting and line.lstrip().startswith(ready):
                client.stdin.write(b"quit\n")  # in small letters: a capital Q is a command of s_client's own
                client.stdin.flush()
                waiting = False
    return said.decode(errors="backslashreplace")


@pytest.mark.parametrize(
    ("listener", "options"),
    [("pop3", ("-starttls", "pop3")), ("smtp", ("-starttls", "smtp")), ("pop3s", ()), ("smtps", ())],
)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_verifies_every_listener(
    tls_gate: Popgate, certificate: Path, listener: str, options: tuple[str, ...], version: str
) -> None:
    said = openssl(certificate, tls_gate.address(listener), *options, version)
    assert "Verify return code: 0 (ok)" in said, said
    assert version.removeprefix("-tls").replace("_", ".") in said
    assert "+OK bye" in said or "221 " in said, said


@pytest.mark.parametrize("listener", ["pop3s", "smtps"])
def test_tls_before_1_2_is_refused_by_default(tls_gate: Popgate, certificate: Path, listener: str) -> None:
    said = openssl(certificate, tls_gate.address(listener), "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "Verify return code: 0 (ok)" not in said or "Cipher is (NONE)" in said, said


@pytest.mark.parametrize(("listener", "scheme"), [("pop3", "pop3"), ("pop3s", "pop3s")])
def test_curl_with_required_tls_opens_the_gate(
    tls_gate: Popgate, certificate: Path, appliance: SampleAppliance, listener: str, scheme: str, tmp_path: Path
) -> None:
    (curl,) = need("curl")
    message = tmp_path / "message"
    message.write_bytes(b"Subject: over TLS\r\n\r\n.dot\r\n")
    common = [curl, "-sS", "--ssl-reqd", "--cacert", str(certificate)]
    host, port = tls_gate.address("smtp" + listener[4:])
    mail = [f"smtp{scheme[4:]}://{NAME}:{port}/client", "--connect-to", f"::{host}:", "--mail-from", "a@example.com"]
    mail += ["--mail-rcpt", "friend@example.org", "--upload-file", str(message)]
    refused = subprocess.run([*common, *mail], capture_output=True, timeout=30, check=False)
    assert refused.returncode == 55 or b"554" in refused.stderr, refused.stderr
    host, port = tls_gate.address(listener)
    fetch = [f"{scheme}://{NAME}:{port}/", "--connect-to", f"::{host}:", "--user", "alice:secret"]
    subprocess.run([*common, *fetch], capture_output=True, timeout=30, check=True)
    sent = subprocess.run([*common, *mail], capture_output=True, timeout=30, check=False)
    assert sent.returncode == 0, sent.stderr
    assert [mail.octets for mail in appliance.relayed] == [message.read_bytes()]


@pytest.mark.parametrize(("listener", "option"), [("smtp", "--tls"), ("smtps", "--tlsc")])
def test_swaks_over_tls(tls_gate: Popgate, appliance: SampleAppliance, listener: str, option: str) -> None:
    swaks, _ = need("swaks", "ssleay")
    host, port = tls_gate.address(listener)
    argv = [swaks, "--server", host, "--port", str(port), option, "--helo", "client.example.net"]
    argv += ["--from", "alice@example.com", "--to", "friend@example.org"]
    refused = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "554 5.7.1" in refused.stdout, refused.stdout
    with Dialogue(tls_gate.address("pop3s"), tls=_blind()) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS secret", b"+OK")
    sent = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert sent.returncode == 0, sent.stdout
    assert "TLS started with cipher" in sent.stdout
    assert appliance.relayed


def _blind() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("behind", [b"NOOP\r\n", b"x", b"EHLO injected\r\nMAIL FROM:<a@example.com>\r\n"])
def test_S11_octets_behind_starttls_end_the_connection(tls_gate: Popgate, certificate: Path, behind: bytes) -> None:
    with Dialogue(tls_gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"EHLO client", b"250")
        smtp.say(b"STARTTLS\r\n" + behind)
        with contextlib.suppress(AssertionError, ssl.SSLError, ConnectionError):
            reply = smtp.reply()
            assert not reply.startswith(b"250"), reply  # nothing of the injected was obeyed
            smtp.starttls(trusting(certificate))
            pytest.fail("TLS went up over injected octets")
    tls_gate.process.expect("(?i)starttls")


@pytest.mark.parametrize("behind", [b"CAPA\r\n", b"USER alice\r\nPASS secret\r\n", b"\0"])
def test_P6_octets_behind_stls_end_the_connection(tls_gate: Popgate, certificate: Path, behind: bytes) -> None:
    with Dialogue(tls_gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.say(b"STLS\r\n" + behind)
        assert pop.rest().count(b"+OK") <= 1  # at most the answer to STLS itself, and then the end
    assert send(tls_gate.address("smtp"), [b"friend@example.org"]).startswith(b"554 ")


def test_S11_what_was_said_in_the_clear_is_forgotten(tls_gate: Popgate, certificate: Path) -> None:
    pop_login(tls_gate.address("pop3"))
    with Dialogue(tls_gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        assert b"STARTTLS" in smtp.ask(b"EHLO client", b"250")
        smtp.ask(b"STARTTLS", b"220")
        smtp.starttls(trusting(certificate))
        smtp.ask(b"MAIL FROM:<a@example.com>", b"503")
        assert b"STARTTLS" not in smtp.ask(b"EHLO client", b"250")
        smtp.ask(b"STARTTLS", b"50")
        smtp.ask(b"MAIL FROM:<a@example.com>", b"250")
        smtp.ask(b"RCPT TO:<friend@example.org>", b"250")


def test_P6_stls_forgets_the_user(tls_gate: Popgate, certificate: Path) -> None:
    with Dialogue(tls_gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"STLS", b"+OK")
        pop.starttls(trusting(certificate))
        pop.ask(b"PASS secret", b"-ERR")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS secret", b"+OK")
    assert send(tls_gate.address("smtp"), [b"friend@example.org"]).startswith(b"250 ")


def test_tls_required_lets_nobody_in_before_it(appliance: SampleAppliance, certificate: Path) -> None:
    required = {"pop3": {"tls_required": True}, "smtp": {"tls_required": True}}
    with Popgate(config(appliance.pop3, appliance.smtp, certificate, listener=required)) as gate:
        with Dialogue(gate.address("pop3")) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"-ERR")
            pop.ask(b"STLS", b"+OK")
            pop.starttls(trusting(certificate))
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"EHLO client", b"250")
            smtp.ask(b"MAIL FROM:<a@example.com>", b"530 5.7.0")
            smtp.ask(b"STARTTLS", b"220")
            smtp.starttls(trusting(certificate))
            smtp.ask(b"EHLO client", b"250")
            smtp.ask(b"MAIL FROM:<a@example.com>", b"250")
            smtp.ask(b"RCPT TO:<friend@example.org>", b"250")


def test_certificates_are_chosen_by_name(appliance: SampleAppliance, certificate: Path, tmp_path: Path) -> None:
    from proxy import certificates

    other = certificates.make(["pop.example.net"], tmp_path)
    settings = config(appliance.pop3, appliance.smtp, certificate, tls={"certificates": [str(certificate), str(other)]})
    with Popgate(settings) as gate:
        for name, file in ((NAME, certificate), ("pop.example.net", other)):
            with Dialogue(gate.address("smtp")) as smtp:
                smtp.expect(b"220")
                smtp.ask(b"EHLO client", b"250")
                smtp.ask(b"STARTTLS", b"220")
                smtp.starttls(trusting(file), name)  # raises if the certificate is another's


@pytest.fixture(scope="module")
def tls_dovecot(certificate: Path) -> Iterator[Dovecot]:
    server = Dovecot(certificate)
    yield server
    server.close()


@pytest.fixture(scope="module")
def tls_postfix(certificate: Path) -> Iterator[Postfix]:
    server = Postfix(certificate)
    yield server
    server.close()


def test_starttls_to_real_upstreams(tls_dovecot: Dovecot, tls_postfix: Postfix, certificate: Path) -> None:
    tls = {"tls": "starttls", "tls_ca": str(certificate), "tls_name": NAME}
    settings = config(tls_dovecot.endpoint, tls_postfix.endpoint, upstream={"pop3": tls, "smtp": tls})
    with Popgate(settings) as gate:
        pop_login(gate.address("pop3"))
        assert send(gate.address("smtp"), [b"tls-upstream@example.org"]).startswith(b"250 ")
    tls_dovecot.process.expect(r"Login: user=<alice>.*TLS")
    assert b"ESMTPS" in tls_postfix.sink.take("tls-upstream@example.org").octets


def test_implicit_tls_to_the_upstream(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def upstream(call: Call) -> None:
        await call.ask(b"+OK old\r\n")
        await call.ask(b"+OK\r\n")
        await call.ask(b"+OK in\r\n")
        await call.say(b"+OK bye\r\n")

    tls = {"tls": "implicit", "tls_ca": str(certificate), "tls_name": NAME}
    with Legacy(upstream, tls=context) as old:
        with Popgate(config(old.endpoint, old.endpoint, upstream={"pop3": tls})) as gate:
            pop_login(gate.address("pop3"))
        assert bytes(old.call().received) == b"USER alice\r\nPASS secret\r\nQUIT\r\n"


def test_an_upstream_whose_certificate_is_not_trusted_gets_no_password(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def upstream(call: Call) -> None:
        await call.say(b"+OK old\r\n")
        await call.to_the_end()

    untrusted = {"pop3": {"tls": "implicit"}, "smtp": {"connect_timeout": "1s"}}  # the latter: selftest asks both
    with (
        Legacy(upstream, tls=context) as old,
        Popgate(config(old.endpoint, old.endpoint, upstream=untrusted)) as gate,
        Dialogue(gate.address("pop3")) as pop,
    ):
        pop.expect(b"-ERR [SYS/TEMP]")
        gate.process.expect("certificate is refused")
        assert 'tls_pin = "sha256:' in gate.command("selftest").stdout  # rule N9: the pin to paste
