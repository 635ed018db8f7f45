"""The machine: its cores, what processes on it have used, and what to say about it beside a figure.

CPU seconds and memory are those of a whole process tree, by /proc.  The CPU's clock ticks 100 times a second, so a
figure needs some tenths of a second to be worth anything.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import ssl
import subprocess
import sys
import textwrap
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from . import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = os.sysconf("SC_CLK_TCK")  # clock ticks a second
_ASIDE = 200  # descriptors that are no connection, in every process of the benchmark


_CORES = sorted(os.sched_getaffinity(0))  # that this process might use before it kept to one of them


def cores() -> tuple[int | None, int | None]:
    """The core of the proxy and that of load and upstream; None, None on a machine with one core: nothing is pinned."""
    return (_CORES[0], _CORES[1]) if len(_CORES) > 1 else (None, None)


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Programs that are started inside run on that core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, rest = [], [pid]
    while rest:
        one = rest.pop()
        found.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                rest += [int(number) for number in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """What the tree has used so far, those that ended and were waited for included."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            # proc(5): behind the name utime, stime, cutime, cstime are fields 14 to 17
            ticks += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / _TICK


def memory(pid: int) -> int:
    """KiB: private memory of the tree and its share of what is shared (PSS); sockets in the kernel are not in it."""
    size = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            if match := re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE):
                size += int(match[1])
    return size


def raise_descriptors() -> None:
    """Programs that are started from now on may have all that this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_sessions() -> int:
    """So many at once pass through one process: two descriptors each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (hard - _ASIDE) // 2


def described(versions: list[str]) -> str:
    """Where and when, in a sentence or two; `versions`: of the programs that took part."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    with contextlib.suppress(OSError):
        versions = [platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"), *versions]
    proxy, _ = cores()
    pinned = "the proxy on one core, load and upstream on another" if proxy is not None else "all on one core"
    busy = os.getloadavg()[0]
    words = (
        f"Measured on {time.strftime('%Y-%m-%d %H:%M')}: {len(_CORES)} cores"
        f" ({' '.join(model[1].split()) if model else platform.machine()}), {pinned}; Linux {os.uname().release};"
        f" {', '.join(versions)}."
    )
    if busy > 1:
        words += f" The machine had other work (load {busy:.1f}): trust cost, not speed."
    return textwrap.fill(words, 120)


def own_versions() -> list[str]:
    """popgate's, its interpreter's, its event loop's."""
    from proxy import __version__

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    try:
        loop = f"uvloop {metadata.version('uvloop')}"
    except metadata.PackageNotFoundError:
        loop = "asyncio"
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        f"popgate {__version__} {commit.stdout.strip()}".rstrip(),
        f"Python {python}",
        loop,
        ssl.OPENSSL_VERSION[:14].strip(),
    ]
