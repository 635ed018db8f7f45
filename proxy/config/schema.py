"""The configuration as values: one frozen class a table of the TOML files, one attribute a key, with its default.

Promises: a `Config` that `load` returned is complete and consistent, and nothing in it refers to the folder it was read
from: every path is absolute.  Durations are seconds (float), counts are integers, address ranges and domains are the
texts as written, checked (floor 1 keeps them as texts; `wire.address.Networks` and `wire.recipients.LocalDomains` make
them fast).

Not here: what a text may look like (values.py), which combinations make no sense (check.py), files (files.py).
The defaults below are the only ones in the program; the shipped conf.d repeats them for the reader (a test compares).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from . import redis_url

if TYPE_CHECKING:
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
Transport = Literal["", "tcp", "udp"]

TLS_MODES: Final[tuple[TlsMode, ...]] = get_args(TlsMode)
TLS_VERSIONS: Final[tuple[TlsVersion, ...]] = get_args(TlsVersion)
MAIL_PROTOCOLS: Final[tuple[MailProtocol, ...]] = get_args(MailProtocol)
LOCAL_MAIL: Final[tuple[LocalMail, ...]] = get_args(LocalMail)
BARE_NEWLINES: Final[tuple[BareNewline, ...]] = get_args(BareNewline)
SEND_PROXIES: Final[tuple[SendProxy, ...]] = get_args(SendProxy)
SHOW_CLIENTS: Final[tuple[ShowClient, ...]] = get_args(ShowClient)
BALANCES: Final[tuple[Balance, ...]] = get_args(Balance)
AUTHS: Final[tuple[Auth, ...]] = get_args(Auth)
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
SENDER_RULES: Final[tuple[SenderRule, ...]] = get_args(SenderRule)
LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)

CLIENT: Final = "client"  # the `source` that stands for the client's own address
SQLITE: Final = "sqlite:"
MEMORY: Final = "memory:"


def cores() -> int:
    """CPU cores this process may use (a container's or systemd's CPU set counts, not the machine's)."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or to connect: an address and port, or, with `path` set, a unix socket."""

    host: str  # as written, an IPv6 address without its brackets; "" for a unix socket
    port: int  # 0 in a bind: the system chooses one
    path: str = ""
    transport: Transport = ""  # where there is a choice, it is written in front: "udp:127.0.0.1:9876"

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{self.transport}:{place}" if self.transport else place


@dataclass(frozen=True, slots=True)
class SenderMap:
    """What a `sender_map` file says."""

    path: Path
    logins: dict[str, tuple[str, ...]] = field(hash=False)
    """Login to the addresses it may use; "@example.com" is all of a domain."""

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Gate:
    """[gate]: who may relay, and what everyone else is told."""

    mode: Mode = "enforce"
    window: float = 1800.0  # a lease lives so long past the login
    max_age: float = 43200.0  # an open POP session keeps its lease alive at most so long
    local_domains: tuple[str, ...] = ()  # those of local_domains_file are merged in behind
    local_domains_file: Path | None = None
    trusted_networks: tuple[str, ...] = ()
    unsafe: bool = False  # lets trusted ranges be wider than check.py takes otherwise (rule N1)
    shared_networks: tuple[str, ...] = ()  # many users at one address: the sender must match there
    never_lease: tuple[str, ...] = ()
    max_logins_per_address: int = 0  # 0: no limit, a warning from policy.CROWD
    no_relay_logins: tuple[str, ...] = ()
    lease_after_failures: int = 0  # 0: off; so many failed logins from an address, and a success gives no lease
    renew_on_use: bool = False
    ipv6_prefix: int = 128
    patience: float = 3.0  # a refusal for want of a lease waits so long for a login; 0: off
    patience_waiting: int = 200  # a worker's; only [gate]'s own counts
    sender: SenderRule = "any"
    sender_map: SenderMap | None = None
    bare_newline: BareNewline = "normalize"
    auth: Auth = "upstream"
    auth_upstream: str = ""  # for auth = "pop3"; from `load` never empty there: the only POP3 upstream is the default
    max_messages: int = 0  # per lease and window; 0: no limit
    max_recipients: int = 0
    # One line, a 5xx code, with no other fields than {recipient} and {client}, and no other braces: str.format is safe.
    refusal: str = "554 5.7.1 <{recipient}>: Relay access denied. Check your mail first, then send again."

    @property
    def senders(self) -> dict[str, tuple[str, ...]]:
        """Which addresses a login may use beside its own."""
        return self.sender_map.logins if self.sender_map else {}


@dataclass(frozen=True, slots=True)
class Store:
    """[store]: where leases are kept."""

    # "memory:", "sqlite:PATH" or redis_url.py's; from `load`, paths in it are absolute.  It may hold a password.
    url: str = field(default="sqlite:leases.db", repr=False)
    timeout: float = 0.5
    history: float = 2_592_000.0  # what has ended is remembered so long; 0: not at all

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
    protocol: MailProtocol
    bind: tuple[Endpoint, ...]
    tls: TlsMode = "starttls"
    tls_required: bool = False
    upstream: str = ""  # the upstream's name; from `load` never empty: the protocol's name is the default
    accept_proxy_from: tuple[str, ...] = ()
    transparent: bool = False  # takes connections to addresses that are not this machine's
    local: LocalMail = "pass"
    gate: Gate = Gate()  # the effective one: [gate] with [listener.NAME.gate] over it


@dataclass(frozen=True, slots=True)
class Upstream:
    """[upstream.NAME]: the servers behind, and how one is chosen."""

    name: str
    servers: tuple[Endpoint, ...]  # none: the one that the client wanted to reach (transparent listeners)
    tls: TlsMode = "off"
    tls_verify: bool = True
    tls_min_version: TlsVersion = "TLSv1.2"
    tls_ca: Path | None = None  # instead of the system's authorities
    tls_name: str = ""  # instead of the server's host name
    tls_pin: str = ""  # instead of any authority; its form is net/tls/contexts.py's
    send_proxy: SendProxy = "off"
    xclient: bool = False
    source: str = ""  # CLIENT or an IP address
    show_client: ShowClient = "unless_relaying"
    connect_timeout: float = 10.0
    balance: Balance = "first"
    max_connections: int = 0  # per server, of the node; 0 is no limit
    health_interval: float = 5.0  # between two probes of a server; 0: none are made


@dataclass(frozen=True, slots=True)
class Tls:
    """[tls]: what clients meet."""

    certificates: tuple[Path, ...] = (Path("certs/mail.pem"),)  # existence and content: `popgate check`, not `load`
    min_version: TlsVersion = "TLSv1.2"
    old_clients: tuple[str, ...] = ()  # networks whose clients may use TLS 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: bounds in time and number.  The times are RFC 5321 4.5.3.2's and RFC 1939 3's, each as a total."""

    connections: int = 10_000
    connections_per_client: int = 100
    command_timeout: float = 300.0
    data_timeout: float = 180.0
    data_end_timeout: float = 600.0
    session_timeout: float = 7200.0
    pop_idle_timeout: float = 600.0
    login_timeout: float = 180.0
    handshake_timeout: float = 30.0
    proxy_timeout: float = 5.0
    refusals: int = 20
    errors: int = 20
    failed_logins: int = 5
    failed_logins_per_address: int = 20  # in ten minutes; 0: no limit


@dataclass(frozen=True, slots=True)
class Whoson:
    """[whoson]: other servers ask us who is logged in and tell us, and we them."""

    listen: tuple[Endpoint, ...] = ()
    allow: tuple[str, ...] = ("127.0.0.0/8",)  # networks that may QUERY
    allow_login: tuple[str, ...] = ()  # networks that may LOGIN and LOGOUT
    ask: tuple[Endpoint, ...] = ()  # before refusing
    tell: tuple[Endpoint, ...] = ()  # of POP logins


@dataclass(frozen=True, slots=True)
class Postfix:
    """[postfix]: a Postfix beside the appliance asks us."""

    policy: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Admin:
    """[admin]: how the command line and others reach the running popgate."""

    control: Path = Path("popgate.sock")
    http: Endpoint | None = None  # metrics, health, the status page
    agent: Endpoint | None = None  # where HAProxy's agent-check asks


@dataclass(frozen=True, slots=True)
class Log:
    """[log]"""

    level: LogLevel = "info"
    format: LogFormat = "text"
    file: str = ""  # "" is stderr; "syslog"; from `load`, a path is absolute


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    Two are equal when they would do the same; where they were read does not count.
    """

    workers: int = 0  # as given; `processes` is how many that makes
    user: str = ""
    drain_timeout: float = 60.0
    gate: Gate = Gate()
    store: Store = Store()
    listeners: dict[str, Listener] = field(default_factory=dict)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    tls: Tls = Tls()
    limits: Limits = Limits()
    whoson: Whoson = Whoson()
    postfix: Postfix = Postfix()
    admin: Admin = Admin()
    log: Log = Log()
    base: Path = field(default=Path(), compare=False)  # relative paths were taken from here
    files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def processes(self) -> int:
        """The number of worker processes: `workers`, or one a core."""
        return self.workers or cores()
