"""Security tools that others wrote, run against a gate; what they found is read from their text.

Each function takes the tool's own view of the world: an address, and what is spoken there.  None of them has an exit
code that tells good from bad (swaks apart), so every reading also asserts that the tool got as far as looking.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from .needs import need

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Address = tuple[str, int]
TIMEOUT = 110  # seconds; testssl.sh takes ten on an idle machine
OLD_TLS = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1")

_RELAYED = re.compile(r"open relay \((\d+)/(\d+) tests\)")
_CIPHER = re.compile(r"^\|\s+(TLS_\S+) .*- ([A-F])$", re.MULTILINE)
_SSLSCAN = re.compile(r"^(?:Preferred|Accepted)\s+(\S+)\s+(\d+) bits\s+(\S+)", re.MULTILINE)


def nmap(addresses: Iterable[Address], *scripts: str, arguments: str = "", more: Iterable[str] = ()) -> str:
    """What nmap says when it runs `scripts` at these ports, all of one host, whatever their numbers."""
    (program,) = need("nmap")
    places = list(addresses)
    argv = [program, "-Pn", "-n", "-vv", "-p", ",".join(str(port) for _, port in places)]
    argv += ["--script", ",".join(f"+{script}" for script in scripts), *more]
    if arguments:
        argv += ["--script-args", arguments]
    return _said([*argv, places[0][0]])


def relays(address: Address) -> int:
    """How many of the 16 forms of nmap's smtp-open-relay are accepted; it must have tried all of them."""
    arguments = "smtp-open-relay.domain=remote.test,smtp-open-relay.ip=192.0.2.1"
    text = nmap([address], "smtp-open-relay", arguments=arguments)
    if "all tests failed" in text:
        return 0
    found = _RELAYED.search(text)
    assert found is not None, text
    assert found[2] == "16", text
    return int(found[1])


def sections(text: str) -> dict[int, str]:
    """What nmap says about each port."""
    parts = re.split(r"^(\d+)/tcp\s", text, flags=re.MULTILINE)
    return dict(zip([int(port) for port in parts[1::2]], parts[2::2], strict=True))


def graded_ciphers(text: str) -> dict[str, str]:
    """nmap's grade of each cipher."""
    return dict(_CIPHER.findall(text))


def sslscan(address: Address, starttls: str = "") -> tuple[list[str], dict[str, int]]:
    """The old protocols that it found enabled, and the ciphers accepted, with their bits."""
    (program,) = need("sslscan")
    argv = [program, "--no-colour", "--no-check-certificate", *([f"--starttls-{starttls}"] if starttls else [])]
    text = _said([*argv, "{}:{}".format(*address)])
    old = [name for name in OLD_TLS if not re.search(rf"^{re.escape(name)}\s+disabled", text, re.MULTILINE)]
    return old, {name: int(bits) for _, bits, name in _SSLSCAN.findall(text)}


def testssl_minds(address: Address, folder: Path, starttls: str) -> tuple[int, list[str]]:
    """How much testssl.sh looked at (protocols, cipher categories, renegotiation), and what it minds."""
    (program,) = need("testssl")
    report = folder / f"testssl-{address[1]}.json"
    argv = [program, "--quiet", "--color", "0", "--warnings", "off", "--connect-timeout", "10", "-p", "-s", "-R"]
    argv += ["--jsonfile", str(report), *(["-t", starttls] if starttls else [])]
    text = _said([*argv, "{}:{}".format(*address)])
    assert report.exists(), text
    findings = json.loads(report.read_text())
    ours = [one for one in findings if one["id"] not in {"engine_problem", "service"}]  # those are about itself
    bad = [f"{one['id']}: {one['finding']}" for one in ours if one["severity"] not in {"OK", "INFO"}]
    return len(ours), bad


def injects(pop3: Address, smtp: Address, folder: Path) -> dict[str, str]:
    """What command-injection-tester says of STLS and STARTTLS: by protocol, its last word."""
    (program,) = need("command-injection-tester")
    argv = [sys.executable, "-W", "ignore", program, "--pop3", "--pop3-port", str(pop3[1])]
    argv += ["--smtp", "--smtp-port", str(smtp[1]), "--nocolor", "-q", "-t", "1", "--logdir", str(folder), pop3[0]]
    text = _said(argv)
    return dict(re.findall(r"^(POP3|SMTP): .* INFO - (.*)$", text, re.MULTILINE))


def swaks(address: Address, recipient: str, *more: str, source: str = "") -> int:
    """swaks' exit code for one message: 0 sent, 24 recipient refused, 29 TLS failed."""
    (program,) = need("swaks")
    argv = [program, "--server", "{}:{}".format(*address), "--from", "a@sender.test", "--to", recipient]
    argv += ["--helo", "probe.test", "--silent", "2", *(["--local-interface", source] if source else []), *more]
    return _run(argv).returncode


def smtp_source(address: Address, recipient: str, sessions: int, messages: int) -> str:
    """Postfix's load generator: so many messages, so many sessions at a time; what it complained about."""
    (program,) = need("smtp-source")
    argv = [program, "-s", str(sessions), "-m", str(messages), "-l", "2000", "-f", "a@sender.test", "-t", recipient]
    done = _run([*argv, "{}:{}".format(*address)])
    assert done.returncode == 0, done.stderr
    return done.stderr


def _said(argv: list[str]) -> str:
    done = _run(argv)
    return done.stdout + done.stderr


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=TIMEOUT,
        check=False,
    )
