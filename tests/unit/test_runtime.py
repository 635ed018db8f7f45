"""runtime.py: from the configuration to services, and what a reload can't change (rule N7)."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from proxy import certificates
from proxy.errors import ConfigError
from proxy.leases.memory import MemoryStore
from proxy.leases.redis.connection import Server
from proxy.leases.redis.store import RedisStore
from proxy.leases.sqlite import SqliteStore
from proxy.net.upstream.announcement import Announcing
from proxy.runtime import build_services, make_tls, needs_restart, open_store
from proxy.session.contract import Wait
from proxy.session.pop3.session import PopSettings
from proxy.session.smtp.session import SmtpSettings
from proxy.wire.address import packed

from ..support.clocks import FakeClock
from ..support.configuration import loaded

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Config
    from proxy.net.service import Service

PLAIN = """
[listener.smtp]
tls = "off"
"""
BOTH = (
    PLAIN
    + """
[listener.pop3]
protocol = "pop3"
bind = ["127.0.0.1:0"]
tls = "off"
[upstream.pop3]
servers = ["192.0.2.10:110"]
"""
)


def services(config: Config, bound: frozenset[tuple[str, int]] = frozenset()) -> dict[str, Service]:
    return build_services(config, MemoryStore(FakeClock()), make_tls(config), bound)


def test_the_store_that_the_configuration_names(tmp_path: Path) -> None:
    assert isinstance(open_store(loaded(tmp_path, PLAIN), FakeClock()), SqliteStore)
    memory = loaded(tmp_path, 'workers = 1\n[store]\nurl = "memory:"\n')
    assert isinstance(open_store(memory, FakeClock()), MemoryStore)
    assert not (tmp_path / "leases.db").exists(), "nothing is opened before the fork"


def test_a_shared_store_lives_as_long_as_the_longest_window(tmp_path: Path) -> None:
    text = '[store]\nurl = "redis://al:pw@h:7/3"\ntimeout = "1s"\n[listener.smtp.gate]\nwindow = "2h"\n'
    store = open_store(loaded(tmp_path, PLAIN + text), FakeClock())
    assert isinstance(store, RedisStore)
    assert (store._window, store._server) == (7200.0, Server("h", 7, 3, "al", "pw"))


def test_the_missing_extra_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proxy.leases.redis.store", None)
    with pytest.raises(ConfigError, match=re.escape('run: pip install "popgate[redis]"')):
        open_store(loaded(tmp_path, '[store]\nurl = "redis://h"\n'), FakeClock())


def test_tls_files_of_a_shared_store_are_read_and_what_is_wrong_with_them_said(tmp_path: Path) -> None:
    made = certificates.make(["h"], tmp_path, file="ok.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    good = open_store(
        loaded(tmp_path, f'[store]\nurl = "rediss://h?ssl_ca_certs={made}&ssl_certfile={made}"\n'), FakeClock()
    )
    assert isinstance(good, RedisStore)
    assert good._server.tls is not None
    assert good._server.tls.check_hostname
    for option, name in (("ssl_ca_certs", "bad.pem"), ("ssl_ca_certs", "none"), ("ssl_certfile", "none")):
        text = f'[store]\nurl = "rediss://h?{option}={name}"\n'
        with pytest.raises(ConfigError, match=f"store.url: {option}: {tmp_path}/{name}: "):
            open_store(loaded(tmp_path, text), FakeClock())


def test_a_service_for_each_listener(tmp_path: Path) -> None:
    made = services(loaded(tmp_path, BOTH))
    assert {name: service.protocol for name, service in made.items()} == {"smtp": "smtp", "pop3": "pop3"}
    assert isinstance(made["smtp"].settings, SmtpSettings)
    assert isinstance(made["pop3"].settings, PopSettings)


def test_every_limit_arrives(tmp_path: Path) -> None:
    text = (
        BOTH
        + """
[limits]
command_timeout = 11
data_timeout = 12
data_end_timeout = 13
session_timeout = 14
pop_idle_timeout = 15
login_timeout = 16
handshake_timeout = 17
proxy_timeout = 23
refusals = 18
errors = 19
failed_logins = 21
failed_logins_per_address = 23
[gate]
window = 33
max_age = 44
bare_newline = "reject"
auth = "off"
refusal = "550 no"
"""
    )
    made = services(loaded(tmp_path, text + "[upstream.smtp]\nconnect_timeout = 22\n"))
    smtp, pop3 = made["smtp"], made["pop3"]
    assert smtp.waits == {
        Wait.GREETING: 22,
        Wait.COMMAND: 11,
        Wait.MESSAGE: 12,
        Wait.MESSAGE_REPLY: 13,
        Wait.MAILBOX: 15,
        Wait.LOGIN: 16,
    }
    assert set(smtp.waits) == set(Wait)
    assert (smtp.session_timeout, smtp.handshake_timeout, smtp.max_age, smtp.policy.window) == (14, 17, 44, 33)
    assert pop3.session_timeout == 14, "until the login, and login_timeout is more"
    assert smtp.proxy_timeout == 23
    settings = smtp.settings
    assert isinstance(settings, SmtpSettings)
    assert (settings.max_refusals, settings.max_errors, settings.bare_newline) == (18, 19, "reject")
    assert (settings.auth, settings.refusal, settings.max_failed_logins) == ("off", "550 no", 21)
    assert smtp.failed_logins_per_address == pop3.failed_logins_per_address == 23
    assert isinstance(pop3.settings, PopSettings)
    assert 21 in [getattr(pop3.settings, name) for name in PopSettings.__dataclass_fields__]


def test_G15_passwords_are_checked_at_an_upstream_that_no_smtp_listener_has(tmp_path: Path, certificate: Path) -> None:
    text = BOTH.replace('tls = "off"', 'tls = "starttls"', 1) + f'[tls]\ncertificates = ["{certificate}"]\n'
    made = services(loaded(tmp_path, text + '[listener.smtp.gate]\nauth = "pop3"\nsender = "match"\n'))
    settings, upstream = made["smtp"].settings, made["smtp"].password_upstream
    assert isinstance(settings, SmtpSettings)
    assert (settings.auth, settings.doubts_authenticated) == ("pop3", True)
    assert upstream is not None
    assert (upstream.name, upstream.protocol) == ("pop3", "pop3")
    assert upstream.pool is made["pop3"].upstream.pool, "its places and its health are the same"
    assert made["pop3"].password_upstream is None


def test_G3_the_balancers_of_any_listener_are_leased_at_none(tmp_path: Path) -> None:
    text = BOTH.replace("[listener.smtp]\n", '[listener.smtp]\naccept_proxy_from = ["198.51.100.0/28"]\n')
    made = services(loaded(tmp_path, text))
    balancer = packed("198.51.100.9")
    assert balancer in made["smtp"].accept_proxy_from
    assert balancer not in made["pop3"].accept_proxy_from
    for service in made.values():
        assert "accept_proxy_from" in service.policy.no_lease_reason(balancer, "anna", 0)
        assert service.policy.no_lease_reason(packed("198.51.100.16"), "anna", 0) == ""


def test_a_listener_s_own_gate_rules_it(tmp_path: Path) -> None:
    made = services(loaded(tmp_path, PLAIN + '[listener.smtp.gate]\ntrusted_networks = ["192.0.2.0/24"]\n'))
    assert made["smtp"].policy.preauthorised(packed("192.0.2.1")) is not None
    assert made["smtp"].policy.preauthorised(packed("198.51.100.1")) is None


@pytest.mark.parametrize(("mode", "implicit", "starttls"), [("starttls", False, True), ("implicit", True, False)])
def test_tls_in_both_ways(tmp_path: Path, mode: str, implicit: bool, starttls: bool) -> None:
    certificates.make(["mail.example.com"], tmp_path / "certs", file="mail.pem")
    made = services(loaded(tmp_path, f'[listener.smtp]\ntls = "{mode}"\n'))
    assert made["smtp"].tls is not None
    assert made["smtp"].implicit_tls is implicit
    assert made["smtp"].settings.starttls is starttls  # type: ignore[union-attr]


def test_without_tls_no_certificate_is_read(tmp_path: Path) -> None:
    assert make_tls(loaded(tmp_path, BOTH)) == {}
    assert services(loaded(tmp_path, BOTH))["smtp"].tls is None


def test_a_certificate_that_is_missing_names_file_and_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"certs/mail\.pem.*popgate certs make"):
        make_tls(loaded(tmp_path, ""))


def test_all_bad_upstreams_are_named(tmp_path: Path) -> None:
    text = BOTH.replace("[upstream.pop3]", '[upstream.pop3]\ntls = "implicit"\ntls_ca = "/nowhere/ca.pem"')
    with pytest.raises(ConfigError) as caught:
        services(loaded(tmp_path, text + '[upstream.smtp]\ntls = "implicit"\ntls_pin = "sha256:12"\n'))
    said = "\n".join(caught.value.problems)
    assert re.search(r"upstream\.pop3: tls_ca: /nowhere/ca\.pem", said)
    assert re.search(r"upstream\.smtp: tls_pin", said)


def test_N10_an_upstream_that_is_ourselves_is_never_dialled(tmp_path: Path) -> None:
    config = loaded(tmp_path, PLAIN + '[upstream.smtp]\nservers = ["127.0.0.1:2525", "127.0.0.1:2526"]\n')
    found: list[Any] = []
    services(config, frozenset([("127.0.0.1", 2525)]))["smtp"].upstream.addresses(found.extend)
    assert [address.target for address in found] == [("127.0.0.1", 2526)]


# --- reload


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("workers = 7", "workers"),
        ('user = "daemon"', "user"),
        ('[store]\nurl = "sqlite:other.db"', "store.url"),
        ('[store]\ntimeout = "9s"', "store.timeout"),
        ('[store]\nhistory = "9d"', "store.history"),
        ('[admin]\ncontrol = "other.sock"', "admin.control"),
        ('[admin]\nagent = "127.0.0.1:0"', "admin.agent"),
        ('[listener.smtp]\nbind = ["127.0.0.2:0"]', "listener.smtp.bind"),
        ('[listener.pop3]\nprotocol = "smtp"\nupstream = "smtp"', "listener.pop3.protocol"),
        ('[listener.more]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\ntls = "off"', "listener.more"),
        ("[listener.smtp]\ntransparent = true", "listener.smtp.transparent"),
        ('[upstream.smtp]\nsource = "client"', "upstream.smtp.source"),
        ('[listener.smtp]\ntls = "starttls"', "the first TLS of a smtp listener"),
    ],
)
def test_N7_what_needs_a_restart_is_named(tmp_path: Path, change: str, named: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = _in(tmp_path, "old", "")
    new = _in(tmp_path, "new", change)
    assert needs_restart(old, new) == [f"{named} changes: that needs a restart"]
    if named == "listener.more":
        assert needs_restart(new, old) == [f"{named} changes: that needs a restart"]


@pytest.mark.parametrize(
    "change",
    [
        "",
        'drain_timeout = "7s"',
        '[gate]\nwindow = "7m"',
        "[limits]\nerrors = 7",
        '[whoson]\nallow = ["10.0.0.1"]',
        '[log]\nlevel = "debug"',
        '[tls]\nmin_version = "TLSv1.3"',
        '[upstream.smtp]\nservers = ["192.0.2.11:25"]',
        '[upstream.smtp]\nsend_proxy = "v1"',
        '[listener.smtp]\nlocal = "gate"',
        '[upstream.other]\nservers = ["192.0.2.11:25"]\n[listener.smtp]\nupstream = "other"',
    ],
)
def test_N7_all_else_does_not(tmp_path: Path, change: str) -> None:
    assert needs_restart(_in(tmp_path, "old", ""), _in(tmp_path, "new", change)) == []


def _in(folder: Path, name: str, change: str) -> Config:
    """BOTH with a change, as files of another name (the folder is not part of what is compared: paths are given)."""
    place = folder / name
    place.mkdir(exist_ok=True)
    paths = f'[store]\nurl = "sqlite:{folder}/leases.db"\n[admin]\ncontrol = "{folder}/s"\n'
    loaded(place, BOTH + paths)
    (place / "conf.d" / "90-change.toml").write_text(change)
    from proxy.config import load

    return load(place / "conf.d")


def test_S12_how_the_client_s_address_is_shown_arrives(tmp_path: Path) -> None:
    shown = '[upstream.smtp]\nsend_proxy = "v2"\nshow_client = "always"\nsource = "192.0.2.1"\n'
    made = services(loaded(tmp_path, BOTH + 'source = "client"\n' + shown))
    assert made["smtp"].upstream.announcing == Announcing("v2", False, "192.0.2.1", True)
    assert made["pop3"].upstream.announcing == Announcing(source="client")
    assert services(loaded(tmp_path, BOTH + "[upstream.smtp]\nxclient = true\n"))["smtp"].upstream.announcing.xclient
    assert services(loaded(tmp_path, BOTH))["smtp"].upstream.announcing == Announcing()


def test_no_servers_are_where_the_client_wanted_to_go(tmp_path: Path) -> None:
    made = services(loaded(tmp_path, PLAIN + "transparent = true\n[upstream.smtp]\nservers = []\n"))
    assert made["smtp"].upstream.is_original
    assert made["smtp"].transparent
    assert not services(loaded(tmp_path, BOTH))["smtp"].upstream.is_original
