"""The gate before real SMTP servers, under every case of the threat list; judged by what arrived there.

DESIGN promise 1, RULES S1 to S8 and G16.  The same cases must get through a careless proxy, or they prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .kitchen import SERVERS, Kitchen, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Kitchen]:
    for kitchen in serve():
        print(kitchen.seconds)
        yield kitchen


@pytest.mark.parametrize("way", ["whole", "dripped", "reject"])
@pytest.mark.parametrize("server", SERVERS)
def test_promise_1_no_case_gets_through(kitchen: Kitchen, server: str, way: str) -> None:
    found = kitchen.of(server, way)
    for name, what in found.items():
        print("BREACH", server, way, name, what[:400])
    assert not found


@pytest.mark.parametrize("server", SERVERS)
def test_the_naive_proxy_is_breached(kitchen: Kitchen, server: str) -> None:
    found = {**kitchen.of(server, "naive LF"), **kitchen.of(server, "naive CRLF")}
    print(server, len(found), sorted(found))
    assert found
