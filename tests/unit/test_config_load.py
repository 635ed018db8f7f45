"""proxy/config/load.py and schema.py: whole configurations, their defaults, and every problem at once."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from proxy.config import (
    Admin,
    Config,
    Endpoint,
    Gate,
    Limits,
    Listener,
    Log,
    Store,
    Tls,
    Upstream,
    control_socket,
    load,
    schema,
)
from proxy.errors import ConfigError
from tests.support.configuration import SERVES, loaded, problems, written

SHIPPED = Path(__file__).parents[2] / "conf.d"


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)


def test_the_smallest_configuration_is_all_defaults(tmp_path: Path) -> None:
    upstream = Upstream("smtp", (Endpoint("192.0.2.10", 25),))
    listener = Listener("smtp", "smtp", (Endpoint("127.0.0.1", 0),), upstream="smtp")
    config = loaded(tmp_path, "")
    assert config == Config(
        listeners={"smtp": listener},
        upstreams={"smtp": upstream},
        store=Store(f"sqlite:{tmp_path}/leases.db"),
        tls=Tls((tmp_path / "certs/mail.pem",)),
        admin=Admin(tmp_path / "popgate.sock"),
    )
    assert config.base == tmp_path
    assert config.files == (tmp_path / "conf.d/10-serves.toml", tmp_path / "conf.d/50-test.toml")


def test_the_shipped_files_say_what_the_code_does(tmp_path: Path) -> None:
    shipped, bare = load(SHIPPED), loaded(tmp_path, "")
    for name in ("workers", "user", "drain_timeout", "gate", "limits", "log"):
        assert getattr(shipped, name) == getattr(bare, name), name
    root = SHIPPED.parent
    assert shipped.store == Store(f"sqlite:{root}/leases.db")
    assert shipped.tls == Tls((root / "certs/mail.pem",))
    assert shipped.admin == Admin(root / "popgate.sock")
    assert shipped.upstreams == {
        "pop3": Upstream("pop3", (Endpoint("192.0.2.10", 110),)),
        "smtp": Upstream("smtp", (Endpoint("192.0.2.10", 25),)),
    }
    assert shipped.listeners == {
        "pop3": Listener("pop3", "pop3", (Endpoint("0.0.0.0", 110),), "starttls", upstream="pop3"),
        "pop3s": Listener("pop3s", "pop3", (Endpoint("0.0.0.0", 995),), "implicit", upstream="pop3"),
        "smtp": Listener("smtp", "smtp", (Endpoint("0.0.0.0", 25),), "starttls", upstream="smtp"),
        "smtps": Listener("smtps", "smtp", (Endpoint("0.0.0.0", 465),), "implicit", upstream="smtp"),
    }


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (("gate",), Gate),
        (("store",), Store),
        (("listener", "pop3"), Listener),
        (("upstream", "pop3"), Upstream),
        (("tls",), Tls),
        (("limits",), Limits),
        (("admin",), Admin),
        (("log",), Log),
    ],
)
def test_the_shipped_files_name_every_key(path: tuple[str, ...], kept: type) -> None:
    place: dict[str, dict[str, object]] = {}
    for file in sorted(SHIPPED.glob("*.toml")):
        found = tomllib.loads(file.read_text())
        for name in path:
            found = found.get(name, {})
        place |= found
    not_keys = {"name", "gate"} if kept in (Listener, Upstream) else set()
    assert place.keys() == {one.name for one in fields(kept)} - not_keys


def test_the_defaults_are_those_of_the_design() -> None:
    assert (Config().workers, Config().user, Config().drain_timeout) == (0, "", 60.0)
    assert (Gate().window, Gate().max_age, Gate().bare_newline, Gate().auth) == (
        1800.0,
        43200.0,
        "normalize",
        "upstream",
    )
    assert Gate().refusal == "554 5.7.1 <{recipient}>: Relay access denied. Check your mail first, then send again."
    assert (Gate().local_domains, Gate().trusted_networks, Gate().never_lease, Gate().unsafe) == ((), (), (), False)
    assert Store() == Store("sqlite:leases.db", 0.5)
    assert Limits() == Limits(10000, 100, 300.0, 180.0, 600.0, 7200.0, 600.0, 180.0, 30.0, 5.0, 20, 20, 5)
    assert (Upstream("x", ()).tls, Upstream("x", ()).tls_verify, Upstream("x", ()).connect_timeout) == (
        "off",
        True,
        10.0,
    )
    assert (Listener("x", "smtp", ()).tls, Listener("x", "smtp", ()).local) == ("starttls", "pass")
    assert Listener("x", "smtp", ()).accept_proxy_from == ()
    shown = Upstream("x", ())
    assert (shown.send_proxy, shown.xclient, shown.source, shown.show_client) == ("off", False, "", "unless_relaying")
    assert Listener("x", "smtp", ()).transparent is False
    assert (Tls().min_version, Log(), Admin().control.name) == ("TLSv1.2", Log("info", "text", ""), "popgate.sock")


EVERYTHING = """
workers = 3
user = "popgate"
drain_timeout = 5
[gate]
window = "10m"
max_age = "1h"
local_domains = ["example.com", ".example.net"]
local_domains_file = "domains"
trusted_networks = ["192.0.2.0/24"]
unsafe = true
never_lease = ["198.51.100.7"]
mode = "enforce"
shared_networks = ["100.64.0.0/10"]
max_logins_per_address = 3
no_relay_logins = ["scanner"]
lease_after_failures = 4
renew_on_use = true
ipv6_prefix = 64
patience = "5s"
patience_waiting = 6
sender = "match"
sender_map = "senders"
max_messages = 7
max_recipients = 8
bare_newline = "reject"
auth = "off"
refusal = "550 no"
[store]
url = "sqlite:db/x.db"
timeout = "250ms"
history = "7d"
[listener.smtp]
bind = ["[::1]:2525", "127.0.0.1:2525"]
tls = "implicit"
tls_required = true
upstream = "box"
accept_proxy_from = ["203.0.113.9", "fd00::/8"]
local = "gate"
[listener.way]
protocol = "smtp"
bind = ["[::1]:26"]
transparent = true
[upstream.box]
servers = ["a.example:25", "unix:/run/x"]
tls = "starttls"
tls_verify = true
tls_min_version = "TLSv1"
tls_ca = "ca.pem"
tls_name = "box.example"
send_proxy = "v2"
show_client = "always"
connect_timeout = "3s"
balance = "leastconn"
max_connections = 20
health_interval = "7s"
[upstream.pinned]
servers = ["a.example:25"]
tls = "implicit"
tls_pin = "sha256:00"
xclient = true
source = "192.0.2.1"
[tls]
certificates = ["a.pem", "/etc/b"]
min_version = "TLSv1.3"
[limits]
connections = 1
connections_per_client = 2
command_timeout = "1s"
data_timeout = "2s"
data_end_timeout = "3s"
session_timeout = "4s"
pop_idle_timeout = "5s"
login_timeout = "6s"
handshake_timeout = "7s"
proxy_timeout = "7500ms"
refusals = 8
errors = 9
failed_logins = 10
failed_logins_per_address = 11
[admin]
control = "run/x.sock"
http = "127.0.0.1:8110"
agent = "[::1]:8111"
[log]
level = "debug"
format = "json"
file = "x.log"
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("# ours\nexample.org # and theirs\n\n  example.com\n.münchen.example\n")
    (tmp_path / "senders").write_text("anna anna@home.example @anna.example # hers\n\nanna info@example.com\n")
    config = loaded(tmp_path, EVERYTHING)
    addresses = ("anna@home.example", "@anna.example", "info@example.com")
    gate = Gate(
        mode="enforce",
        window=600.0,
        max_age=3600.0,
        local_domains=("example.com", ".example.net", "example.org", ".münchen.example"),
        local_domains_file=tmp_path / "domains",
        trusted_networks=("192.0.2.0/24",),
        unsafe=True,
        shared_networks=("100.64.0.0/10",),
        never_lease=("198.51.100.7",),
        max_logins_per_address=3,
        no_relay_logins=("scanner",),
        lease_after_failures=4,
        renew_on_use=True,
        ipv6_prefix=64,
        patience=5.0,
        patience_waiting=6,
        sender="match",
        sender_map=schema.SenderMap(tmp_path / "senders", {"anna": addresses}),
        bare_newline="reject",
        auth="off",
        max_messages=7,
        max_recipients=8,
        refusal="550 no",
    )
    both = (Endpoint("::1", 2525), Endpoint("127.0.0.1", 2525))
    balancers = ("203.0.113.9", "fd00::/8")
    servers = (Endpoint("a.example", 25), Endpoint("", 0, "/run/x"))
    assert config == Config(
        workers=3,
        user="popgate",
        drain_timeout=5.0,
        gate=gate,
        store=Store(f"sqlite:{tmp_path}/db/x.db", 0.25, 604800.0),
        listeners={
            "smtp": Listener("smtp", "smtp", both, "implicit", True, "box", balancers, False, "gate", gate),
            "way": Listener("way", "smtp", (Endpoint("::1", 26),), upstream="smtp", transparent=True, gate=gate),
        },
        upstreams={
            "smtp": Upstream("smtp", (Endpoint("192.0.2.10", 25),)),
            "box": Upstream(
                *("box", servers, "starttls", True, "TLSv1", tmp_path / "ca.pem", "box.example", ""),
                *("v2", False, "", "always", 3.0, "leastconn", 20, 7.0),
            ),
            "pinned": Upstream(
                *("pinned", (Endpoint("a.example", 25),), "implicit"),
                tls_pin="sha256:00",
                xclient=True,
                source="192.0.2.1",
            ),
        },
        tls=Tls((tmp_path / "a.pem", Path("/etc/b")), "TLSv1.3"),
        limits=Limits(1, 2, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5, 8, 9, 10, 11),
        admin=Admin(tmp_path / "run/x.sock", Endpoint("127.0.0.1", 8110), Endpoint("::1", 8111)),
        log=Log("debug", "json", f"{tmp_path}/x.log"),
    )


def test_a_later_file_wins_key_by_key(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[listener.smtp]\ntls = "off"\n[upstream.smtp]\nservers = ["192.0.2.11:25"]\n')
    assert config.listeners["smtp"].tls == "off"
    assert config.listeners["smtp"].bind == (Endpoint("127.0.0.1", 0),)
    assert config.upstreams["smtp"].servers == (Endpoint("192.0.2.11", 25),)


def test_a_listener_has_its_own_gate_over_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("a.example\n")
    text = """
    [gate]
    window = "10m"
    auth = "off"
    local_domains = ["b.example"]
    local_domains_file = "domains"
    [listener.smtp.gate]
    auth = "upstream"
    local_domains = ["c.example"]
    [listener.other]
    protocol = "smtp"
    bind = ["127.0.0.1:0"]
    """
    config = loaded(tmp_path, text)
    gate = config.listeners["smtp"].gate
    assert (gate.window, gate.auth, gate.local_domains) == (600.0, "upstream", ("c.example", "a.example"))
    assert config.listeners["other"].gate == config.gate
    assert (config.gate.auth, config.gate.local_domains) == ("off", ("b.example", "a.example"))


def test_a_listeners_gate_is_checked_like_the_common_one(tmp_path: Path) -> None:
    text = '[listener.smtp.gate]\nwindow = "x"\nauth = "kerberos"\nrefusal = "451 no"\nnonsense = 1\n'
    assert [line.partition(":")[0] for line in problems(tmp_path, text)] == [
        "listener.smtp.gate.window",
        "listener.smtp.gate.auth",
        "listener.smtp.gate.refusal",
        "listener.smtp.gate.nonsense",
    ]


def test_systemd_directories_win_for_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/popgate:/var/lib/other")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/popgate")
    config = loaded(tmp_path, '[store]\nurl = "sqlite:x.db"\n[log]\nfile = "x.log"\n')
    assert config.store.path == Path("/var/lib/popgate/x.db")
    assert config.admin.control == Path("/run/popgate/popgate.sock")
    assert config.log.file == f"{tmp_path}/x.log"
    assert config.tls.certificates == (tmp_path / "certs/mail.pem",)
    absolute = loaded(tmp_path, '[store]\nurl = "sqlite:/a/x.db"\n[admin]\ncontrol = "/b/c"\n')
    assert (absolute.store.path, absolute.admin.control) == (Path("/a/x.db"), Path("/b/c"))
    assert loaded(tmp_path, "").store.path == Path("/var/lib/popgate/leases.db")


def test_the_memory_store_has_no_path(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'workers = 1\n[store]\nurl = "memory:"\n').store.path is None


def test_all_problems_are_told_at_once_with_file_and_key(tmp_path: Path) -> None:
    place = written(
        tmp_path, "workers = true\nwindow = 5\n[gate]\nwindow = '30'\npatience = 'x'\nrefusel = ''\n[lmits]\n"
    )
    (place / "90-more.toml").write_text("[listener.smtp]\nbind = ['0.0.0.0', '::1']\n[tls]\nold_clients = ['x']\n")
    with pytest.raises(ConfigError) as caught:
        load(place)
    two, more = f"{place}/50-test.toml", f"{place}/90-more.toml"
    assert sorted(caught.value.problems) == sorted(
        [
            f"{two}: workers: must be a whole number, not true or false; write it without quotes or point",
            f"{two}: window: unknown key; it belongs in [gate]",
            f'{two}: gate.window: "30" has no unit; write "30s" if seconds are meant',
            f'{two}: gate.patience: "x" is not a duration; write one number with '
            'ms, s, m, h or d, like "90m" or "500ms"',
            f'{two}: gate.refusel: unknown key; did you mean "refusal"?',
            f'{two}: lmits: unknown table; did you mean "limits"?',
            f'{more}: listener.smtp.bind: "0.0.0.0" has no port; write "0.0.0.0:PORT"',
            f'{more}: listener.smtp.bind: "::1" has no port; write "[::1]:PORT"',
            f'{more}: tls.old_clients: "x" is not a network; write for example "192.0.2.0/24" or "2001:db8::/32"',
        ]
    )
    assert all("\n" not in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers = -1", "workers: -1 is out of range"),
        ("user = 5", "user: must be a string"),
        ("drain_timeout = '-1s'", 'drain_timeout: "-1s" must not be negative'),
        ("gate = 5", "gate: must be a table, not a number; write [gate]"),
        ("[[gate]]", "gate: must be a table, not a list"),
        ("[gate]\nwindow = 0", "gate.window: is too short"),
        ("[gate]\nauth = 'pop3'", 'gate.auth_upstream: auth = "pop3" needs the name'),
        ("[gate]\nlocal_domains = 'a'", 'gate.local_domains: must be a list, not a string; write ["a"]'),
        ("[gate]\ntrusted_networks = ['x']", 'gate.trusted_networks: "x" is not a network'),
        ("[gate]\nnever_lease = ['x']", 'gate.never_lease: "x" is not a network'),
        ("[gate]\nunsafe = 1", "gate.unsafe: must be true or false"),
        ("[gate]\nmode = 'watch'", 'gate.mode: "watch" is not known here; take "enforce" or "shadow"'),
        ("[gate]\nshared_networks = ['x']", 'gate.shared_networks: "x" is not a network'),
        ("[gate]\nmax_logins_per_address = -1", "gate.max_logins_per_address: -1 is out of range"),
        ("[gate]\nno_relay_logins = ['']", 'gate.no_relay_logins: "" is no login'),
        ("[gate]\nno_relay_logins = ['" + "x" * 257 + "']", 'gate.no_relay_logins: "xxx'),
        ("[gate]\nlease_after_failures = '3'", "gate.lease_after_failures: must be a whole number"),
        ("[gate]\nrenew_on_use = 'yes'", "gate.renew_on_use: must be true or false"),
        ("[gate]\nipv6_prefix = 31", "gate.ipv6_prefix: 31 is out of range"),
        ("[gate]\nipv6_prefix = 129", "gate.ipv6_prefix: 129 is out of range"),
        ("[gate]\npatience = '61s'", "gate.patience: is too long"),
        ("[gate]\npatience_waiting = -1", "gate.patience_waiting: -1 is out of range"),
        ("[gate]\nsender = 'bind'", 'gate.sender: "bind" is not known here'),
        ("[gate]\nsender = 'match'\nsender_map = 'nowhere'", "gate.sender_map: "),
        ("[gate]\nauth = 'ldap'", 'gate.auth: "ldap" is not known here'),
        ("[gate]\nauth_upstream = 5", "gate.auth_upstream: must be a string"),
        ("[gate]\nmax_messages = -1", "gate.max_messages: -1 is out of range"),
        ("[gate]\nmax_recipients = 1.5", "gate.max_recipients: must be a whole number"),
        ("[limits]\nfailed_logins_per_address = -1", "limits.failed_logins_per_address: -1 is out of range"),
        ("[limits]\nfailed_logins = 0", "limits.failed_logins: 0 is out of range"),
        ("[store]\nurl = 'redis://h:0'", "store.url: the redis URL has port 0"),
        ("[store]\ntimeout = 0", "store.timeout: is too short"),
        (
            "[listener.smtp]\nprotocol = 'imap'",
            'listener.smtp.protocol: "imap" is not known here; take "pop3" or "smtp"',
        ),
        ("[listener.smtp]\ntls = true", "listener.smtp.tls: must be a string"),
        ("[listener.smtp]\nname = 'x'", "listener.smtp.name: unknown key"),
        ("[listener.smtp]\nbind = []", "listener.smtp.bind: must not be empty"),
        ("[listener.smtp]\nlocal = 'no'", 'listener.smtp.local: "no" is not known here'),
        ("[listener]\ntls = 'off'", "listener.tls: listeners have names; write it under [listener.NAME]"),
        ("[upstream]\ntls = 'off'", "upstream.tls: upstreams have names"),
        ("[upstream.'a b']\nservers = ['a:1']", 'upstream: "a b" is no name'),
        ("[upstream.smtp]\nservers = ['a']", 'upstream.smtp.servers: "a" has no port'),
        ("[upstream.smtp]\nconnect_timeout = 0", "upstream.smtp.connect_timeout: is too short"),
        ("[upstream.smtp]\nbalance = 'best'", 'upstream.smtp.balance: "best" is not known here'),
        ("[upstream.smtp]\nhealth_interval = '500ms'", "upstream.smtp.health_interval: is too short, for each probe"),
        ("[upstream.smtp]\nmax_connections = -1", "upstream.smtp.max_connections: -1 is out of range"),
        ("[admin]\nagent = '8111'", 'admin.agent: "8111" has no'),
        ("[upstream.other]", "upstream.other.servers: is missing; write for example servers ="),
        ("[tls]\ncertificates = ['']", "tls.certificates: must not be empty"),
        ("[tls]\nmin_version = 'SSLv3'", 'tls.min_version: "SSLv3" is not known here'),
        ("[limits]\nerrors = 0", "limits.errors: 0 is out of range"),
        ("[limits]\nconnections = 1.5", "limits.connections: must be a whole number"),
        ("[limits]\nlogin_timeout = '0s'", "limits.login_timeout: is too short"),
        ("[admin]\ncontrol = ''", "admin.control: must not be empty"),
        ("[log]\nlevel = 'loud'", 'log.level: "loud" is not known here'),
        ("[log]\nfile = 5", "log.file: must be a string"),
        ("[gate.window]", "gate.window: must be a value, not a table"),
        ("[wholson]", 'wholson: unknown table; did you mean "whoson"?'),
    ],
)
def test_each_key_is_checked(tmp_path: Path, text: str, problem: str) -> None:
    [line] = problems(tmp_path, text + "\n")
    assert line.startswith(problem)
    assert "; " in line  # what is wrong; what to do


def test_a_listener_needs_protocol_and_bind(tmp_path: Path) -> None:
    text = "[listener.x]\nupstream = 'smtp'\n"
    assert problems(tmp_path, text) == [
        'listener.x.protocol: is missing; write for example protocol = "smtp"',
        'listener.x.bind: is missing; write for example bind = ["0.0.0.0:25"]',
    ]


def test_no_listener_at_all_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("workers = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    [line] = caught.value.problems
    assert line.startswith(f"{file}: listener: there is none")
    file.write_text("listener = 5\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.problems == [f"{file}: listener: must be a table, not a number; write [listener]"]


def test_a_domains_file_is_told_of_by_line(tmp_path: Path) -> None:
    where = "gate.local_domains_file"
    [missing] = problems(tmp_path, '[gate]\nlocal_domains_file = "domains"\n')
    assert missing == f"{where}: {tmp_path}/domains can't be read (No such file or directory); mend it, or the path"
    (tmp_path / "domains").write_bytes(b"\xff")
    [binary] = problems(tmp_path, '[gate]\nlocal_domains_file = "domains"\n')
    assert "it is not UTF-8" in binary
    (tmp_path / "domains").write_text("good.example\n*.bad.example\n# fine\nx@y.example\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "conf.d")
    assert [line.partition(": ")[0] for line in caught.value.problems] == [f"{tmp_path}/domains"] * 2
    assert ["line 2: " in caught.value.problems[0], "line 4: " in caught.value.problems[1]] == [True, True]


def test_a_sender_map_is_told_of_by_line(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("# them\nanna a@b.example\nbert\ncarl carl@b.example nonsense\n\n dora @b.example\n")
    place = written(tmp_path, '[gate]\nsender = "match"\nsender_map = "map"\n')
    with pytest.raises(ConfigError) as caught:
        load(place)
    form = "a login, then the addresses it may use (anna@example.com, or @example.com for all of a domain)"
    assert caught.value.problems == [
        f'{tmp_path}/map: line 3: "bert" is not: {form}',
        f'{tmp_path}/map: line 4: "carl carl@b.example nonsense" is not: {form}',
    ]


@pytest.mark.parametrize("address", ["<sales@example.com>", "sales@", "@", "sales@<example.com>", "sales"])
def test_G10_an_address_that_no_sender_can_have_is_told(tmp_path: Path, address: str) -> None:
    (tmp_path / "map").write_text(f"anna {address}\n")
    place = written(tmp_path, '[gate]\nsender = "match"\nsender_map = "map"\n')
    with pytest.raises(ConfigError, match=f'line 1: "anna {address}" is not: a login, then the addresses'):
        load(place)


def test_the_mark_that_windows_editors_begin_a_file_with_is_no_part_of_a_login(tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(b"\xef\xbb\xbfanna sales@example.com\n")
    gate = loaded(tmp_path, '[gate]\nsender = "log"\nsender_map = "map"\n').gate
    assert gate.senders == {"anna": ("sales@example.com",)}


def test_a_sender_map_may_come_in_lines(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("anna a@b.example # one\nanna c@d.example @e.example\n", encoding="utf-8")
    gate = loaded(tmp_path, '[gate]\nsender = "log"\nsender_map = "map"\n').gate
    assert gate.senders == {"anna": ("a@b.example", "c@d.example", "@e.example")}
    assert loaded(tmp_path, "").gate.senders == {}
    assert len({gate, loaded(tmp_path, '[gate]\nsender = "log"\nsender_map = "map"\n').gate}) == 1, "`why` has a set"


POP3 = """
[listener.pop3]
protocol = "pop3"
bind = ["127.0.0.1:0"]
upstream = "box"
[upstream.box]
servers = ["192.0.2.10:110"]
"""


def test_auth_upstream_is_the_only_one_for_pop3_where_none_is_named(tmp_path: Path) -> None:
    config = loaded(tmp_path, POP3 + '[gate]\nauth = "pop3"\n')
    assert config.gate.auth_upstream == "box"
    assert config.listeners["smtp"].gate.auth_upstream == "box"
    config = loaded(tmp_path, POP3 + '[listener.smtp.gate]\nauth = "pop3"\n')
    assert (config.gate.auth_upstream, config.listeners["smtp"].gate.auth_upstream) == ("", "box")
    second = '[listener.other]\nprotocol = "pop3"\nbind = ["127.0.0.1:0"]\nupstream = "two"\n'
    second += '[upstream.two]\nservers = ["192.0.2.11:110"]\n'
    [line] = problems(tmp_path, POP3 + second + '[gate]\nauth = "pop3"\n')
    assert line.startswith('gate.auth_upstream: auth = "pop3" needs the name of the POP3 upstream')
    gate = '[gate]\nauth = "pop3"\nauth_upstream = "two"\n'
    assert loaded(tmp_path, POP3 + second + gate).listeners["smtp"].gate.auth_upstream == "two"


def test_a_single_file_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "popgate.toml"
    file.write_text(SERVES)
    assert load(file).files == (file,)
    assert load(file).base == tmp_path


def test_workers_0_is_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config(workers=3).processes == 3
    assert Config().processes == schema.cores() >= 1
    monkeypatch.setattr(schema, "cores", lambda: 7)
    assert Config().processes == 7


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().workers = 2  # type: ignore[misc]


def test_every_gate_key_is_judged_for_a_listener_too(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, '[listener.smtp.gate]\npatience = "2m"\n')
    assert problem == 'listener.smtp.gate.patience: is too long; take at most "1m"'


def test_an_empty_table_is_no_error(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[whoson]\n[postfix]\n"))


def test_N9_old_clients_are_networks_and_nothing_beside_a_minimum_that_is_as_old(tmp_path: Path) -> None:
    assert loaded(tmp_path, '[tls]\nold_clients = ["10.0.5.0/24", "fd00::/8"]\n').tls.old_clients == (
        "10.0.5.0/24",
        "fd00::/8",
    )
    [problem] = problems(tmp_path, '[tls]\nold_clients = ["10.0.5.0/24"]\nmin_version = "TLSv1"\n')
    assert problem.startswith("tls.old_clients: does nothing with min_version")


# --- the control socket of a popgate that runs, by files that are broken since

BROKEN = [
    ("[gate]\nwindwo = 1\n", "popgate.sock"),
    ('[admin]\ncontrol = "c.sock"\nhttp = 5\n', "c.sock"),
    ('[admin]\ncontrol = "c.sock"\nzzz = 5\n', "c.sock"),
]


@pytest.mark.parametrize(("text", "place"), BROKEN)
def test_the_control_socket_is_found_all_the_same(tmp_path: Path, text: str, place: str) -> None:
    found, problems = control_socket(written(tmp_path, text))
    assert found == tmp_path / place
    assert len(problems) == 1


def test_the_control_socket_of_good_files_is_without_a_problem(tmp_path: Path) -> None:
    assert control_socket(written(tmp_path, "")) == (tmp_path / "popgate.sock", [])


def test_the_control_socket_is_told_by_the_file_that_is_toml(tmp_path: Path) -> None:
    conf = written(tmp_path, '[admin]\ncontrol = "c.sock"\n')
    (conf / "90-last.toml").write_text("this is none")
    found, problems = control_socket(conf)
    assert found == tmp_path / "c.sock"
    assert "90-last.toml" in problems[0]


@pytest.mark.parametrize("text", ["this is none", "admin = 5", "[admin]\ncontrol = 5"])
def test_a_control_socket_that_nobody_tells_is_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        control_socket(written(tmp_path, text))


def test_without_files_there_is_no_control_socket(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        control_socket(tmp_path / "nowhere")
