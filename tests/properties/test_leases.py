"""The lease stores as a state machine against a dictionary: whatever is granted, renewed and revoked in whatever order,
while time passes, clocks are set and (SQLite) the program and the machine start anew, and (Redis) nodes
come and go and the server is emptied, the store says what the model
says.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.leases.base import Lease
from proxy.leases.memory import MemoryStore
from proxy.leases.redis.store import RedisStore
from proxy.leases.sqlite import SqliteStore
from tests.support.clocks import FakeClock, answer
from tests.support.redis import RedisServer, ServerClock, let_go, turn_by_hand

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.leases.base import Key, LeaseStore

addresses = st.sampled_from([b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02", b"\x20\x01" + bytes(14)])
logins = st.sampled_from(["al", "bo", "J\udcfcrgen"])
sources = st.sampled_from(["pop3", "admin"])
seconds = st.integers(1, 4000).map(float)
steps = st.integers(-100_000, 100_000).map(float)


@dataclass
class Entry:
    granted: float
    expires: float
    length: float
    deadline: float


class MemoryLeases(RuleBasedStateMachine):
    """The rules that hold for every store."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.loop = asyncio.new_event_loop()
        self.model: dict[Key, Entry] = {}
        self.store: LeaseStore = self.opened()

    def opened(self) -> LeaseStore:
        return MemoryStore(self.clock)

    def ask(self, question: Callable[[Callable[[Any], None]], None]) -> Any:
        return answer(self.loop, question)

    def left(self, entry: Entry) -> float:
        return min(entry.deadline - self.clock.boottime(), entry.length)

    def live(self) -> dict[Key, Entry]:
        return {key: entry for key, entry in self.model.items() if self.left(entry) > 0}

    def lease(self, key: Key) -> Lease:
        left = self.left(self.model[key])
        return Lease(*key, granted=self.model[key].granted, expires=self.clock.wall() + left, left=left)

    @initialize()
    def start(self) -> None:
        self.store.start(self.loop)

    @rule(address=addresses, login=logins, source=sources, window=seconds, limit=st.sampled_from([0, 0, 1, 2]))
    def grant(self, address: bytes, login: str, source: str, window: float, limit: int) -> None:
        held = {key[1] for key in self.live() if key[0] == address}
        count = self.ask(lambda then: self.store.grant(address, login, source, window, then, limit))
        if limit and login not in held and len(held) >= limit:
            assert count > limit
            return
        assert count == (min(len(held | {login}), limit) if limit else len(held | {login}))
        now, wall = self.clock.boottime(), self.clock.wall()
        self.model[address, login, source] = Entry(wall, wall + window, window, now + window)

    @rule(batch=st.lists(st.tuples(addresses, logins, sources, seconds), max_size=4))
    def renew(self, batch: list[tuple[bytes, str, str, float]]) -> None:
        self.store.renew(batch)
        assert self.ask(lambda then: self.store.revoke(bytes(4), None, then)) == 0  # answered after the renewal is done
        now, wall = self.clock.boottime(), self.clock.wall()
        for address, login, source, ahead in batch:
            entry = self.live().get((address, login, source))
            if entry is not None and now + ahead > entry.deadline:
                entry.deadline, entry.expires = now + ahead, wall + ahead
                entry.length = max(entry.length, ahead)

    @rule(address=st.none() | addresses, login=st.none() | logins)
    def revoke(self, address: bytes | None, login: str | None) -> None:
        if address is None and login is None:
            return
        ended = [key for key in self.live() if address in (None, key[0]) and login in (None, key[1])]
        assert self.ask(lambda then: self.store.revoke(address, login, then)) == len(ended)
        for key in ended:
            del self.model[key]

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def the_first_lease_ends(self) -> None:
        """To the second, where the mistakes are."""
        if self.live():
            self.clock.advance(min(self.left(entry) for entry in self.live().values()))

    @rule(seconds=steps)
    def somebody_sets_the_wall_clock(self, seconds: float) -> None:
        self.clock.step_wall(seconds)

    @rule(address=addresses)
    def find(self, address: bytes) -> None:
        candidates = [self.lease(key) for key in self.live() if key[0] == address]
        found = self.ask(lambda then: self.store.find(address, then))
        assert sorted(found, key=repr) == sorted(candidates, key=repr)
        assert [lease.left for lease in found] == sorted([lease.left for lease in candidates], reverse=True)

    @invariant()
    def all_is_all(self) -> None:
        found = self.ask(self.store.all)
        assert found == sorted(
            (self.lease(key) for key in self.live()),
            key=lambda lease: (len(lease.address), lease.address, lease.login, lease.source),
        )

    def teardown(self) -> None:
        self.store.close()
        let_go(self.loop)
        self.loop.close()


class SqliteLeases(MemoryLeases):
    """And those of a store that outlives its process and its machine."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.boots = 1
        super().__init__()

    def opened(self) -> LeaseStore:
        # 30 s: a loaded machine must not turn an answer into "not in time".
        return SqliteStore(Path(self.folder.name) / "leases.db", self.clock, 30.0)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()
        self.store.start(self.loop)

    @rule(down=steps)
    def reboot(self, down: float) -> None:
        self.store.close()
        live = self.live()
        self.boots += 1
        self.clock.reboot(down, f"boot-{self.boots}")
        self.model = {}
        for key, entry in live.items():
            left = min(entry.expires - self.clock.wall(), entry.length)
            if left > 0:
                ends = self.clock.wall() + left
                self.model[key] = Entry(entry.granted, ends, entry.length, self.clock.boottime() + left)
        self.store = self.opened()
        self.store.start(self.loop)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class OneWall(ServerClock):
    """Nobody sets a node's wall clock: that the server does not care is shown in tests/unit/test_leases_redis.py."""

    def step_wall(self, seconds: float) -> None:
        pass


class RedisLeases(MemoryLeases):
    """And those of a store that outlives its nodes, and may be emptied while they live."""

    server: RedisServer  # one for all examples

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        turn_by_hand(self.patch)
        with self.server.client() as client:
            client.flushall()
        self.ours: set[Key] = set()  # granted by the node as it lives now
        super().__init__()

    def opened(self) -> LeaseStore:
        if not isinstance(self.clock, OneWall):
            self.clock = OneWall(self.server)
        return RedisStore(self.server.server, self.clock, 30.0)

    @rule(address=addresses, login=logins, source=sources, window=seconds, limit=st.sampled_from([0, 0, 1, 2]))
    def grant(self, address: bytes, login: str, source: str, window: float, limit: int) -> None:
        super().grant(address, login, source, window, limit)
        made = self.model.get((address, login, source))
        if made is not None and made.granted == self.clock.wall():
            self.ours.add((address, login, source))

    @rule()
    def another_node_takes_over(self) -> None:
        self.store.close()
        let_go(self.loop)
        self.store = self.opened()
        self.store.start(self.loop)
        self.ours.clear()

    @rule()
    def the_store_is_emptied(self) -> None:
        """Right after a question, so that it is known to the node."""
        assert isinstance(self.store, RedisStore)
        self.ask(self.store.all)
        with self.server.client() as client:
            client.flushall()
        assert isinstance(self.clock, OneWall)
        self.clock.advance(0)
        self.store.check_state()
        for _ in range(3):  # what happened; what was brought back; and that is answered
            self.ask(self.store.all)
        self.model = {key: entry for key, entry in self.live().items() if key in self.ours}
        with self.server.client() as client:
            client.hset("popgate:state", "until", 0)  # the time of doubt is not what is looked at here

    def teardown(self) -> None:
        super().teardown()
        assert isinstance(self.clock, OneWall)
        self.clock.close()
        self.patch.undo()


@pytest.fixture(autouse=True, scope="module")
def _server(redis_server: RedisServer) -> None:
    RedisLeases.server = redis_server


class TestG1G4G7G8RedisLeases(RedisLeases.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


class TestG1G4G8MemoryLeases(MemoryLeases.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


class TestG1G4G8SqliteLeases(SqliteLeases.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
