"""admin/facts.py: what is asked, and how often at most."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.admin import facts
from proxy.admin.facts import SHARE, Facts, ask

from ..support.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Popgate:
    """Answers with a number that grows, taking `takes` seconds of the test's time."""

    def __init__(self) -> None:
        self.now, self.takes = 1000.0, 0.0
        self.asked: list[dict[str, Any]] = []
        self.facts = Facts(self._ask, lambda: self.now)
        self.runner = asyncio.Runner()

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        await asyncio.sleep(0)
        self.now += self.takes
        return {"number": len(self.asked)}

    def numbers(self, times: int = 1) -> list[int]:
        async def together() -> list[int]:
            return [one["number"] for one in await asyncio.gather(*[self.facts.status() for _ in range(times)])]

        return self.runner.run(together())


@pytest.fixture
def popgate() -> Iterator[Popgate]:
    made = Popgate()
    yield made
    made.runner.close()


def test_however_many_look_it_is_asked_once_a_second(popgate: Popgate) -> None:
    assert popgate.numbers(50) == [1] * 50
    popgate.now += 0.9
    assert popgate.numbers(50) == [1] * 50
    popgate.now += 0.2
    assert popgate.numbers(50) == [2] * 50
    assert popgate.asked == [{"do": "status"}] * 2


def test_a_dear_answer_is_kept_longer(popgate: Popgate) -> None:
    popgate.takes = 0.5
    popgate.numbers()
    popgate.now += 0.5 * SHARE - 0.1
    assert popgate.numbers() == [1]
    popgate.now += 0.2
    assert popgate.numbers() == [2]


def test_after_something_was_done_it_is_asked_anew(popgate: Popgate) -> None:
    popgate.numbers()
    popgate.facts.forget()
    assert popgate.numbers() == [2]


def test_of_leases_only_so_many_are_asked_for(popgate: Popgate) -> None:
    popgate.runner.run(popgate.facts.leases())
    assert popgate.asked == [{"do": "leases", "limit": 200}]


def asked_of(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> dict[str, Any]:
    async def asked(path: Path) -> dict[str, Any]:
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            return await ask(path, {"do": "status"})

    with Folder("facts") as name:
        return asyncio.run(asked(Path(name) / "s"))


def test_a_question_and_its_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = json.loads(await reader.readline())
        writer.write(json.dumps({"heard": question, "long": "x" * 300_000}).encode() + b"\n")
        writer.close()

    assert asked_of(serve) == {"heard": {"do": "status"}, "long": "x" * 300_000}


@pytest.mark.parametrize("answer", [b"", b"no JSON\n", b"[1]\n", b'{"cut": '])
def test_an_answer_that_is_none(answer: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    assert asked_of(serve)["error"].startswith("the supervisor")


def test_a_supervisor_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PATIENCE", 0.05)
    over = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async def asked(path: Path) -> dict[str, Any]:
        async with await asyncio.start_unix_server(serve, path):
            answer = await ask(path, {"do": "status"})
            over.set()
            await asyncio.sleep(0)
            return answer

    with Folder("facts") as name:
        assert asyncio.run(asked(Path(name) / "s"))["error"] == "the supervisor does not answer: too slow"


def test_nobody_there() -> None:
    assert "does not answer" in asyncio.run(ask(Path("/nowhere/s"), {}))["error"]
