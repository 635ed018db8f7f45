"""The configuration as values: one frozen class a table of the TOML files, one attribute a key, in one line each.

Promises: a `Config` that `load` returned is complete and consistent, and nothing in it refers to the folder it was read
from: every path is absolute.  Durations are seconds (float), counts are integers, address ranges and domains are the
texts as written, checked (floor 1 keeps them as texts; `wire.address.Networks` and `wire.recipients.LocalDomains` make
them fast).

The defaults below are the only ones in the program; the shipped conf.d repeats them for the reader (a test compares).
Not here: what a line consists of (keys.py), what a text may look like (values.py, places.py), which combinations make
no sense (check.py), files (files.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from . import places, redis_url
from .endpoint import SQLITE, Endpoint
from .keys import Inside, key, needed
from .values import boolean, choice, count, duration, each, line, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .redis_url import RedisUrl

TlsMode = Literal["off", "starttls", "implicit"]
TlsVersion = Literal["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
MailProtocol = Literal["pop3", "smtp"]
LocalMail = Literal["pass", "gate"]
BareNewline = Literal["normalize", "reject"]
SendProxy = Literal["off", "v1", "v2"]
ShowClient = Literal["unless_relaying", "always"]
Balance = Literal["first", "roundrobin", "leastconn"]
Auth = Literal["upstream", "pop3", "off"]
Mode = Literal["enforce", "shadow"]
SenderRule = Literal["any", "log", "match"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)

MAX_WORKERS: Final = 1024
"""Processes; more is a typing error."""
MAX_CONNECTIONS: Final = 1_000_000
"""A node's; Linux has fewer descriptors a process by default (fs.nr_open 1,048,576)."""
MAX_COUNT: Final = 1_000_000
"""Of messages, logins ...; more would be no limit."""
MAX_ERRORS: Final = 10_000
"""Of a session; more would be no limit."""
LONGEST_PATIENCE: Final = 60.0
"""Seconds; clients give a RCPT five minutes (RFC 5321 4.5.3.2.3), their users less."""
INSTANT: Final = 0.001
"""Seconds; the shortest duration that can be written, for times that must not be 0."""

_networks = each(places.network)
_how_many = count(0, MAX_COUNT)
_path = Inside(places.path_or_none)
_versions = choice(get_args(TlsVersion))


def cores() -> int:
    """CPU cores this process may use (a container's or systemd's CPU set counts, not the machine's)."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class SenderMap:
    """What a `sender_map` file says."""

    path: Path
    """The file, as it is named."""
    logins: dict[str, tuple[str, ...]] = field(hash=False)
    """Login to the addresses it may use; "@example.com" is all of a domain."""

    def __str__(self) -> str:
        return str(self.path)


def _sender_map(base: Path) -> Callable[[object], SenderMap | None]:
    """The file's name alone: `load` reads what is in it."""
    parse = places.path_or_none(base)
    return lambda value: SenderMap(path, {}) if (path := parse(value)) else None


@dataclass(frozen=True, slots=True)
class Gate:
    """[gate]: who may relay, and what everyone else is told."""

    mode: Mode = key(
        "enforce",
        choice(get_args(Mode)),
        "enforce, or shadow: refuse nothing and log what would have been refused; only where the mail server itself "
        "refuses to relay for popgate's address",
    )
    window: float = key("30m", duration(1), "a lease lives this long after the login")
    max_age: float = key("12h", duration(1), "an open POP session keeps its lease alive for at most this long")
    local_domains: tuple[str, ...] = key(
        [], each(places.domain), 'anyone may send to these; ".example.com" is its subdomains'
    )
    """From `load`: those of local_domains_file, too."""
    local_domains_file: Path | None = key("", _path, "a file with more of them, one a line; # begins a comment")
    trusted_networks: tuple[str, ...] = key([], _networks, "may always relay, without a login")
    unsafe: bool = key(
        False,
        boolean,
        "take ranges wider than /8 (IPv6: /16) in trusted_networks and accept_proxy_from, and load balancers in "
        "trusted_networks",
    )
    shared_networks: tuple[str, ...] = key(
        [], _networks, "many users share one address here: a lease is good only for senders of its own login"
    )
    never_lease: tuple[str, ...] = key(
        [], _networks, "a login from here opens nothing: load balancers, gateways, NAT devices"
    )
    max_logins_per_address: int = key(
        0, _how_many, "how many users may open one address at a time; 0: no limit, and a warning from 20", unit="logins"
    )
    no_relay_logins: tuple[str, ...] = key(
        [], each(places.login), "may read mail, but neither their login nor their AUTH lets them relay"
    )
    lease_after_failures: int = key(
        0, _how_many, "after this many failed logins from an address a success gives no lease; 0: off", unit="logins"
    )
    renew_on_use: bool = key(False, boolean, "sending mail starts the window again, as a login does")
    ipv6_prefix: int = key(128, count(32, 128), "a login by IPv6 opens all addresses with its first bits", unit="bits")
    patience: float = key(
        "3s",
        duration(0, LONGEST_PATIENCE),
        "a refusal waits this long for a login from the same address: mail programs fetch and send at once; 0s: off",
    )
    patience_waiting: int = key(
        200, _how_many, "how many may wait at a time, in each worker; only [gate]'s own counts", unit="recipients"
    )
    sender: SenderRule = key(
        "any",
        choice(get_args(SenderRule)),
        "which senders a lease is good for: any, log (say it when it is another login's), or match (the login, login@ "
        "each local domain, and what sender_map allows)",
    )
    sender_map: SenderMap | None = key(
        "",
        Inside(_sender_map),
        "a file with more senders, a line each: a login, then the addresses it may use; @example.com is a whole domain",
    )
    bare_newline: BareNewline = key(
        "normalize",
        choice(get_args(BareNewline)),
        "a CR or LF alone in a message: normalize it to CRLF, or reject the message",
    )
    auth: Auth = key(
        "upstream",
        choice(get_args(Auth)),
        "SMTP AUTH: upstream (passed on; its success opens that session), pop3 (offered under TLS, and checked by a "
        "POP3 login at auth_upstream), or off",
    )
    auth_upstream: str = key("", line, "the POP3 upstream that checks passwords; empty: the only one that there is")
    """From `load`: never empty with auth = "pop3"."""
    max_messages: int = key(0, _how_many, "for each lease and window; 0: no limit", unit="messages")
    max_recipients: int = key(0, _how_many, "outside, for each lease and window; 0: no limit", unit="recipients")
    # No other fields than {recipient} and {client}, and no other braces: str.format is safe.
    refusal: str = key(
        "554 5.7.1 <{recipient}>: Relay access denied. Check your mail first, then send again.",
        refusal,
        "what a refused recipient is answered: one line, a 5xx code; {recipient} and {client} are filled in",
    )

    @property
    def senders(self) -> dict[str, tuple[str, ...]]:
        """Which addresses a login may use beside its own."""
        return self.sender_map.logins if self.sender_map else {}


@dataclass(frozen=True, slots=True)
class Store:
    """[store]: where leases are kept."""

    url: str = key(
        "sqlite:leases.db",
        Inside(places.store_url, "state"),
        "sqlite:PATH, memory: (forgets at a restart, only with one worker), or redis:// or rediss://, shared by "
        "several popgates",
        restart=True,
        secret=True,
    )
    """From `load`, paths in it are absolute."""
    timeout: float = key(
        "500ms",
        duration(INSTANT),
        "a slower answer counts as none: relaying is deferred (451), reading mail goes on",
        restart=True,
    )
    history: float = key(
        "30d", duration(0), "what has ended is remembered this long; 0s: nothing is; SQLite only", restart=True
    )

    @property
    def path(self) -> Path | None:
        """The SQLite file; None: the leases are elsewhere."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None

    @property
    def redis(self) -> RedisUrl | None:
        """The shared store; None: the leases are elsewhere."""
        return redis_url.parse(self.url) if self.url.startswith(redis_url.SCHEMES) else None


@dataclass(frozen=True, slots=True)
class Listener:
    """[listener.NAME]: addresses to serve, and how."""

    name: str
    """NAME."""
    protocol: MailProtocol = needed('"smtp"', choice(get_args(MailProtocol)), "smtp", "pop3 or smtp", restart=True)
    bind: tuple[Endpoint, ...] = needed(
        '["0.0.0.0:25"]', each(places.bind, at_least=1), (), "IP addresses and ports to listen on", restart=True
    )
    tls: TlsMode = key(
        "starttls",
        choice(get_args(TlsMode)),
        "off, starttls (the client may ask for it), or implicit (from the first byte)",
    )
    tls_required: bool = key(False, boolean, "no login and no mail without TLS")
    upstream: str = key("", line, "the [upstream.NAME] behind it; empty: the one that is named like the protocol")
    """From `load`: never empty."""
    accept_proxy_from: tuple[str, ...] = key(
        [], _networks, "load balancers: from these, and from no one else, a PROXY header must come first"
    )
    transparent: bool = key(
        False, boolean, "take connections to other machines, which the kernel hands over", restart=True
    )
    local: LocalMail = key(
        "pass",
        choice(get_args(LocalMail)),
        "for smtp: pass, or gate (recipients in local_domains need a lease, too: a submission port)",
    )
    gate: Gate = Gate()
    """The effective one: [gate] with [listener.NAME.gate] over it."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """[upstream.NAME]: the servers behind, and how one is chosen."""

    name: str
    """NAME."""
    servers: tuple[Endpoint, ...] = needed(
        '["192.0.2.10:25"]',
        each(places.server),
        (),
        '"host:port", "[v6]:port" or "unix:/path"; none: the server that the client wanted, for transparent listeners',
    )
    tls: TlsMode = key("off", choice(get_args(TlsMode)), "how popgate speaks to the server: off, starttls or implicit")
    tls_verify: bool = key(True, boolean, "false: encrypt, but to whoever answers")
    tls_min_version: TlsVersion = key("TLSv1.2", _versions, "the oldest version of TLS that the server may speak")
    tls_ca: Path | None = key("", _path, "a PEM file with the authorities to believe; empty: the system's")
    tls_name: str = key("", line, "the name in the server's certificate, if it is not its host name")
    tls_pin: str = key("", line, "believe this one certificate, whoever signed it; a failed check prints its pin")
    """Its form is net/tls/contexts.py's."""
    send_proxy: SendProxy = key(
        "off", choice(get_args(SendProxy)), "a PROXY header, to servers that expect one on every connection"
    )
    xclient: bool = key(False, boolean, "XCLIENT, to SMTP servers that let popgate say it (Postfix)")
    source: str = key(
        "",
        places.source,
        '"client": connections come from the client\'s own address, on the way back to which popgate must be; an '
        "address of this machine: they come from there",
    )
    show_client: ShowClient = key(
        "unless_relaying",
        choice(get_args(ShowClient)),
        "unless_relaying (not for clients that may relay: the server would refuse them by their address), or always",
    )
    connect_timeout: float = key(
        "10s", duration(INSTANT), "for each server until its greeting; and to wait for a place (max_connections)"
    )
    balance: Balance = key(
        "first",
        choice(get_args(Balance)),
        "first (in the order of servers), roundrobin (in turn), or leastconn (the one with the fewest connections)",
    )
    max_connections: int = key(
        0, count(0, MAX_CONNECTIONS), "to each server, of all workers together; 0: no limit", unit="connections"
    )
    health_interval: float = key(
        "5s", duration(0), "each server is asked how it is, if no client was there in the meantime; 0s: never"
    )


@dataclass(frozen=True, slots=True)
class Tls:
    """[tls]: what clients meet."""

    certificates: tuple[Path, ...] = key(
        ["certs/mail.pem"],
        Inside(lambda base: each(places.path(base))),
        "each a file with chain and key, or a folder with fullchain.pem and privkey.pem; the client's SNI chooses, the "
        "first is for all others",
    )
    """Their existence and content are looked at by `popgate check`, not by `load`."""
    min_version: TlsVersion = key("TLSv1.2", _versions, "the oldest version of TLS that clients may speak")
    old_clients: tuple[str, ...] = key([], _networks, "clients from here may speak TLS 1.0, whatever min_version says")


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: bounds in time and number.  The times are RFC 5321 4.5.3.2's and RFC 1939 3's, each as a total."""

    connections: int = key(
        10_000, count(1, MAX_CONNECTIONS), "clients at once, of all workers together", unit="connections"
    )
    connections_per_client: int = key(100, count(1, MAX_CONNECTIONS), "of them from one address", unit="connections")
    command_timeout: float = key("5m", duration(INSTANT), "for the client's next command to be complete")
    data_timeout: float = key("3m", duration(INSTANT), "for the next block of a message")
    data_end_timeout: float = key("10m", duration(INSTANT), "for the server's answer to a whole message")
    session_timeout: float = key(
        "2h", duration(INSTANT), "for a whole SMTP session, and for a POP session up to its login"
    )
    pop_idle_timeout: float = key("10m", duration(INSTANT), "for a POP session in which nothing moves")
    login_timeout: float = key("3m", duration(INSTANT), "from connect to POP login, whatever is said before it")
    handshake_timeout: float = key("30s", duration(INSTANT), "for TLS")
    proxy_timeout: float = key("5s", duration(INSTANT), "for a load balancer's PROXY header")
    refusals: int = key(
        20, count(1, MAX_ERRORS), "refused recipients in a session; then 421, and it is closed", unit="recipients"
    )
    errors: int = key(
        20, count(1, MAX_ERRORS), "bad commands in a session; then 421, and it is closed", unit="commands"
    )
    failed_logins: int = key(5, count(1, MAX_ERRORS), "in a session; then it is closed", unit="logins")
    failed_logins_per_address: int = key(
        20,
        count(0, MAX_ERRORS),
        "within ten minutes; then each answer waits, longer and longer, and the session ends; 0: no limit",
        unit="logins",
    )


@dataclass(frozen=True, slots=True)
class Whoson:
    """[whoson]: other servers ask us who is logged in and tell us, and we them."""

    listen: tuple[Endpoint, ...] = key(
        [],
        each(places.whoson_bind),
        'where other servers ask: "udp:ADDRESS:PORT", "tcp:ADDRESS:PORT" or "unix:/path"',
        restart=True,
    )
    allow: tuple[str, ...] = key(["127.0.0.0/8"], _networks, "may ask (QUERY)")
    allow_login: tuple[str, ...] = key(
        [], _networks, "may say who is logged in (LOGIN: opens an address) and who is not (LOGOUT: closes it)"
    )
    ask: tuple[Endpoint, ...] = key(
        [], each(places.whoson_server), "before refusing, these are asked; one yes is enough, for one message"
    )
    tell: tuple[Endpoint, ...] = key(
        [], each(places.whoson_server), "these are told of every POP login that opened its address"
    )


@dataclass(frozen=True, slots=True)
class Postfix:
    """[postfix]: a Postfix beside the appliance asks us."""

    policy: Endpoint | None = key(
        "",
        places.socket_or_none,
        '"ADDRESS:PORT" or "unix:/path": answers check_policy_service; everybody who can connect may ask',
        restart=True,
    )


@dataclass(frozen=True, slots=True)
class Admin:
    """[admin]: how the command line and others reach the running popgate."""

    control: Path = key(
        "popgate.sock",
        Inside(places.socket_path, "runtime"),
        "the unix socket where the command line asks",
        restart=True,
    )
    http: Endpoint | None = key(
        "",
        places.bind_or_none,
        "where there is the status page, /metrics, /healthz and /readyz; whoever reaches it sees logins and addresses",
        restart=True,
    )
    agent: Endpoint | None = key("", places.bind_or_none, "where HAProxy's agent-check asks", restart=True)


@dataclass(frozen=True, slots=True)
class Log:
    """[log]: what is written, and where."""

    level: LogLevel = key("info", choice(LOG_LEVELS), "what is less is left out: debug, info, warning or error")
    format: LogFormat = key("text", choice(get_args(LogFormat)), "text or json")
    file: str = key("", Inside(places.log_file), 'empty: stderr; a path; "syslog" (RFC 5424), or "syslog:bsd"')


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    Two are equal when they would do the same; where they were read does not count.
    """

    workers: int = key(
        0, count(0, MAX_WORKERS), "worker processes; 0: one for each CPU core", unit="processes", restart=True
    )
    """As given; `processes` is how many that makes."""
    user: str = key("", line, "the user to become once the ports are bound; empty: no other", restart=True)
    drain_timeout: float = key("60s", duration(0), "on SIGTERM, sessions may finish for this long")
    gate: Gate = Gate()
    """For listeners without one of their own, and for other servers that ask."""
    store: Store = Store()
    """Where leases are kept."""
    listeners: dict[str, Listener] = field(default_factory=dict)
    """By name."""
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    """By name."""
    tls: Tls = Tls()
    """What clients meet."""
    limits: Limits = Limits()
    """Bounds in time and number."""
    whoson: Whoson = Whoson()
    """Other servers that ask, tell, are asked, are told."""
    postfix: Postfix = Postfix()
    """A Postfix that asks."""
    admin: Admin = Admin()
    """How the administrator reaches popgate."""
    log: Log = Log()
    """What is written, and where."""
    base: Path = field(default=Path(), compare=False)
    """Relative paths were taken from here."""
    files: tuple[Path, ...] = field(default=(), compare=False)
    """What was read."""

    @property
    def processes(self) -> int:
        """The number of worker processes: `workers`, or one a core."""
        return self.workers or cores()


TABLES: Final = {
    "gate": Gate,
    "store": Store,
    "listener.NAME": Listener,
    "upstream.NAME": Upstream,
    "tls": Tls,
    "limits": Limits,
    "whoson": Whoson,
    "postfix": Postfix,
    "admin": Admin,
    "log": Log,
}
"""The tables of the files, in the order in which a reader meets them; beside them there are `Config`'s own keys."""
SINGLE: Final = ("tls", "limits", "whoson", "postfix", "admin", "log")
"""Those that are read and written by their keys alone."""
