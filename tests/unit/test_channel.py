"""channel.py: messages in octets, and a supervisor's end that never waits."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.node import channel as module
from proxy.node.channel import MAX, Channel, Frames, Message, config_of, config_text, packed

from ..support.configuration import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MESSAGES = st.lists(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.booleans())), max_size=5)


@given(MESSAGES, st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[Message], data: st.DataObject) -> None:
    octets = b"".join(packed(message) for message in messages)
    frames, found = Frames(), list[Message]()
    while octets:
        size = data.draw(st.integers(1, len(octets)))
        found += frames.feed(octets[:size])
        octets = octets[size:]
    assert found == messages


@pytest.mark.parametrize("octets", [struct.pack("!I", MAX + 1), b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\2\xff\xfe"])
def test_what_is_no_message_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError):
        Frames().feed(octets)


def test_half_a_message_waits() -> None:
    frames, octets = Frames(), packed({"order": "drain"})
    assert frames.feed(octets[:-1]) == []
    assert frames.feed(octets[-1:]) == [{"order": "drain"}]


def test_a_configuration_arrives_as_it_was(tmp_path: Path) -> None:
    config = loaded(tmp_path, "[gate]\nwindow = '7m'\nlocal_domains = ['example.com']\n")
    assert config_of(json.loads(json.dumps(config_text(config)))) == config


class Pair:
    """A Channel with its selector, and the worker's end."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        ours, self.worker = socket.socketpair()
        self.heard: list[Message] = []
        self.lost = 0
        self.channel = Channel(ours, self.selector, self.heard.append, self._lost)

    def _lost(self) -> None:
        self.lost += 1

    def turn(self) -> int:
        """Treat what is ready now; how much that was."""
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data(key.fileobj)
        return len(ready)

    def close(self) -> None:
        self.channel.close()
        self.worker.close()
        self.selector.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_both_ways(pair: Pair) -> None:
    assert pair.channel.tell({"order": "reload"})
    assert Frames().feed(pair.worker.recv(4096)) == [{"order": "reload"}]
    pair.worker.sendall(packed({"ready": 1}) + packed({"tag": 2}))
    pair.turn()
    assert pair.heard == [{"ready": 1}, {"tag": 2}]


def test_without_news_it_sleeps(pair: Pair) -> None:
    pair.channel.tell({"order": "reload"})
    assert pair.turn() == 0


def test_a_worker_that_does_not_read_holds_nobody_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped worker: its socket fills, then ours, then orders are refused; no call waits."""
    monkeypatch.setattr(module, "MAX_UNREAD", 100_000)
    began = time.monotonic()
    said = 0
    while pair.channel.tell({"order": "ask", "tag": said, "question": "x" * 10_000}):
        said += 1
        assert said < 1000
    assert time.monotonic() - began < 5
    pair.worker.settimeout(5)
    frames, found = Frames(), list[Message]()
    while len(found) < said:
        pair.turn()
        found += frames.feed(pair.worker.recv(65536))
    assert [message["tag"] for message in found] == list(range(said)), "nothing is lost or torn"
    assert pair.channel.tell({"order": "drain"}), "it is told again"
    assert pair.turn() == 0


def test_a_worker_that_ends_is_lost_once(pair: Pair) -> None:
    pair.worker.sendall(packed({"ready": 1}))
    pair.worker.close()
    assert pair.channel.tell({"order": "drain"}), "what is said to the dead is no error"
    while pair.turn():
        pass
    assert pair.lost == 1
    assert pair.heard in ([{"ready": 1}], [])  # a reset may have overtaken it


def test_a_worker_that_talks_nonsense_is_let_go(pair: Pair) -> None:
    pair.worker.sendall(b"\xff\xff\xff\xff nonsense")
    pair.turn()
    assert pair.lost == 1
    assert pair.worker.recv(10) == b""
