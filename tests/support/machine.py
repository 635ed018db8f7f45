"""A systemd of its own, as in a container: for trying the shipped units as they are.

It is the first process of a PID namespace, and its root is a folder in memory with /usr, a Python, the checkout and
its packages mounted read-only: units want popgate in /opt/popgate, its configuration in /etc/popgate, and a user
popgate.  Of the machine it shares the network, and can write nothing but cgroups made for it.  It knows the units that
it is given and no others: those of a Debian would empty /tmp, set the clock and the like.

Needs root, unshare, nsenter and cgroups that can be written; where systemd does not come up, the test is skipped.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from .folder import Folder
from .needs import need
from .process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
SYSTEMD = "/lib/systemd/systemd"
START = 15.0  # seconds for systemd to come up
TARGETS = ("try", "sysinit", "basic", "sockets", "network-online", "nss-lookup", "shutdown", "multi-user")
CGROUPS = [
    place
    for place in (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    if (place / "cgroup.procs").exists()
]
"""What systemd needs: a hierarchy of version 1 for itself and the unified one, or the unified one alone."""

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_PACKAGES = f"{sys.prefix}/lib/{_PYTHON}/site-packages"
_BOOT = f"""
set -e
here=$1
root=$here/root
mkdir "$root"
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p boot dev etc/systemd/system home media mnt old opt/popgate/.venv/bin proc root run srv sys tmp usr
mkdir -p opt/python opt/popgate/proxy opt/popgate/packages var/cache var/lib var/log var/tmp
chmod 1777 tmp var/tmp
for folder in bin sbin lib lib64; do ln -s usr/$folder $folder; done
show() {{ mount --bind "$1" "$root/$2"; mount -o remount,bind,ro "$root/$2"; }}
show /usr usr
show {sys.base_prefix} opt/python
show {ROOT}/proxy opt/popgate/proxy
show {_PACKAGES} opt/popgate/packages
for name in passwd group ld.so.cache nsswitch.conf hosts resolv.conf ssl; do cp -rL /etc/$name etc/; done
echo popgate:x:64999:64999::/var/lib/popgate:/usr/sbin/nologin >>etc/passwd
echo popgate:x:64999: >>etc/group
cp "$here"/units/* etc/systemd/system/
cp -r "$here/files" etc/popgate
cp "$here/program" opt/popgate/.venv/bin/popgate
mount -t tmpfs tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs run
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
if [ -e "$here/hybrid" ]; then
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
pivot_root . old
cd /
umount -l /old
rmdir /old
[ ! -e "$here" ] && ! touch /usr/popgate 2>/dev/null # nothing of the machine is here but what is read-only
export container=popgate-test SYSTEMD_UNIT_PATH=/etc/systemd/system
exec {SYSTEMD} --system --unit=try.target --show-status=false </dev/null
"""
_PROGRAM = f"""#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/popgate:/opt/popgate/packages PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/{_PYTHON} -W error -m proxy "$@"
"""


class Machine:
    """A context manager; `units` go to /etc/systemd/system, `files` to /etc/popgate."""

    def __init__(self, units: Mapping[str, str], files: Mapping[str, str]) -> None:
        need("root", "unshare", "nsenter", SYSTEMD)
        self._folder = Folder("machine")
        here = self._folder.path
        targets = dict.fromkeys([f"{name}.target" for name in TARGETS], "[Unit]\nDefaultDependencies=no\n")
        for place, texts in (("units", {**targets, **units}), ("files", files), ("", {"program": _PROGRAM})):
            for name, text in texts.items():
                (here / place / name).parent.mkdir(parents=True, exist_ok=True)
                (here / place / name).write_text(text)
        (here / "program").chmod(0o755)
        if len(CGROUPS) == 2:
            (here / "hybrid").touch()
        self._cgroups = [place / here.name for place in CGROUPS]
        self._unshare: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        here = self._folder.path
        try:
            for place in self._cgroups:
                place.mkdir()
        except OSError as error:
            self._give_up(f"no cgroup can be made: {error}")
        join = "".join([f"echo $$ >{place}/cgroup.procs && " for place in self._cgroups])
        namespaces = "unshare --mount --pid --uts --ipc --cgroup --fork --kill-child"
        with (here / "log").open("wb") as log:
            self._unshare = subprocess.Popen(
                ["/bin/sh", "-c", f'{join} exec {namespaces} /bin/sh -c "$0" boot "$1"', _BOOT, str(here)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START
        while self.run("systemctl", "is-active", "try.target").stdout.strip() != "active":
            if self._unshare.poll() is not None or time.monotonic() > end:
                self._give_up(f"systemd does not come up here: {(here / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def show(self, unit: str, key: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--value", f"--property={key}", unit).stdout.strip()

    def popgate(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the administrator, who is root."""
        return self.run("/opt/popgate/.venv/bin/popgate", *words)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command in there."""
        first = self._first()
        if not first:
            return subprocess.CompletedProcess(argv, 1, "", "no such machine")
        return subprocess.run(
            ["nsenter", f"--target={first}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3 * PATIENCE, check=False,
        )  # fmt: skip

    def _first(self) -> str:
        """The process id of its systemd; "" before and after it lives."""
        assert self._unshare is not None
        pid = self._unshare.pid
        with contextlib.suppress(OSError):
            (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or [""]
            if child and os.readlink(f"/proc/{child}/exe").endswith("/systemd"):
                return child
        return ""

    def _give_up(self, why: str) -> None:
        self._close()
        pytest.skip(why)

    def _close(self) -> None:
        if self._unshare is not None:
            self._unshare.kill()  # --kill-child: its systemd too, and with that all that is in there
            self._unshare.wait()
        end = time.monotonic() + PATIENCE
        for place in self._cgroups:
            while place.exists() and time.monotonic() < end:
                for folder, _, _ in os.walk(place, topdown=False):
                    with contextlib.suppress(OSError):  # its last process is just ending
                        os.rmdir(folder)
        self._folder.cleanup()
