"""Combinations that can't be meant: each value is fine, together they do nothing, do harm, or can't start.

Judged on the finished `Config`, each problem with the keys that take part in it, the first being the one to name.  A
problem with a key that already failed on its own is not told (load.py): nobody meant the default that stands in for it.

Not here: anything that needs a look outside (certificates, users, hosts, free ports).
"""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

from . import showing
from .endpoint import MEMORY, Endpoint
from .values import duration_text, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .schema import Config, Gate, Listener, Upstream

# rule N1: a trusted range that is wider needs `unsafe`.  /8 is IPv4's largest allocation; in IPv6 no site has a /16,
# and registries have /12.  Unique local addresses (RFC 4193) are nobody's on the Internet, whatever the prefix.
WIDEST: Final = {4: 8, 6: 16}
UNIQUE_LOCAL: Final = IPv6Network("fc00::/7")

MAX_SERVERS: Final = 200  # of all upstreams; more are a mistake, and the workers' table of them has an end
SHORTEST_INTERVAL: Final = 1.0  # seconds between two probes: each is a line or two in the server's own log


class Impossible(NamedTuple):
    """A problem of several keys; `keys[0]` is where it is told."""

    keys: tuple[str, ...]
    """The first is where it is told."""
    text: str
    """What is wrong, and what to do."""


def impossible(config: Config) -> Iterator[Impossible]:
    """Everything about the configuration that can't be meant."""
    if config.store.url == MEMORY and config.processes != 1:
        how = f"workers = {config.workers} makes {config.processes} here" if config.workers == 0 else "they are several"
        text = f'"memory:" can\'t be shared by workers, and {how}; use "sqlite:leases.db" or workers = 1'
        yield Impossible(("store.url", "workers"), text)
    if config.tls.old_clients and config.tls.min_version == "TLSv1":
        text = 'does nothing with min_version = "TLSv1", which lets everybody use it; take one of them out'
        yield Impossible(("tls.old_clients", "tls.min_version"), text)
    yield from _gates(config)
    yield from _binds(config)
    yield from _whoson(config)
    for listener in config.listeners.values():
        yield from _listener(listener, config)
        yield from _balancers(listener)
    for upstream in config.upstreams.values():
        yield from _upstream(upstream, config)
    several = [f"upstream.{one.name}.servers" for one in config.upstreams.values()]
    total = sum(1 + len(one.servers) for one in config.upstreams.values())
    if total > MAX_SERVERS:
        yield Impossible(tuple(several), f"upstreams and their servers are {total} in all; take at most {MAX_SERVERS}")


def _gates(config: Config) -> Iterator[Impossible]:
    gates = [config.gate, *(listener.gate for listener in config.listeners.values())]
    if config.gate.sender_map and all(gate.sender == "any" and not gate.shared_networks for gate in gates):
        text = 'does nothing with sender = "any"; set sender = "match" or "log", or take it out'
        yield Impossible(("gate.sender_map", "gate.sender"), text)
    if config.gate.auth_upstream and all(gate.auth != "pop3" for gate in gates):
        text = f'does nothing with auth = "{config.gate.auth}"; set auth = "pop3", or take it out'
        yield Impossible(("gate.auth_upstream", "gate.auth"), text)
    told: set[str] = set()
    balancers = {text: one.name for one in reversed(config.listeners.values()) for text in one.accept_proxy_from}
    for where, gate in [
        ("gate", config.gate),
        *((f"listener.{one.name}.gate", one.gate) for one in config.listeners.values()),
    ]:
        for names, text in _gate(gate, balancers):
            # A listener's gate that only inherits the fault has it told once, for [gate].
            if text not in told:
                told.add(text)
                yield Impossible((*(f"{where}.{name}" for name in names), *(f"gate.{name}" for name in names)), text)


def _gate(gate: Gate, balancers: dict[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if gate.patience and not gate.patience_waiting:
        yield ("patience_waiting", "patience"), 'nobody could wait; set patience = "0s" to be without it'
    if gate.max_age < gate.window:
        text = (
            f"{duration_text(gate.max_age)} is less than window ({duration_text(gate.window)}); make it at least that"
        )
        yield ("max_age", "window"), text
    for text in gate.trusted_networks if not gate.unsafe else ():
        if widest := _too_wide(text):
            yield (
                ("trusted_networks", "unsafe"),
                f"{quoted(text)} is wider than /{widest}: it may relay for the world; name smaller networks, or, "
                "if nobody else can reach popgate, set unsafe = true",
            )
        for balancer, listener in balancers.items():
            if _overlap(text, balancer):
                yield (
                    ("trusted_networks", "unsafe"),
                    f"{quoted(text)} has a load balancer in it ({quoted(balancer)}, listener.{listener}."
                    "accept_proxy_from): what it forwards without a PROXY header may relay for the world; name smaller "
                    "networks, or, if every listener reads its header, set unsafe = true",
                )


def _too_wide(text: str) -> int:
    """The widest prefix that is taken, where a network is wider than that; else 0."""
    network = ip_network(text, strict=False)
    private = isinstance(network, IPv6Network) and network.subnet_of(UNIQUE_LOCAL)
    widest = WIDEST[network.version]
    return widest if network.prefixlen < widest and not private else 0


def _balancers(listener: Listener) -> Iterator[Impossible]:
    """What `accept_proxy_from` names is believed, whatever address it says a client has (rule N1)."""
    for text in listener.accept_proxy_from if not listener.gate.unsafe else ():
        if widest := _too_wide(text):
            where = f"listener.{listener.name}"
            yield Impossible(
                (f"{where}.accept_proxy_from", f"{where}.gate.unsafe", "gate.unsafe"),
                f"{quoted(text)} is wider than /{widest}: the world may claim any address; name the load balancers, "
                f"or, if nobody else can reach popgate, set unsafe = true in [{where}.gate]",
            )


def _overlap(one: str, other: str) -> bool:
    networks = ip_network(one, strict=False), ip_network(other, strict=False)
    return networks[0].version == networks[1].version and networks[0].overlaps(networks[1])


def _binds(config: Config) -> Iterator[Impossible]:
    taken: list[tuple[str, Endpoint]] = []
    wanted = [(f"listener.{one.name}.bind", place) for one in config.listeners.values() for place in one.bind]
    wanted += [("whoson.listen", place) for place in config.whoson.listen]
    others = (
        ("postfix.policy", config.postfix.policy),
        ("admin.http", config.admin.http),
        ("admin.agent", config.admin.agent),
    )
    wanted += [(key, place) for key, place in others if place is not None]
    wanted.append(("admin.control", Endpoint("", 0, str(config.admin.control))))
    for key, endpoint in wanted:
        for other, earlier in taken:
            if _clash(endpoint, earlier):
                yield Impossible((key, other), f'"{endpoint}" is taken by "{earlier}" of {other}; change one of them')
        taken.append((key, endpoint))


def _clash(one: Endpoint, other: Endpoint) -> bool:
    """Whether the system would refuse the second: same port, and the same address or one of them a wildcard."""
    if one.path or other.path:
        return one.path == other.path
    if one.port != other.port or one.port == 0 or (one.transport == "udp") != (other.transport == "udp"):
        return False
    here, there = ip_address(one.host), ip_address(other.host)
    return here.version == there.version and (here == there or here.is_unspecified or there.is_unspecified)


def _whoson(config: Config) -> Iterator[Impossible]:
    whoson = config.whoson
    for key, servers in (("whoson.ask", whoson.ask), ("whoson.tell", whoson.tell)):
        for server in servers:
            if any(_is_same(server, ours) for ours in whoson.listen):
                yield Impossible((key, "whoson.listen"), f'"{server}" is popgate itself; take it out')
    if whoson.allow_login and not whoson.listen:
        yield Impossible(("whoson.allow_login", "whoson.listen"), "does nothing while listen is empty; set that, too")


def _is_same(server: Endpoint, ours: Endpoint) -> bool:
    """Whether a question to `server` would come to `ours`, as far as can be told from here."""
    if server.path or ours.path or server.transport != ours.transport or server.port != ours.port:
        return bool(server.path) and server.path == ours.path
    there, here = ip_address(server.host), ip_address(ours.host)
    return there == here or (here.is_unspecified and there.is_loopback and there.version == here.version)


def _listener(listener: Listener, config: Config) -> Iterator[Impossible]:
    where = f"listener.{listener.name}"
    if listener.tls != "off" and not config.tls.certificates:
        cure = 'name one in tls.certificates (popgate certs make NAME), or write "off"'
        text = f'"{listener.tls}" needs a certificate; {cure}'
        yield Impossible((f"{where}.tls", "tls.certificates"), text)
    if listener.tls_required and listener.tls == "off":
        text = 'TLS can\'t be required where it is off; set tls = "starttls" or "implicit"'
        yield Impossible((f"{where}.tls_required", f"{where}.tls"), text)
    if listener.local == "gate" and listener.protocol == "pop3":
        text = 'local = "gate" is about recipients, and POP3 has none; take it out'
        yield Impossible((f"{where}.local", f"{where}.protocol"), text)
    if listener.protocol == "smtp" and listener.gate.auth == "pop3":
        yield from _password_check(listener, config)
    if listener.upstream not in config.upstreams:
        known = ", ".join(sorted(config.upstreams)) or "none"
        cure = f"write [upstream.{listener.upstream}], or name another"
        text = f"there is no upstream {quoted(listener.upstream)} (there is: {known}); {cure}"
        yield Impossible((f"{where}.upstream", f"{where}.protocol", "upstream"), text)
    if listener.transparent and listener.accept_proxy_from:
        text = "takes connections that were meant for others, and no load balancer makes such; take one of them out"
        yield Impossible((f"{where}.transparent", f"{where}.accept_proxy_from"), text)


def _password_check(listener: Listener, config: Config) -> Iterator[Impossible]:
    """What `auth = "pop3"` needs (rule G15)."""
    where, gate = f"listener.{listener.name}", listener.gate
    common = (gate.auth, gate.auth_upstream) == (config.gate.auth, config.gate.auth_upstream)
    keys: tuple[str, ...] = ("gate.auth_upstream", "gate.auth", f"{where}.gate.auth_upstream", f"{where}.gate.auth")
    keys = keys if common else (keys[2], *keys)
    if listener.tls == "off":
        text = 'offers AUTH under TLS only, and TLS is off here; set tls = "starttls" or "implicit", or auth = "off"'
        yield Impossible((f"{where}.tls", *keys), text)
    if not gate.auth_upstream:
        text = 'auth = "pop3" needs the name of the POP3 upstream that checks passwords; write auth_upstream = "pop3"'
        yield Impossible((*keys, "upstream"), text)
    elif gate.auth_upstream not in config.upstreams:
        yield Impossible((*keys, "upstream"), f"there is no upstream {quoted(gate.auth_upstream)}; name another")
    elif not config.upstreams[gate.auth_upstream].servers:
        text = f"{quoted(gate.auth_upstream)} has no server of its own; name an upstream with one"
        yield Impossible((*keys, f"upstream.{gate.auth_upstream}.servers"), text)
    elif any(one.upstream == gate.auth_upstream and one.protocol == "smtp" for one in config.listeners.values()):
        yield Impossible((*keys, "upstream"), f"{quoted(gate.auth_upstream)} speaks SMTP; name an upstream for POP3")


def _upstream(upstream: Upstream, config: Config) -> Iterator[Impossible]:
    where = f"upstream.{upstream.name}"
    users = [one for one in config.listeners.values() if one.upstream == upstream.name]
    if len({one.protocol for one in users}) > 1:
        named = " and ".join(f"{one.name} ({one.protocol})" for one in users)
        keys = (where, *(f"listener.{one.name}.{name}" for one in users for name in ("protocol", "upstream")))
        yield Impossible(keys, f"serves listeners of two protocols, {named}; give each protocol its own upstream")
    for names, text, others in showing.impossible(upstream, users):
        yield Impossible((*(f"{where}.{name}" for name in names), *others), text)
    checks = {"tls_ca": upstream.tls_ca, "tls_name": upstream.tls_name, "tls_pin": upstream.tls_pin}
    for name, value in checks.items():
        if value and upstream.tls == "off":
            yield Impossible(
                (f"{where}.{name}", f"{where}.tls"), 'does nothing with tls = "off"; set tls, or take it out'
            )
        elif value and name != "tls_name" and not upstream.tls_verify:
            yield Impossible(
                (f"{where}.{name}", f"{where}.tls_verify"), "contradicts tls_verify = false; take one of them out"
            )
    if 0 < upstream.health_interval < SHORTEST_INTERVAL:
        text = 'is too short, for each probe is a line in the server\'s log; take at least "1s", or "0s" for none'
        yield Impossible((f"{where}.health_interval",), text)
    if upstream.max_connections and not upstream.servers:
        text = "is per server, and here each client names its own; take it out, or name the servers"
        yield Impossible((f"{where}.max_connections", f"{where}.servers"), text)
    if upstream.tls_pin and upstream.tls_ca:
        yield Impossible(
            (f"{where}.tls_ca", f"{where}.tls_pin"), "does nothing beside tls_pin, which decides alone; take one out"
        )
    nameless = any(server.path for server in upstream.servers) and not upstream.tls_name and not upstream.tls_pin
    if nameless and upstream.tls != "off" and upstream.tls_verify:
        text = "a unix socket has no host name to verify; set tls_name or tls_pin"
        yield Impossible((f"{where}.servers", f"{where}.tls", f"{where}.tls_verify", f"{where}.tls_name"), text)
