"""The bench for the tests of net/, once on asyncio's loop and once on uvloop's; the supervisor's office."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.clocks import LOOPS
from ..support.folder import Folder
from ..support.office import Office
from ..support.systemd import Listening
from ..support.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=sorted(LOOPS))
def workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """A Workshop; what reached the loop's exception handler fails the test."""
    bench = Workshop(LOOPS[request.param])
    yield bench
    bench.close()


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    """What systemd hears of the office; it waits ten seconds for a sign of life."""
    with Folder("notify") as name:
        made = Listening(f"{name}/notify")
        for key, value in {**made.environ, "WATCHDOG_USEC": "10000000"}.items():
            monkeypatch.setenv(key, value)
        yield made
        made.close()


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """A supervisor with two workers that are none."""
    with Folder("office") as name:
        made = Office(Path(name), monkeypatch)
        yield made
        made.close()


@pytest.fixture
def asked_office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """The same, with an agent for a balancer."""
    with Folder("office") as name:
        made = Office(Path(name), monkeypatch, '[admin]\nagent = "127.0.0.1:0"\n')
        yield made
        made.close()


@pytest.fixture
def shown_office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """The same, with a status page."""
    with Folder("office") as name:
        made = Office(Path(name), monkeypatch, '[admin]\nhttp = "127.0.0.1:0"\n')
        yield made
        made.close()
