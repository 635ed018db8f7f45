"""Fixtures of more than one test folder.  The real servers are started once a run: they keep nothing that a test
could trip over.

Everything in tests/e2e and tests/lab is marked `e2e`, so `pytest -m "not e2e"` is the quick run.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from .support.appliance import SampleAppliance
from .support.dovecot import Dovecot
from .support.postfix import Postfix
from .support.redis import RedisServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job: what we start would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"e2e", "lab"}.intersection(item.path.parts):
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key, for mail.example.com, localhost and 127.0.0.1; one PEM file."""
    from proxy import certificates

    folder = tmp_path_factory.mktemp("certs")
    return certificates.make(["mail.example.com", "localhost", "127.0.0.1"], folder)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A private Dovecot without TLS."""
    server = Dovecot()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """A private Postfix that relays for loopback, without TLS."""
    server = Postfix()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private Redis; `emptied_redis` is what tests take."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def emptied_redis(redis_server: RedisServer) -> RedisServer:
    """The private Redis, with nothing in it."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture
def appliance() -> Iterator[SampleAppliance]:
    """The demo's appliance."""
    with SampleAppliance() as house:
        yield house
