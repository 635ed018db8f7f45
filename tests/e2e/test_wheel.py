"""A wheel: built, installed into an environment of its own, and used from there as an administrator would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import cryptography
import pytest

ROOT = Path(__file__).parents[2]


def run(*argv: str | Path, folder: Path, code: int = 0) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in argv], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `popgate` of a fresh environment, made of a wheel that was made of a source distribution."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "__pycache__"),
    )
    made = f"import setuptools.build_meta as made; made.build_sdist({str(work)!r})"
    run(sys.executable, "-W", "ignore", "-c", made, folder=source)
    (archive,) = work.glob("popgate-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    try:
        run(*pip, "wheel", "--no-deps", "-w", work, archive, folder=work)
    except AssertionError as error:
        if "Could not find a version that satisfies the requirement setuptools" in str(error):
            pytest.skip("no package index to get setuptools from")
        raise
    (wheel,) = work.glob("popgate-*.whl")
    venv.create(work / "env", with_pip=False)
    python = work / "env" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", wheel, folder=work)
    (packages,) = (work / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{Path(cryptography.__file__).parents[1]}\n")
    return work / "env" / "bin" / "popgate"


def test_it_is_on_the_path_and_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    assert run(installed, "--version", folder=tmp_path).startswith("popgate ")
    where = run(installed.with_name("python"), "-c", "import proxy; print(proxy.__file__)", folder=tmp_path)
    assert str(installed.parents[1]) in where, "not the checkout's"


def test_init_check_and_completion_work_from_it(installed: Path, tmp_path: Path) -> None:
    said = run(installed, "init", tmp_path, "--pop3", "192.0.2.10", "--domain", "example.com", folder=tmp_path)
    assert "popgate certs make example.com" in said
    assert {path.name for path in (tmp_path / "conf.d").iterdir()} == {
        "99-local.toml", *[path.name for path in (ROOT / "conf.d").glob("*.toml")]
    }  # fmt: skip
    assert "certs make" in run(installed, "check", folder=tmp_path, code=2), "./conf.d is found, and has no certificate"
    run(installed, "certs", "make", "example.com", "--file", "mail.pem", folder=tmp_path)
    assert 'local_domains = ["example.com"]' in run(installed, "check", folder=tmp_path)
    assert "complete -o bashdefault" in run(installed, "completion", "bash", folder=tmp_path)
