"""Other servers beside popgate: whoson by every transport across two workers, and a real Postfix that asks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.exim import Exim
from ..support.folder import Folder
from ..support.house import HOSTED
from ..support.needs import need
from ..support.popgate import Popgate, config, start_fails
from ..support.ports import free, server_host
from ..support.postfix import Postfix
from ..support.process import PATIENCE
from ..support.whoson import Libwhoson, Whosond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..support.appliance import SampleAppliance

PAGE = Path(__file__).parents[2] / "docs" / "neighbours.md"
HERE, THERE = "127.0.0.1", "192.0.2.7"
MANY = 40  # questions: enough that both workers answer some
ANSWERED = (b"Not logged in", b"Can't tell now, try again later")  # the store may be in a stopped worker's hands
KINDS = ["udp", "tcp", "unix"]


def doors(gate: Popgate, name: str = "whoson.listen") -> dict[str, tuple[str, int] | str]:
    """Where it listens for other servers, by kind."""
    found: dict[str, tuple[str, int] | str] = {}
    for line in gate.process.lines:
        if match := re.search(rf"listening listener={re.escape(name)} address=(\S+)", line):
            kind, _, place = match[1].rpartition(":")[0].rpartition(":")
            port = match[1].rpartition(":")[2]
            if match[1].startswith("unix:"):
                found["unix"] = match[1].removeprefix("unix:")
            else:
                found[kind or "tcp"] = (place, int(port))
    return found


def everywhere(tmp_path: Path) -> dict[str, list[str]]:
    """whoson by all ways, for whomever is on this machine."""
    listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", f"unix:{tmp_path}/whoson.sock"]
    return {"listen": listen, "allow": ["127.0.0.1"], "allow_login": ["127.0.0.1"]}


@pytest.fixture
def gate(appliance: SampleAppliance, tmp_path: Path) -> Iterator[Popgate]:
    """Two workers."""
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2, whoson=everywhere(tmp_path))) as gate:
        assert sorted(doors(gate)) == sorted(KINDS)
        yield gate


@pytest.fixture(params=KINDS)
def client(gate: Popgate, request: pytest.FixtureRequest) -> Iterator[Libwhoson]:
    with Libwhoson(request.param, doors(gate)[request.param]) as client:
        yield client


def test_who_has_logged_in_by_pop_is_known(gate: Popgate, client: Libwhoson) -> None:
    assert client.query(HERE) == (1, b"Not logged in")
    pop_login(gate.address("pop3"), "alice")
    for _ in range(MANY):
        assert client.query(HERE) == (0, b"alice")
        client.close()  # the next may meet the other worker
    assert client.query(THERE) == (1, b"Not logged in")


def test_a_login_elsewhere_opens_the_gate_and_a_logout_closes_it(gate: Popgate, client: Libwhoson) -> None:
    smtp = gate.address("smtp")
    assert send(smtp, [b"friend@example.org"]).startswith(b"554 ")
    assert client.login(HERE, "dialup") == (0, b"LOGIN OK")
    for _ in range(4):
        assert send(smtp, [b"friend@example.org"]).startswith(b"250 ")
    assert re.search(r"127\.0\.0\.1 +dialup +whoson ", gate.command("leases").stdout)
    assert client.logout(HERE) == (0, b"LOGOUT record deleted")
    assert send(smtp, [b"friend@example.org"]).startswith(b"554 ")
    assert client.logout(HERE) == (0, b"LOGOUT no such record, nothing done")
    gate.process.expect(r"INFO whoson leased client=127.0.0.1 login=dialup")
    gate.process.expect(r"INFO whoson logged-out client=127.0.0.1 leases=1")


@pytest.mark.parametrize("kind", KINDS)
def test_both_workers_answer(appliance: SampleAppliance, tmp_path: Path, kind: str) -> None:
    """Whichever is stopped, the other answers: the sockets are both's."""
    settings = config(
        appliance.pop3, appliance.smtp, workers=2, whoson=everywhere(tmp_path), store={"timeout": "200ms"}
    )
    with Popgate(settings) as gate, Libwhoson(kind, doors(gate)[kind]) as client:
        assert len(gate.workers()) == 2
        for worker in gate.workers():
            os.kill(worker, signal.SIGSTOP)
            try:
                assert client.query(HERE)[1] in ANSWERED
            finally:
                os.kill(worker, signal.SIGCONT)
            client.close()


def test_what_is_allowed_changes_with_a_reload_and_where_it_listens_does_not(
    gate: Popgate, appliance: SampleAppliance
) -> None:
    udp, tcp, unix = (doors(gate)[kind] for kind in KINDS)
    whoson: dict[str, list[str]] = {"listen": ["udp:127.0.0.1:0"]}
    gate.write(config(appliance.pop3, appliance.smtp, workers=2, whoson=whoson))
    assert "whoson.listen changes: that needs a restart" in gate.reload("reload-refused")
    whoson = {"listen": ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", f"unix:{unix}"], "allow": ["192.0.2.0/24"]}
    gate.write(config(appliance.pop3, appliance.smtp, workers=2, whoson=whoson))
    gate.reload("reloaded")
    for client in (Libwhoson("tcp", tcp), Libwhoson("udp", udp)):
        while client.query(HERE) != (-1, b"Access denied"):  # a worker hears of the reload a moment later
            client.close()
        client.close()
    gate.process.expect(r'WARNING whoson turned-away client=127.0.0.1 why="not allowed"')
    with Libwhoson("unix", unix) as local:
        assert local.query(HERE)[0] == 1


def test_the_unix_socket_is_closed_to_others_and_replaced_by_the_next_start(gate: Popgate) -> None:
    place = str(doors(gate)["unix"])
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o660
    gate.restart()
    with Libwhoson("unix", place) as client:
        assert client.query(HERE)[0] == 1


def test_a_socket_that_somebody_serves_is_not_taken(gate: Popgate, appliance: SampleAppliance) -> None:
    place = doors(gate)["unix"]
    code, said = start_fails(config(appliance.pop3, appliance.smtp, whoson={"listen": [f"unix:{place}"]}))
    assert code == 2
    assert f"whoson.listen: a popgate is running already at {place}" in said


def test_exim_s_readsocket_form(gate: Popgate) -> None:
    """One question on a TCP connection whose writing side is closed behind it, until the end."""
    pop_login(gate.address("pop3"), "alice")
    place = doors(gate)["tcp"]
    assert isinstance(place, tuple)
    with Dialogue(place) as exim:
        exim.say(b"QUERY 127.0.0.1\r\n\r\n")
        exim.half_close()
        assert exim.rest() == b"+alice\r\n\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_at_another_server_counts_for_each_message_alone(
    appliance: SampleAppliance, tmp_path: Path, kind: str
) -> None:
    with Whosond(f"{tmp_path}/other.sock") as other:
        server = {"udp": other.udp, "tcp": other.tcp, "unix": other.unix}[kind]
        gate = {"patience": "0s"}
        with Popgate(config(appliance.pop3, appliance.smtp, gate=gate, whoson={"ask": [server]})) as popgate:
            smtp = popgate.address("smtp")
            assert send(smtp, [b"friend@example.org"]).startswith(b"554 ")
            other.records[b"127.0.0.1"] = b"anna"
            assert send(smtp, [b"friend@example.org"]).startswith(b"250 ")
            popgate.process.expect(rf'INFO smtp relayed .*login=anna why="whoson {re.escape(server)}: anna"')
            assert popgate.command("leases", "list", "--json").stdout.strip() in ("[]", '{"leases": []}')
            other.records.clear()
            assert send(smtp, [b"friend@example.org"]).startswith(b"554 ")
            asked = len(other.requests)
            assert send(smtp, [b"bob@example.com"]).startswith(b"250 ")
            assert len(other.requests) == asked, "local mail asks nobody"
            other.answer = b"*Access denied\r\n\r\n"
            assert send(smtp, [b"friend@example.org"]).startswith(b"451 4.3.0")
        assert other.crashes == []


@pytest.mark.parametrize("kind", KINDS)
def test_another_server_is_told_of_every_pop_login(appliance: SampleAppliance, tmp_path: Path, kind: str) -> None:
    with Whosond(f"{tmp_path}/other.sock") as other:
        server = {"udp": other.udp, "tcp": other.tcp, "unix": other.unix}[kind]
        with Popgate(config(appliance.pop3, appliance.smtp, workers=2, whoson={"tell": [server]})) as popgate:
            for login in ("alice", "bob"):
                pop_login(popgate.address("pop3"), login)
                eventually(lambda: other.records.get(b"127.0.0.1") == login.encode())  # noqa: B023
        assert set(other.requests) == {b"LOGIN 127.0.0.1 alice\r\n\r\n", b"LOGIN 127.0.0.1 bob\r\n\r\n"}


def test_two_popgates_that_ask_and_tell_each_other_keep_nothing_alive(appliance: SampleAppliance) -> None:
    """A login at one opens both; when the leases have ended, both are closed, whatever they ask each other."""
    host = server_host()
    doors = [f"tcp:{host}:{free(host)}" for _ in range(2)]

    def node(own: str, other: str) -> Popgate:
        whoson = {"listen": [own], "allow_login": ["127.0.0.1"], "ask": [other], "tell": [other]}
        gate = {"window": "4s", "max_age": "4s", "patience": "0s"}
        return Popgate(config(appliance.pop3, appliance.smtp, gate=gate, whoson=whoson))

    with node(*doors) as one, node(*reversed(doors)) as two:
        pop_login(one.address("pop3"), "alice")
        two.process.expect("INFO whoson leased client=127.0.0.1 login=alice")
        ends = time.monotonic() + 4.0
        for gate in (one, two):
            assert send(gate.address("smtp"), [b"friend@example.org"]).startswith(b"250 ")
        for gate in (one, two):
            eventually(lambda: send(gate.address("smtp"), [b"friend@example.org"]).startswith(b"554 "))  # noqa: B023
        assert time.monotonic() - ends < PATIENCE
        assert len(re.findall("whoson leased", one.process.output)) == 0
        assert len(re.findall("whoson leased", two.process.output)) == 1


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end


def pasted(language: str) -> str:
    """What the administrator pastes."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(text)


def test_an_exim_beside_the_appliance_relays_for_whom_popgate_would(
    gate: Popgate, appliance: SampleAppliance, tmp_path: Path
) -> None:
    need("root", "exim4")
    tcp = doors(gate)["tcp"]
    lines = pasted("exim").replace("127.0.0.1:9876", f"{tcp[0]}:{tcp[1]}")
    exim = Exim(f"accept domains = +local_domains\n{lines}\ndeny message = relay not permitted")
    try:
        friend, local = b"friend@example.org", f"bob@{HOSTED}".encode()
        assert send(exim.address, [friend]).startswith(b"550 relay not permitted")
        pop_login(gate.address("pop3"), "alice")
        assert send(exim.address, [friend]).startswith(b"250 ")
        gate.stop()
        assert send(exim.address, [friend]).startswith(b"451 ")
        assert send(exim.address, [local]).startswith(b"250 ")
    finally:
        exim.close()


ASKING = """
smtpd_recipient_restrictions =
mynetworks = 192.0.2.1/32
"""


@contextlib.contextmanager
def asking(gate: Popgate) -> Iterator[Postfix]:
    """A Postfix that relays for nobody but whom popgate names."""
    (place,) = doors(gate, "postfix.policy").values()
    door = f"unix:{place}" if isinstance(place, str) else f"inet:{place[0]}:{place[1]}"
    postfix = Postfix(more=ASKING + pasted("postfix").replace("inet:127.0.0.1:10031", door))
    try:
        yield postfix
    finally:
        postfix.close()


@pytest.mark.parametrize("kind", ["inet", "unix"])
def test_a_postfix_beside_the_appliance_relays_for_whom_popgate_would(appliance: SampleAppliance, kind: str) -> None:
    need("postfix", "root")
    folder = Folder("policy")
    policy = "127.0.0.1:0" if kind == "inet" else f"unix:{folder.path}/policy.sock"
    settings = config(appliance.pop3, appliance.smtp, workers=2, postfix={"policy": policy})
    with folder, Popgate(settings) as gate, asking(gate) as postfix:
        assert send(postfix.address, [b"friend@example.org"]).startswith(b"554 ")
        assert send(postfix.address, [b"bob@example.com"]).startswith(b"250 ")
        pop_login(gate.address("pop3"), "alice")
        assert send(postfix.address, [b"friend@example.org"]).startswith(b"250 ")
        assert postfix.sink.take("friend@example.org")
        gate.process.expect(r"INFO postfix judged client=127.0.0.1 .*recipient=friend@example.org verdict=allow")
        gate.command("leases", "revoke", HERE)
        assert send(postfix.address, [b"friend@example.org"]).startswith(b"554 ")


def test_G7_a_postfix_defers_what_it_would_refuse_while_the_store_is_down(
    appliance: SampleAppliance, tmp_path: Path
) -> None:
    need("postfix", "root")
    (tmp_path / "leases.db").write_bytes(b"no store" * 1000)
    store = {"url": f"sqlite:{tmp_path}/leases.db"}
    with (
        Popgate(config(appliance.pop3, appliance.smtp, store=store, postfix={"policy": "127.0.0.1:0"})) as gate,
        asking(gate) as postfix,
    ):
        assert send(postfix.address, [b"friend@example.org"]).startswith(b"450 4.3.0 ")
        assert send(postfix.address, [b"bob@example.com"]).startswith(b"250 ")
