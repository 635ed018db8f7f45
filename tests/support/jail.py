"""A mail server out of a Debian package that is not installed, in a root folder of its own.

Debian's mail servers exclude each other, so scripts/setup --test only unpacks them (.venv/lab).  A `Jail` is a folder
with the program, the libraries that it is linked with, users, and whatever a house puts there; the program runs in it
by chroot, so that it finds its configuration and its queue where it was built to look for them.  Takes root.

Not a security measure.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

from .folder import Folder
from .needs import LAB
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

UNPACKED = LAB / "debian"
FIRST_ID = 61001  # user and group numbers that no system hands out by itself (Debian policy 9.2.2 ends at 59999)
_DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}  # Linux, all of major number 1
_LIBRARY = re.compile(r"(/\S+) \(0x")


class Jail:
    """The folder; `path(name)` is a file of it, `run` and `start` call a program in it."""

    def __init__(self, name: str, programs: Iterable[str], users: Iterable[str]) -> None:
        """`programs`: paths in the unpacked packages; `users`: each gets a group of the same name."""
        self._folder = Folder(name)
        self.root = self._folder.path
        for place in ("etc", "dev", "tmp", "run", "var/log", "var/spool"):
            self.folder(place)
        (self.root / "tmp").chmod(0o1777)
        (self.root / "var/run").symlink_to("/run")
        for link in ("lib", "lib64"):
            self.folder(f"usr/{link}")
            (self.root / link).symlink_to(f"usr/{link}")
        for device, minor in _DEVICES.items():
            place = self.root / "dev" / device
            os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            place.chmod(0o666)
        for program in programs:
            self._copy(UNPACKED / program, program)
        self._people(list(users))

    def path(self, name: str) -> Path:
        return self.root / name

    def folder(self, name: str, mode: int = 0o755, owner: int = 0) -> Path:
        """Makes the folder; `owner`: the number of a user, FIRST_ID and on."""
        place = self.root / name
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(mode)
        os.chown(place, owner, owner)
        return place

    def run(self, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._argv(argv)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            check=False,
        )

    def run_together(self, count: int, *argv: str, timeout: float = 120) -> None:
        """Runs the program `count` times, side by side."""
        for program in [self.start(*argv) for _ in range(count)]:
            try:
                program.wait(timeout)
            finally:
                program.stop()

    def start(self, *argv: str) -> Process:
        return Process(self._argv(argv))

    def close(self) -> None:
        self._folder.cleanup()

    def _argv(self, argv: Iterable[str]) -> list[str]:
        return ["/usr/sbin/chroot", str(self.root), *argv]

    def _copy(self, source: Path, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        there = {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(str(folder) for folder in UNPACKED.glob("usr/lib/*-linux-gnu")),
        }
        listed = subprocess.run(["ldd", str(source)], env=there, capture_output=True, text=True, check=True).stdout
        for library in _LIBRARY.findall(listed):
            inside = library.removeprefix(str(UNPACKED)).lstrip("/")
            place = self.root / inside
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)

    def _people(self, users: list[str]) -> None:
        people = [("root", 0), ("mail", 8), ("nobody", 65534), *((user, FIRST_ID + n) for n, user in enumerate(users))]
        etc = self.root / "etc"
        (etc / "passwd").write_text("".join(f"{user}:x:{n}:{n}::/run:/bin/false\n" for user, n in people))
        (etc / "group").write_text("".join(f"{user}:x:{n}:\n" for user, n in people))
        (etc / "nsswitch.conf").write_text("hosts: files\n")
        name = socket.gethostname().partition(".")[0]
        # Sendmail waits a minute for a host name with a dot in it.
        (etc / "hosts").write_text(f"127.0.0.1 {name}.lab.test {name} localhost\n")
