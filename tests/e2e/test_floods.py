"""Too many of something: connections, handshakes, commands (threats B20, G3, G4, G9, G10; rules N2, N4).

Each flood runs beside an honest user, who is served in time; afterwards every descriptor is back, and memory
is where the bound says.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..support.attack import careless, client_hello, connected, crowd, drop
from ..support.dialogue import Dialogue
from ..support.keyupdate import Updater
from ..support.needs import need
from ..support.popgate import Popgate, config
from ..support.vitals import MIB, HonestUser, Vitals, eventually, noted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance

TOO_MANY = {"smtp": b"421 4.7.0 Too many connections", "pop3": b"-ERR [SYS/TEMP] Too many connections"}


# --- connections


@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_connections_per_client_is_a_bound_for_one_and_for_no_other(appliance: SampleAppliance, listener: str) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, limits={"connections_per_client": 20})) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            inside = [connected(gate.address(listener)) for _ in range(20)]
            assert all(sock.recv(4096)[:3] in (b"220", b"+OK") for sock in inside)
            for _ in range(500):
                with connected(gate.address(listener)) as outside:
                    assert outside.recv(4096).startswith(TOO_MANY[listener])
            drop(inside)
        vitals.settle()
        with connected(gate.address(listener)) as again:
            assert again.recv(4096)[:3] in (b"220", b"+OK")


def test_connections_is_a_bound_for_all(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, limits={"connections": 100})) as gate:
        vitals = Vitals(gate)
        sockets = crowd(gate.address("smtp"), 100)
        for listener in ("smtp", "pop3"):
            with Dialogue(gate.address(listener), "127.0.0.9") as outside:
                assert outside.rest().startswith(TOO_MANY[listener])
        drop(sockets)
        vitals.settle()
        with HonestUser(gate):
            pass


def test_thousands_of_idle_connections(appliance: SampleAppliance) -> None:
    """A crowd that only sits there: what one costs, and that nobody is slower for it."""
    size = 2000
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate) as user:
            sockets = crowd(gate.address("smtp"), size)
            each = vitals.grown() / size
            drop(sockets)
        vitals.settle()
    assert each < 12 << 10
    noted(f"{size} idle connections", f"{each / 1024:.1f} KiB each, an honest round took {user.slowest * 1000:.0f} ms")


# --- descriptors


@contextlib.contextmanager
def limited(descriptors: int) -> Iterator[None]:
    """What is started inside has at most so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def cpu_of_a_second(vitals: Vitals) -> float:
    """CPU seconds that the workers use in one second of the clock."""
    before, began = vitals.cpu(), time.monotonic()
    time.sleep(1.0)  # the figure is about a second: there is no state to wait for
    return (vitals.cpu() - before) / (time.monotonic() - began)


def test_N4_more_clients_than_descriptors_are_turned_away_before_they_run_out(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp)
    with Popgate(settings) as gate:
        (pid,) = gate.workers()
        # What a process may open is read when a worker starts: this one is replaced under a limit of 128.
        resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE, (128, 128))
        os.kill(pid, 9)
        gate.process.expect("worker-died")
        eventually(lambda: gate.workers() not in ([], [pid]), "a new worker")
        vitals = Vitals(gate)
        sockets = [connected(gate.address("smtp"), number) for number in range(200)]
        greeted = [sock.recv(4096)[:3] for sock in sockets]
        assert set(greeted) == {b"220", b"421"}
        assert greeted.count(b"220") == 32
        assert cpu_of_a_second(vitals) < 0.3
        drop(sockets)
        vitals.settle()
        assert "accept-failed" not in gate.process.output
        with HonestUser(gate):
            pass


def test_N4_when_descriptors_run_out_all_the_same_it_pauses_and_goes_on(appliance: SampleAppliance) -> None:
    """Another user of the process's descriptors than we thought of: accept says EMFILE."""
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        vitals = Vitals(gate)
        (pid,) = gate.workers()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (vitals.descriptors() + 21, 1024))
        sockets = [connected(gate.address("smtp"), number) for number in range(100)]
        gate.process.expect("accept-failed.*Too many open files")
        spent = cpu_of_a_second(vitals)
        assert spent < 0.3
        assert sockets[0].recv(4096).startswith(b"220"), "who is in is served"
        sockets[0].sendall(b"NOOP\r\n")
        assert sockets[0].recv(4096).startswith(b"250")
        drop(sockets)
        vitals.settle()
        with HonestUser(gate):
            pass
    noted("descriptors run out", f"{spent * 100:.0f} % CPU while they are out, served again when they are back")


# --- handshakes


@pytest.mark.parametrize("listener", ["smtps", "pop3s"])
def test_N2_half_open_handshakes(appliance: SampleAppliance, certificate: Path, listener: str) -> None:
    """Hundreds of clients that begin TLS and never finish; an honest one gets its handshake meanwhile."""
    size, hello = 600, client_hello()
    limits = {"handshake_timeout": "2s"}
    with Popgate(config(appliance.pop3, appliance.smtp, certificate, limits=limits)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate) as user:
            sockets = crowd(gate.address(listener), size, first=hello, waits=False)
            began = time.monotonic()
            with Dialogue(gate.address(listener), "127.0.0.9", careless()) as honest:
                honest.line()
            took = time.monotonic() - began
            each = vitals.grown() / size
            for sock in sockets:
                with contextlib.suppress(ConnectionError):
                    while sock.recv(65536):
                        pass
            drop(sockets)
        vitals.settle()
    assert took < user.patience
    assert each < 80 << 10
    noted(
        f"{size} half-open handshakes at {listener}",
        f"{each / 1024:.0f} KiB each, a good one took {took * 1000:.0f} ms",
    )


@pytest.mark.parametrize("rubbish", [b"\x14\x03\x03\x00\x01\x01", b"x", b"\x16\x03\x03\x40\x00"])
def test_N2_floods_behind_a_client_hello(appliance: SampleAppliance, certificate: Path, rubbish: bytes) -> None:
    """What comes behind a ClientHello while its handshake waits for its turn stays in the kernel."""
    size, block = 600, rubbish * 20000
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = crowd(gate.address("smtps"), size, waits=False)
            hello, most = client_hello(), 0
            for sock in sockets:
                sock.setblocking(False)
                sock.send(hello)
            alive, deadline = set(sockets), time.monotonic() + 60
            while alive and time.monotonic() < deadline:
                for sock in list(alive):
                    try:
                        sock.send(block)
                    except BlockingIOError:
                        pass
                    except OSError:
                        alive.discard(sock)
                most = max(most, vitals.grown())
            drop(sockets)
        vitals.settle()
    assert not alive, "each was cut"
    assert most < size * (96 << 10)
    noted(f"{size} floods behind a ClientHello", f"{most / MIB:.0f} MiB at most")


def test_N9_renegotiation_is_refused(tls_gate: Popgate) -> None:
    (openssl,) = need("openssl")
    host, port = tls_gate.address("smtps")
    with HonestUser(tls_gate):
        command = [openssl, "s_client", "-connect", f"{host}:{port}", "-tls1_2"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            said = b""
            while not said.startswith(b"220 "):  # a greeting in the middle of it would be another error
                said = client.stdout.readline()
                assert said
            client.stdin.write(b"R\n")  # and no end of input: it would leave before it has its answer
            client.stdin.flush()
            said = client.stdout.read()
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said.lower()


# --- keys


def test_B20_key_updates_without_end(appliance: SampleAppliance, certificate: Path) -> None:
    """TLS 1.3 lets a client change the keys when it likes, and ask for new ones: one record, several hashes for us."""
    size, count = 20, 5000
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        vitals = Vitals(gate)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Updater(gate.address("smtps"), number)) for number in range(size)]
            floods = [client.sender.updates(count) for client in clients]
            spent, most = vitals.cpu(), vitals.peak_grown()
            with HonestUser(gate) as user, ThreadPoolExecutor(size) as pool:
                went = list(pool.map(Updater.flood, clients, floods))
                assert all(client.over() for client in clients)
            spent, grown = vitals.cpu() - spent, vitals.peak_grown() - most
        vitals.settle()
    # Only now: a line of log may come a tick after what it tells of.
    assert sum(["TLS: WORDLESS" in line for line in gate.process.lines]) == size, went
    assert grown < size * (300 << 10)
    noted(
        f"{size} clients that only change their keys",
        f"{spent / size * 1000:.0f} ms of CPU and {grown / size / 1024:.0f} KiB each until they are cut, "
        f"an honest round took at most {user.slowest * 1000:.0f} ms",
    )


def test_B20_who_changes_keys_and_talks_is_served(appliance: SampleAppliance, certificate: Path) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, certificate)) as gate:
        with Updater(gate.address("smtps")) as client:
            for _ in range(100):
                client.socket.sendall(client.sender.updates(20) + client.sender.text(b"NOOP key\r\n"))
            client.socket.sendall(client.sender.text(b"QUIT\r\n"))
            assert client.over()
        gate.process.expect("smtp end client=127.2.0.1 .*cmds=101 .*why=quit")


# --- commands


@pytest.mark.parametrize(
    ("listener", "octets", "count"),
    [
        ("smtp", b"NOOP\r\n", 100_000),
        ("smtp", b"RSET\r\n", 100_000),
        ("smtp", b"VRFY root\r\n", 100_000),
        ("smtp", b"EHLO x\r\n", 10_000),
        ("pop3", b"CAPA\r\n", 10_000),
        ("pop3", b"NOOP\r\n", 10_000),
    ],
    ids=lambda value: value.split()[0].decode() if isinstance(value, bytes) else str(value),
)
def test_G10_a_hundred_thousand_tiny_commands(
    appliance: SampleAppliance, listener: str, octets: bytes, count: int
) -> None:
    """Pipelined where that is allowed.  Whoever wants answers gets them; nobody else waits for it."""
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate) as user, connected(gate.address(listener)) as sock:
            sock.recv(4096)
            if listener == "smtp":
                sock.sendall(b"EHLO x\r\n")
                sock.recv(4096)
            group = 1000 if listener == "smtp" and octets[:4] != b"EHLO" else 1
            end = b"\r\n.\r\n" if octets[:4] == b"CAPA" else b"\r\n"
            began = time.monotonic()
            for _ in range(count // group):
                sock.sendall(octets * group)
                answered, tail = 0, b""
                while answered < group:
                    got = sock.recv(65536)
                    assert got
                    lines = (tail + got).split(b"\r\n")
                    tail = lines.pop()
                    if octets[:4] == b"CAPA":
                        answered += lines.count(b".")
                    else:
                        answered += sum([line[3:4] != b"-" for line in lines])
            seconds = time.monotonic() - began
            assert end
        vitals.settle()
        assert vitals.grown() < 4 * MIB
    name = octets.split()[0].decode()
    noted(f"{count} {name}", f"{count / seconds:.0f}/s, an honest round took at most {user.slowest * 1000:.0f} ms")
