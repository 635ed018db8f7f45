"""What the shared lease store (Redis or Valkey) is, for the self-test (rule N8).

One connection of redis-py, a few questions, nothing written: reachable, version, not a replica, not a cluster, never
evicts (a lease that the server throws away is a wrong 554), what a crash of it costs.  Its clock needs no look: all
nodes use that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config import Config
    from ..config.redis_url import RedisUrl
    from .findings import Findings

_PATIENCE = 5.0  # s for each answer
_OLDEST = (7, 0)  # PEXPIREAT ... GT


def inspect(config: Config, found: Findings) -> None:
    """Say what is there; `config.store` is a shared one."""
    url = config.store.redis
    assert url is not None
    try:
        import redis  # an extra
    except ImportError:
        found.fail('its Python packages are missing; run: pip install "popgate[redis]"')
        return
    try:
        with _client(url) as client:
            _look(client, url, found)
    except (redis.RedisError, OSError) as error:
        found.fail(f"{url.host}:{url.port}: {error}")


def _client(url: RedisUrl) -> Any:  # Any: redis-py's own types differ between its versions
    import redis

    tls: dict[str, Any] = {}
    if url.tls:
        authorities = {"ssl_ca_path" if url.ca.is_dir() else "ssl_ca_certs": str(url.ca)} if url.ca else {}
        shown = {"ssl_certfile": url.certificate and str(url.certificate), "ssl_keyfile": url.key and str(url.key)}
        tls = {"ssl": True, **authorities, **shown}
    return redis.Redis(
        host=url.host,
        port=url.port,
        db=url.database,
        username=url.user or None,
        password=url.password or None,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        **tls,
    )


def _look(client: Any, url: RedisUrl, found: Findings) -> None:
    client.eval("return redis.call('TIME')", 0)
    facts = client.info()
    name = "Valkey" if "valkey_version" in facts else "Redis"
    version = str(facts.get("valkey_version") or facts.get("redis_version", "?"))
    where = f"{url.host}:{url.port}, database {url.database}: {name} {version}"
    if name == "Redis" and _numbers(version) < _OLDEST:
        found.fail(f"{where} is too old; 7.0 is needed")
    else:
        found.ok(where)
    if facts.get("role", "master") != "master":
        found.fail("it is a replica, and can't be written; name the one that it follows")
    if facts.get("cluster_enabled"):
        found.fail("it is a cluster, whose scripts may not touch several slots; use a single server")
    policy = facts.get("maxmemory_policy", "?")
    if policy == "noeviction":
        found.ok("maxmemory-policy noeviction: no lease is thrown away for memory")
    else:
        found.fail(f"maxmemory-policy {policy} throws leases away; set it to noeviction")
    _persistence(client, facts, found)


def _persistence(client: Any, facts: dict[str, Any], found: Findings) -> None:
    import redis

    if facts.get("aof_enabled"):
        found.ok("persistence: append-only file; a crash costs a second at most")
        return
    try:
        snapshots = client.config_get("save").get("save", "")
    except redis.RedisError:  # not everyone may ask
        snapshots = None
    if snapshots == "":
        found.ok("persistence: none; after a restart the nodes bring their leases back")
    elif snapshots is None:
        found.ok("persistence: no append-only file")
    else:
        found.warn(
            "persistence: snapshots only; after a crash the last one comes back, with what was revoked since: "
            "set appendonly yes, or save ''"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
