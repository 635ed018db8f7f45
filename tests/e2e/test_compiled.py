"""The compiled build (setup.py): it builds, speaks as the pure one does, and hands on message text as it came.

Built once, into a folder beside a copy of the tests; the source is taken away then, so that there `proxy` is the
compiled one for whoever is started, and for whom they start.
"""

from __future__ import annotations

import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..support.appliance import SampleAppliance
from ..support.needs import need
from ..support.popgate import Popgate, config

ROOT = Path(__file__).parents[2]
SPEAKING = (
    "transcripts",
    "smtp_session",
    "smtp_forms",
    "smtp_ends",
    "pop3_session",
    "traced",
    "opening",
    "tls_records",
)
"""Unit tests of what is compiled and what it leans on: those that use no parts of their own inside."""
COMPILED = (
    "wire.lines", "session.smtp.session", "session.pop3.session", "gate.policy", "net.sockets.leg", "net.link.link",
    "net.upstream.connector", "net.accept.listener",
)  # fmt: skip
"""Some of them."""
HEADER = b"Subject: octet for octet\r\n\r\n"
DOTS = HEADER + b"".join(b"." * (number % 3) + b"line %d\r\n" % number for number in range(100_000)) + b".\r\n..\r\n"
PLAIN = HEADER + (b"x" * 76 + b"\r\n") * 100_000
"""Many times what is read at once, so that it streams, is spliced in the clear, and meets full sockets."""

pytestmark = pytest.mark.timeout(600)  # a minute by itself, on a machine that does nothing else


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the compiled `proxy`."""
    need("cc")
    pytest.importorskip("mypyc")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("not on this machine: Python's headers (python3-dev)")
    work = tmp_path_factory.mktemp("compiled")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, work)
    for name in ("proxy", "tests"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", "built"]
    done = _run(command, work, POPGATE_COMPILE="1", PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stdout
    shutil.rmtree(work / "proxy")
    return work / "built"


def _run(command: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def _python(built: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where `proxy` is the compiled one."""
    return _run([sys.executable, *arguments], built.parent, PYTHONPATH=str(built))


@pytest.mark.parametrize("module", COMPILED)
def test_it_is_compiled(compiled: Path, module: str) -> None:
    told = _python(compiled, "-c", f"import proxy.{module} as module; print(module.__file__)").stdout
    assert told.startswith(str(compiled)), told
    assert told.strip().endswith(".so"), told


def test_it_speaks_as_the_transcripts_say(compiled: Path) -> None:
    tests = [f"tests/unit/test_{name}.py" for name in SPEAKING]
    done = _python(compiled, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_demo_is_played_to_its_end(compiled: Path) -> None:
    play = "import sys; from proxy.demo import play; sys.exit(play(False, sys.stdout, window=3))"
    done = _python(compiled, "-c", play)
    assert done.returncode == 0, done.stdout
    assert "the lease ends in 0 s" in done.stdout


@pytest.mark.parametrize("way", ["", "s"], ids=["clear", "tls"])
def test_P5_S8_large_messages_are_sent_and_fetched_octet_for_octet(compiled: Path, certificate: Path, way: str) -> None:
    """mypyc may evaluate twice what is written once: what was read, and the message with it, would be lost in part."""
    trusted = ssl.create_default_context(cafile=str(certificate))
    with (
        SampleAppliance() as appliance,
        Popgate(config(appliance.pop3, appliance.smtp, certificate), env={"PYTHONPATH": str(compiled)}) as gate,
    ):
        assert f"{compiled}/proxy/net/link/link." in Path(f"/proc/{gate.workers()[0]}/maps").read_text(), (
            "or it is the pure one"
        )
        smtp = gate.address("smtp" + way)
        with smtplib.SMTP_SSL(*smtp, context=trusted) if way else smtplib.SMTP(*smtp) as sending:
            for text in (DOTS, PLAIN):
                sending.sendmail("bob@example.com", ["alice@example.com"], text)
        assert appliance.appliance.mailboxes["alice"] == [DOTS, PLAIN]
        pop3 = gate.address("pop3" + way)
        fetching = poplib.POP3_SSL(*pop3, context=trusted) if way else poplib.POP3(*pop3)
        fetching.user("alice")
        fetching.pass_("secret")
        for number, text in enumerate((DOTS, PLAIN), 1):
            assert b"".join(line + b"\r\n" for line in fetching.retr(number)[1]) == text
        fetching.quit()
