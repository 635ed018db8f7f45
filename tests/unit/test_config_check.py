"""proxy/config/check.py: what is fine alone and impossible together; each with its cure, and no false alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config import load, schema
from proxy.errors import ConfigError
from tests.support.configuration import loaded, problems, written

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = '[store]\nurl = "memory:"\n'
LISTENER = "[listener.smtp]\n"
UPSTREAM = "[upstream.smtp]\n"
TRANSPARENT = "[listener.smtp]\ntransparent = true\n[upstream.smtp]\nservers = []\n"
TLS_UPSTREAM = UPSTREAM + 'tls = "starttls"\n'
LISTENER_GATE = "[listener.smtp.gate]\n"
CHECKED = '[gate]\nauth = "pop3"\n'
POP3 = '[upstream.pop3]\nservers = ["a.example:110"]\n[listener.pop3]\nprotocol = "pop3"\nbind = ["127.0.0.1:0"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "workers = 2\n" + MEMORY,
            'store.url: "memory:" can\'t be shared by workers, and they are several; use "sqlite:',
        ),
        ("[tls]\ncertificates = []", 'listener.smtp.tls: "starttls" needs a certificate; name one in tls.certificates'),
        (
            LISTENER + 'tls = "off"\ntls_required = true',
            "listener.smtp.tls_required: TLS can't be required where it is off;",
        ),
        (
            LISTENER + 'upstream = "box"',
            'listener.smtp.upstream: there is no upstream "box" (there is: smtp); write [upstream',
        ),
        (
            '[whoson]\nlisten = ["udp:127.0.0.1:9876"]\nask = ["udp:127.0.0.1:9876"]',
            'whoson.ask: "udp:127.0.0.1:9876" is popgate itself; ',
        ),
        (
            '[whoson]\nlisten = ["tcp:0.0.0.0:9876"]\ntell = ["tcp:127.0.0.1:9876"]',
            'whoson.tell: "tcp:127.0.0.1:9876" is popgate itself; ',
        ),
        (
            '[whoson]\nlisten = ["unix:/x"]\ntell = ["unix:/x"]',
            'whoson.tell: "unix:/x" is popgate itself; ',
        ),
        ('[whoson]\nallow_login = ["127.0.0.1"]', "whoson.allow_login: does nothing while listen is empty; "),
        (
            LISTENER + 'bind = ["0.0.0.0:25"]\n[postfix]\npolicy = "127.0.0.1:25"',
            'postfix.policy: "127.0.0.1:25" is taken by "0.0.0.0:25" of listener.smtp.bind; ',
        ),
        (
            '[whoson]\nlisten = ["tcp:127.0.0.1:9876"]\n[postfix]\npolicy = "127.0.0.1:9876"',
            'postfix.policy: "127.0.0.1:9876" is taken by "tcp:127.0.0.1:9876" of whoson.listen; ',
        ),
        (
            '[whoson]\nlisten = ["unix:/x"]\n[postfix]\npolicy = "unix:/x"',
            'postfix.policy: "unix:/x" is taken by "unix:/x" of whoson.listen; ',
        ),
        (
            LISTENER + 'bind = ["0.0.0.0:25"]\n[admin]\nagent = "127.0.0.1:25"',
            'admin.agent: "127.0.0.1:25" is taken by "0.0.0.0:25" of listener.smtp.bind; ',
        ),
        (
            '[admin]\nhttp = "127.0.0.1:8111"\nagent = "127.0.0.1:8111"',
            'admin.agent: "127.0.0.1:8111" is taken by "127.0.0.1:8111" of admin.http; ',
        ),
        (
            '[postfix]\npolicy = "unix:/x"\n[admin]\ncontrol = "/x"',
            'admin.control: "unix:/x" is taken by "unix:/x" of postfix.policy; ',
        ),
        (POP3 + 'local = "gate"', 'listener.pop3.local: local = "gate" is about recipients, and POP3 has none; '),
        (POP3 + 'upstream = "smtp"', "upstream.smtp: serves listeners of two protocols, smtp (smtp) and pop3 (pop3); "),
        (UPSTREAM + 'tls_ca = "x"', 'upstream.smtp.tls_ca: does nothing with tls = "off"; '),
        (UPSTREAM + 'tls_name = "x"', 'upstream.smtp.tls_name: does nothing with tls = "off"; '),
        (UPSTREAM + 'tls_pin = "x"', 'upstream.smtp.tls_pin: does nothing with tls = "off"; '),
        (TLS_UPSTREAM + 'tls_verify = false\ntls_ca = "x"', "upstream.smtp.tls_ca: contradicts tls_verify = false; "),
        (TLS_UPSTREAM + 'tls_verify = false\ntls_pin = "x"', "upstream.smtp.tls_pin: contradicts tls_verify = false; "),
        (TLS_UPSTREAM + 'tls_ca = "x"\ntls_pin = "x"', "upstream.smtp.tls_ca: does nothing beside tls_pin, "),
        (TLS_UPSTREAM + 'servers = ["unix:/x"]', "upstream.smtp.servers: a unix socket has no host name to verify; "),
        (
            LISTENER + 'accept_proxy_from = ["192.0.2.9"]\n[gate]\ntrusted_networks = ["192.0.2.0/24"]',
            'gate.trusted_networks: "192.0.2.0/24" has a load balancer in it ("192.0.2.9", listener.smtp.accept_proxy_',
        ),
        (
            POP3 + 'accept_proxy_from = ["10.0.0.0/8"]\n[listener.smtp.gate]\ntrusted_networks = ["10.1.1.1"]',
            'listener.smtp.gate.trusted_networks: "10.1.1.1" has a load balancer in it ("10.0.0.0/8", listener.pop3.ac',
        ),
        ("[gate]\npatience_waiting = 0", 'gate.patience_waiting: nobody could wait; set patience = "0s" to be with'),
        (LISTENER_GATE + "patience_waiting = 0", "listener.smtp.gate.patience_waiting: nobody could wait; "),
        ('[gate]\nsender_map = "map"', 'gate.sender_map: does nothing with sender = "any"; set sender = "match" or '),
        (POP3 + '[gate]\nauth_upstream = "pop3"', 'gate.auth_upstream: does nothing with auth = "upstream"; set auth'),
        (POP3 + CHECKED + 'auth_upstream = "box"', 'gate.auth_upstream: there is no upstream "box"; name another'),
        (
            POP3 + CHECKED + 'auth_upstream = "smtp"',
            'gate.auth_upstream: "smtp" speaks SMTP; name an upstream for POP3',
        ),
        (CHECKED, 'gate.auth_upstream: auth = "pop3" needs the name of the POP3 upstream that checks passwords; wr'),
        (
            POP3 + CHECKED + LISTENER + 'tls = "off"',
            "listener.smtp.tls: offers AUTH under TLS only, and TLS is off here; ",
        ),
        (
            POP3.replace('"a.example:110"', "") + "transparent = true\n" + CHECKED,
            'gate.auth_upstream: "pop3" has no server of its own; name an upstream with one',
        ),
        (
            POP3 + LISTENER_GATE + 'auth = "pop3"\nauth_upstream = "box"',
            'listener.smtp.gate.auth_upstream: there is no upstream "box"; name another',
        ),
        (TRANSPARENT + "max_connections = 5", "upstream.smtp.max_connections: is per server, and here each client"),
        (UPSTREAM + 'health_interval = "999ms"', "upstream.smtp.health_interval: is too short, for each probe"),
        (
            UPSTREAM + f"servers = {[f'192.0.2.1:{port}' for port in range(1, 201)]}",
            "upstream.smtp.servers: upstreams and their servers are 201 in all; take at most 200",
        ),
    ],
)
def test_the_impossible_is_told_with_the_cure(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "map").write_text("anna anna@home.example\n")
    lines = problems(tmp_path, text + "\n")
    assert len(lines) == 1, lines
    assert lines[0].startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "workers = 1\n" + MEMORY,
        '[whoson]\nlisten = ["tcp:0.0.0.0:9876"]\nask = ["tcp:192.0.2.20:9876", "udp:127.0.0.1:9876", "unix:/x"]',
        '[whoson]\nlisten = ["udp:127.0.0.1:9876", "tcp:127.0.0.1:9876", "unix:/x", "unix:/y", "udp:127.0.0.2:9876"]\n'
        'allow_login = ["127.0.0.1"]\n[postfix]\npolicy = "unix:/z"',
        LISTENER + 'bind = ["0.0.0.0:25"]\n[whoson]\nlisten = ["udp:127.0.0.1:25"]',
        '[tls]\ncertificates = []\n[listener.smtp]\ntls = "off"',
        LISTENER + 'tls = "implicit"\ntls_required = true\nlocal = "gate"',
        POP3,
        "[gate]\npatience = 0\npatience_waiting = 0",
        '[gate]\nsender_map = "map"\nshared_networks = ["192.0.2.0/24"]',
        '[gate]\nsender_map = "map"\n[listener.smtp.gate]\nsender = "log"',
        POP3 + CHECKED,
        POP3 + CHECKED + 'auth_upstream = "pop3"',
        POP3 + '[gate]\nauth_upstream = "pop3"\n[listener.smtp.gate]\nauth = "pop3"',
        POP3 + CHECKED + LISTENER + 'tls = "implicit"',
        POP3 + CHECKED + LISTENER + 'tls = "off"\n' + LISTENER_GATE + 'auth = "upstream"',
        TLS_UPSTREAM + "tls_verify = false",
        TLS_UPSTREAM + 'tls_verify = false\ntls_name = "x"',  # still the name to ask for (SNI)
        TLS_UPSTREAM + 'tls_ca = "x"\ntls_name = "x"',
        TLS_UPSTREAM + 'tls_pin = "x"\ntls_name = "x"',
        TLS_UPSTREAM + 'servers = ["unix:/x"]\ntls_name = "x"',
        TLS_UPSTREAM + 'servers = ["unix:/x"]\ntls_pin = "x"',
        TLS_UPSTREAM + 'servers = ["unix:/x"]\ntls_verify = false',
        UPSTREAM + 'servers = ["unix:/x"]',
    ],
)
def test_what_only_looks_odd_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "map").write_text("anna anna@home.example\n")
    loaded(tmp_path, text + "\n")


def test_memory_counts_the_cores_that_workers_0_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "cores", lambda: 4)
    [line] = problems(tmp_path, MEMORY)
    assert "workers = 0 makes 4 here; use" in line
    monkeypatch.setattr(schema, "cores", lambda: 1)
    assert loaded(tmp_path, MEMORY).processes == 1


@pytest.mark.parametrize(
    ("binds", "told"),
    [
        ('"127.0.0.1:25", "127.0.0.1:25"', True),
        ('"127.0.0.1:25", "0.0.0.0:25"', True),
        ('"0.0.0.0:25", "127.0.0.1:25"', True),
        ('"[::1]:25", "[0::1]:25"', True),
        ('"[::]:25", "[::1]:25"', True),
        ('"127.0.0.1:25", "127.0.0.2:25"', False),
        ('"127.0.0.1:25", "127.0.0.1:26"', False),
        ('"127.0.0.1:0", "127.0.0.1:0"', False),
        ('"0.0.0.0:25", "[::]:25"', False),
    ],
)
def test_an_address_is_bound_once(tmp_path: Path, binds: str, told: bool) -> None:
    text = f"{LISTENER}bind = [{binds}]\n"
    if told:
        [line] = problems(tmp_path, text)
        assert line.startswith("listener.smtp.bind: ")
        assert "of listener.smtp.bind; change one of them" in line
    else:
        loaded(tmp_path, text)


def test_two_listeners_do_not_bind_one_address(tmp_path: Path) -> None:
    other = '[listener.other]\nprotocol = "smtp"\nbind = ["127.0.0.1:25"]\n'
    [line] = problems(tmp_path, f'{LISTENER}bind = ["127.0.0.1:25"]\n{other}')
    assert (
        line
        == 'listener.other.bind: "127.0.0.1:25" is taken by "127.0.0.1:25" of listener.smtp.bind; change one of them'
    )


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("0.0.0.0/0", "/8"),
        ("10.0.0.0/7", "/8"),
        ("10.0.0.0/8", None),
        ("::/0", "/16"),
        ("2000::/15", "/16"),
        ("2001::/16", None),
        ("fc00::/6", "/16"),
        ("fc00::/7", None),
    ],
)
def test_N1_a_trusted_range_has_a_largest_width(tmp_path: Path, network: str, told: str | None) -> None:
    text = f'[gate]\ntrusted_networks = ["192.0.2.1", "{network}"]\n'
    if told is None:
        loaded(tmp_path, text)
        return
    [line] = problems(tmp_path, text)
    assert line.startswith(f'gate.trusted_networks: "{network}" is wider than {told}: it may relay for the world; ')
    assert loaded(tmp_path, text + "unsafe = true\n").gate.unsafe
    [line] = problems(tmp_path, text.replace("[gate]", "[listener.smtp.gate]"))
    assert line.startswith(f'listener.smtp.gate.trusted_networks: "{network}" is wider than {told}')


def test_G15_all_that_auth_by_pop3_lacks_is_told_at_once(tmp_path: Path) -> None:
    keys = [one.partition(": ")[0] for one in problems(tmp_path, CHECKED + LISTENER + 'tls = "off"')]
    assert keys == ["listener.smtp.tls", "gate.auth_upstream"]


def test_a_lease_does_not_outlive_max_age(tmp_path: Path) -> None:
    assert problems(tmp_path, '[gate]\nwindow = "13h"\n') == [
        "gate.max_age: 12h is less than window (13h); make it at least that"
    ]
    assert problems(tmp_path, '[listener.smtp.gate]\nmax_age = "1m"\n') == [
        "listener.smtp.gate.max_age: 1m is less than window (30m); make it at least that"
    ]
    assert loaded(tmp_path, '[gate]\nwindow = "1h"\nmax_age = "1h"\n').gate.max_age == 3600.0


def test_a_bad_value_is_told_alone_not_with_the_default_that_stands_in(tmp_path: Path) -> None:
    text = f"""
    workers = "x"
    {MEMORY}
    [gate]
    window = "x"
    max_age = "1m"
    [listener.smtp]
    protocol = "imap"
    tls = "x"
    tls_required = "x"
    [listener.pop3]
    bind = ["127.0.0.1:0"]
    [upstream.smtp]
    tls = "x"
    tls_ca = "x"
    [tls]
    certificates = "x"
    """
    assert [line.partition(": ")[0] for line in problems(tmp_path, text)] == [
        "workers",
        "gate.window",
        "listener.smtp.protocol",
        "listener.smtp.tls",
        "listener.smtp.tls_required",
        "listener.pop3.protocol",
        "upstream.smtp.tls",
        "tls.certificates",
    ]


def test_a_problem_of_two_keys_names_the_file_of_the_key_it_is_told_for(tmp_path: Path) -> None:
    place = written(tmp_path, '[upstream.smtp]\ntls_ca = "x"\n')
    (place / "90-last.toml").write_text(
        '[upstream.smtp]\ntls = "off"\n[listener.smtp]\nupstream = "box"\n[gate]\nmax_age = "1s"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(place)
    assert [line.partition("; ")[0] for line in caught.value.problems] == [
        f"{place}/90-last.toml: gate.max_age: 1s is less than window (30m)",
        f'{place}/90-last.toml: listener.smtp.upstream: there is no upstream "box" (there is: smtp)',
        f'{place}/50-test.toml: upstream.smtp.tls_ca: does nothing with tls = "off"',
    ]


@pytest.mark.parametrize(
    ("network", "told"),
    [("0.0.0.0/0", "/8"), ("10.0.0.0/8", None), ("2000::/15", "/16"), ("2001::/16", None), ("fc00::/7", None)],
)
def test_N1_so_has_a_range_of_load_balancers(tmp_path: Path, network: str, told: str | None) -> None:
    text = f'{LISTENER}accept_proxy_from = ["192.0.2.1", "{network}"]\n'
    if told is None:
        assert loaded(tmp_path, text).listeners["smtp"].accept_proxy_from == ("192.0.2.1", network)
        return
    [line] = problems(tmp_path, text)
    assert line.startswith(f'listener.smtp.accept_proxy_from: "{network}" is wider than {told}: the world may claim ')
    loaded(tmp_path, text + "[listener.smtp.gate]\nunsafe = true\n")
    loaded(tmp_path, text + "[gate]\nunsafe = true\n")


def test_G3_a_balancer_in_a_trusted_network_is_told_once_and_taken_if_unsafe(tmp_path: Path) -> None:
    text = POP3 + 'accept_proxy_from = ["192.0.2.9"]\n' + LISTENER + 'accept_proxy_from = ["192.0.2.9", "fd00::1"]\n'
    gate = '[gate]\ntrusted_networks = ["192.0.2.0/28", "198.51.100.0/24"]\n'
    [line] = problems(tmp_path, text + gate)
    assert "listener.smtp.accept_proxy_from" in line
    loaded(tmp_path, text + gate + "unsafe = true\n")
    loaded(tmp_path, text + gate.replace("0/28", "0/29"))
