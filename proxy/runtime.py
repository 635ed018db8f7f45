"""From the configuration to the objects that serve: stores, TLS, and one `Service` for each listener.

A reload builds new services completely and then swaps references; links that live keep theirs (rule N7).  What
outlives a reload is made once and handed in: the store, and the TLS contexts with their ticket keys, made before the
fork.

`needs_restart` names what a reload can't change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .config.endpoint import CLIENT
from .config.keys import unreloadable
from .config.schema import SINGLE
from .errors import ConfigError
from .gate.policy import RelayPolicy
from .leases.clock import Clock
from .leases.memory import MemoryStore
from .leases.sqlite import SqliteStore
from .log import node_log
from .neighbours.postfix_policy import PolicyService
from .neighbours.whoson_client import WhosonClient
from .neighbours.whoson_server import WhosonServer
from .net.local_addresses import is_own, listens_there
from .net.service import Service
from .net.tls.contexts import ServerTls, upstream_context
from .net.upstream.announcement import Announcing
from .net.upstream.pool import FORGIVEN, Pools
from .net.upstream.upstream import ORIGINAL, Server, Upstream
from .session.contract import Wait
from .session.pop3.session import PopSettings
from .session.smtp.session import SmtpSettings
from .shared_memory.server_health import ServerHealth, keys_of
from .sinks import DEVICE, SYSLOG, SYSLOG_BSD
from .wire.address import Networks
from .wire.esmtp import EhloEditor
from .wire.recipients import LocalDomains
from .wire.sasl import PasswordExchange

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .config import Config, Gate, Listener
    from .config import Upstream as UpstreamConfig
    from .config.redis_url import RedisUrl
    from .gate.patience import Patience
    from .gate.policy import PeerDirectory
    from .leases.base import LeaseStore
    from .log import Log
    from .metrics import LookUps
    from .neighbours.query_server import QueryHandler
    from .shared_memory.unwritten_leases import UnwrittenLeases

Bound = frozenset[tuple[str, int]]
"""Addresses and ports at which popgate listens."""

WHOSON: Final = "whoson.listen"
POSTFIX: Final = "postfix.policy"
"""Names of the sockets where other servers ask: no listener's name has a dot in it."""


def open_store(
    config: Config,
    clock: Clock,
    unwritten: UnwrittenLeases | None = None,
    news: Callable[[str, str], None] | None = None,
) -> LeaseStore:
    """The lease store, not yet started (leases/base.py); `unwritten`: what all workers of the node owe it; `news` is
    told an event and a reason when a shared store is lost or comes back.

    Raises ConfigError for a shared store that can't be used here: the extra or a TLS file is missing.
    """
    store = config.store
    if store.redis is not None:
        return _open_redis(config, store.redis, clock, unwritten, news)
    if store.path is None:
        return MemoryStore(clock)
    return SqliteStore(store.path, clock, store.timeout, unwritten, store.history)


def _open_redis(
    config: Config,
    url: RedisUrl,
    clock: Clock,
    unwritten: UnwrittenLeases | None,
    news: Callable[[str, str], None] | None,
) -> LeaseStore:
    try:
        # Here and not above: it needs an extra.  The supervisor comes by before it becomes `user`, and its workers
        # have what it imported.
        from .leases.redis.connection import Server
        from .leases.redis.store import RedisStore
    except ImportError as error:
        cure = 'its Python packages are missing; run: pip install "popgate[redis]"'
        raise ConfigError([f"store.url: redis: {cure} ({error})"]) from error
    window = max([config.gate.window, *[listener.gate.window for listener in config.listeners.values()]])
    server = Server(url.host, url.port, url.database, url.user, url.password, _redis_tls(url) if url.tls else None)
    return RedisStore(server, clock, config.store.timeout, unwritten, window, news)


def _redis_tls(url: RedisUrl) -> ssl.SSLContext:
    try:
        context = upstream_context(tls_ca=url.ca).context
        if url.certificate is not None:
            context.load_cert_chain(url.certificate, url.key)
    except ConfigError as error:
        raise ConfigError(
            [f"store.url: {problem.replace('tls_ca', 'ssl_ca_certs')}" for problem in error.problems]
        ) from error
    except OSError as error:  # SSLError too
        raise ConfigError([f"store.url: ssl_certfile: {url.certificate}: {error.strerror or error}"]) from error
    return context


def make_tls(config: Config) -> dict[str, ServerTls]:
    """TLS for each protocol that a listener speaks under TLS; raise ConfigError for certificates that can't be used."""
    protocols = sorted({listener.protocol for listener in config.listeners.values() if listener.tls != "off"})
    tls = config.tls
    return {name: ServerTls(name, tls.certificates, tls.min_version, tls.old_clients) for name in protocols}


def reload_tls(sides: Iterable[ServerTls], config: Config) -> None:
    """Show certificates as they are now; raise ConfigError for what can't be used, and that side keeps the old ones."""
    for side in sides:
        side.reload(config.tls.certificates, config.tls.min_version, config.tls.old_clients)


def rehearse(config: Config, clock: Clock, tls: Mapping[str, ServerTls], bound: Bound) -> None:
    """Build what a worker builds, only to see that it can be done; raise ConfigError with every problem."""
    build_services(config, open_store(config, clock), tls, bound)
    make_tls(config)


def server_keys(config: Config) -> list[str]:
    """All that a ServerHealth must have enlisted for `build_services`."""
    found: list[str] = []
    for name, upstream in config.upstreams.items():
        own, servers = keys_of(name, servers_of(upstream))
        found += [own, *servers]
    return found


def servers_of(upstream: UpstreamConfig) -> list[Server]:
    """ORIGINAL, where none is configured."""
    return [Server(server.host, server.port, server.path) for server in upstream.servers] or [ORIGINAL]


def forgiven(upstream: UpstreamConfig) -> float:
    """Seconds after which a failure of a server counts no more: with probes, when these have failed to come."""
    if not upstream.health_interval:
        return FORGIVEN
    return upstream.connect_timeout + 3 * upstream.health_interval


def build_services(
    config: Config,
    store: LeaseStore,
    tls: Mapping[str, ServerTls],
    bound: Bound,
    pools: Pools | None = None,
    patience: Patience | None = None,
    others: PeerDirectory | None = None,
    look_ups: LookUps | None = None,
) -> dict[str, Service]:
    """One Service a listener, by name; raise ConfigError with every problem.

    `patience`, `others`: where refusals wait, and what they ask; `look_ups`: times what the store is asked; only a
    worker has these.  Without `pools`, only to see that it can be done.
    """
    if pools is None:
        board = ServerHealth(1)
        board.enlist(server_keys(config))
        pools = Pools(board.row(0), Clock().now)
    problems: list[str] = []
    upstreams: dict[str, Upstream] = {}
    checking = {listener.gate.auth_upstream for listener in config.listeners.values() if listener.gate.auth == "pop3"}
    for name, upstream in config.upstreams.items():
        protocols = {listener.protocol for listener in config.listeners.values() if listener.upstream == name}
        protocols |= {"pop3"} if name in checking else set()
        for protocol in protocols:
            try:
                upstreams[name] = _upstream(upstream, protocol, bound, pools)
            except (ConfigError, OSError) as error:
                problems.append(f"upstream.{name}: {error}")
    if problems:
        raise ConfigError(problems)
    return {
        name: _service(
            config, listener, upstreams, tls, policy_of(config, listener.gate, store, patience, others, look_ups)
        )
        for name, listener in config.listeners.items()
    }


def _upstream(upstream: UpstreamConfig, protocol: str, bound: Bound, pools: Pools) -> Upstream:
    tls = None
    if upstream.tls != "off":
        tls = upstream_context(
            upstream.tls_verify, upstream.tls_min_version, upstream.tls_ca, upstream.tls_name, upstream.tls_pin
        )
    servers = servers_of(upstream)
    return Upstream(
        upstream.name,
        protocol,
        servers,
        tls=tls,
        implicit=upstream.tls == "implicit",
        connect_timeout=upstream.connect_timeout,
        is_ours=lambda host, port: listens_there(host, port, bound),
        announcing=Announcing.from_config(upstream),
        pool=pools.pool(upstream.name, servers, upstream.balance, upstream.max_connections, forgiven(upstream)),
        health_interval=upstream.health_interval,
    )


def _service(
    config: Config,
    listener: Listener,
    upstreams: Mapping[str, Upstream],
    tls: Mapping[str, ServerTls],
    policy: RelayPolicy,
) -> Service:
    gate, limits, upstream = listener.gate, config.limits, upstreams[listener.upstream]
    starttls = listener.tls == "starttls"
    settings: SmtpSettings | PopSettings
    if listener.protocol == "smtp":
        settings = SmtpSettings(
            local_domains=LocalDomains(gate.local_domains),
            editor=EhloEditor(gate.auth != "off", PasswordExchange.MECHANISMS if gate.auth == "pop3" else frozenset()),
            refusal=gate.refusal,
            bare_newline=gate.bare_newline,
            auth=gate.auth,
            doubts_authenticated=policy.doubts_authenticated,
            starttls=starttls,
            tls_required=listener.tls_required,
            ask_local=listener.local == "gate",
            max_refusals=limits.refusals,
            max_errors=limits.errors,
            max_failed_logins=limits.failed_logins,
        )
        session_timeout = limits.session_timeout
    else:
        session_timeout = min(limits.session_timeout, limits.login_timeout)
        settings = PopSettings(starttls, listener.tls_required, limits.failed_logins)
    return Service(
        name=listener.name,
        protocol=listener.protocol,
        settings=settings,
        policy=policy,
        upstream=upstream,
        tls=tls.get(listener.protocol) if listener.tls != "off" else None,
        implicit_tls=listener.tls == "implicit",
        transparent=listener.transparent,
        waits={
            Wait.GREETING: upstream.connect_timeout,
            Wait.COMMAND: limits.command_timeout,
            Wait.LOGIN: limits.login_timeout,
            Wait.MESSAGE: limits.data_timeout,
            Wait.MESSAGE_REPLY: limits.data_end_timeout,
            Wait.MAILBOX: limits.pop_idle_timeout,
        },
        accept_proxy_from=Networks(listener.accept_proxy_from),
        proxy_timeout=limits.proxy_timeout,
        handshake_timeout=limits.handshake_timeout,
        session_timeout=session_timeout,
        max_age=gate.max_age,
        failed_logins_per_address=limits.failed_logins_per_address,
        password_upstream=upstreams[gate.auth_upstream] if gate.auth == "pop3" else None,
    )


def build_others(config: Config, log: Log) -> WhosonClient | None:
    """The whoson servers that are asked before refusing, and told of logins; None: there are none."""
    whoson = config.whoson
    if not whoson.ask and not whoson.tell:
        return None
    return WhosonClient(whoson.ask, whoson.tell, config.store.timeout, log)


def build_query_handlers(
    config: Config, store: LeaseStore, log: Log, others: PeerDirectory | None
) -> dict[str, QueryHandler]:
    """What answers other servers, by the name of the socket."""
    policy, whoson = policy_of(config, config.gate, store, others=others), config.whoson
    return {
        WHOSON: WhosonServer(policy, Networks(whoson.allow), Networks(whoson.allow_login), log),
        POSTFIX: PolicyService(policy, log),
    }


def policy_of(
    config: Config,
    gate: Gate,
    store: LeaseStore,
    patience: Patience | None = None,
    others: PeerDirectory | None = None,
    look_ups: LookUps | None = None,
) -> RelayPolicy:
    """The decisions by [gate], or by a listener's own."""
    balancers = {text for listener in config.listeners.values() for text in listener.accept_proxy_from}
    return RelayPolicy(
        gate,
        store,
        is_own=is_own,
        balancers=Networks(sorted(balancers)),
        patience=patience,
        others=others,
        look_ups=look_ups,
    )


def upstreams_of(services: Mapping[str, Service]) -> Iterator[Upstream]:
    """All that are used, some of them several times."""
    for service in services.values():
        yield service.upstream
        if service.password_upstream is not None:
            yield service.password_upstream


def log_of(config: Config) -> Log:
    """A log as configured; raise ConfigError where it can't be written."""
    log = node_log()
    point_log(log, config)
    return log


def point_log(log: Log, config: Config) -> None:
    """Have the log written as configured; raise ConfigError where it can't be, having changed nothing."""
    try:
        log.point(config.log.level, config.log.format, config.log.file)
    except OSError as error:
        problem = f"can't write {config.log.file}: {error.strerror}; check its folder"
        if config.log.file in (SYSLOG, SYSLOG_BSD):
            problem = f"nobody listens at {DEVICE}: {error.strerror}; start a syslog daemon"
        raise ConfigError([f"log.file: {problem}"]) from error


def spoofing_keys(config: Config) -> list[str]:
    """The keys by which connections come from clients' own addresses: that takes a right (node/privileges.py)."""
    return [f"upstream.{name}.source" for name, upstream in config.upstreams.items() if upstream.source == CLIENT]


def check_successor(
    old: Config, new: Config, clock: Clock, tls: Mapping[str, ServerTls], bound: frozenset[tuple[str, int]]
) -> None:
    """Raise ConfigError unless a running popgate can take over `new`; the rest is what it has made for `old`."""
    problems = needs_restart(old, new)
    if problems:
        raise ConfigError(problems)
    rehearse(new, clock, tls, bound)


def needs_restart(old: Config, new: Config) -> list[str]:
    """What of `new` a reload can't bring about, by name."""
    found = [key for key in unreloadable("", old, new) if key != "workers" or old.processes != new.processes]
    for name in ("store", *SINGLE):
        found += unreloadable(f"{name}.", getattr(old, name), getattr(new, name))
    for name in sorted(old.listeners.keys() | new.listeners.keys()):
        before, after = old.listeners.get(name), new.listeners.get(name)
        if before is None or after is None:
            found.append(f"listener.{name}")
        else:
            found += unreloadable(f"listener.{name}.", before, after)
    if not spoofing_keys(old):
        found += spoofing_keys(new)[:1]
    had = {listener.protocol for listener in old.listeners.values() if listener.tls != "off"}
    wants = {listener.protocol for listener in new.listeners.values() if listener.tls != "off"}
    found += [f"the first TLS of a {protocol} listener" for protocol in sorted(wants - had)]
    return [f"{key} changes: that needs a restart" for key in found]
