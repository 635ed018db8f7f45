"""Metrics and health by HTTP of a running popgate, as Prometheus and an orchestrator ask."""

from __future__ import annotations

import os
import poplib
import signal
import smtplib
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.figures import samples
from ..support.popgate import Popgate, config
from ..support.process import PATIENCE
from ..support.sockets import listener_at, sockets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.appliance import SampleAppliance

LIMIT = 3.0  # seconds for a page


def asked(popgate: Popgate, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{popgate.endpoint('admin.http')}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(popgate: Popgate, path: str, wanted: tuple[int, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := asked(popgate, path)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)  # what it says may be a second old: there is nothing to wait on


def counted(popgate: Popgate, wanted: dict[str, float]) -> None:
    """Wait until the figures are these; each is copied ten times a second, so there is nothing to wait on."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = samples(asked(popgate, "/metrics")[1])
        if (seen := {key: found[key] for key in wanted}) == wanted:
            return
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)


def page(popgate: Popgate) -> int:
    """The process id of who answers HTTP: the youngest child."""
    return popgate.workers()[-1]


@pytest.fixture
def popgate(appliance: SampleAppliance) -> Iterator[Popgate]:
    settings = config(appliance.pop3, appliance.smtp, workers=2, gate={"patience": "0s"}, admin={"http": "127.0.0.1:0"})
    with Popgate(settings) as made:
        yield made


def test_what_clients_do_is_in_the_metrics(popgate: Popgate) -> None:
    with smtplib.SMTP(*popgate.address("smtp"), timeout=PATIENCE) as smtp:
        smtp.ehlo()
        smtp.mail("alice@example.com")
        assert smtp.rcpt("friend@example.org")[0] == 554
    pop3 = poplib.POP3(*popgate.address("pop3"), timeout=PATIENCE)
    pop3.user("alice")
    pop3.pass_("secret")
    pop3.quit()
    with smtplib.SMTP(*popgate.address("smtp"), timeout=PATIENCE) as smtp:
        smtp.sendmail("alice@example.com", ["friend@example.org"], "Subject: hi\r\n\r\nhi\r\n")
    popgate.process.expect(r"smtp end .* msgs=1 ")
    smtp_, pop3_ = 'listener="smtp",', 'listener="pop3",'
    counted(
        popgate,
        {
            f'popgate_sessions_total{{{smtp_}protocol="smtp"}}': 2,
            f'popgate_logins_total{{{pop3_}protocol="pop3",result="accepted"}}': 1,
            f'popgate_leases_granted_total{{{pop3_}protocol="pop3"}}': 1,
            f'popgate_relays_total{{{smtp_}outcome="refused",protocol="smtp"}}': 1,
            f'popgate_relays_total{{{smtp_}outcome="allowed",protocol="smtp"}}': 1,
            f'popgate_refusals_total{{{smtp_}protocol="smtp",reason="no lease"}}': 1,
            f'popgate_messages_total{{{smtp_}protocol="smtp"}}': 1,
            "popgate_store_lookup_seconds_count": 2,
            "popgate_store_up": 1,
            "popgate_leases": 1,
            "popgate_workers_ready": 2,
        },
    )


def test_N5_a_killed_worker_leaves_its_counts_and_is_counted(popgate: Popgate) -> None:
    for _ in range(4):
        poplib.POP3(*popgate.address("pop3"), timeout=PATIENCE).quit()
    key = 'popgate_sessions_total{listener="pop3",protocol="pop3"}'
    counted(popgate, {key: 4})
    for worker in popgate.workers()[:2]:
        os.kill(worker, signal.SIGKILL)
    popgate.process.expect(r"worker-died worker=0")
    popgate.process.expect(r"worker-died worker=1")
    counted(popgate, {"popgate_worker_restarts_total": 2, key: 4})
    poplib.POP3(*popgate.address("pop3"), timeout=PATIENCE).quit()
    counted(popgate, {key: 5})


def test_ready_until_the_mail_server_goes(popgate: Popgate, appliance: SampleAppliance) -> None:
    assert asked(popgate, "/readyz") == (200, "ok\n")
    assert asked(popgate, "/healthz") == (200, "ok\n")
    appliance.close()
    for listener, reply in (("smtp", b"421 "), ("pop3", b"-ERR ")):
        with socket.create_connection(popgate.address(listener), timeout=PATIENCE) as client:
            assert client.recv(100).startswith(reply)
    until(popgate, "/readyz", (503, "no mail server answers\n"))
    assert asked(popgate, "/healthz") == (200, "ok\n")


def test_a_worker_that_stands_still_is_told_and_nobody_waits(popgate: Popgate) -> None:
    stopped = popgate.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        popgate.process.expect(r"worker-stalled")
        begun = time.monotonic()
        until(popgate, "/healthz", (503, "the loop of worker 0 stands still\n"))
        assert time.monotonic() - begun < LIMIT
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(popgate, "/healthz", (200, "ok\n"))


def test_it_is_restarted_and_mail_goes_on(popgate: Popgate) -> None:
    first = page(popgate)
    os.kill(first, signal.SIGKILL)
    popgate.process.expect(r"admin-died why=\"signal 9\"")
    until(popgate, "/healthz", (200, "ok\n"))
    assert page(popgate) != first
    poplib.POP3(*popgate.address("pop3"), timeout=PATIENCE).quit()


def test_N6_while_it_drains_it_is_not_ready_and_holds_no_port(popgate: Popgate) -> None:
    pop3 = poplib.POP3(*popgate.address("pop3"), timeout=PATIENCE)
    pop3.user("alice")
    pop3.pass_("secret")
    assert popgate.command("drain").returncode == 0
    until(popgate, "/readyz", (503, "draining\n"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(popgate.address("pop3"), timeout=PATIENCE)
    last = page(popgate)
    pop3.quit()
    assert popgate.process.wait() == 0
    assert not Path(f"/proc/{last}").exists()


def test_it_goes_with_a_supervisor_that_was_killed(popgate: Popgate) -> None:
    last = page(popgate)
    popgate.process.signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{last}").exists() and "Z" not in Path(f"/proc/{last}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_has_no_socket_of_the_mail_listeners(popgate: Popgate) -> None:
    mail = {listener_at(popgate.address(name)) for name in ("smtp", "pop3")}
    assert mail <= sockets_of(popgate.workers()[0])
    assert not mail & sockets_of(page(popgate))
    http = listener_at(popgate.address("admin.http"))
    assert http in sockets_of(page(popgate))
    assert http not in sockets_of(popgate.workers()[0])
