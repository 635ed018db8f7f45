"""From files to a `Config`, or to every reason why not.

`load` promises: what it returns is complete, consistent, and every key in the files has an effect; what it can't accept
it tells all at once, one line a problem, "FILE: KEY: what is wrong; what to do".  It opens the configuration files and
those that `local_domains_file` names, nothing else.

Relative paths are relative to the parent of conf.d, or to the folder of a single file; for the store and the control
socket $STATE_DIRECTORY and $RUNTIME_DIRECTORY (systemd.exec(5)) come first.  Not here: certificates and users, which
`popgate check` looks at.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from . import places, schema
from .check import impossible
from .files import Table, find, read, readable
from .schema import Config, Gate, Limits, Listener, Log, Postfix, Store, Tls, Upstream, Whoson
from .section import Problems, Section
from .values import Wrong, boolean, choice, count, duration, each, line, quoted, refusal

MAX_WORKERS = 1024  # processes; more is a typing error
MAX_CONNECTIONS = 1_000_000  # a node's; Linux has fewer descriptors a process by default (fs.nr_open 1,048,576)
MAX_COUNT = 1_000_000  # of messages, logins ...; more would be no limit
IPV6_PREFIX = (32, 128)  # bits: from what a provider has to a single address
LONGEST_PATIENCE = 60.0  # seconds; clients give a RCPT five minutes (RFC 5321 4.5.3.2.3), their users less
MAX_ERRORS = 10_000  # per session; more would be no limit
INSTANT = 0.001  # seconds; the shortest duration that can be written, for times that must not be 0


def load(path: Path | None) -> Config:
    """Read a folder or a file; None: ./conf.d, then /etc/popgate/conf.d.  Raises ConfigError with all problems."""
    source = find(path)
    root = read(source)
    problems = Problems()
    config = _password_upstreams(_config(Section(root, problems), source.base, source.files))
    for keys, text in impossible(config):
        if problems.bad.isdisjoint(keys):
            problems.add(root.origin(keys[0]), keys[0], text)
    if problems.lines:
        raise ConfigError(problems.lines)
    return config


def control_socket(path: Path | None) -> tuple[Path, list[str]]:
    """Where the running popgate is asked, and what is wrong with the files: it may serve by what they said before.

    Raises ConfigError where they don't tell it: `admin.control` is wrong, or may stand in a file that is no TOML.
    """
    try:
        return load(path).admin.control, []
    except ConfigError as error:
        source = find(path)
        root, unread = readable(source)
        problems = Problems()
        section = Section(Section(root, problems).inner("admin"), problems)
        admin = _admin(section, _directory("RUNTIME_DIRECTORY", source.base))
        is_told = "control" in section.table.entries or not unread
        if not is_told or not problems.bad.isdisjoint(("admin", "admin.control")):
            raise
        return admin.control, error.problems


def _password_upstreams(config: Config) -> Config:
    """Where `auth = "pop3"` names no upstream, the only one for POP3 is meant."""
    [only, *others] = sorted({one.upstream for one in config.listeners.values() if one.protocol == "pop3"}) or [""]
    if others or not only:
        return config

    def completed(gate: Gate) -> Gate:
        wanted = gate.auth == "pop3" and not gate.auth_upstream
        return replace(gate, auth_upstream=only) if wanted else gate

    listeners = {name: replace(one, gate=completed(one.gate)) for name, one in config.listeners.items()}
    return replace(config, gate=completed(config.gate), listeners=listeners)


def _config(root: Section, base: Path, files: tuple[Path, ...]) -> Config:
    default = Config()
    gate_table = root.inner("gate")
    config = Config(
        workers=root.take("workers", count(0, MAX_WORKERS), default.workers),
        user=root.take("user", line, default.user),
        drain_timeout=root.take("drain_timeout", duration(0), default.drain_timeout),
        gate=_gate(Section(gate_table, root.problems), base),
        store=_store(Section(root.inner("store"), root.problems), _directory("STATE_DIRECTORY", base)),
        listeners=_listeners(root, gate_table, base),
        upstreams=_upstreams(root, base),
        tls=_tls(Section(root.inner("tls"), root.problems), base),
        limits=_limits(Section(root.inner("limits"), root.problems)),
        whoson=_whoson(Section(root.inner("whoson"), root.problems)),
        postfix=_postfix(Section(root.inner("postfix"), root.problems)),
        admin=_admin(Section(root.inner("admin"), root.problems), _directory("RUNTIME_DIRECTORY", base)),
        log=_log(Section(root.inner("log"), root.problems), base),
        base=base,
        files=files,
    )
    root.done()
    return config


def _directory(variable: str, base: Path) -> Path:
    """The folder that systemd gave us; it may list several, of which the first is ours."""
    first = os.environ.get(variable, "").partition(":")[0]
    return Path(first) if first else base


def _gate(section: Section, base: Path) -> Gate:
    default = Gate()
    networks, several = each(places.network), count(0, MAX_COUNT)
    file = section.take("local_domains_file", places.path_or_none(base), default.local_domains_file)
    domains = section.take("local_domains", each(places.domain), default.local_domains)
    logins = each(places.login)
    gate = Gate(
        mode=section.take("mode", choice(schema.MODES), default.mode),
        window=section.take("window", duration(1), default.window),
        max_age=section.take("max_age", duration(1), default.max_age),
        local_domains=tuple(dict.fromkeys(domains + (_domains_of(file, section) if file else ()))),
        local_domains_file=file,
        trusted_networks=section.take("trusted_networks", networks, default.trusted_networks),
        unsafe=section.take("unsafe", boolean, default.unsafe),
        shared_networks=section.take("shared_networks", networks, default.shared_networks),
        never_lease=section.take("never_lease", networks, default.never_lease),
        max_logins_per_address=section.take("max_logins_per_address", several, default.max_logins_per_address),
        no_relay_logins=section.take("no_relay_logins", logins, default.no_relay_logins),
        lease_after_failures=section.take("lease_after_failures", several, default.lease_after_failures),
        renew_on_use=section.take("renew_on_use", boolean, default.renew_on_use),
        ipv6_prefix=section.take("ipv6_prefix", count(*IPV6_PREFIX), default.ipv6_prefix),
        patience=section.take("patience", duration(0, LONGEST_PATIENCE), default.patience),
        patience_waiting=section.take("patience_waiting", several, default.patience_waiting),
        sender=section.take("sender", choice(schema.SENDER_RULES), default.sender),
        sender_map=_sender_map(section.take("sender_map", places.path_or_none(base), None), section),
        bare_newline=section.take("bare_newline", choice(schema.BARE_NEWLINES), default.bare_newline),
        auth=section.take("auth", choice(schema.AUTHS), default.auth),
        auth_upstream=section.take("auth_upstream", line, default.auth_upstream),
        max_messages=section.take("max_messages", several, default.max_messages),
        max_recipients=section.take("max_recipients", several, default.max_recipients),
        refusal=section.take("refusal", refusal, default.refusal),
    )
    section.done()
    return gate


def _lines_of(file: Path, key: str, section: Section) -> list[tuple[int, str]]:
    """The lines of the file that `key` names, with their numbers; # begins a comment."""
    entry = section.table.entries[key]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        section.problems.add(entry.file, entry.key, f"{file} can't be read ({reason}); mend it, or the path")
        return []
    return list(enumerate((one.partition("#")[0].strip() for one in lines), 1))


def _sender_map(file: Path | None, section: Section) -> schema.SenderMap | None:
    """The lines of a sender_map: a login, then the addresses it may use."""
    if file is None:
        return None
    logins: dict[str, tuple[str, ...]] = {}
    for number, text in _lines_of(file, "sender_map", section):
        login, *addresses = text.split() or [""]
        if login and not (addresses and all(re.fullmatch("[^<>]*@[^<>@]+", one) for one in addresses)):
            problem = "a login, then the addresses it may use (anna@example.com, or @example.com for all of a domain)"
            section.problems.add(str(file), f"line {number}", f"{quoted(text)} is not: {problem}")
        elif login:
            logins[login] = (*logins.get(login, ()), *addresses)
    return schema.SenderMap(file, logins)


def _domains_of(file: Path, section: Section) -> tuple[str, ...]:
    """The domains in a local_domains_file, one a line."""
    found: list[str] = []
    for number, text in _lines_of(file, "local_domains_file", section):
        try:
            found += [places.domain(text)] if text else []
        except Wrong as error:
            section.problems.add(str(file), f"line {number}", str(error))
    return tuple(found)


def _store(section: Section, folder: Path) -> Store:
    default = Store()
    parse_url = places.store_url(folder)
    store = Store(
        url=section.take("url", parse_url, parse_url(default.url)),
        timeout=section.take("timeout", duration(INSTANT), default.timeout),
        history=section.take("history", duration(0), default.history),
    )
    section.done()
    return store


def _named(root: Section, sort: str) -> dict[str, Table]:
    """The tables [listener.NAME] or [upstream.NAME], by name."""
    found: dict[str, Table] = {}
    for name, entry in root.inner(sort).entries.items():
        if not isinstance(entry, Table):
            root.problems.add(entry.file, entry.key, f"{sort}s have names; write it under [{sort}.NAME]")
        elif not re.fullmatch("[A-Za-z0-9_-]{1,40}", name):
            root.problems.add(entry.file, sort, f"{quoted(name)} is no name; take up to 40 letters, digits, - and _")
        else:
            found[name] = entry
    return found


def _listeners(root: Section, gate: Table, base: Path) -> dict[str, Listener]:
    tables = _named(root, "listener")
    if not tables and "listener" not in root.problems.bad:
        text = 'there is none, so nothing would be served; write [listener.smtp] with protocol = "smtp" and bind'
        root.problems.add(root.table.file, "listener", text)
    return {name: _listener(Section(table, root.problems), name, gate, base) for name, table in tables.items()}


def _listener(section: Section, name: str, gate: Table, base: Path) -> Listener:
    protocol: schema.MailProtocol = section.need("protocol", choice(schema.MAIL_PROTOCOLS), "smtp", '"smtp"')
    listener = Listener(
        name=name,
        protocol=protocol,
        bind=section.need("bind", each(places.bind, at_least=1), (), '["0.0.0.0:25"]'),
        tls=section.take("tls", choice(schema.TLS_MODES), "starttls"),
        tls_required=section.take("tls_required", boolean, False),
        upstream=section.take("upstream", line, "") or protocol,
        accept_proxy_from=section.take("accept_proxy_from", each(places.network), ()),
        transparent=section.take("transparent", boolean, False),
        local=section.take("local", choice(schema.LOCAL_MAIL), "pass"),
        gate=_gate(Section(section.inner("gate").over(gate), section.problems), base),
    )
    section.done()
    return listener


def _upstreams(root: Section, base: Path) -> dict[str, Upstream]:
    tables = _named(root, "upstream")
    return {name: _upstream(Section(table, root.problems), name, base) for name, table in tables.items()}


def _upstream(section: Section, name: str, base: Path) -> Upstream:
    default = Upstream(name, ())
    upstream = Upstream(
        name=name,
        servers=section.need("servers", each(places.server), (), '["192.0.2.10:25"]'),
        tls=section.take("tls", choice(schema.TLS_MODES), default.tls),
        tls_verify=section.take("tls_verify", boolean, default.tls_verify),
        tls_min_version=section.take("tls_min_version", choice(schema.TLS_VERSIONS), default.tls_min_version),
        tls_ca=section.take("tls_ca", places.path_or_none(base), default.tls_ca),
        tls_name=section.take("tls_name", line, default.tls_name),
        tls_pin=section.take("tls_pin", line, default.tls_pin),
        send_proxy=section.take("send_proxy", choice(schema.SEND_PROXIES), default.send_proxy),
        xclient=section.take("xclient", boolean, default.xclient),
        source=section.take("source", places.source, default.source),
        show_client=section.take("show_client", choice(schema.SHOW_CLIENTS), default.show_client),
        connect_timeout=section.take("connect_timeout", duration(INSTANT), default.connect_timeout),
        balance=section.take("balance", choice(schema.BALANCES), default.balance),
        max_connections=section.take("max_connections", count(0, MAX_CONNECTIONS), default.max_connections),
        health_interval=section.take("health_interval", duration(0), default.health_interval),
    )
    section.done()
    return upstream


def _tls(section: Section, base: Path) -> Tls:
    default = Tls()
    tls = Tls(
        certificates=section.take(
            "certificates", each(places.path(base)), tuple(base / one for one in default.certificates)
        ),
        min_version=section.take("min_version", choice(schema.TLS_VERSIONS), default.min_version),
        old_clients=section.take("old_clients", each(places.network), default.old_clients),
    )
    section.done()
    return tls


def _limits(section: Section) -> Limits:
    default = Limits()
    connections, errors, time = count(1, MAX_CONNECTIONS), count(1, MAX_ERRORS), duration(INSTANT)
    limits = Limits(
        connections=section.take("connections", connections, default.connections),
        connections_per_client=section.take("connections_per_client", connections, default.connections_per_client),
        command_timeout=section.take("command_timeout", time, default.command_timeout),
        data_timeout=section.take("data_timeout", time, default.data_timeout),
        data_end_timeout=section.take("data_end_timeout", time, default.data_end_timeout),
        session_timeout=section.take("session_timeout", time, default.session_timeout),
        pop_idle_timeout=section.take("pop_idle_timeout", time, default.pop_idle_timeout),
        login_timeout=section.take("login_timeout", time, default.login_timeout),
        handshake_timeout=section.take("handshake_timeout", time, default.handshake_timeout),
        proxy_timeout=section.take("proxy_timeout", time, default.proxy_timeout),
        refusals=section.take("refusals", errors, default.refusals),
        errors=section.take("errors", errors, default.errors),
        failed_logins=section.take("failed_logins", errors, default.failed_logins),
        failed_logins_per_address=section.take(
            "failed_logins_per_address", count(0, MAX_ERRORS), default.failed_logins_per_address
        ),
    )
    section.done()
    return limits


def _whoson(section: Section) -> Whoson:
    default = Whoson()
    networks, servers = each(places.network), each(places.whoson_server)
    whoson = Whoson(
        listen=section.take("listen", each(places.whoson_bind), default.listen),
        allow=section.take("allow", networks, default.allow),
        allow_login=section.take("allow_login", networks, default.allow_login),
        ask=section.take("ask", servers, default.ask),
        tell=section.take("tell", servers, default.tell),
    )
    section.done()
    return whoson


def _postfix(section: Section) -> Postfix:
    postfix = Postfix(policy=section.take("policy", places.socket_or_none, Postfix().policy))
    section.done()
    return postfix


def _admin(section: Section, folder: Path) -> schema.Admin:
    default = schema.Admin()
    admin = schema.Admin(
        control=section.take("control", places.socket_path(folder), folder / default.control),
        http=section.take("http", places.bind_or_none, default.http),
        agent=section.take("agent", places.bind_or_none, default.agent),
    )
    section.done()
    return admin


def _log(section: Section, base: Path) -> Log:
    default = Log()
    log = Log(
        level=section.take("level", choice(schema.LOG_LEVELS), default.level),
        format=section.take("format", choice(schema.LOG_FORMATS), default.format),
        file=section.take("file", places.log_file(base), default.file),
    )
    section.done()
    return log
