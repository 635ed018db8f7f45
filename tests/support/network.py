"""Three machines on one: network namespaces for clients, gate and appliance, with addresses that are nobody's.

    clients 203.0.113.7, 2001:db8:1::7  --  gate 203.0.113.1, 192.0.2.1  --  appliance 192.0.2.10, 2001:db8:2::10

The gate is the default gateway of both others.  `inside("gate")` moves the calling thread: sockets that are made and
processes and threads that are started meanwhile live there for good.  As root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

from .needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000  # sched.h
_libc = ctypes.CDLL(None, use_errno=True)

CLIENT, CLIENT6 = "203.0.113.7", "2001:db8:1::7"
STRANGER = "203.0.113.8"
GATE, GATE6 = "203.0.113.1", "2001:db8:1::1"
INNER, INNER6 = "192.0.2.1", "2001:db8:2::1"
APPLIANCE, APPLIANCE6 = "192.0.2.10", "2001:db8:2::10"


class Network:
    """A context manager; leaving it takes the namespaces away."""

    def __init__(self) -> None:
        need("namespaces", "ip", "nft")
        self._names = {name: f"popgate-{os.getpid()}-{name}" for name in ("clients", "gate", "appliance")}

    def __enter__(self) -> Network:
        try:
            self._make()
        except BaseException:
            self._take_away()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._take_away()

    def _make(self) -> None:
        for name in self._names.values():
            _ip("netns", "add", name)
        self._join("clients", (CLIENT, STRANGER), CLIENT6, "outer", GATE, GATE6)
        self._join("appliance", (APPLIANCE,), APPLIANCE6, "inner", INNER, INNER6)
        for name in self._names:
            self.run(name, "ip", "link", "set", "lo", "up")
        self.run("gate", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def _join(self, name: str, addresses: tuple[str, ...], address6: str, link: str, gate: str, gate6: str) -> None:
        """A cable between a machine's eth0 and the gate's `link`, and the machine's default route through it."""
        there, here = self._names[name], self._names["gate"]
        _ip("link", "add", "eth0", "netns", there, "type", "veth", "peer", "name", link, "netns", here)
        for host, device, own, own6 in ((name, "eth0", addresses, address6), ("gate", link, (gate,), gate6)):
            for address in own:
                self.run(host, "ip", "address", "add", f"{address}/24", "dev", device)
            self.run(host, "ip", "address", "add", f"{own6}/64", "dev", device, "nodad")
            self.run(host, "ip", "link", "set", device, "up")
        self.run(name, "ip", "route", "add", "default", "via", gate)
        self.run(name, "ip", "-6", "route", "add", "default", "via", gate6)

    def _take_away(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def run(self, host: str, *command: str) -> str:
        """What a command says on one of the machines; it must succeed."""
        return _run("ip", "netns", "exec", self._names[host], *command)

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """See the module."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._names[host]}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(back)
            os.close(back)
            os.close(there)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout + done.stderr
