"""Chromium without a window, by its DevTools protocol: to see what the status page shows and does.

For pages of ours alone: as root Chromium runs only without its sandbox.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
import tempfile
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from .process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHONE, DESKTOP = (390, 844), (1280, 900)  # points: a usual phone, a usual window
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-default-browser-check", "--hide-scrollbars",
    "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.dialogs: list[str] = []
        """What was asked of the user, who says yes."""
        self.problems: list[str] = []
        """Errors on the console, refusals by the policy and uncaught exceptions."""
        self.requests: list[str] = []
        """All that was fetched."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE):
            async for message in self._socket:
                assert message.type is WSMsgType.TEXT
                said = message.json()
                if said.get("id") == number:
                    assert "error" not in said, said
                    result: dict[str, Any] = said["result"]
                    return result
                await self._happened(said)
        raise AssertionError("Chromium is gone")

    async def open(self, url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        mobile = size[0] < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until it is true."""
        async with asyncio.timeout(PATIENCE):
            while not await self.value(f"!!({expression})"):  # noqa: ASYNC110 - another process has no event for us
                await asyncio.sleep(0.05)

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def _happened(self, said: dict[str, Any]) -> None:
        method, about = said.get("method", ""), said.get("params", {})
        if method == "Page.javascriptDialogOpening":
            self.dialogs.append(about["message"])
            self._number += 1
            answer = {"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            await self._socket.send_json(answer)
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(about["exceptionDetails"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


@contextlib.asynccontextmanager
async def browser(chromium: str) -> AsyncIterator[Page]:
    """A Chromium with one tab."""
    with tempfile.TemporaryDirectory(prefix="popgate-browser-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            chromium, f"--user-data-dir={folder}", *_OPTIONS,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": folder}, start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        reading: asyncio.Task[bytes] | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                port = None
                while port is None:
                    line = await process.stderr.readline()
                    assert line, "Chromium does not start"
                    port = re.search(rb"ws://127\.0\.0\.1:(\d+)/", line)
            reading = asyncio.create_task(process.stderr.read())  # else it would wait for us some day
            async with ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{int(port[1])}/json") as answer:
                    [tab] = [one for one in await answer.json(content_type=None) if one["type"] == "page"]
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if reading is not None:
                await reading
            await process.wait()
