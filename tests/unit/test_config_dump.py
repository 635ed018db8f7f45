"""proxy/config/dump.py: what `popgate check` prints loads again to the same configuration."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from hypothesis import given
from hypothesis import strategies as st

from proxy.config import (
    Admin,
    Config,
    Endpoint,
    Gate,
    Limits,
    Listener,
    Log,
    Postfix,
    Store,
    Tls,
    Upstream,
    Whoson,
    dump,
    load,
    schema,
)
from proxy.config.places import whoson_server
from proxy.config.values import LONGEST
from tests.support.configuration import loaded

T = TypeVar("T")

SHIPPED = Path(__file__).parents[2] / "conf.d"


def again(config: Config) -> Config:
    """What the dump loads to, from a folder that has nothing to do with where it came from."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dump.toml"
        file.write_text(dump(config), encoding="utf-8")
        return load(file)


def test_the_shipped_configuration_comes_back() -> None:
    assert again(load(SHIPPED)) == load(SHIPPED)


def test_every_key_is_written_and_a_listeners_gate_as_far_as_it_differs(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("a.example\n")
    text = '[gate]\nlocal_domains_file = "domains"\n[listener.smtp.gate]\nwindow = "10m"\nlocal_domains_file = ""\n'
    config = loaded(tmp_path, text)
    assert again(config) == config
    lines = dump(config).splitlines()
    assert lines[0] == f"# read from {tmp_path}/conf.d/10-serves.toml, {tmp_path}/conf.d/50-test.toml"
    where = lines.index("[listener.smtp.gate]")
    own = lines[where + 1 : lines.index("", where)]
    assert own == ['window = "10m"', "local_domains = []", 'local_domains_file = ""']
    common = lines[lines.index("[gate]") + 1 : lines.index("", lines.index("[gate]"))]
    assert common[:5] == [
        'mode = "enforce"',
        'window = "30m"',
        'max_age = "12h"',
        'local_domains = ["a.example"]',
        f'local_domains_file = "{tmp_path}/domains"',
    ]
    assert len(common) == len(fields(Gate))


def test_a_configuration_from_nowhere_says_so() -> None:
    assert dump(Config()).startswith("# read from nowhere\nworkers = 0\n")


def durations(at_least: int = 1) -> st.SearchStrategy[float]:
    return st.integers(at_least, LONGEST).map(lambda milliseconds: milliseconds / 1000)


TEXTS = st.text(max_size=20).map(lambda text: "".join(one for one in text if one.isprintable()))
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8)
PATHS = TEXTS.map(lambda text: Path("/", text.lstrip("/") or "x"))
NETWORKS = st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "::1", "10.0.0.0/8"])
BALANCERS = st.sampled_from(["198.51.100.7", "fd00::/8", "203.0.113.0/24"])
DOMAINS = st.sampled_from(["example.com", ".example.net", "münchen.example"])
PORTS = st.integers(1, 65535)
SERVERS = st.builds(Endpoint, st.sampled_from(["192.0.2.1", "2001:db8::1", "mail.example.com"]), PORTS)
SOCKETS = st.sampled_from(["/run/x", "/ü \\"]).map(lambda path: Endpoint("", 0, path))
BINDS = st.builds(Endpoint, st.sampled_from(["127.0.0.1", "::", "0.0.0.0"]), st.just(0))
SHOWN = st.sampled_from([{}, {"send_proxy": "v1"}, {"send_proxy": "v2", "show_client": "always"}])
NEIGHBOURS = st.builds(
    Endpoint, st.sampled_from(["127.0.0.1", "::1"]), st.just(0), st.just(""), st.sampled_from(["udp", "tcp"])
)
COUNTS = st.integers(1, 10_000)


def some(items: st.SearchStrategy[T], at_least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(items, min_size=at_least, max_size=3, unique=True).map(tuple)


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    window, max_age = sorted(draw(st.tuples(durations(1000), durations(1000))))
    return Gate(
        mode=draw(st.sampled_from(get_args(schema.Mode))),
        window=window,
        max_age=max_age,
        local_domains=draw(some(DOMAINS)),
        trusted_networks=draw(some(NETWORKS)),
        unsafe=draw(st.booleans()),
        shared_networks=draw(some(NETWORKS)),
        never_lease=draw(some(NETWORKS)),
        max_logins_per_address=draw(st.just(0) | COUNTS),
        no_relay_logins=draw(some(st.sampled_from(["scanner", "Ünder", "a b"]))),
        lease_after_failures=draw(st.just(0) | COUNTS),
        renew_on_use=draw(st.booleans()),
        ipv6_prefix=draw(st.integers(32, 128)),
        patience=draw(st.integers(0, 60_000)) / 1000,
        patience_waiting=draw(COUNTS),
        sender=draw(st.sampled_from(get_args(schema.SenderRule))),
        bare_newline=draw(st.sampled_from(get_args(schema.BareNewline))),
        auth=draw(st.sampled_from(("upstream", "off"))),
        max_messages=draw(st.just(0) | COUNTS),
        max_recipients=draw(st.just(0) | COUNTS),
        refusal=draw(st.sampled_from(["554 no", '554 5.7.1 "\\{client}\\t" {recipient}'])),
    )


@st.composite
def upstreams(draw: st.DrawFn, name: str) -> Upstream:
    tls = draw(st.sampled_from(get_args(schema.TlsMode)))
    pool: dict[str, Any] = {
        "connect_timeout": draw(durations()),
        "balance": draw(st.sampled_from(get_args(schema.Balance))),
        "max_connections": draw(st.integers(0, 1_000_000)),
        "health_interval": draw(st.just(0.0) | durations(1000)),
    }
    if tls == "off":
        servers = draw(some(st.one_of(SERVERS, SOCKETS), 1))
        return Upstream(name, servers, **pool, **draw(SHOWN))
    verify = draw(st.booleans())
    ca = draw(st.none() | PATHS) if verify else None
    pin = draw(TEXTS) if verify and ca is None else ""
    version = draw(st.sampled_from(get_args(schema.TlsVersion)))
    return Upstream(name, draw(some(SERVERS, 1)), tls, verify, version, ca, draw(TEXTS), pin, **pool)


@st.composite
def whosons(draw: st.DrawFn) -> Whoson:
    listen = draw(some(st.one_of(NEIGHBOURS, SOCKETS)))
    servers = some(st.sampled_from([whoson_server("udp:192.0.2.20:9876"), whoson_server("unix:/run/other")]))
    allow_login = draw(some(NETWORKS)) if listen else ()
    return Whoson(listen, draw(some(NETWORKS)), allow_login, draw(servers), draw(servers))


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    certificates = draw(some(PATHS))
    gate = draw(gates())
    listeners, behind = {}, {}
    for name in draw(some(NAMES, 1)):
        protocol = draw(st.sampled_from(get_args(schema.MailProtocol)))
        tls = draw(st.sampled_from(get_args(schema.TlsMode))) if certificates else "off"
        required = draw(st.booleans()) and tls != "off"
        local = draw(st.sampled_from(get_args(schema.LocalMail))) if protocol == "smtp" else "pass"
        own = draw(st.just(gate) | gates())
        balancers = draw(some(BALANCERS))
        transparent = draw(st.booleans()) and not balancers
        binds = draw(some(BINDS, 1))
        listeners[name] = Listener(name, protocol, binds, tls, required, name, balancers, transparent, local, own)
        behind[name] = draw(upstreams(name))
    url = draw(PATHS.filter(lambda path: str(path) != "/").map(lambda path: f"sqlite:{path}"))
    return Config(
        draw(st.integers(0, 1024)),
        draw(TEXTS),
        draw(durations(0)),
        gate,
        Store(url, draw(durations())),
        listeners,
        behind,
        Tls(certificates, draw(st.sampled_from(get_args(schema.TlsVersion)))),
        Limits(
            *(draw(st.integers(1, 1_000_000)), draw(st.integers(1, 1_000_000))),
            *(draw(durations()), draw(durations()), draw(durations()), draw(durations())),
            *(draw(durations()), draw(durations()), draw(durations()), draw(durations())),
            *(draw(COUNTS), draw(COUNTS), draw(COUNTS)),
        ),
        draw(whosons()),
        Postfix(draw(st.none() | BINDS | st.just(Endpoint("", 0, "/run/policy")))),
        Admin(draw(PATHS), draw(st.none() | BINDS), draw(st.none() | BINDS)),
        Log(
            draw(st.sampled_from(schema.LOG_LEVELS)),
            draw(st.sampled_from(get_args(schema.LogFormat))),
            draw(st.sampled_from(["", "syslog", "/var/log/ü \\.log"])),
        ),
    )


@given(configurations())
def test_any_configuration_comes_back(config: Config) -> None:
    assert again(config) == config
