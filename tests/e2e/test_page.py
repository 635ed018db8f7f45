"""The status page of a running popgate, in a headless Chromium."""

from __future__ import annotations

import asyncio
import os
import poplib
import signal
import smtplib
from typing import TYPE_CHECKING, TypeVar

import pytest

from ..support.browser import DESKTOP, PHONE, Page, browser
from ..support.needs import need
from ..support.popgate import Popgate, config
from ..support.process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ..support.appliance import SampleAppliance

T = TypeVar("T")

MARKUP = "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script>"
ENTITY = "o'&lt=i@example.com"  # all that the grammar of addresses lets through
READY = "document.querySelectorAll('#leases tr').length > 0 && document.querySelector('#logins rect, #logins line')"


@pytest.fixture
def popgate(appliance: SampleAppliance) -> Iterator[Popgate]:
    """With a lease of alice, one whose login is markup, and a refusal whose sender is."""
    settings = config(appliance.pop3, appliance.smtp, gate={"patience": "0s"}, admin={"http": "127.0.0.1:0"})
    with Popgate(settings) as made:
        assert made.command("leases", "grant", "192.0.2.9", "--login", MARKUP).returncode == 0
        with smtplib.SMTP(*made.address("smtp"), timeout=PATIENCE) as smtp:
            smtp.ehlo()
            smtp.mail(ENTITY)
            assert smtp.docmd("RCPT TO:<friend@example.org>")[0] == 554
        pop3 = poplib.POP3(*made.address("pop3"), timeout=PATIENCE)
        pop3.user("alice")
        pop3.pass_("secret")
        pop3.quit()
        yield made


def seen(
    popgate: Popgate, look: Callable[[Page], Awaitable[T]], size: tuple[int, int] = DESKTOP, *, dark: bool = False
) -> T:
    """What `look` says of the page, which has no error on its console and has fetched nothing from elsewhere."""
    [chromium] = need("chromium")
    base = f"http://{popgate.endpoint('admin.http')}/"

    async def looked() -> T:
        async with browser(chromium) as page:
            await page.open(base, size, dark=dark)
            await page.until(READY)
            found = await look(page)
            assert page.problems == []
            assert {url.removeprefix(base).partition("?")[0] for url in page.requests} <= {
                "", "events", "history", "why", "revoke", "drain",
            }  # fmt: skip
            return found

    return asyncio.run(looked())


async def text(page: Page, place: str) -> str:
    return str(await page.value(f"document.querySelector({place!r}).innerText"))


def test_it_says_how_things_are_and_goes_on_saying(popgate: Popgate) -> None:
    async def look(page: Page) -> None:
        assert await text(page, "#verdict") == "Open for business"
        assert "alice" in await text(page, "#leases")
        assert "no lease" in await text(page, "#refusals")
        assert "127.0.0.1" in await text(page, "#behind")
        before = await text(page, "#leases tr td:nth-child(3)")
        await page.until(f"document.querySelector('#leases tr td:nth-child(3)').innerText !== {before!r}")
        await page.until("document.querySelector('#tiles dd').innerText === '1'")

    seen(popgate, look)


def test_what_peers_chose_stays_text(popgate: Popgate) -> None:
    async def look(page: Page) -> None:
        assert MARKUP in await text(page, "#leases")
        assert ENTITY in await text(page, "#refusals")
        assert await page.value("document.querySelectorAll('main img, main script').length") == 0
        assert await page.value("document.title") == "popgate"

    seen(popgate, look)


@pytest.mark.parametrize("size", [PHONE, (320, 640), DESKTOP], ids=["phone", "narrow", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_and_can_be_read(popgate: Popgate, size: tuple[int, int], dark: bool) -> None:
    async def look(page: Page) -> None:
        assert await page.value("document.documentElement.scrollWidth") <= size[0], "nothing hangs over"
        ground, ink = await page.value(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            ".map((color) => color.match(/\\d+/g).reduce((sum, one) => sum + Number(one), 0))"
        )
        assert (ground < 150 and ink > 600) if dark else (ground > 600 and ink < 150)
        assert len(await page.picture()) > 20_000

    seen(popgate, look, size, dark=dark)


def test_a_question_by_keyboard(popgate: Popgate) -> None:
    async def look(page: Page) -> None:
        await page.press("Tab", 9)
        assert await page.value("document.activeElement.id") == "address"
        assert await page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.call("Input.insertText", text="127.0.0.1")
        await page.press("Enter", 13)
        await page.until("document.querySelector('#answer strong')")
        assert "smtp: allow: lease of alice" in await text(page, "#answer")
        await page.value("document.querySelector('#address').value = '127.0.0.'")
        await page.press("Enter", 13)
        await page.until("document.querySelector('#answer .bad')")
        assert "IP address" in await text(page, "#answer")
        page.problems.clear()  # Chromium itself says on its console that there was a 400

    seen(popgate, look)


def test_the_day(popgate: Popgate) -> None:
    async def look(page: Page) -> None:
        assert "1 logins" in await page.value("document.querySelector('#logins').getAttribute('aria-label')")
        await page.value("document.querySelector('#day').click()")
        label = await page.value("document.querySelector('#relays').getAttribute('aria-label')")
        assert label == "The last day: 0 allowed, 1 refused, 0 deferred; at most 1 in 10 min"
        assert await page.value("document.querySelector('#day').getAttribute('aria-pressed')") == "true"

    seen(popgate, look)


async def unlock(page: Page, token: str) -> None:
    await page.value(f"document.querySelector('#token').value = {token!r}")
    await page.value("document.querySelector('#unlock').requestSubmit()")


def test_revoke_with_the_token_and_not_without(popgate: Popgate) -> None:
    token = popgate.command("status", "--token").stdout.strip()
    alice = "[...document.querySelectorAll('#leases tr')].find((row) => row.innerText.includes('alice'))"

    async def look(page: Page) -> None:
        button = f"{alice}.querySelector('button')"
        assert await page.value(f"getComputedStyle({button}.parentNode).display") == "none"
        await unlock(page, "wrong")
        assert await page.value(f"getComputedStyle({button}.parentNode).display") != "none"
        await page.call("Runtime.evaluate", expression=f"{button}.click()")
        await page.until("document.querySelector('#done').innerText.includes('popgate status --token')")
        page.problems.clear()  # the 403
        assert "alice" in await text(page, "#leases")
        await unlock(page, token)
        await page.call("Runtime.evaluate", expression=f"{button}.click()")
        await page.until(f"!{alice}")
        assert page.dialogs == ["Revoke all leases of 127.0.0.1?"] * 2
        assert await text(page, "#done") == "Ended: 1"

    seen(popgate, look)
    assert "alice" not in popgate.command("leases").stdout
    popgate.process.expect(r"page-action by=127.0.0.1 do=revoke address=127.0.0.1")
    popgate.process.expect(r"token-refused by=127.0.0.1")
    assert token not in popgate.process.output


def test_drain(popgate: Popgate) -> None:
    token = popgate.command("status", "--token").stdout.strip()

    async def look(page: Page) -> None:
        await unlock(page, token)
        await page.call("Runtime.evaluate", expression="document.querySelector('#drain').click()")
        await page.until("document.querySelector('#verdict').innerText === 'No connection to popgate'")
        page.problems.clear()  # popgate has gone

    seen(popgate, look)
    assert popgate.process.wait() == 0


def test_it_tells_when_it_is_cut_off_and_comes_back(popgate: Popgate) -> None:
    async def look(page: Page) -> None:
        os.kill(popgate.workers()[-1], signal.SIGKILL)
        await page.until("document.querySelector('#verdict').innerText === 'No connection to popgate'")
        await page.until("document.querySelector('#verdict').innerText === 'Open for business'")
        page.problems.clear()

    seen(popgate, look)
