"""proxy/selftest: the whole run, and what machine.py finds on this machine."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import resource
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.certificates import make
from proxy.config import Config
from proxy.config.endpoint import Endpoint
from proxy.config.schema import Admin, Gate, Limits, Listener, Store, Tls, Upstream
from proxy.errors import PopgateError
from proxy.leases.clock import Clock
from proxy.leases.table import LeaseTable
from proxy.selftest import machine, run
from proxy.wire.address import packed
from tests.support.folder import Folder
from tests.support.legacy import Legacy, silent
from tests.support.selftest import pop3, smtp

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0


def lines(config: Config) -> list[str]:
    return [line for found in machine.inspect(config) for _, line in found.lines()]


def line(config: Config, place: str) -> str:
    (found,) = [one for one in lines(config) if one[6:].startswith(place)]
    return found


def config(folder: Path, **changes: object) -> Config:
    """No listeners, a store in `folder`, no popgate running."""
    whole = {"store": Store(f"sqlite:{folder}/leases.db", 0.05), "admin": Admin(folder / "none.sock"), **changes}
    return Config(**whole)  # type: ignore[arg-type]


def smtp_listener(*binds: Endpoint, tls: str = "off", upstream: str = "smtp") -> dict[str, Listener]:
    return {"smtp": Listener("smtp", "smtp", binds, tls=tls, upstream=upstream)}  # type: ignore[arg-type]


# -- the whole


def whole(folder: Path, pop: Legacy, mail: Legacy, more: tuple[Endpoint, ...] = ()) -> Config:
    gate = Gate(local_domains=("local.test",))
    listeners = {
        name: Listener(name, name, (Endpoint("127.0.0.1", 0),), tls="off", upstream=name, gate=gate)  # type: ignore[arg-type]
        for name in ("pop3", "smtp")
    }
    upstreams = {
        "pop3": Upstream("pop3", (Endpoint(*pop.address),), connect_timeout=5.0),
        "smtp": Upstream("smtp", (Endpoint(*mail.address), *more), connect_timeout=5.0),
    }
    return config(folder, listeners=listeners, upstreams=upstreams, limits=Limits(connections=100))


def test_all_is_well(tmp_path: Path) -> None:
    out = io.StringIO()
    with Legacy(pop3()) as pop, Legacy(smtp()) as mail:
        assert run(whole(tmp_path, pop, mail), out) == 0
    text = out.getvalue()
    assert all(re.match(r"(ok  |warn|FAIL)  \S", one) for one in text.splitlines())
    assert re.fullmatch(r"ok    selftest: \d+ ok, 0 warnings, 0 failures", text.splitlines()[-1])
    columns = {one.index(word) for one in text.splitlines() for word in ("greeting ", "reachable ") if word in one}
    assert len(columns) == 1, text


def test_one_failure_is_the_exit_code_and_the_others_are_told(tmp_path: Path) -> None:
    out = io.StringIO()
    dead = Legacy(silent)
    dead.close()
    with Legacy(pop3({b"PASS": b"+OK\r\n"})) as pop, Legacy(smtp()) as mail:
        assert run(whole(tmp_path, pop, mail, (Endpoint(*dead.address),)), out) == 1
    text = out.getvalue().splitlines()
    assert [one[:4] for one in text].count("FAIL") == 3
    assert text[-1].startswith("FAIL  selftest: ")
    assert text[-1].endswith(" 0 warnings, 2 failures")
    assert any("relays for our address" in one for one in text)


def test_an_upstream_that_nobody_uses_is_named(tmp_path: Path) -> None:
    out = io.StringIO()
    upstreams = {"spare": Upstream("spare", (Endpoint("192.0.2.1", 25),))}
    assert run(config(tmp_path, upstreams=upstreams, limits=Limits(connections=1)), out) == 0
    assert re.search(r"^warn  upstream\.spare +used by +no listener: not asked$", out.getvalue(), re.MULTILINE)
    assert out.getvalue().splitlines()[-1].endswith(" 1 warning, 0 failures")


def test_G15_an_upstream_that_only_checks_passwords_is_asked_too(tmp_path: Path) -> None:
    out = io.StringIO()
    with Legacy(pop3()) as box, Legacy(smtp({b"RCPT": b"554 no\r\n"})) as mail:
        ends = {name: Endpoint(*legacy.address) for name, legacy in (("box", box), ("smtp", mail))}
        upstreams = {name: Upstream(name, (end,)) for name, end in ends.items()}
        listeners = smtp_listener(Endpoint("127.0.0.1", 0))
        gate = Gate(auth="pop3", auth_upstream="box")
        listeners = {name: replace(one, gate=gate) for name, one in listeners.items()}
        run(config(tmp_path, listeners=listeners, upstreams=upstreams, limits=Limits(connections=1)), out)
    found = re.search(r"^ok    upstream\.box \S+ +AUTH +passwords can be checked here", out.getvalue(), re.MULTILINE)
    assert found, out.getvalue()
    assert "no listener" not in out.getvalue()


def test_N10_a_server_at_one_of_our_own_binds(tmp_path: Path) -> None:
    out = io.StringIO()
    with Legacy(silent) as legacy:
        end = Endpoint(*legacy.address)
        upstreams = {"smtp": Upstream("smtp", (end,))}
        assert run(config(tmp_path, listeners=smtp_listener(end), upstreams=upstreams), out) == 1
        assert "popgate itself listens there" in out.getvalue()
        assert legacy.calls == []


# -- the store


def test_a_store_is_written_to_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    table = LeaseTable(path, Clock())
    table.grant(packed("198.51.100.7"), "alice", "pop3", 600.0)
    before = table.all()
    assert line(config(tmp_path), "store").endswith(f"{path}: can be read and written")
    assert [one.login for one in table.all()] == [one.login for one in before]
    table.close()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = line(config(tmp_path), "store")
    assert found.startswith("ok ")
    assert found.endswith("not there yet, and can be made")
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_folder_is_missing(tmp_path: Path) -> None:
    found = line(config(tmp_path, store=Store(f"sqlite:{tmp_path}/none/leases.db")), "store")
    assert found.startswith("FAIL")
    assert "its folder does not exist (tried as " in found


def test_a_database_of_another_program_is_no_store(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "leases.db")) as other:
        other.execute("CREATE TABLE other (x)")
    assert line(config(tmp_path), "store").startswith("FAIL  store")


def test_a_store_that_is_held_is_a_warning(tmp_path: Path) -> None:
    LeaseTable(tmp_path / "leases.db", Clock()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "leases.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        found = line(config(tmp_path), "store")
    assert found.startswith("warn")
    assert "another process holds it longer than store.timeout" in found


def test_memory_forgets(tmp_path: Path) -> None:
    found = line(config(tmp_path, store=Store("memory:")), "store")
    assert found.endswith("leases are forgotten at every restart")


@pytest.mark.skipif(not ROOT, reason="only root can be another user")
class TestN8TheStoreIsLookedAtAsTheUser:
    def test_N8_what_root_may_write_the_user_may_not(self) -> None:
        with Folder("selftest") as name:
            folder = Path(name)
            LeaseTable(folder / "leases.db", Clock()).close()
            found = line(config(folder, user="nobody"), "store")
        assert found.startswith("FAIL")
        assert found.endswith("(tried as nobody)")
        assert (os.geteuid(), os.getegid()) == (0, 0)

    def test_N8_a_folder_that_the_user_may_not_enter(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        found = line(config(tmp_path, user="nobody"), "store")
        assert found.startswith("FAIL")
        assert found.endswith("(tried as nobody)")

    def test_N8_a_user_that_does_not_exist(self, tmp_path: Path) -> None:
        found = line(config(tmp_path, user="no-such-user"), "store")
        assert found.startswith("FAIL")
        assert "there is no user" in found


# -- certificates


def test_certificates_are_told_with_their_days(tmp_path: Path) -> None:
    good = make(["mail.test"], tmp_path)
    soon = make(["soon.test"], tmp_path, days=20, now=time.time() - 10 * 86400)
    gone = make(["gone.test"], tmp_path, days=20, now=time.time() - 30 * 86400)
    certificates = (good, soon, gone, tmp_path / "none.pem")
    listeners = smtp_listener(Endpoint("127.0.0.1", 0), tls="starttls")
    found = [one for one in lines(config(tmp_path, listeners=listeners, tls=Tls(certificates))) if " tls " in one[:12]]
    assert [one[:4] for one in found] == ["ok  ", "warn", "warn", "FAIL"]
    assert found[0].endswith(f"{good}: for mail.test, 825 days left")
    assert found[1].endswith("for soon.test, 10 days left")
    assert found[2].endswith("for gone.test, expired 10 days ago")
    assert "no such file; `popgate certs make NAME --folder" in found[3]


def test_without_tls_no_certificate_is_wanted(tmp_path: Path) -> None:
    found = lines(config(tmp_path, listeners=smtp_listener(Endpoint("127.0.0.1", 0))))
    assert not any("certificate" in one for one in found)


# -- ports


@pytest.fixture
def taken() -> Iterator[Endpoint]:
    """An address and port at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Endpoint(*server.getsockname()[:2])


def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.control, "ask", lambda *_: {"pid": 42})


def test_a_port_that_is_free_and_one_that_the_system_chooses(tmp_path: Path, taken: Endpoint) -> None:
    free = Endpoint("127.0.0.8", taken.port)
    listeners = smtp_listener(free, Endpoint("::1", 0))
    found = [one for one in lines(config(tmp_path, listeners=listeners)) if one[6:].startswith("listener.smtp ")]
    assert found[0].endswith(f"{free}: free")
    assert found[1].endswith("[::1]:0: the system chooses one")


def test_a_port_that_another_program_has(tmp_path: Path, taken: Endpoint) -> None:
    found = line(config(tmp_path, listeners=smtp_listener(taken)), "listener.smtp")
    assert found.startswith("FAIL")
    assert f"{taken}: taken, and not by popgate" in found


def test_a_port_that_popgate_serves(tmp_path: Path, taken: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch)
    assert line(config(tmp_path), "popgate").endswith("yes, process 42")
    assert line(config(tmp_path, listeners=smtp_listener(taken)), "listener.smtp").endswith(f"{taken}: served")


def test_a_port_that_popgate_does_not_serve_though_it_runs(
    tmp_path: Path, taken: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(monkeypatch)
    found = line(config(tmp_path, listeners=smtp_listener(Endpoint("127.0.0.8", taken.port))), "listener.smtp")
    assert found.startswith("warn")
    assert "it needs a restart" in found


def test_a_popgate_that_does_not_answer_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PopgateError("no; ask as root")

    monkeypatch.setattr(machine.control, "ask", refused)
    assert line(config(tmp_path), "popgate").endswith("no; ask as root")


@pytest.mark.parametrize(
    ("number", "level", "text"),
    [
        (errno.EACCES, "warn", "root or CAP_NET_BIND_SERVICE may bind it"),
        (errno.EADDRNOTAVAIL, "FAIL", "not an address of this machine"),
        (errno.EAFNOSUPPORT, "FAIL", "Address family not supported by protocol"),
    ],
)
def test_a_port_that_can_not_be_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, level: str, text: str
) -> None:
    monkeypatch.setattr(machine, "_bind", lambda _: number)
    found = line(config(tmp_path, listeners=smtp_listener(Endpoint("192.0.2.1", 25))), "listener.smtp")
    assert found.startswith(level)
    assert found.endswith(text)


# -- descriptors


def test_descriptors_are_compared_with_the_hard_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1000))
    assert line(config(tmp_path, limits=Limits(connections=468)), "limits").startswith("ok")
    found = line(config(tmp_path, limits=Limits(connections=469)), "limits")
    assert found.startswith("warn")
    assert found.endswith("or set connections to 468")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, resource.RLIM_INFINITY))
    assert line(config(tmp_path, limits=Limits(connections=469)), "limits").endswith("and no limit is set")
