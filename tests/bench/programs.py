"""The two programs in C at the ends: built on demand, kept in build/bench; one run of either.

C, because a client in Python would need more CPU for a session than any of the proxies.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..support.ports import server_host
from ..support.process import Process
from . import FOLDER, ROOT, BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUILT = ROOT / "build" / "bench"
SOURCES = 64
"""Addresses that sessions come from, as load.c has it."""
_LIBRARIES = {"load": ("-lssl", "-lcrypto"), "upstream": ()}
_HELD = 60  # seconds until some thousand sessions are up, on a busy machine


def build(folder: Path = BUILT) -> None:
    """Compile what is not there or is older than its source.  Raises BenchError where that can't be done."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler (cc) here; on Debian: apt-get install gcc libc6-dev libssl-dev")
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(source.stat().st_mtime for source in FOLDER.glob("*.[ch]"))
    for name, libraries in _LIBRARIES.items():
        program = folder / name
        if program.exists() and program.stat().st_mtime >= newest:
            continue
        part = folder / f"{name}.part"  # renamed when whole: another run may be using the old one
        command = [compiler, "-O2", "-Wall", "-o", str(part), str(FOLDER / f"{name}.c"), *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lack = "; on Debian: apt-get install libssl-dev" if "openssl/" in done.stderr else ""
            raise BenchError(f"{name}.c does not compile{lack}:\n{done.stderr.strip()}")
        part.replace(program)


@dataclass(frozen=True)
class Upstream:
    """The running mail server."""

    host: str
    smtp: int
    pop3: int

    def port(self, listener: str) -> int:
        """The port behind a listener "smtp", "smtps", "pop3" or "pop3s"."""
        return self.smtp if listener.startswith("smtp") else self.pop3


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    host = server_host()
    with Process([str(BUILT / "upstream"), host]) as process:
        ports = process.expect(r"smtp (\d+) pop3 (\d+)")
        yield Upstream(host, int(ports[1]), int(ports[2]))


@dataclass(frozen=True)
class Played:
    """What `load` says of one run."""

    sessions: int
    failed: int
    resumed: int
    seconds: float
    octets: int
    """Of messages."""
    trips: int
    trip_us: float
    """The median round trip, microseconds."""
    complaint: str = ""


def play(host: str, port: int, steps: Sequence[str], *options: str, patience: float) -> Played:
    """Play the dialogue `steps` (dialogue.h) with load's own options; `patience`: seconds until it is given up."""
    command = [str(BUILT / "load"), host, str(port), *options, "--", *steps]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return Played(0, 1, 0, patience, 0, 0, 0.0, "no end")
    if not done.stdout:
        raise BenchError(f"the load generator failed: {done.stderr.strip()}")
    complaint = done.stderr.strip().splitlines()[:1]
    return Played(**json.loads(done.stdout.splitlines()[-1]), complaint=complaint[0] if complaint else "")


@contextlib.contextmanager
def hold(host: str, port: int, steps: Sequence[str], *options: str) -> Iterator[int]:
    """Sessions that stand still at a "!" while the block runs; how many there are."""
    command = [str(BUILT / "load"), host, str(port), *options, "--", *steps]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            yield int(words[1]) if words[:1] == ["held"] else 0
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_HELD)
            process.kill()
