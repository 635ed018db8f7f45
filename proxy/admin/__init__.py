"""Metrics, health and the status page by HTTP ([admin] http), in a process of its own.

Mail must not wait for a page, so neither workers nor supervisor speak HTTP: a child does (process.py, server.py).  It
reads the figures in the memory that all share (shared_memory/figures.py), and asks the supervisor for the rest through
the control socket, as the command line does (facts.py).

Its packages, aiohttp and prometheus-client, are the extra `admin`; without the key neither is needed.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config


def demand(config: Config) -> None:
    """Raise ConfigError where `admin.http` is set and its packages are missing.

    Call it before becoming `user`: what is imported now need not be readable to that one.
    """
    if config.admin.http is None:
        return
    try:
        from .server import run  # noqa: F401
    except ImportError as error:
        cure = 'its Python packages are missing; run: pip install "popgate[admin]"'
        raise ConfigError([f"admin.http: {cure} ({error})"]) from error


def warnings(config: Config) -> Iterator[str]:
    """What `popgate check` has to say."""
    http = config.admin.http
    if http is not None and not ip_address(http.host).is_loopback:
        yield (
            f'admin.http = "{http}": whoever reaches it sees logins and addresses; bind 127.0.0.1, or let a firewall '
            "keep others out"
        )
