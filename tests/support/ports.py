"""Addresses for servers that can't bind port 0 and say which port they got (Dovecot, Postfix).

A number that was free a moment ago may be taken by another test run on 127.0.0.1.  So each house takes a random
address of 127.0.0.0/8 of its own: nobody else binds there, and the kernel gives outgoing connections other addresses.

`client_host` gives addresses for clients: popgate's leases are per address, so tests that don't want to share leases
come from addresses of their own.
"""

from __future__ import annotations

import itertools
import random
import socket

_clients = itertools.count(1)
_given: set[tuple[str, int]] = set()
_random = random.SystemRandom()  # pytest-randomly seeds the shared one: two runs side by side would choose alike


def server_host() -> str:
    """An address of 127.64.0.0/10 that nobody else uses."""
    return f"127.{_random.randrange(64, 128)}.{_random.randrange(256)}.{_random.randrange(1, 255)}"


def client_host() -> str:
    """An address of 127.1.0.0/16, another one at each call."""
    high, low = divmod(next(_clients), 250)
    return f"127.1.{high}.{low + 1}"


def free(host: str) -> int:
    """A TCP port that is free on `host`, another one at each call; no race as long as `host` comes from `server_host`.

    The kernel draws by lot: of five ports of one host two are the same every three thousand times.
    """
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if (host, port) not in _given:
            _given.add((host, port))
            return port
