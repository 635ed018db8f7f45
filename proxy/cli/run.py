"""`popgate run`, and what comes before it: `check`, `selftest`, `demo`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

from .. import admin
from ..config import dump, load, showing
from ..errors import ConfigError
from ..leases.clock import Clock
from ..net.local_addresses import listens_there
from ..node import access_check
from ..node.privileges import known
from ..runtime import build_services, make_tls, open_store
from ..wire.address import packed, shown
from .greeting import greeting
from .parser import GOOD

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..config import Config
    from .parser import Commands

T = TypeVar("T")


def add(to: Commands) -> None:
    to.add("run", _run, "serve; SIGHUP reloads, SIGTERM drains and stops", to.configured)
    to.add("check", _check, "print the whole effective configuration, or every error in it", to.configured)
    to.add("selftest", _selftest, "find out what the mail servers are and whether they relay for us", to.configured)
    demo = to.add("demo", _demo, "play the story with a sample appliance on this machine")
    demo.add_argument("--once", action="store_true", help="end when the story is told")


def _run(options: argparse.Namespace) -> int:
    from ..supervisor import Supervisor

    config = load(options.config)
    supervisor = Supervisor(config, options.config)
    if sys.stderr.isatty():
        print(greeting(config), file=sys.stderr, flush=True)
    return supervisor.run()


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    warnings = checked(config)
    print(dump(config), end="")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return GOOD


def checked(config: Config) -> list[str]:
    """Look at what the files do not say: certificates, users, extras, loops.  Return warnings, raise ConfigError."""
    bound = frozenset(
        [
            (shown(packed(end.host)), end.port)
            for listener in config.listeners.values()
            for end in listener.bind
            if end.port
        ]
    )
    problems: list[str] = []
    _tried(problems, lambda: known(config.user) if config.user else None)
    tls = _tried(problems, lambda: make_tls(config)) or {}
    _tried(problems, lambda: build_services(config, open_store(config, Clock()), tls, bound))
    _tried(problems, lambda: admin.demand(config))
    problems += [
        f"upstream.{name}: {server} is popgate itself: a loop; give the mail server's own address"
        for name, upstream in config.upstreams.items()
        for server in upstream.servers
        if not server.path and listens_there(server.host, server.port, bound)
    ]
    if problems:
        raise ConfigError(problems)
    warnings = [
        f"{certificate.path}: the certificate has expired"
        for side in tls.values()
        for certificate in side.certificates
        if certificate.expired(time.time())
    ]
    if config.tls.old_clients and not any(one.rsa for side in tls.values() for one in side.certificates):
        cure = "popgate certs make NAME --rsa --file rsa.pem, and list it as well"
        warnings.append(f"tls.old_clients: the oldest know RSA certificates only; {cure}")
    if config.tls.min_version in ("TLSv1", "TLSv1.1") and tls:
        warnings.append(f"tls.min_version = {config.tls.min_version!r} lets everyone use broken TLS")
    warnings += [
        f"listener.{one.name}.gate.patience_waiting: does nothing, for all listeners share it; write it in [gate]"
        for one in config.listeners.values()
        if one.gate.patience_waiting != config.gate.patience_waiting
    ]
    keys = [one.key for side in tls.values() for one in side.certificates]
    return [*warnings, *showing.warnings(config), *admin.warnings(config), *access_check.warnings(config, keys)]


def _tried(problems: list[str], action: Callable[[], T]) -> T | None:
    """What `action` returns; None where it finds problems, which are noted."""
    try:
        return action()
    except ConfigError as error:
        problems += error.problems
        return None


def _selftest(options: argparse.Namespace) -> int:
    from ..selftest import run

    return run(load(options.config), sys.stdout)


def _demo(options: argparse.Namespace) -> int:
    from ..demo import play

    return play(not options.once, sys.stdout)
