"""popgate as its administrator meets it: processes, signals, reloads, users, the command line.

rules G1, G3, G4, N4 to N8, on the real program.  Starting, draining and reloading in the common case:
test_lifecycle.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy import certificates

from ..support.dialogue import Dialogue, pop_login, send
from ..support.folder import Folder
from ..support.needs import need
from ..support.popgate import Popgate, config, merged, start_fails
from ..support.process import PATIENCE
from ..support.sockets import listener_at, listening, sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
SLACK = 2.0  # s that a loaded machine may add
PROGRAM = [sys.executable, "-m", "proxy"]


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> Any:
    """What `condition` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)
    return found


def leases(gate: Popgate) -> list[dict[str, Any]]:
    done = gate.command("leases", "list", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def status(gate: Popgate) -> dict[str, Any]:
    done = gate.command("status", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """What an error says, which must be one line on stderr."""
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


class Verdicts:
    """An SMTP session that asks again and again."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._smtp = Dialogue(address)
        self._smtp.expect(b"220")
        self._smtp.ask(b"HELO client", b"250")

    def now(self) -> bytes:
        self._smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        reply = self._smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"")
        self._smtp.ask(b"RSET", b"250")
        return reply[:3]

    def last(self, seconds: float) -> set[bytes]:
        """All verdicts of so long."""
        end, found = time.monotonic() + seconds, set()
        while time.monotonic() < end:
            found.add(self.now())
        return found

    def close(self) -> None:
        self._smtp.close()


@pytest.fixture
def pair(appliance: SampleAppliance) -> Iterator[Popgate]:
    """Two workers."""
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2)) as gate:
        yield gate


# --- G4: the lease of an open session


def test_G4_an_open_session_keeps_its_lease_and_its_end_ends_it(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, gate={"window": "2s"}, limits={"refusals": 10_000})
    with Popgate(settings) as gate, Dialogue(gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS secret", b"+OK")
        verdicts = Verdicts(gate.address("smtp"))
        assert verdicts.last(4.5) == {b"250"}
        (lease,) = leases(gate)
        assert lease["left"] <= 1.0, "half of the window ahead"
        pop.ask(b"QUIT", b"+OK")
        began = time.monotonic()
        until(lambda: verdicts.now() == b"554")
        assert time.monotonic() - began < 1.0 + SLACK
        verdicts.close()


def test_G4_never_past_max_age_and_never_after_a_revocation(appliance: SampleAppliance) -> None:
    settings = config(
        appliance.pop3, appliance.smtp, gate={"window": "2s", "max_age": "4s"}, limits={"refusals": 10_000}
    )
    with Popgate(settings) as gate, Dialogue(gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        began = time.monotonic()
        pop.ask(b"PASS secret", b"+OK")
        verdicts = Verdicts(gate.address("smtp"))
        until(lambda: verdicts.now() == b"554")
        assert 3.9 < time.monotonic() - began < 4.0 + SLACK
        pop.ask(b"NOOP", b"+OK")
        pop_login(gate.address("pop3"), "bob")
        assert verdicts.now() == b"250"
        assert gate.command("leases", "revoke", "bob").returncode == 0
        assert verdicts.last(1.0) == {b"554"}
        verdicts.close()


# --- G1, G3: whose lease


def test_G1_an_administrator_s_lease(pair: Popgate) -> None:
    done = pair.command("leases", "grant", "127.0.0.1", "--for", "90s", "--login", "carol")
    assert (done.returncode, done.stdout) == (0, "127.0.0.1 may relay for 90 s\n")
    (lease,) = leases(pair)
    assert (lease["address"], lease["login"], lease["source"]) == ("127.0.0.1", "carol", "admin")
    assert 80 < lease["left"] <= 90
    assert send(pair.address("smtp"), [FRIEND]).startswith(b"250 ")
    assert pair.command("leases", "revoke", "carol").stdout == "1 lease ended\n"
    assert send(pair.address("smtp"), [FRIEND]).startswith(b"554 ")
    assert pair.command("leases", "revoke", "carol").returncode == 1
    pair.process.expect("INFO popgate grant client=127.0.0.1 login=carol seconds=90$")
    pair.process.expect("INFO popgate revoke login=carol leases=1$")
    pair.process.expect("INFO popgate revoke login=carol leases=0$")


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("no way out of this machine")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has loopback only")
    return address


def test_G3_a_login_from_our_own_address_makes_no_lease_and_is_warned_of(appliance: SampleAppliance) -> None:
    host = own_address()
    binds = {name: {"bind": [f"{host}:0"]} for name in ("pop3", "smtp")}
    with Popgate(config(appliance.pop3, appliance.smtp, listener=binds)) as gate:
        pop_login(gate.address("pop3"), source=host)
        gate.process.expect(r"WARNING pop3 no-lease .*own")
        assert leases(gate) == []
        assert send(gate.address("smtp"), [FRIEND], source=host).startswith(b"554 ")
        assert "own address" in gate.command("why", host).stdout


# --- N4, N5: processes


def test_N4_one_socket_for_each_bind_inherited_by_all(pair: Popgate) -> None:
    for name in ("pop3", "smtp"):
        inode = listener_at(pair.address(name))
        for pid in [pair.process.pid, *pair.workers()]:
            assert inode in sockets_of(pid)


def test_N5_a_worker_holds_nothing_of_its_sisters(pair: Popgate) -> None:
    """Their channels would keep the supervisor's death from them."""
    first, second = pair.workers()
    shared = sockets_of(first) & sockets_of(second)
    wake = sockets_of(pair.process.pid) & shared
    assert len(shared) == 2 + 2, "the listeners, and the ends of the supervisor's wake-up pair"
    assert shared == wake


def test_N4_a_killed_worker_loses_no_waiting_connection(gate: Popgate) -> None:
    (worker,) = gate.workers()
    os.kill(worker, signal.SIGSTOP)
    waiting = [Dialogue(gate.address("smtp")) for _ in range(20)]
    os.kill(worker, signal.SIGKILL)
    for client in waiting:
        client.expect(b"220")
        client.close()


def test_N5_a_dead_worker_s_place_in_the_census_is_free(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, limits={"connections": 3})
    with Popgate(settings) as gate, contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(Dialogue(gate.address("smtp"))).expect(b"220")
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"421 4.7.0")
        assert status(gate)["connections"] == 3
        os.kill(gate.workers()[0], signal.SIGKILL)
        gate.process.expect("worker-died")
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")


def test_N5_one_that_dies_at_once_is_restarted_ever_later(gate: Popgate) -> None:
    for pause in ("0.1s", "0.2s", "0.4s"):
        (worker,) = until(gate.workers)
        before = len(gate.process.lines)
        os.kill(worker, signal.SIGKILL)
        gate.process.expect(f"worker-died worker=0 why=.signal 9. restart={pause}", since=before)
    until(lambda: status(gate)["workers"][0]["ready"])


def alive(pid: int) -> bool:
    """Whether a process runs: one that nobody reaps does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_N5_without_their_supervisor_workers_drain_and_end(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, workers=2, drain_timeout="2s")
    with Popgate(settings) as gate:
        workers = gate.workers()
        smtp = gate.address("smtp")
        with Dialogue(smtp) as busy, Dialogue(smtp) as idle:
            busy.expect(b"220")
            busy.ask(b"HELO x", b"250")
            busy.ask(b"MAIL FROM:<alice@example.com>", b"250")
            busy.ask(b"RCPT TO:<bob@example.com>", b"250")
            busy.ask(b"DATA", b"354")
            idle.expect(b"220")
            os.kill(gate.process.pid, signal.SIGKILL)
            assert idle.rest()[:3] in (b"421", b"")
            until(lambda: not listening(smtp))  # another popgate may start, while the message goes on
            assert any(alive(pid) for pid in workers)
            busy.say(b"Subject: x\r\n\r\nx\r\n.\r\n")
            busy.expect(b"250")
        until(lambda: not any(alive(pid) for pid in workers))
        gate.process.wait()
        gate.restart()  # over the stale socket
        assert status(gate)["draining"] is False


def test_N5_a_stopped_worker_holds_up_neither_mail_nor_the_administrator(appliance: SampleAppliance) -> None:
    # Without history nobody writes but for a login: who is stopped in the middle of a write keeps its lock, too.
    settings = config(appliance.pop3, appliance.smtp, workers=2, store={"history": "0s"})
    with Popgate(settings) as pair:
        _stop_one(pair)


def _stop_one(pair: Popgate) -> None:
    stopped = pair.workers()[0]
    for worker in ("0", "1"):  # both have their store open: who is stopped in opening it keeps its lock
        while f" id={worker}-" not in "".join(re.findall("leased .*", pair.process.output)):
            pop_login(pair.address("pop3"))
    os.kill(stopped, signal.SIGSTOP)
    try:
        pair.process.expect(f"worker-stalled worker=0 pid={stopped}")
        began = time.monotonic()
        shown = status(pair)["workers"]
        assert [worker["stalled"] for worker in shown] == [True, False]
        assert [lease["login"] for lease in leases(pair)] == ["alice"]
        assert pair.command("reload").returncode == 0
        assert pair.command("status").stdout.startswith("serving: pid ")
        assert (
            time.monotonic() - began < 30
        )  # four commands on a busy machine; a worker that held them up would for ever
        pop_login(pair.address("pop3"))
        assert send(pair.address("smtp"), [FRIEND]).startswith(b"250 ")
    finally:
        os.kill(stopped, signal.SIGCONT)
    pair.process.expect("worker-back")


def test_N6_a_stopped_worker_does_not_keep_popgate_from_ending(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2, drain_timeout="1s")) as gate:
        os.kill(gate.workers()[0], signal.SIGSTOP)
        gate.process.signal(signal.SIGTERM)
        gate.process.expect("worker-killed worker=0")
        assert gate.process.wait() == 0


# --- N6: draining


def test_N6_who_waits_in_the_queue_is_told(gate: Popgate) -> None:
    (worker,) = gate.workers()
    os.kill(worker, signal.SIGSTOP)
    with Dialogue(gate.address("smtp")) as smtp, Dialogue(gate.address("pop3")) as pop:
        gate.process.signal(signal.SIGTERM)
        gate.process.expect("draining")
        os.kill(worker, signal.SIGCONT)
        # Whether it accepts them before it hears of the drain is chance; the greeting comes first then.
        assert smtp.rest().splitlines()[-1].startswith(b"421 4.3.2 ")
        assert pop.rest().splitlines()[-1].startswith(b"-ERR [SYS/TEMP] ")
    assert gate.process.wait() == 0


def test_N6_while_it_drains_the_ports_are_closed(gate: Popgate) -> None:
    with Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
        smtp.ask(b"DATA", b"354")
        assert gate.command("drain").stdout == "draining\n"
        until(lambda: not listening(gate.address("smtp")))
        with pytest.raises(ConnectionRefusedError):
            Dialogue(gate.address("smtp"))
        assert status(gate)["draining"] is True
        smtp.say(b".\r\n")
        smtp.expect(b"250")
    assert gate.process.wait() == 0
    assert not (gate.folder / "popgate.sock").exists()


def test_N6_a_second_sigterm_cuts_at_once(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, drain_timeout="1h")) as gate:
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"HELO x", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
            smtp.ask(b"DATA", b"354")
            gate.process.signal(signal.SIGTERM)
            gate.process.expect("draining seconds=3600")
            gate.process.signal(signal.SIGTERM)
            smtp.rest()
        assert gate.process.wait() == 0
    assert appliance.appliance.mailboxes["bob"] == []


# --- N7: reloading


def serial(address: tuple[str, int]) -> bytes:
    """The certificate that an implicit TLS listener shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Dialogue(address, tls=context) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        shown = client.socket.getpeercert(binary_form=True)
        assert shown is not None
        client.line()
        return shown


def test_N7_a_new_certificate_is_seen_by_new_handshakes(appliance: SampleAppliance, tmp_path: Path) -> None:
    path = certificates.make(["mail.example.com"], tmp_path, file="mail.pem")
    with Popgate(config(appliance.pop3, appliance.smtp, path, workers=2)) as gate:
        before = serial(gate.address("smtps"))
        certificates.make(["mail.example.com"], tmp_path, file="mail.pem", force=True)
        assert serial(gate.address("smtps")) == before
        gate.reload("reloaded")
        until(lambda: before not in {serial(gate.address("smtps")) for _ in range(8)})
        after = serial(gate.address("pop3s"))
        assert after != before
        path.write_text("no certificate")
        assert "mail.pem" in gate.reload("reload-refused")
        assert serial(gate.address("pop3s")) == after
        os.kill(gate.workers()[0], signal.SIGKILL)
        os.kill(gate.workers()[-1], signal.SIGKILL)
        assert serial(gate.address("pop3s")) == after, "a new worker needs no file"


def test_N7_the_command_says_what_is_wrong(gate: Popgate, appliance: SampleAppliance) -> None:
    assert gate.command("reload").stdout == "reloaded\n"
    changed = config(appliance.pop3, appliance.smtp, workers=3, store={"url": "sqlite:other.db", "timeout": "2s"})
    gate.write(changed)
    done = gate.command("reload")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["workers", "store.url", "store.timeout"]
    assert len(gate.workers()) == 1


def test_N7_the_log_file_is_opened_anew(appliance: SampleAppliance, tmp_path: Path) -> None:
    """As logrotate does it: the file is moved away, then SIGHUP."""
    path = tmp_path / "popgate.log"
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        gate.write(config(appliance.pop3, appliance.smtp, log={"level": "info", "file": str(path)}))
        gate.process.signal(signal.SIGHUP)
        until(lambda: path.exists() and "reloaded" in path.read_text())
        pop_login(gate.address("pop3"))
        until(lambda: "leased" in path.read_text())
        path.rename(tmp_path / "popgate.log.1")
        gate.process.signal(signal.SIGHUP)
        until(lambda: path.exists() and "reloaded" in path.read_text())
        pop_login(gate.address("pop3"))
        until(lambda: "leased" in path.read_text())
        before = len(gate.process.lines)
        gate.write(config(appliance.pop3, appliance.smtp, log={"level": "info", "file": "/nowhere/popgate.log"}))
        assert "log.file" in one_line(gate.command("reload"))
        assert "reload-refused" in path.read_text()
        pop_login(gate.address("pop3"))
        until(lambda: path.read_text().count("leased") == 2)
        assert gate.process.lines[before:] == []


def test_N11_a_log_file_that_was_moved_is_opened_anew_by_all_without_a_signal(
    appliance: SampleAppliance, tmp_path: Path
) -> None:
    path = tmp_path / "popgate.log"
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2)) as gate:
        gate.write(config(appliance.pop3, appliance.smtp, workers=2, log={"level": "info", "file": str(path)}))
        gate.process.signal(signal.SIGHUP)
        until(lambda: path.exists() and "reloaded" in path.read_text())
        path.rename(tmp_path / "popgate.log.1")
        until(path.exists)

        def both() -> bool:
            pop_login(gate.address("pop3"))
            return len({line.split(" id=")[1][0] for line in path.read_text().splitlines() if " leased " in line}) == 2

        until(both)


def test_N7_living_sessions_keep_their_gate_and_new_ones_get_the_new(gate: Popgate, appliance: SampleAppliance) -> None:
    """Also where the reload closes the gate."""
    with Dialogue(gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        gate.write(config(appliance.pop3, appliance.smtp, gate={"never_lease": ["127.0.0.0/8"]}))
        gate.reload("reloaded")
        pop_login(gate.address("pop3"), "bob")
        assert leases(gate) == []
        pop.ask(b"PASS secret", b"+OK")
        assert [lease["login"] for lease in leases(gate)] == ["alice"]


# --- N8: the command line beside a running popgate


def test_N8_memory_is_reached_through_the_control_socket(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, store={"url": "memory:"})) as gate:
        assert gate.command("leases", "grant", "127.0.0.1").returncode == 0
        assert [lease["login"] for lease in leases(gate)] == ["(admin)"]
        assert gate.command("why", "127.0.0.1").returncode == 0
        gate.stop()
        assert "in memory" in one_line(gate.command("leases"))


def test_N8_the_running_program_is_asked_and_not_the_file(gate: Popgate, appliance: SampleAppliance) -> None:
    gate.command("leases", "grant", "192.0.2.7")
    gate.write(config(appliance.pop3, appliance.smtp, store={"url": "sqlite:other.db"}))
    assert [lease["address"] for lease in leases(gate)] == ["192.0.2.7"]
    assert not (gate.folder / "other.db").exists()


def test_N8_the_store_is_there_without_it_too(gate: Popgate) -> None:
    pop_login(gate.address("pop3"))
    gate.stop()
    assert [lease["login"] for lease in leases(gate)] == ["alice"]
    assert gate.command("leases", "revoke", "alice").returncode == 0
    gate.restart()
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"554 ")


def test_N8_the_control_socket_is_its_user_s_alone(gate: Popgate) -> None:
    assert stat.S_IMODE((gate.folder / "popgate.sock").stat().st_mode) == 0o600


def test_N8_a_second_popgate_is_refused_by_name(gate: Popgate) -> None:
    done = gate.command("run")
    assert done.returncode == 2
    assert f"admin.control: a popgate is running already at {gate.folder}/popgate.sock" in one_line(done, 2)
    assert status(gate)["pid"] == gate.process.pid


def test_N8_nonsense_at_the_control_socket_harms_nobody(gate: Popgate) -> None:
    def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(gate.folder / "popgate.sock"))
        client.settimeout(PATIENCE)
        return client

    status(gate)
    before = len(os.listdir(f"/proc/{gate.process.pid}/fd"))
    half = connect()
    half.sendall(b'{"do":')
    for octets in (b"\n", b"nonsense\n", b'{"do": 7}\n', b'{"do": "grant"}\n', b"x" * 100_000, b"[" * 50_000 + b"\n"):
        client = connect()
        with contextlib.suppress(OSError):
            client.sendall(octets)
            client.recv(4096)
        client.close()
    for _ in range(200):
        with connect() as client, contextlib.suppress(OSError):  # of too many at a time some are closed at once
            client.sendall(b'{"do": "leases"}\n')
    half.close()
    until(lambda: len(os.listdir(f"/proc/{gate.process.pid}/fd")) <= before)
    assert status(gate)["pid"] == gate.process.pid
    assert len(gate.workers()) == 1
    assert "worker-died" not in gate.process.output


# --- why


def test_why_in_every_case(appliance: SampleAppliance) -> None:
    settings = config(
        appliance.pop3,
        appliance.smtp,
        gate={"trusted_networks": ["10.0.0.0/8"], "never_lease": ["192.0.2.200"]},
    )
    with Popgate(settings) as gate:
        pop_login(gate.address("pop3"))
        for words, code, said in (
            (["127.0.0.1"], 0, "allow: lease of alice (pop3), "),
            (["10.1.2.3"], 0, "trusted_networks"),
            (["192.0.2.7"], 1, "refuse: no lease"),
            (["192.0.2.200"], 1, "never_lease"),
            (["192.0.2.7", "--recipient", "bob@example.com"], 0, "the recipient is local"),
        ):
            done = gate.command("why", *words)
            assert (done.returncode, said in done.stdout, done.stderr) == (code, True, ""), done
        (answer,) = json.loads(gate.command("why", "127.0.0.1", "--json").stdout)
        assert (answer["listener"], answer["verdict"]) == ("smtp", "allow")


def test_G7_with_its_store_broken_mail_is_read_and_why_says_defer(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, store={"url": "sqlite:away/leases.db", "timeout": "1s"})
    with Popgate(settings) as gate:
        gate.process.expect("ERROR popgate store-down path=.*away/leases.db")
        pop_login(gate.address("pop3"))
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"451 4.3.0")
        done = gate.command("why", "127.0.0.1")
        assert (done.returncode, "defer: store down: " in done.stdout) == (1, True)
        assert "the lease store is down" in one_line(gate.command("leases"))
        (gate.folder / "away").mkdir()
        until(lambda: gate.command("leases").returncode == 0)
        pop_login(gate.address("pop3"))
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_G7_a_store_that_is_none_is_said_once_and_in_the_status(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, workers=2)
    with Popgate(settings) as gate:
        assert status(gate)["store"] == {"url": f"sqlite:{gate.folder}/leases.db", "state": "up"}
        gate.stop()
        for path in gate.folder.glob("leases.db*"):
            path.unlink()
        (gate.folder / "leases.db").write_bytes(b"no database " * 400)
        gate.restart()
        gate.process.expect(r"ERROR popgate store-down worker=0 why=.*leases.db: file is not a database")
        assert status(gate)["store"]["state"] == "down"
        assert "leases.db: DOWN: relaying waits" in gate.command("status").stdout
        for _ in range(3):
            assert send(gate.address("smtp"), [FRIEND]).startswith(b"451 4.3.0")
        (gate.folder / "leases.db").unlink()
        gate.process.expect("INFO popgate store-back worker=0$")
        until(lambda: status(gate)["store"]["state"] == "up")
        assert gate.process.output.count("store-down") == 1


def test_signals_of_other_daemons_end_nothing(pair: Popgate) -> None:
    """SIGUSR1 is others' word for "open your logs anew"."""
    workers = pair.workers()
    for pid in [pair.process.pid, *workers]:
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGUSR2)
    pop_login(pair.address("pop3"))
    assert send(pair.address("smtp"), [FRIEND]).startswith(b"250 ")
    assert pair.workers() == workers
    assert "worker-died" not in pair.process.output


def test_with_files_broken_since_the_running_program_is_asked_and_drained(
    appliance: SampleAppliance,
) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        (gate.folder / "conf.d" / "zz.toml").write_text("[gate]\nwindwo = 1\n")
        for words in (["status"], ["sessions"], ["drain"]):
            done = gate.command(*words)
            assert done.returncode == 0
            assert one_line(done, 0).startswith("warning: ")
        gate.process.expect("popgate stopped")
        assert "windwo" in one_line(gate.command("status"), 2)


# --- as another user


def ids(pid: int) -> list[set[str]]:
    """The user and group ids of a process, each kind as a set (proc(5): real, effective, saved, file system)."""
    rows = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return [set(rows["Uid"].split()), set(rows["Gid"].split())]


def test_user_every_process_is_that_user_and_the_store_is_theirs(appliance: SampleAppliance) -> None:
    need("root")
    with nobody_s_house() as place:
        path = certificates.make(["mail.example.com"], place / "certs")
        os.chown(path, 65534, 65534)
        settings = nobody_s(config(appliance.pop3, appliance.smtp, path, workers=2), place)
        with Popgate(settings) as gate:
            for pid in [gate.process.pid, *gate.workers()]:
                assert ids(pid) == [{"65534"}, {"65534"}]
            pop_login(gate.address("pop3"))
            assert [lease["login"] for lease in leases(gate)] == ["alice"]
            for name in ("leases.db", "leases.db-wal", "popgate.sock"):
                found = (place / "state" / name).stat()
                assert (found.st_uid, found.st_mode & 0o077) == (65534, 0), name
            log = place / "state" / "popgate.log"
            gate.write(merged(settings, {"log": {"file": str(log)}}))
            assert gate.command("reload").stdout == "reloaded\n"
            until(lambda: log.exists() and "reloaded" in log.read_text())
            assert log.stat().st_uid == 65534
            secrets = [file for file in place.rglob("*") if file.suffix in (".pem", ".db", ".sock")]
            assert [file for file in secrets if file.stat().st_mode & 0o077] == []
            os.kill(gate.workers()[0], signal.SIGKILL)
            until(lambda: len(gate.workers()) == 2)
            assert all(ids(pid) == [{"65534"}, {"65534"}] for pid in gate.workers())


def test_user_root_s_commands_leave_nothing_of_root(appliance: SampleAppliance) -> None:
    """A store that root had made would be closed to the popgate that starts next."""
    need("root")
    with nobody_s_house() as place, Popgate(nobody_s(config(appliance.pop3, appliance.smtp), place)) as gate:
        gate.stop()
        for file in (place / "state").iterdir():
            file.unlink()
        assert gate.command("leases", "grant", "127.0.0.1").returncode == 0
        assert (place / "state" / "leases.db").stat().st_uid == 65534
        gate.restart()
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_user_a_store_that_is_not_theirs_is_said_at_the_start(appliance: SampleAppliance) -> None:
    need("root")
    with nobody_s_house() as place:
        (place / "state" / "leases.db").touch(mode=0o600)
        with Popgate(nobody_s(config(appliance.pop3, appliance.smtp), place)) as gate:
            gate.process.expect('store-down .*why="uid 65534 can.t write it"')
            pop_login(gate.address("pop3"))


def test_user_a_key_that_is_closed_to_them_is_said_at_the_start(appliance: SampleAppliance) -> None:
    """Renewals come by a reload, two months later; nobody should learn of it then."""
    need("root")
    with nobody_s_house() as place:
        path = certificates.make(["mail.example.com"], place)
        with Popgate(nobody_s(config(appliance.pop3, appliance.smtp, path), place)) as gate:
            gate.process.expect("WARNING popgate key-closed path=.*mail.example.com.pem")
            serial(gate.address("pop3s"))
            assert "Permission denied" in one_line(gate.command("reload"))
            serial(gate.address("pop3s"))


def test_user_unknown_is_named(appliance: SampleAppliance) -> None:
    code, said = start_fails(config(appliance.pop3, appliance.smtp, user="nobody-of-that-name"))
    assert (code, "user: there is no user 'nobody-of-that-name'" in said) == (2, True), said


@contextlib.contextmanager
def nobody_s_house() -> Iterator[Path]:
    """A folder with one in it that is nobody's."""
    with Folder("nobody") as name:
        place = Path(name)
        (place / "state").mkdir()
        os.chown(place / "state", 65534, 65534)
        yield place


def nobody_s(settings: dict[str, Any], place: Path) -> dict[str, Any]:
    state = place / "state"
    return merged(
        settings,
        {
            "user": "nobody",
            "store": {"url": f"sqlite:{state}/leases.db"},
            "admin": {"control": f"{state}/popgate.sock"},
        },
    )


# --- what can't be started


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"log": {"file": "/nowhere/popgate.log"}}, "log.file: can't write /nowhere/popgate.log: No such file"),
        ({"admin": {"control": "/nowhere/popgate.sock"}}, "admin.control: can't make /nowhere/popgate.sock: No such"),
        ({"listener": {"smtp": {"bind": ["192.0.2.99:0"]}}}, "listener.smtp: can't listen on 192.0.2.99:0: Cannot"),
        ({"upstream": {"smtp": {"tls": "implicit", "tls_ca": "/nowhere.pem"}}}, "upstream.smtp: tls_ca: /nowhere.pem"),
        ({"gate": {"local_domains_file": "/nowhere"}}, "gate.local_domains_file: /nowhere can't be read"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    appliance: SampleAppliance, change: dict[str, Any], named: str
) -> None:
    code, said = start_fails(config(appliance.pop3, appliance.smtp, **change))
    assert (code, len(said.splitlines())) == (2, 1), said
    assert named in said


# --- the terminal


def test_a_reader_that_has_gone_is_no_error(gate: Popgate) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*PROGRAM, "check", "-c", str(gate.folder / "conf.d")],
            stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_is_one_line(gate: Popgate) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, "check", "-c", str(gate.folder / "conf.d")],
            stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"popgate: [Errno 28] No space left on device\n")


def test_a_terminal_without_output_is_no_error(gate: Popgate) -> None:
    words = [*PROGRAM, "leases", "-c", str(gate.folder / "conf.d")]
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
