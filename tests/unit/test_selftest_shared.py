"""proxy/selftest/shared.py: what the self-test says of a real Redis, and of what is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from proxy.config import Config, Store
from proxy.selftest import shared
from proxy.selftest.findings import Findings
from tests.support.legacy import Legacy, silent
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from pathlib import Path


def said(url: str) -> list[str]:
    """Level and text of each finding."""
    found = Findings("store")
    found.about("redis")
    shared.inspect(Config(store=Store(url)), found)
    return [f"{level} {line.split('redis', 1)[1].strip()}" for level, line in found.lines()]


def test_N8_a_server_that_is_fit_for_it(emptied_redis: RedisServer) -> None:
    reachable, policy, persistence = said(emptied_redis.url(3))
    assert reachable.startswith(f"ok {emptied_redis.host}:{emptied_redis.port}, database 3: Redis ")
    assert policy == "ok maxmemory-policy noeviction: no lease is thrown away for memory"
    assert persistence == "ok persistence: none; after a restart the nodes bring their leases back"
    with emptied_redis.client() as client:
        assert client.dbsize() == 0, "nothing was written"


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "FAIL maxmemory-policy allkeys-lru throws leases away"),
        (("--save", "60 1"), "warn persistence: snapshots only; after a crash the last one comes back"),
        (("--appendonly", "yes"), "ok persistence: append-only file"),
        (("--replicaof", "127.0.0.1", "1"), "FAIL it is a replica"),
        (("--cluster-enabled", "yes", "--cluster-port", "20001"), "FAIL it is a cluster"),
    ],
)
def test_N8_what_costs_leases_is_told(options: tuple[str, ...], finding: str) -> None:
    with RedisServer(*options) as server:
        assert [line for line in said(server.url()) if line.startswith(finding)]


def test_a_password_is_used_and_not_shown() -> None:
    with RedisServer(password="sEcReT") as server:
        assert said(server.url())[0].startswith("ok ")
        found = said(server.url().replace("sEcReT", "sEcReT-wrong"))
        assert len(found) == 1
        assert found[0].startswith("FAIL ")
        assert "sEcReT" not in found[0]


def test_tls_is_verified(certificate: Path) -> None:
    with RedisServer(certificate=certificate) as server:
        (found,) = said(f"rediss://{server.host}:{server.port}/0")
        assert found.startswith("FAIL ")


def test_what_is_no_redis(emptied_redis: RedisServer) -> None:
    (refused,) = said(f"redis://{emptied_redis.host}:1/0")
    assert refused.startswith("FAIL ")
    dead = Legacy(silent)
    dead.close()
    (found,) = said(f"redis://{dead.address[0]}:{dead.address[1]}/0")
    assert found.startswith("FAIL ")


def test_the_missing_extra_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    (found,) = said("redis://h")
    assert found.endswith('run: pip install "popgate[redis]"')
