"""control.py: one question, one answer, and no asker that can hold up another (rule N8)."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import ConfigError, PopgateError
from proxy.node import control as module
from proxy.node.control import PATIENCE, Asker, ControlServer, NotRunning, ask

from ..support.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.node.channel import Message


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as the path of a unix socket has to be."""
    with Folder("control") as name:
        yield Path(name)


class Desk:
    """A ControlServer under its selector, which a test turns; it echoes unless told to keep the asker waiting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(path, self.selector, self._asked, lambda: self.now)
        self.asked: list[tuple[Message, Asker]] = []
        self.patient = False
        self.clients: list[socket.socket] = []

    def _asked(self, question: Message, asker: Asker) -> None:
        self.asked.append((question, asker))
        if not self.patient:
            self.server.answer(asker, {"echo": question})

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(str(self.path))
        self.clients.append(client)
        return client

    def turn(self, wait: float = 0) -> None:
        """All that is ready, until nothing is."""
        while ready := self.selector.select(wait):
            for key, _ in ready:
                key.data(key.fileobj)

    def ask(self, octets: bytes) -> Any:
        client = self.connect()
        client.sendall(octets)
        self.turn()
        return json.loads(b"".join(iter(lambda: client.recv(65536), b"")))

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    made = Desk(folder / "popgate.sock")
    yield made
    made.close()


def test_a_question_is_answered_and_hung_up(desk: Desk) -> None:
    assert desk.ask(b'{"do": "status"}\n') == {"echo": {"do": "status"}}


def test_N8_only_its_user_may_ask(desk: Desk) -> None:
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


def test_the_mode_holds_from_the_first_instant_and_the_umask_comes_back(folder: Path) -> None:
    before = os.umask(0)
    try:
        desk = Desk(folder / "popgate.sock")
        assert os.umask(0) == 0
        assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
        desk.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("octets", [b"\n", b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"[" * 60_000 + b"\n", b"{}{}\n"])
def test_garbage_is_told_so(desk: Desk, octets: bytes) -> None:
    assert "one line" in desk.ask(octets)["error"]
    assert desk.asked == []


def test_a_question_may_come_in_pieces(desk: Desk) -> None:
    client = desk.connect()
    for octet in b'{"do": "status"}\n':
        client.sendall(bytes([octet]))
        desk.turn()
    assert json.loads(client.recv(4096)) == {"echo": {"do": "status"}}


def test_a_question_without_an_end_is_cut(desk: Desk) -> None:
    client = desk.connect()
    for _ in range(40):
        try:
            client.sendall(b"x" * 4096)
        except OSError:
            break
        desk.turn()
    with contextlib.suppress(ConnectionResetError):  # its last octets were not read
        assert client.recv(10) == b""
    assert desk.ask(b"{}\n") == {"echo": {}}


def test_half_a_question_holds_nobody_up_and_is_forgotten(desk: Desk) -> None:
    silent, half = desk.connect(), desk.connect()
    half.sendall(b'{"do":')
    desk.turn()
    assert desk.ask(b"{}\n") == {"echo": {}}
    desk.now = PATIENCE - 0.1
    desk.server.tick()
    desk.turn()
    half.sendall(b' "late"}\n')
    desk.turn()
    assert json.loads(half.recv(4096)) == {"echo": {"do": "late"}}
    desk.now = PATIENCE
    desk.server.tick()
    assert silent.recv(10) == b""


def test_an_answer_that_is_not_read_holds_nobody_up_and_is_forgotten(desk: Desk) -> None:
    desk.patient = True
    lazy = desk.connect()
    lazy.sendall(b"{}\n")
    desk.turn()
    desk.server.answer(desk.asked[0][1], {"leases": ["x" * 100] * 100_000})
    desk.turn()
    desk.patient = False
    assert desk.ask(b"{}\n") == {"echo": {}}
    before = desk.descriptors()
    desk.now = 2 * PATIENCE
    desk.server.tick()
    assert desk.descriptors() == before - 1


def test_a_long_answer_arrives_whole(desk: Desk) -> None:
    desk.patient = True
    client = desk.connect()
    client.sendall(b"{}\n")
    desk.turn()
    answer = {"leases": ["x" * 100] * 20_000}
    desk.server.answer(desk.asked[0][1], answer)
    text = b""
    while not text.endswith(b"\n"):
        desk.turn()
        text += client.recv(65536)
    assert json.loads(text) == answer


def test_while_it_waits_for_a_worker_the_selector_sleeps(desk: Desk) -> None:
    desk.patient = True
    client = desk.connect()
    client.sendall(b"{}\n")
    desk.turn()
    client.sendall(b"more of it")
    client.shutdown(socket.SHUT_WR)
    assert desk.selector.select(0) == []


def test_an_asker_that_has_gone_is_no_matter(desk: Desk) -> None:
    desk.patient = True
    client = desk.connect()
    client.sendall(b"{}\n")
    desk.turn()
    client.close()
    desk.server.answer(desk.asked[0][1], {"done": 1})
    desk.server.answer(desk.asked[0][1], {"done": 2})
    desk.turn()


def test_after_many_questions_no_descriptor_is_left(desk: Desk) -> None:
    desk.ask(b"{}\n")
    desk.clients.pop().close()
    before = desk.descriptors()
    for number in range(300):
        client = desk.connect()
        client.sendall((b"{}\n", b"nonsense\n", b"half", b"")[number % 4])
        desk.turn()
        client.close()
        desk.clients.clear()
        desk.turn()
    assert desk.descriptors() == before


def test_a_crowd_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ASKERS", 3)
    crowd = []
    for _ in range(3):
        crowd.append(desk.connect())
        desk.turn()
    late = desk.connect()
    desk.turn()
    assert late.recv(10) == b""
    crowd[0].close()
    desk.turn()
    assert desk.ask(b"{}\n") == {"echo": {}}


# --- the place


def test_N8_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "popgate.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    desk = Desk(path)
    assert desk.ask(b"{}\n") == {"echo": {}}
    desk.close()
    assert not path.exists()


def test_N8_a_second_popgate_is_refused_by_name(desk: Desk) -> None:
    with pytest.raises(ConfigError, match=r"admin\.control: a popgate is running already at .*popgate\.sock"):
        ControlServer(desk.path, desk.selector, lambda *_: None)
    desk.turn()
    assert desk.ask(b"{}\n") == {"echo": {}}


def test_N8_one_whose_queue_is_full_is_running_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    path = folder / "popgate.sock"
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(path))
        stopped.listen(0)
        waiting = []
        try:
            for _ in range(5):
                client = socket.socket(socket.AF_UNIX)
                waiting.append(client)
                client.setblocking(False)
                client.connect_ex(str(path))
            with selectors.DefaultSelector() as selector, pytest.raises(ConfigError, match="running already"):
                ControlServer(path, selector, lambda *_: None)
            with pytest.raises(PopgateError, match="does not answer"):
                ask(path, {})
        finally:
            for client in waiting:
                client.close()


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "popgate.sock"
    path.write_text("precious")
    with selectors.DefaultSelector() as selector, pytest.raises(ConfigError, match=r"admin\.control.*no socket"):
        ControlServer(path, selector, lambda *_: None)
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    with selectors.DefaultSelector() as selector, pytest.raises(ConfigError, match=r"admin\.control.*No such file"):
        ControlServer(folder / "away" / "popgate.sock", selector, lambda *_: None)


# --- the command line's end


def served(path: Path, answer: bytes) -> threading.Thread:
    """A thread that answers one question with these octets."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()

    def serve() -> None:
        with sock:
            asker, _ = sock.accept()
            with asker:
                asker.recv(4096)
                asker.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_ask_gets_the_answer(folder: Path) -> None:
    thread = served(folder / "s", b'{"done": "so"}\n')
    assert ask(folder / "s", {"do": "status"}) == {"done": "so"}
    thread.join()


@pytest.mark.parametrize("octets", [b"", b"half {", b"[]\n"])
def test_ask_without_an_answer_is_an_error(folder: Path, octets: bytes) -> None:
    thread = served(folder / "s", octets)
    with pytest.raises(PopgateError, match="without an answer"):
        ask(folder / "s", {})
    thread.join()


def test_ask_says_when_nobody_runs(folder: Path) -> None:
    for path in (folder / "s", folder / "away" / "s"):
        with pytest.raises(NotRunning, match="does not run"):
            ask(path, {})
    (folder / "file").write_text("")
    with pytest.raises(NotRunning):
        ask(folder / "file", {})
