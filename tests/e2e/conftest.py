"""Fixtures of the end-to-end tests: a gate for each test, in front of the real servers or of the quick ones.

Most tests run twice: on uvloop, and on asyncio's own loop, which popgate takes where uvloop is missing.  Those of the
houses, the attacks and the units (`ONCE`) run on one loop: what they measure is in the legs and the sessions, which are
the same on both, and they take minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..support.popgate import Popgate, config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.dovecot import Dovecot
    from ..support.postfix import Postfix


ONCE = (
    *("test_houses", "test_others_tools", "test_slow", "test_floods", "test_strangers", "test_endless"),
    *("test_faults", "test_hygiene", "test_systemd_units", "test_pool"),
    "test_compiled",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not metafunc.module.__name__.endswith(ONCE):
        metafunc.parametrize("popgate_loop", ["uvloop", "asyncio"], indirect=True)


@pytest.fixture(autouse=True)
def popgate_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop of every popgate that the test starts."""
    if kind := getattr(request, "param", ""):
        monkeypatch.setenv("POPGATE_LOOP", kind)


@pytest.fixture
def real_gate(dovecot: Dovecot, postfix: Postfix) -> Iterator[Popgate]:
    """popgate in front of Dovecot and Postfix, nobody logged in; plain listeners pop3 and smtp."""
    with Popgate(config(dovecot.endpoint, postfix.endpoint)) as gate:
        yield gate


@pytest.fixture
def gate(appliance: SampleAppliance) -> Iterator[Popgate]:
    """popgate in front of the demo's appliance; plain listeners pop3 and smtp."""
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        yield gate


@pytest.fixture
def tls_gate(appliance: SampleAppliance, certificate: Path) -> Iterator[Popgate]:
    """The same with a certificate: STLS and STARTTLS on pop3 and smtp, and TLS from the start on pop3s and smtps."""
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        yield gate
