"""proxy/leases/redis/store.py: trouble, time limits, late grants, lost stores, nodes side by side, on a real server.

Answers in good weather are in test_leases_contract.py, the connection itself in test_leases_redis_connection.py.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy import certificates
from proxy.config import Config, Store
from proxy.errors import StoreUnavailable
from proxy.leases import retry_queue as late_module
from proxy.leases.base import Lease, Term
from proxy.leases.clock import Clock
from proxy.leases.redis import scripts as redis_scripts
from proxy.leases.redis import store as module
from proxy.leases.redis.connection import Server
from proxy.leases.redis.store import RedisStore
from proxy.runtime import open_store
from proxy.selftest import shared
from proxy.selftest.findings import Findings
from proxy.shared_memory.unwritten_leases import UnwrittenLeases
from tests.support.clocks import LOOPS, PATIENCE, FakeClock, answer
from tests.support.configuration import loaded
from tests.support.needs import need
from tests.support.ports import free, server_host
from tests.support.process import Process
from tests.support.redis import RedisServer, ServerClock, let_go, turn_by_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = b"\xc0\x00\x02\x01"
OFFICE = b"\xc0\x00\x02\x02"
WINDOW = 1800.0
SLACK = 2.0  # s that a loaded machine may add to a timeout
POOL_PAGE = Path(__file__).parents[2] / "docs" / "pool.md"
AWAY = 300.0  # s; a timeout that no test reaches


class Node:
    """One worker: a store on the loop of all, and its methods as plain calls."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: Server,
        timeout: float,
        clock: Clock | None = None,
        unwritten: UnwrittenLeases | None = None,
    ) -> None:
        self.loop = loop
        self.news: list[str] = []
        self.store = RedisStore(
            server, clock or Clock(), timeout, unwritten, WINDOW, lambda event, _why: self.news.append(event)
        )
        self.store.start(loop)

    def find(self, address: bytes) -> Any:
        """The logins that hold the address, or why that is not known."""
        found = answer(self.loop, lambda then: self.store.find(address, then))
        return found if isinstance(found, StoreUnavailable) else sorted(lease.login for lease in found)

    def grant(self, address: bytes, login: str, window: float = WINDOW, limit: int = 0) -> Any:
        return answer(self.loop, lambda then: self.store.grant(address, login, "pop3", window, then, limit))

    def revoke(self, address: bytes | None, login: str | None = None) -> Any:
        return answer(self.loop, lambda then: self.store.revoke(address, login, then))

    def all(self) -> list[Lease]:
        found = answer(self.loop, self.store.all)
        assert isinstance(found, list), found
        return found

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            self.loop.run_until_complete(asyncio.sleep(0.005))

    def settled(self) -> Node:
        """Connected, and told how the store is."""
        self.until(lambda: self.store.is_ready)
        return self

    def beat(self) -> None:
        """What happens once a second, now."""
        self.store.check_state()
        self.until(lambda: self.store.is_ready)


Start = Any  # Callable with default arguments; see `start`


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    errors: list[object] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    yield loop
    loop.close()
    assert errors == []


@pytest.fixture
def start(loop: asyncio.AbstractEventLoop, emptied_redis: RedisServer) -> Iterator[Start]:
    nodes: list[Node] = []

    def start(
        server: Server | None = None,
        timeout: float = AWAY,
        clock: Clock | None = None,
        unwritten: UnwrittenLeases | None = None,
    ) -> Node:
        nodes.append(Node(loop, server or emptied_redis.server, timeout, clock, unwritten))
        return nodes[-1]

    yield start
    for node in nodes:
        node.store.close()
    let_go(loop)


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server that may be harmed."""
    with RedisServer() as server:
        yield server


# Nodes side by side


def test_G5_a_login_on_one_node_opens_the_gate_on_all_at_once(start: Start) -> None:
    one, other = start().settled(), start().settled()
    for number in range(50):
        login = str(number)
        assert one.grant(HOME, login) == number + 1
        assert login in other.find(HOME)


def test_revoking_is_everywhere_at_once(start: Start) -> None:
    one, other = start().settled(), start().settled()
    for address in (HOME, OFFICE):
        one.grant(address, "al")
        other.grant(address, "bo")
    assert other.revoke(None, "al") == 2
    assert one.find(HOME) == one.find(OFFICE) == ["bo"]
    assert one.revoke(HOME) == 1
    assert other.find(HOME) == []
    assert other.find(OFFICE) == ["bo"]


def test_G3_no_two_nodes_can_take_the_last_place(start: Start, loop: asyncio.AbstractEventLoop) -> None:
    nodes = [start().settled() for _ in range(4)]
    counts: list[Any] = []
    for number in range(40):
        nodes[number % 4].store.grant(HOME, str(number), "pop3", WINDOW, counts.append, 10)
    nodes[0].until(lambda: len(counts) == 40)
    assert sorted(counts) == [*range(1, 11), *[11] * 30]
    assert len(nodes[0].find(HOME)) == 10


def test_questions_that_come_side_by_side_share_one_connection_and_few_writes(
    start: Start, emptied_redis: RedisServer
) -> None:
    node = start().settled()
    answers: list[Any] = []
    with emptied_redis.client() as client:
        before = client.info("clients")["connected_clients"]
        for number in range(1000):
            node.store.find(number.to_bytes(4, "big"), answers.append)
        node.until(lambda: len(answers) == 1000)
        assert client.info("clients")["connected_clients"] == before
    assert answers == [[]] * 1000


def test_a_question_is_one_round_trip(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    node.grant(HOME, "al")
    with emptied_redis.client() as client:
        client.config_resetstat()
        for _ in range(10):
            node.grant(HOME, "al")
            node.find(HOME)
        calls = {name: found["calls"] for name, found in client.info("commandstats").items()}
    assert 20 <= calls["cmdstat_evalsha"] <= 20 + 10  # and the questions for the state, once a second
    assert "cmdstat_eval" not in calls


def test_what_is_asked_in_a_row_is_done_in_that_order_also_by_a_server_that_is_new_to_it(
    start: Start, emptied_redis: RedisServer
) -> None:
    with emptied_redis.client() as client:
        client.script_flush()
    node = start()
    answers: list[Any] = []
    for number in range(3):
        node.store.grant(HOME, "al", "pop3", WINDOW, answers.append)
        node.store.charge(HOME, "al", "pop3", 1, 1, 60.0)
        node.store.all(lambda leases: answers.append([lease.messages for lease in leases]))
        node.store.revoke(HOME, None, answers.append)
        node.until(lambda number=number: len(answers) == 3 * (number + 1))  # type: ignore[misc]
    assert answers == [1, [1], 1] * 3


def test_scripts_that_the_server_has_forgotten_are_sent_again(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    node.grant(HOME, "al")
    with emptied_redis.client() as client:
        client.script_flush()
    assert node.grant(HOME, "bo") == 2
    assert node.find(HOME) == ["al", "bo"]


def test_databases_are_apart_also_for_who_waits(start: Start, emptied_redis: RedisServer) -> None:
    here = start().settled()
    there = start(Server(emptied_redis.host, emptied_redis.port, 1)).settled()
    heard: list[bytes | None] = []
    there.store.watch(heard.append)
    there.until(lambda: heard == [None])
    here.grant(HOME, "al")
    assert there.find(HOME) == []
    assert there.all() == []
    assert heard == [None]


def test_all_comes_in_steps(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP", 3)
    node = start().settled()
    for number in range(100):
        node.grant(number.to_bytes(4, "big"), "al")
    assert [lease.address for lease in node.all()] == [number.to_bytes(4, "big") for number in range(100)]


# Who waits


def test_G9_grants_of_all_nodes_are_told_with_their_address(start: Start) -> None:
    one, other = start().settled(), start().settled()
    heard: list[bytes | None] = []
    one.store.watch(heard.append)
    one.until(lambda: heard == [None])  # what came before the subscription was not heard
    other.grant(HOME, "al")
    one.until(lambda: heard == [None, HOME])
    one.grant(OFFICE, "bo")
    one.until(lambda: heard == [None, HOME, OFFICE])
    one.store.watch(None)
    one.grant(HOME, "cy")
    one.find(HOME)
    assert len(heard) == 3


def test_G9_a_refused_login_is_not_told(start: Start) -> None:
    node = start().settled()
    heard: list[bytes | None] = []
    node.store.watch(heard.append)
    node.grant(HOME, "al", limit=1)
    assert node.grant(HOME, "bo", limit=1) == 2
    node.find(HOME)
    assert heard == [None, HOME]


def test_G9_without_a_watcher_nothing_is_subscribed_to(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    with emptied_redis.client() as client:
        assert client.pubsub_channels() == []
        node.store.watch(lambda _address: None)
        node.find(HOME)
        assert client.pubsub_channels() == [b"popgate:granted:0"]
        node.store.watch(None)
        node.find(HOME)
        assert client.pubsub_channels() == []


def test_G9_a_lost_subscription_is_made_again_and_told(start: Start, emptied_redis: RedisServer) -> None:
    node, other = start().settled(), start().settled()
    heard: list[bytes | None] = []
    node.store.watch(heard.append)
    node.until(lambda: heard == [None])
    with emptied_redis.client() as client:
        client.client_kill_filter(_type="pubsub")
    node.until(lambda: heard == [None, None])
    other.grant(HOME, "al")
    node.until(lambda: heard == [None, None, HOME])


# Time


@pytest.fixture
def clock(emptied_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerClock]:
    turn_by_hand(monkeypatch)
    clock = ServerClock(emptied_redis)
    yield clock
    clock.close()


def test_G8_the_clock_of_a_node_does_not_matter(start: Start, clock: ServerClock) -> None:
    node = start(clock=clock).settled()
    node.grant(HOME, "al", window=100.0)
    clock.step_wall(-86400.0)
    (lease,) = node.all()
    assert lease.left == 100.0
    assert lease.expires == clock.wall() + 100.0, "people read it beside their own clock"
    clock.advance(99.5)
    assert node.find(HOME) == ["al"]
    clock.advance(0.5)
    assert node.find(HOME) == []


def test_what_nobody_asks_for_any_more_vanishes(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    node.grant(HOME, "al", window=100.0)
    node.grant(HOME, "bo", window=200.0)
    node.revoke(OFFICE, "nobody")
    with emptied_redis.client() as client:
        ends = {key.decode(): client.pttl(key) / 1000 for key in client.keys("popgate:*")}
    assert ends.keys() == {
        "popgate:lease:192.0.2.1",
        "popgate:login:al",
        "popgate:login:bo",
        "popgate:revoked",
        "popgate:state",
    }
    assert ends["popgate:lease:192.0.2.1"] == pytest.approx(200, abs=5)
    assert ends["popgate:login:al"] == pytest.approx(100, abs=5)
    assert ends["popgate:revoked"] == pytest.approx(86400, abs=5)
    assert ends["popgate:state"] < 0, "this one stays"


def test_a_key_outlives_its_renewed_lease(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    node.grant(HOME, "al", window=100.0)
    node.store.renew([(HOME, "al", "pop3", 5000.0)])
    node.find(HOME)
    with emptied_redis.client() as client:
        assert client.pttl("popgate:lease:192.0.2.1") / 1000 == pytest.approx(5000, abs=5)
    assert node.revoke(None, "al") == 1


def test_the_index_of_a_login_forgets_what_has_ended(start: Start, clock: ServerClock) -> None:
    node = start(clock=clock).settled()
    for number in range(20):
        node.grant(number.to_bytes(4, "big"), "al", window=10.0)
        clock.advance(10.0)
    assert clock._client.zcard("popgate:login:al") == 1


# Down


def down(server: RedisServer) -> Server:
    """Where nobody listens."""
    return Server(server.host, 1)


def test_G7_nobody_there_is_unavailable_and_never_no_lease(start: Start, emptied_redis: RedisServer) -> None:
    node = start(down(emptied_redis), timeout=0.2)
    begun = time.monotonic()
    assert isinstance(node.find(HOME), StoreUnavailable)
    assert isinstance(node.revoke(HOME), StoreUnavailable)
    assert isinstance(node.grant(HOME, "al"), StoreUnavailable)
    assert isinstance(answer(node.loop, node.store.all), StoreUnavailable)
    assert time.monotonic() - begun < 4 * 0.2 + SLACK
    node.store.renew([(HOME, "al", "pop3", 60.0)])
    node.store.charge(HOME, "al", "pop3", 1, 1, 60.0)
    assert node.store.late == 1
    node.until(lambda: node.news == ["store-down"])


def test_G7_the_answer_says_where_and_why(start: Start, emptied_redis: RedisServer) -> None:
    node = start(down(emptied_redis))
    assert str(node.find(HOME)) == f"redis {emptied_redis.host}:1: Connection refused"


def test_G7_a_server_that_hangs_is_unavailable_in_time_and_comes_back(own: RedisServer, start: Start) -> None:
    node = start(own.server, timeout=0.1).settled()
    assert node.grant(HOME, "al") == 1
    own.freeze()
    begun = time.monotonic()
    assert str(node.find(HOME)) == "no answer within 100 ms"
    assert str(node.grant(OFFICE, "bo")) == "no answer within 100 ms"
    assert time.monotonic() - begun < 0.2 + SLACK
    own.thaw()
    node.until(lambda: node.find(OFFICE) == ["bo"])
    assert node.find(HOME) == ["al"]


def test_G7_a_server_that_hangs_for_long_is_left_and_found_again(
    own: RedisServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.05)
    monkeypatch.setattr(module, "_DEAD", 0.2)
    node = start(own.server, timeout=0.1).settled()
    own.freeze()
    node.until(lambda: node.news == ["store-down"])
    assert isinstance(node.grant(HOME, "al"), StoreUnavailable)
    own.thaw()
    node.until(lambda: node.news == ["store-down", "store-back"])
    node.until(lambda: node.find(HOME) == ["al"])


def test_G7_grants_made_while_it_was_down_are_written_with_the_end_they_would_have_had(
    own: RedisServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_by_hand(monkeypatch)
    clock = ServerClock(own)
    node = start(own.server, clock=clock, timeout=0.2).settled()
    own.kill()
    assert isinstance(node.grant(HOME, "al", window=100.0), StoreUnavailable)
    assert node.store.late == 1
    clock._show = lambda: None  # type: ignore[method-assign]  # nobody there to be shown it
    clock.advance(30.0)
    own.start()
    del clock._show
    clock._show()
    node.until(lambda: node.store.late == 0)
    node.until(lambda: node.find(HOME) == ["al"])
    (lease,) = node.all()
    assert lease.left == pytest.approx(70.0, abs=0.001)
    assert lease.granted == pytest.approx(clock.wall() - 30.0, abs=0.001)
    clock.close()


def test_G7_while_leases_wait_to_be_written_no_worker_of_the_node_says_no_lease(own: RedisServer, start: Start) -> None:
    unwritten = UnwrittenLeases()
    other = start(own.server, unwritten=unwritten).settled()
    assert other.find(HOME) == []
    unwritten.note(1)
    assert str(other.find(HOME)) == "leases wait to be written"
    unwritten.note(0)
    assert other.find(HOME) == []


def test_G7_after_an_outage_nobody_says_no_lease_until_all_have_written(
    own: RedisServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 1.0)
    persistent = own.client()
    node = start(own.server, timeout=5.0).settled()
    assert node.find(HOME) == []
    persistent.client_kill_filter(_type="normal", skipme=True)
    persistent.close()
    node.until(lambda: node.news == ["store-down", "store-back"])
    assert str(node.find(HOME)) == "the store could not be asked a moment ago"
    node.until(lambda: node.find(HOME) == [])


def test_G7_what_waits_has_a_bound(start: Start, monkeypatch: pytest.MonkeyPatch, own: RedisServer) -> None:
    node = start(own.server).settled()
    monkeypatch.setattr("proxy.leases.in_flight.WAITING_MAX", 3)
    own.freeze()
    answers: list[Any] = []
    for _ in range(5):
        node.store.find(HOME, answers.append)
    assert [str(found) for found in answers] == ["too many questions are waiting"] * 2
    own.thaw()
    node.until(lambda: len(answers) == 5)


def test_G7_a_question_before_the_first_connection_waits_for_it(start: Start) -> None:
    assert start().find(HOME) == []


def test_G4_a_renewal_that_failed_is_tried_again(own: RedisServer, start: Start) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(*options) as lasting:
        node = start(lasting.server, timeout=0.5).settled()
        node.grant(HOME, "al", window=100.0)
        lasting.kill()
        node.until(lambda: "store-down" in node.news)
        node.store.renew([(HOME, "al", "pop3", 500.0), (OFFICE, "bo", "pop3", 500.0)])
        lasting.start()
        node.until(lambda: "store-back" in node.news)
        node.until(lambda: node.find(HOME) == ["al"] and node.all()[0].left > 400)
        assert len(node.all()) == 1


def test_G3_a_late_grant_is_bound_to_its_limit_and_the_first_come_is_served_first(
    own: RedisServer, start: Start
) -> None:
    node, other = start(own.server).settled(), start(own.server).settled()
    other.grant(HOME, "al")
    for login in ("bo", "cy"):
        node.store.retries.grant_failed(Term.starting(Clock(), HOME, login, "pop3", WINDOW, limit=2))
    node.store.retries.grant_failed(Term.starting(Clock(), HOME, "al", "admin", WINDOW, limit=2))
    node.store.retries.retry()
    node.until(lambda: node.store.in_flight.asked == 0)
    assert other.find(HOME) == ["al", "al", "bo"]
    assert node.grant(HOME, "dy", limit=2) == 3


@pytest.mark.parametrize("ended_first", [True, False])
def test_G7_a_late_grant_does_not_come_back_after_a_revocation_elsewhere(
    own: RedisServer, start: Start, monkeypatch: pytest.MonkeyPatch, ended_first: bool
) -> None:
    monkeypatch.setattr(late_module, "RETRY", 3600.0)
    node, other = start(own.server).settled(), start(own.server).settled()
    assert other.find(HOME) == []
    term_made = node.store.retries.grant_failed
    node.grant(OFFICE, "bo")
    term_made(Term.starting(Clock(), HOME, "al", "pop3", WINDOW))
    if ended_first:
        assert other.revoke(HOME) == 0
        node.beat()
        assert node.store.late == 0
    node.store.retries.retry()
    node.until(lambda: node.find(OFFICE) == ["bo"])
    assert other.find(HOME) == ([] if ended_first else ["al"])


def test_a_store_that_may_not_be_entered_says_so_without_the_password(start: Start) -> None:
    with RedisServer(password="sEcReT-1") as locked:
        server = Server(locked.host, locked.port, password="wrong-sEcReT")
        node = start(server)
        said = str(node.find(HOME))
        assert "WRONGPASS" in said
        assert "sEcReT" not in said + repr(server) + str(server)
        assert "NOAUTH" in str(start(Server(locked.host, locked.port)).find(HOME))
        assert start(locked.server).grant(HOME, "al") == 1


def test_a_user_of_its_own_needs_no_more_rights_than_the_readme_gives_it(
    start: Start, emptied_redis: RedisServer
) -> None:
    [rights] = re.findall(r"^user popgate on >PASSWORD (.*)$", POOL_PAGE.read_text("utf-8"), re.MULTILINE)
    with emptied_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "popgate", "reset", "on", ">pw", *rights.split())
        node = start(Server(emptied_redis.host, emptied_redis.port, user="popgate", password="pw")).settled()
        heard: list[bytes | None] = []
        node.store.watch(heard.append)
        assert node.grant(HOME, "al") == 1
        node.store.renew([(HOME, "al", "pop3", 5000.0)])
        node.store.charge(HOME, "al", "pop3", 1, 1, 60.0)
        (lease,) = node.all()
        assert (lease.messages, round(lease.left)) == (1, 5000)
        assert heard == [None, HOME]
        assert node.revoke(None, "al") == 1
        found = Findings("store")
        shared.inspect(Config(store=Store(f"redis://popgate:pw@{emptied_redis.host}:{emptied_redis.port}/0")), found)
        assert [level for level, _ in found.lines()] == ["ok"] * 3
        client.execute_command("ACL", "DELUSER", "popgate")


def test_a_subscription_that_is_not_allowed_costs_no_reply_its_place(start: Start, emptied_redis: RedisServer) -> None:
    with emptied_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "deaf", "reset", "on", ">pw", "~*", "resetchannels", "+@all")
        node = start(Server(emptied_redis.host, emptied_redis.port, user="deaf", password="pw")).settled()
        node.store.watch(lambda _address: None)
        assert node.find(HOME) == []
        assert "can't publish" in str(node.grant(HOME, "al"))
        assert isinstance(node.find(OFFICE), StoreUnavailable), "a login waits to be written"
        assert len(node.all()) == 1
        client.execute_command("ACL", "DELUSER", "deaf")


def test_a_full_server_can_be_read(start: Start) -> None:
    with RedisServer("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as small, small.client() as client:
        node = start(small.server).settled()
        assert node.grant(HOME, "al") == 1
        client.config_set("maxmemory", "1mb")
        assert "OOM" in str(node.grant(OFFICE, "bo"))
        assert node.find(HOME) == ["al"]
        assert isinstance(node.find(OFFICE), StoreUnavailable), "a login waits to be written"
        client.config_set("maxmemory", "100mb")
        node.until(lambda: node.find(OFFICE) == ["bo"])


def test_a_replica_is_turned_away(own: RedisServer, start: Start) -> None:
    with RedisServer("--replicaof", own.host, str(own.port)) as replica:
        node = start(own.server).settled()
        other = start(replica.server, timeout=1.0)
        assert isinstance(other.grant(HOME, "al"), StoreUnavailable)
        assert isinstance(other.find(HOME), StoreUnavailable)
        assert node.find(HOME) == []


HAPROXY = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen redis
    bind {host}:{port}
    option tcp-check
    tcp-check send info\\ replication\\r\\n
    tcp-check expect string role:master
    default-server inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions
    server one {one.host}:{one.port} check
    server two {two.host}:{two.port} check
"""


def test_a_failover_behind_haproxy_is_followed_and_loses_no_lease(start: Start, tmp_path: Path) -> None:
    (haproxy,) = need("haproxy")
    host = server_host()
    port = free(host)
    with RedisServer() as one, RedisServer("--replicaof", one.host, str(one.port)) as two, two.client() as client:
        (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(host=host, port=port, one=one, two=two))
        with Process([haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")]):
            node = start(Server(host, port), timeout=5.0)
            node.until(lambda: node.find(bytes(4)) == [])
            assert node.grant(HOME, "al") == 1
            node.until(lambda: client.exists("popgate:lease:192.0.2.1"))
            client.replicaof("no", "one")  # the new master hears nothing any more
            assert node.grant(OFFICE, "bo") == 1
            one.kill()
            node.until(lambda: node.find(OFFICE) == ["bo"])
            assert node.find(HOME) == ["al"]
            assert node.news[-1] == "store-back"


def test_tls_with_an_authority_of_its_own(start: Start, certificate: Path) -> None:
    import ssl

    with RedisServer(certificate=certificate) as secret:
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False  # the server's address is the tests' own
        assert start(Server(secret.host, secret.port, tls=context)).grant(HOME, "al") == 1
        strict = ssl.create_default_context()
        assert "TLS: " in str(start(Server(secret.host, secret.port, tls=strict)).find(HOME))
        assert isinstance(start(secret.server, timeout=0.5).find(HOME), StoreUnavailable), "no TLS against TLS"


def test_tls_as_the_configuration_names_it(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    host = server_host()
    made = certificates.make([host], tmp_path, file="redis.pem")
    with RedisServer(certificate=made, host=host, password="p@/?s") as secret:
        url = secret.url(2).replace("p@/?s", "p%40%2F%3Fs")
        store = open_store(loaded(tmp_path, f'[store]\nurl = "{url}"\ntimeout = "20s"\n'), Clock())
        store.start(loop)
        assert answer(loop, lambda then: store.grant(HOME, "al", "pop3", WINDOW, then)) == 1
        with secret.client() as client:
            client.select(2)
            assert client.exists("popgate:lease:192.0.2.1")
        store.close()
        let_go(loop)
        loop.run_until_complete(asyncio.sleep(0.1))  # TLS says goodbye


# Emptied


def test_G7_a_first_start_is_no_loss(start: Start) -> None:
    one = start().settled()
    assert one.find(HOME) == []
    assert start().settled().find(HOME) == []
    assert one.news == []


def test_G7_an_emptied_store_is_refilled_by_every_node_and_says_no_to_nobody(
    start: Start, emptied_redis: RedisServer
) -> None:
    one, other = start().settled(), start().settled()
    one.grant(HOME, "al")
    one.grant(HOME, "gone", window=0.001)
    other.grant(OFFICE, "bo")
    with emptied_redis.client() as client:
        client.flushall()
    assert isinstance(one.find(bytes(4)), StoreUnavailable)
    one.beat()
    other.beat()
    one.until(lambda: len(one.all()) == 2)
    assert one.find(HOME) == ["al"]
    assert one.find(OFFICE) == other.find(OFFICE) == ["bo"]
    stranger = start().settled()
    for node in (one, other, stranger):
        assert str(node.find(bytes(4))) == "the store was emptied a short while ago"
    assert one.news == other.news == ["store-emptied"]
    assert stranger.news == []


def test_G7_the_loss_is_over_after_the_window(start: Start, clock: ServerClock) -> None:
    node = start(clock=clock).settled()
    node.grant(HOME, "al", window=3 * WINDOW)
    clock._client.flushall()
    clock._show()
    node.beat()
    clock.advance(WINDOW - 1)
    assert isinstance(node.find(OFFICE), StoreUnavailable)
    clock.advance(1)
    assert node.find(OFFICE) == []
    assert node.find(HOME) == ["al"]


def test_G7_a_node_that_comes_late_to_a_loss_brings_its_leases_and_no_new_deferrals(
    start: Start, clock: ServerClock
) -> None:
    node = start(clock=clock).settled()
    node.grant(HOME, "al", window=10 * WINDOW)
    clock._client.flushall()
    clock._show()
    fresh = start(clock=clock).settled()  # has never known another store
    assert fresh.find(OFFICE) == []
    clock.advance(WINDOW)
    node.beat()
    node.until(lambda: fresh.find(HOME) == ["al"])
    assert fresh.find(OFFICE) == []


def test_G7_who_knows_of_a_loss_tells_the_node_that_does_not(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    with emptied_redis.client() as client:
        client.flushall()
        fresh = start().settled()
    assert fresh.find(OFFICE) == []
    node.beat()
    assert isinstance(fresh.find(OFFICE), StoreUnavailable)


def test_G7_a_server_that_starts_anew_and_empty_is_refilled(own: RedisServer, start: Start) -> None:
    node = start(own.server).settled()
    for number in range(1200):
        node.store.grant(number.to_bytes(4, "big"), "al", "pop3", WINDOW, lambda _count: None)
    node.find(HOME)
    own.kill()
    own.start()
    node.until(lambda: "store-back" in node.news)
    node.until(lambda: len(node.all()) == 1200)
    assert set(node.news) == {"store-down", "store-back", "store-emptied"}


def test_G7_revoked_leases_are_not_brought_back_by_who_made_them(start: Start, emptied_redis: RedisServer) -> None:
    one, other = start().settled(), start().settled()
    for login in ("al", "bo", "cy"):
        one.grant(HOME, login)
        one.grant(OFFICE, login)
    other.revoke(None, "al")
    other.revoke(HOME, "bo")
    one.grant(HOME, "bo")  # has logged in again since
    one.beat()
    with emptied_redis.client() as client:
        client.flushall()
    one.beat()
    one.until(lambda: len(one.all()) == 4)
    assert [(lease.address, lease.login) for lease in one.all()] == [
        (HOME, "bo"),
        (HOME, "cy"),
        (OFFICE, "bo"),
        (OFFICE, "cy"),
    ]


@pytest.mark.parametrize("late", [3600.0, -3600.0])
def test_G7_news_of_a_revocation_may_come_late_and_clocks_may_be_set(
    start: Start, emptied_redis: RedisServer, late: float
) -> None:
    """Who has logged in since keeps the lease, however late the news is; nobody else does, whatever the clocks say."""
    clock = FakeClock()
    one, other = start(clock=clock).settled(), start().settled()
    one.grant(HOME, "al", window=3 * 3600.0)
    other.revoke(HOME)
    one.grant(HOME, "bo", window=3 * 3600.0)
    clock.advance(late)
    one.beat()
    with emptied_redis.client() as client:
        client.flushall()
    one.beat()
    one.until(lambda: one.find(HOME) == ["bo"])


def test_G7_what_was_revoked_after_a_loss_is_not_brought_back_by_who_had_not_noticed_it(
    start: Start, emptied_redis: RedisServer
) -> None:
    one, other = start().settled(), start().settled()
    for login in ("al", "bo"):
        one.grant(HOME, login)
    with emptied_redis.client() as client:
        client.flushall()
    other.beat()
    other.revoke(HOME, "al")
    one.beat()
    one.until(lambda: one.find(HOME) == ["bo"])


@pytest.mark.parametrize("whom", [(HOME, None), (None, "al"), (HOME, "al")])
def test_G7_nothing_is_brought_back_over_a_revocation_that_its_node_has_not_heard_of(
    start: Start, whom: tuple[bytes | None, str | None]
) -> None:
    one, other = start().settled(), start().settled()
    one.grant(HOME, "al")
    one.grant(OFFICE, "bo")
    other.revoke(*whom)
    other.revoke(OFFICE, "nobody")
    heard = one.store.revocations
    one.store.bring_back()
    one.until(lambda: one.store.revocations > heard and one.store.is_ready and not one.store.late)
    assert one.find(HOME) == []
    assert one.find(OFFICE) == ["bo"]


@pytest.mark.parametrize("knows", [True, False])
def test_G7_a_late_grant_waits_for_the_news_of_revocations(
    start: Start, emptied_redis: RedisServer, knows: bool
) -> None:
    """It was refused by a server that did not break the connection: so nothing has made its node ask for news."""
    one, other = start().settled(), start().settled()
    with emptied_redis.client() as client:
        client.set("popgate:lease:192.0.2.1", "in the way")
        assert isinstance(one.grant(HOME, "al"), StoreUnavailable)
        client.delete("popgate:lease:192.0.2.1")
    other.revoke(HOME, "al")
    if not knows:  # as when it was late before the first connection
        one.store._known = b""
    one.store.retries.retry()
    one.until(lambda: one.find(HOME) == [])
    assert one.store.own == 0


def test_G7_a_late_grant_of_who_logged_in_since_comes_through(start: Start, emptied_redis: RedisServer) -> None:
    one, other = start().settled(), start().settled()
    other.revoke(HOME, "al")
    with emptied_redis.client() as client:
        client.set("popgate:lease:192.0.2.1", "in the way")
        assert isinstance(one.grant(HOME, "al"), StoreUnavailable)
        client.delete("popgate:lease:192.0.2.1")
    one.until(lambda: one.find(HOME) == ["al"])


def test_G3_a_late_grant_that_is_one_too_many_is_neither_made_nor_brought_back(
    start: Start, emptied_redis: RedisServer
) -> None:
    one, other = start().settled(), start().settled()
    with emptied_redis.client() as client:
        client.set("popgate:lease:192.0.2.1", "in the way")
        assert isinstance(one.grant(HOME, "bo", limit=1), StoreUnavailable)
        client.delete("popgate:lease:192.0.2.1")
        other.grant(HOME, "al")
        one.until(lambda: not one.store.late)
        assert one.find(HOME) == ["al"]
        client.flushall()
    one.beat()
    other.beat()
    other.until(lambda: other.find(HOME) == ["al"])
    assert one.store.own == 0


def test_G7_leases_under_a_limit_are_brought_back_in_whatever_order(start: Start, emptied_redis: RedisServer) -> None:
    one, other = start().settled(), start().settled()
    one.grant(HOME, "al", limit=1)
    other.grant(HOME, "bo")
    with emptied_redis.client() as client:
        client.flushall()
    other.beat()
    other.until(lambda: other.find(HOME) == ["bo"])
    one.beat()
    one.until(lambda: one.find(HOME) == ["al", "bo"])


def test_G7_who_missed_revocations_brings_nothing_back(
    start: Start, emptied_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start().settled(), start().settled()
    one.grant(HOME, "al")
    with emptied_redis.client() as client:
        for _ in range(5):
            other.revoke(None, "nobody")
        client.ltrim("popgate:revoked", -2, -1)
        one.beat()
        client.flushall()
    one.beat()
    assert one.find(HOME) != ["al"]
    assert one.store.own == 0


def test_G7_a_lease_that_was_refused_for_its_limit_is_not_brought_back(
    start: Start, emptied_redis: RedisServer
) -> None:
    node = start().settled()
    node.grant(HOME, "al", limit=1)
    node.grant(HOME, "bo", limit=1)
    with emptied_redis.client() as client:
        client.flushall()
    node.beat()
    node.until(lambda: node.find(HOME) == ["al"])


@pytest.mark.parametrize(("here", "there"), [(100.0, 1000.0), (1000.0, 100.0)])
def test_G7_bringing_back_shortens_nothing_and_keeps_what_was_charged(
    start: Start, emptied_redis: RedisServer, here: float, there: float
) -> None:
    one, other = start().settled(), start().settled()
    one.grant(HOME, "al", window=here)
    other.grant(HOME, "al", window=there)
    other.store.charge(HOME, "al", "pop3", 2, 5, 60.0)
    one.grant(OFFICE, "bo")
    with emptied_redis.client() as client:
        client.delete("popgate:lease:192.0.2.2")  # that it is there again shows that the others have been looked at
    one.store.bring_back()
    one.until(lambda: one.find(OFFICE) == ["bo"])
    (lease,) = [lease for lease in one.all() if lease.address == HOME]
    assert lease.left > 900
    assert (lease.messages, lease.recipients) == (2, 5)


def test_G7_what_can_not_be_brought_back_now_is_tried_again(start: Start, emptied_redis: RedisServer) -> None:
    node = start().settled()
    node.grant(HOME, "al")
    with emptied_redis.client() as client:
        client.flushall()
        client.set("popgate:lease:192.0.2.1", "in the way")
        node.beat()
        node.until(lambda: node.store.late == 1)
        client.delete("popgate:lease:192.0.2.1")
    node.until(lambda: node.store.late == 0)
    assert node.find(HOME) == ["al"]


# The end


def test_closing_answers_what_is_unanswered(own: RedisServer, start: Start) -> None:
    node = start(own.server).settled()
    own.freeze()
    answers: list[Any] = []
    node.store.grant(HOME, "al", "pop3", WINDOW, answers.append)
    node.store.find(HOME, answers.append)
    node.store.close()
    assert [str(found) for found in answers] == ["the store is closed"] * 2
    let_go(node.loop)
    assert len(answers) == 2


def test_closing_before_there_was_a_connection(start: Start, own: RedisServer) -> None:
    node = start(own.server)
    answers: list[Any] = []
    node.store.find(HOME, answers.append)
    node.store.close()
    let_go(node.loop)
    assert [str(found) for found in answers] == ["the store is closed"]


def test_nothing_is_connected_to_before_the_start(own: RedisServer) -> None:
    RedisStore(own.server, Clock())
    with own.client() as client:
        assert client.info("clients")["connected_clients"] == 1


def test_the_digest_is_the_servers(emptied_redis: RedisServer) -> None:
    with emptied_redis.client() as client:
        for script in (redis_scripts.FIND, redis_scripts.GRANT, redis_scripts.NOTICE):
            assert client.script_load(script.text) in (script.digest, script.digest.encode())
