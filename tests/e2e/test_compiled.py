"""The compiled build (setup.py): it builds, and speaks as the pure one does.

Built once, into a folder beside a copy of the tests: there `proxy` is the compiled one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..support.needs import need

ROOT = Path(__file__).parents[2]
SPEAKING = ("transcripts", "smtp_session", "smtp_forms", "smtp_ends", "pop3_session", "traced", "opening", "records")
"""Unit tests of what is compiled and what it leans on: those that use no parts of their own inside."""

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
    """Run Python where `proxy` is the compiled one: -P, so that the folder of the tests is no place to find it."""
    return _run([sys.executable, "-P", *arguments], built.parent, PYTHONPATH=str(built))


@pytest.mark.parametrize("module", ["wire.lines", "session.smtp", "session.pop3", "net.leg", "net.link", "policy"])
def test_it_is_compiled(compiled: Path, module: str) -> None:
    told = _python(compiled, "-c", f"import proxy.{module} as module; print(module.__file__)").stdout
    assert told.startswith(str(compiled)), told
    assert told.strip().endswith(".so"), told


def test_it_speaks_as_the_transcripts_say(compiled: Path) -> None:
    shutil.rmtree(compiled.parent / "proxy", ignore_errors=True)  # pytest puts the folder above the tests first
    tests = [f"tests/unit/test_{name}.py" for name in SPEAKING]
    done = _python(compiled, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_demo_is_played_to_its_end(compiled: Path) -> None:
    play = "import sys; from proxy.demo import play; sys.exit(play(False, sys.stdout, window=3))"
    done = _python(compiled, "-c", play)
    assert done.returncode == 0, done.stdout
    assert "the lease ends in 0 s" in done.stdout
