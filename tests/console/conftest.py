"""One service and one real browser for all tests of the pages."""

import os
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from tests.support.service import START, Service, serving, settings_for

from overnight.clock import MovableClock
from overnight.console import assets

# A name that is no loopback, so the browser gives such pages no clipboard.
INSECURE_HOST = "overnight.test"
# A name that somebody else has made to point to this machine.
REBOUND_HOST = "rebound.test"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1,MAP {REBOUND_HOST} 127.0.0.1",
)


class Site(NamedTuple):
    """The page as a visitor opens it."""

    service: Service
    browser: Browser

    @property
    def modules(self) -> str:
        """Give the folder of the page's scripts."""
        return f"{self.service.base_url}/static/{assets.digest()}/"

    async def context(self, **options: Any) -> BrowserContext:
        """Open a browser of its own, on the day of the golden cases."""
        options = {"reduced_motion": "reduce", **options}
        context = await self.browser.new_context(**options)
        context.set_default_timeout(10_000)
        await context.clock.set_fixed_time(datetime(2026, 11, 22, 12))
        return context


class Visit(NamedTuple):
    """One open page, and everything that went wrong on it."""

    page: Page
    base_url: str
    # Messages of the console, errors of scripts, requests to other hosts.
    faults: list[str]

    async def open(self, fragment: str = "", path: str = "/") -> None:
        await self.page.goto("about:blank")
        await self.page.goto(f"{self.base_url}{path}" + (f"#{fragment}" if fragment else ""))
        await self.page.locator("#result table").first.wait_for(state="attached")

    async def value(self, selector: str) -> str:
        """Give every digit of an amount."""
        found = await self.page.locator(selector).first.get_attribute("value")
        assert found is not None, selector
        return found

    async def hash(self) -> str:
        found: str = await self.page.evaluate("location.hash.slice(1)")
        return found


def watch(page: Page, base_url: str) -> Visit:
    """Note whatever a visitor should never see."""
    visit = Visit(page, base_url, [])
    page.on("console", lambda message: visit.faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: visit.faults.append(f"script: {error}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base_url, "data:", "about:"))
            else visit.faults.append(f"request: {request.url}")
        ),
    )
    return visit


def chromium() -> str:
    """Find the browser. Raises: AssertionError that says how to get one."""
    named = os.environ.get("CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no Chromium: script/test installs it, or name one by CHROMIUM"
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    data: Path = tmp_path_factory.mktemp("console")
    async with (
        serving(
            settings_for(data, allowed_hosts=(INSECURE_HOST,)), clock=MovableClock(START)
        ) as service,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)
        yield Site(service, browser)
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def returning(site: Site) -> AsyncIterator[BrowserContext]:
    """Give a browser that has been here before: it keeps the page's files."""
    context = await site.context()
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(site: Site, returning: BrowserContext) -> AsyncIterator[Visit]:
    """Open a new page; afterwards nothing may have gone wrong on it."""
    visit = watch(await returning.new_page(), site.service.base_url)
    yield visit
    await visit.page.close()
    assert visit.faults == []
