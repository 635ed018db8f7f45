"""scripts/fuzz [--minutes N | --sessions N] [--seed N] [TARGET...]: run fuzz targets; exit 1 when one found something.

--minutes   in all, shared evenly (default 10): guided by coverage where atheris is installed (pip install
            popgate[fuzz]), else random.
--sessions  that many random inputs for each target, with a fixed seed: no atheris; sessions are those of
            tests/support/storm.py, about a thousand a second and core.

What was found is kept in build/fuzz/found, and plays again with `scripts/fuzz FILE`.  Grown corpora are kept in
build/fuzz/TARGET.  It prints, for each target, the number of executions, their rate, and how far memory grew.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from . import FOLDER, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT = FOLDER.parent.parent / "build" / "fuzz"
HANG = 20  # s: no input takes that long, even on a busy machine
MOST_OCTETS = 4096  # of an input: what is longer finds little more, and slowly


class Target(Protocol):
    TOKENS: list[bytes]

    def one_input(self, data: bytes) -> None: ...


def load(name: str) -> Target:
    target: Target = importlib.import_module(f"{__package__}.{name}")
    return target


def seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((FOLDER / "corpus" / name).iterdir())]


def inputs(name: str, target: Target, seed: int) -> Iterator[bytes]:
    """Random ones without end, the same for the same seed."""
    chance = random.Random(f"{name} {seed}")
    made: Callable[[random.Random], bytes] | None = getattr(target, "generated", None)
    corpus = seeds(name)
    while True:
        if made is not None and chance.random() < 0.9:
            yield made(chance)
        else:
            data = chance.choice(corpus) if chance.random() < 0.7 else chance.randbytes(2)
            for _ in range(chance.randrange(8)):
                at, drop = chance.randrange(len(data) + 1), chance.choice((0, 0, 0, 1, 2, 5))
                put = chance.choice(target.TOKENS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(4))
                data = data[:at] + put + data[at + drop :]
            yield data[:MOST_OCTETS]


def keep(name: str, data: bytes, folder: Path = KEPT) -> Path:
    path = folder / "found" / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def run_random(name: str, sessions: int | None, seconds: float, seed: int, folder: Path = KEPT) -> bool:
    """Random inputs, a number of them or for a time; say how many; return whether all was well."""
    target = load(name)
    start, size, done = time.monotonic(), 0, 0
    end = start + seconds

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {HANG} s for one input")

    signal.signal(signal.SIGALRM, too_long)
    for data in inputs(name, target, seed):
        if (sessions is not None and done >= sessions) or (sessions is None and time.monotonic() > end):
            break
        signal.alarm(HANG)
        try:
            target.one_input(data)
        except Exception as error:  # whatever it is, it is what we look for
            print(f"{name}: {type(error).__name__}: {error}\n{name}: kept as {keep(name, data, folder)}", flush=True)
            return False
        finally:
            signal.alarm(0)
        done += 1
        if done == 1000:
            size = resident()
    took = time.monotonic() - start
    grown = f", memory grew by {resident() - size} KiB behind the first 1,000" if size else ""
    print(f"{name}: {done} executions, {done / took:.0f} a second{grown}", flush=True)
    return True


def resident() -> int:
    """KiB, the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_guided(name: str, seconds: float) -> bool:
    """The same under atheris, in a process of its own, since libFuzzer ends its process."""
    corpus, found = KEPT / name, KEPT / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={max(1, int(seconds))}", f"-timeout={HANG}", f"-max_len={MOST_OCTETS}"]
    limits += ["-rss_limit_mb=1024", "-print_final_stats=1", f"-artifact_prefix={found / name}-"]
    command = [sys.executable, "-m", f"{__package__}.guided", name, str(corpus), str(FOLDER / "corpus" / name), *limits]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    numbers = dict(re.findall(r"stat::(\w+):\s+(\d+)", said))
    print(
        f"{name}: {numbers.get('number_of_executed_units', '?')} executions, {numbers.get('average_exec_per_sec', '?')}"
        f" a second, guided, {len(list(corpus.iterdir()))} inputs kept,"
        f" memory {_first_size(said)} MiB at the start, {numbers.get('peak_rss_mb', '?')} at most",
        flush=True,
    )
    if done.returncode:
        at = said.find("Uncaught Python exception")  # libFuzzer's own words behind it are of little use
        print(said[at : at + 4000] if at >= 0 else said[-2000:], flush=True)
    return done.returncode == 0


def _first_size(said: str) -> str:
    match = re.search(r"INITED.*rss: (\d+)Mb", said)
    return match[1] if match else "?"


def replay(path: Path) -> None:
    """Play a kept input, whose name begins with its target's; raises what it finds."""
    name = next(target for target in sorted(TARGETS, key=len, reverse=True) if path.name.startswith(target + "-"))
    load(name).one_input(path.read_bytes())
    print(f"{path}: no finding any more")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Run the fuzz targets.")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all, shared evenly")
    parser.add_argument("--sessions", type=int, help="random inputs for each target, instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    files = [name for name in names if name not in TARGETS]
    for name in files:
        if not Path(name).is_file():
            parser.error(f"no target and no file: {name} (targets: {', '.join(TARGETS)})")
    if files:
        for name in files:
            replay(Path(name))
        return 0
    guided = given.sessions is None and importlib.util.find_spec("atheris") is not None
    if given.sessions is None and not guided:
        print("fuzz: atheris is not installed, inputs are random (.venv/bin/pip install 'popgate[fuzz]')", flush=True)
    seconds = given.minutes * 60 / len(names)
    bad = []
    for name in names:
        well = run_guided(name, seconds) if guided else run_random(name, given.sessions, seconds, given.seed)
        bad += [] if well else [name]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
