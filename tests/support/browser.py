"""A real browser for the tests of the pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

PATIENCE_MS = 60_000
DESKTOP = (1360, 900)
PHONE = (390, 844)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser without a window; `CHROMIUM` names another than the system's."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def opened(
    launched: Browser,
    *,
    size: tuple[int, int] = DESKTOP,
    allowed_errors: tuple[str, ...] = (),
    **context: Any,
) -> AsyncIterator[Page]:
    """An empty page in a fresh profile.

    What it writes to the console as an error, or throws, fails the test at the end, but for what has one of
    ``allowed_errors`` in it.
    """
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url', '')})")

    profile = await launched.new_context(viewport={"width": size[0], "height": size[1]}, **context)
    profile.set_default_timeout(PATIENCE_MS)
    page = await profile.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
        found = [error for error in errors if not any(words in error for words in allowed_errors)]
        assert not found, found
    finally:
        await profile.close()


@asynccontextmanager
async def shown(launched: Browser, url: str, token: str, path: str = "/", **options: Any) -> AsyncIterator[Page]:
    """A page of the gateway at ``url``, signed in, in a fresh profile, whose errors fail the test as in `opened`."""
    async with opened(launched, **options) as page:
        await page.goto(f"{url}{path}?token={token}")
        yield page


@cache
def _axe() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


async def axe_findings(page: Page) -> list[str]:
    """Return what axe-core finds on the page that is serious or critical, each with where it is."""
    await page.evaluate(_axe())
    found = await page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes'][:5]]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


async def screenshot(page: Page, name: str) -> None:
    """Write a picture of the page into the directory that `SCREENSHOTS` names, if it does."""
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")
