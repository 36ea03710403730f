"""The settings page in a real browser: what is typed is checked at its field, saved whole, and in force at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import DESKTOP, PHONE, axe_findings, browser, opened, screenshot
from tests.support.gateway_process import GatewayProcess

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
KEY = "a-key-of-the-operators-0815"
CONFIG = f"""\
# The gateway of the third floor.
api_key: {KEY}
session_ttl_seconds: 600  # ten minutes
pool:
  # many, because of the course
  images:
    python: 1  # warm
"""
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def page_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("settings-page")
    with GatewayProcess(folder, config=CONFIG, env={"SANDKASTEN_CPU_LIMIT": "0.5"}) as gateway:
        gateway.token = KEY
        yield gateway


@pytest.fixture
def gateway(page_gateway: GatewayProcess) -> Iterator[GatewayProcess]:
    """The gateway of these tests, whose file is at the end as it was."""
    page_gateway.config.write_text(CONFIG)
    yield page_gateway
    page_gateway.config.write_text(CONFIG)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


@asynccontextmanager
async def settings_page(gateway: GatewayProcess, chromium: Browser, **options: Any) -> AsyncIterator[Page]:
    """The page, signed in, in a fresh profile."""
    async with opened(chromium, **options) as page:
        await page.goto(f"{gateway.url}/settings?token={gateway.token}")
        yield page


async def set_number(page: Page, name: str, value: str) -> None:
    """Type the number of an image of the pool."""
    await page.get_by_label(f"pool.images: number of {name}").fill(value)


async def saved(page: Page) -> None:
    """Save, and return when the page says that it is done."""
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#save-bar")).to_be_hidden()


async def test_the_pool_is_made_larger_and_seen_to_fill(gateway: GatewayProcess, chromium: Browser) -> None:
    async with settings_page(gateway, chromium) as page:
        assert urlsplit(page.url).query == ""
        pool = page.locator("[id='setting-pool.images']")
        await expect(pool).to_contain_text("python: 1 of 1 warm")
        await set_number(page, "python", "3")
        await expect(page.locator("#save-state")).to_have_text("1 change · pool.images at once")
        await expect(pool).to_contain_text("was python: 1")
        assert gateway.config.read_text() == CONFIG
        await saved(page)
        await expect(page.locator(".toast")).to_contain_text("Saved. In effect: pool.images.")
        assert gateway.config.read_text() == CONFIG.replace("python: 1 ", "python: 3 ")
        await expect(pool).to_contain_text("python: 3 of 3 warm")
        await set_number(page, "python", "1")
        await page.keyboard.press("Control+s")
        await expect(pool).to_contain_text("python: 1 of 1 warm")
        assert gateway.config.read_text() == CONFIG


async def test_a_wrong_value_is_refused_at_its_field(gateway: GatewayProcess, chromium: Browser) -> None:
    async with settings_page(gateway, chromium) as page:
        ttl, image = (
            page.get_by_label("session_ttl_seconds", exact=True),
            page.get_by_label("default_image", exact=True),
        )
        await ttl.fill("ten")
        error = page.locator("#setting-session_ttl_seconds .error")
        await expect(error).to_have_text("expected a whole number from 0 to 86400, got 'ten'")
        await expect(ttl).to_have_attribute("aria-invalid", "true")
        await expect(page.get_by_role("button", name="Save")).to_be_disabled()
        await ttl.fill("60")
        await expect(error).to_be_hidden()
        await image.fill("<img src=x onerror=alert(1)>")  # a fault of all settings together, in words of the caller's
        await expect(page.locator("#setting-default_image .error")).to_contain_text("<img src=x onerror=alert(1)>")
        assert await page.locator("#groups img").count() == 0
        await page.get_by_role("button", name="Undo: default_image").click()
        await set_number(page, "python", "99")
        await expect(page.locator("[id='setting-pool.images'] .error")).to_contain_text(
            "more than limits.max_sandboxes"
        )
        await page.get_by_role("button", name="Undo: pool.images").click()
        assert gateway.config.read_text() == CONFIG
        await saved(page)
        assert gateway.config.read_text() == CONFIG.replace("600 ", "60 ")
        await page.get_by_role("button", name="Use the default: session_ttl_seconds").click()
        await saved(page)
        assert "session_ttl_seconds" not in gateway.config.read_text()


async def test_the_second_of_two_who_save_is_told_and_loses_nothing(gateway: GatewayProcess, chromium: Browser) -> None:
    async with (
        settings_page(gateway, chromium) as first,
        settings_page(gateway, chromium, allowed_errors=("409",)) as second,
    ):
        await second.get_by_label("session_ttl_seconds", exact=True).fill("900")
        await second.get_by_label("kernel_ttl_seconds", exact=True).fill("901")
        await expect(second.locator("#save-state")).to_contain_text("2 changes · ")
        await first.get_by_label("session_ttl_seconds", exact=True).fill("800")
        await saved(first)
        await second.get_by_role("button", name="Save").click()
        dialog = second.get_by_role("dialog", name="Somebody else has saved the settings")
        await dialog.get_by_role("button", name="Load theirs, keep my changes").click()
        await expect(second.locator("#setting-session_ttl_seconds .theirs")).to_have_text(
            "Another user has set it to 800 meanwhile."
        )
        await expect(second.get_by_label("session_ttl_seconds", exact=True)).to_have_value("900")
        assert "session_ttl_seconds: 800" in gateway.config.read_text()
        await second.get_by_role("button", name="Undo: session_ttl_seconds").click()
        await expect(second.get_by_label("session_ttl_seconds", exact=True)).to_have_value("800")
        await saved(second)
        text = gateway.config.read_text()
        assert "session_ttl_seconds: 800  # ten minutes" in text
        assert "kernel_ttl_seconds: 901" in text


async def test_the_file_is_edited_without_its_secret_being_seen(gateway: GatewayProcess, chromium: Browser) -> None:
    async with settings_page(gateway, chromium) as page:
        await page.get_by_role("tab", name="File").click()
        text = page.get_by_label("The file, in YAML")
        await expect(text).to_have_value(CONFIG.replace(KEY, "__kept__"))
        await text.fill(CONFIG.replace(KEY, "__kept__").replace("600", "-6"))
        told = page.get_by_role("button", name="Line 3: session_ttl_seconds: expected a whole number from 0 to 86400")
        await expect(told).to_be_visible()
        await expect(page.locator("#gutter .wrong")).to_have_text("3\n")
        await text.fill(CONFIG.replace(KEY, "__kept__").replace("third", "fourth") + "base_url: /kernels/\n")
        await expect(page.locator("#save-state")).to_have_text("The file is changed · base_url after restart")
        await saved(page)
        assert gateway.config.read_text() == CONFIG.replace("third", "fourth") + "base_url: /kernels/\n"
        assert gateway.config.with_name("sandkasten.yaml.bak").read_text() == CONFIG
        await expect(page.locator("#notices")).to_contain_text("in effect after a restart of the gateway: base_url.")
        await page.get_by_role("tab", name="Form").click()
        await expect(page.locator("#setting-base_url")).to_contain_text("The gateway uses / until it restarts.")
        assert KEY not in await page.content()
        await expect(page.get_by_label("api_key", exact=True)).to_have_value("")


async def test_an_image_that_is_not_built_is_told_with_the_command_that_builds_it(
    gateway: GatewayProcess, chromium: Browser
) -> None:
    command = f"sandkasten-kernels images build never-built --config={gateway.config}"
    async with settings_page(gateway, chromium) as page:
        await page.get_by_role("textbox", name="images", exact=True).fill("never-built: {from: python, pip: [polars]}")
        await expect(page.locator("#save-state")).to_contain_text(command)
        await saved(page)
        await expect(page.locator("#notices")).to_contain_text(command)
        await page.reload()
        await expect(page.locator("#notices")).to_contain_text(command)
        assert await axe_findings(page) == []


async def test_what_cannot_be_changed_is_shown_and_cannot_be_typed(gateway: GatewayProcess, chromium: Browser) -> None:
    gateway.config.chmod(0o444)
    try:
        async with settings_page(gateway, chromium) as page:
            await expect(page.locator("#notices")).to_contain_text("may not write to")
            await expect(page.get_by_label("session_ttl_seconds", exact=True)).to_be_disabled()
            await page.get_by_role("tab", name="File").click()
            await expect(page.get_by_label("The file, in YAML")).not_to_be_editable()
    finally:
        gateway.config.chmod(0o644)
    async with settings_page(gateway, chromium) as page:
        await expect(page.get_by_label("session_ttl_seconds", exact=True)).to_be_enabled()
        await expect(page.get_by_label("cpu_limit", exact=True)).to_be_disabled()
        await expect(page.locator("[id='setting-defaults.cpu_limit']")).to_contain_text("SANDKASTEN_CPU_LIMIT")
        await expect(page.get_by_label("data_dir", exact=True)).to_be_disabled()


@pytest.mark.parametrize(("theme", "size"), [("dark", DESKTOP), ("light", PHONE)])
async def test_it_is_usable_by_everybody(
    gateway: GatewayProcess, chromium: Browser, theme: str, size: tuple[int, int]
) -> None:
    async with settings_page(gateway, chromium, size=size) as page:
        await page.evaluate("theme => localStorage.setItem('sandkasten-theme', theme)", theme)
        await page.reload()
        await expect(page.locator("[id='setting-pool.images']")).to_contain_text("warm")
        await page.get_by_label("session_ttl_seconds", exact=True).fill("ten")
        await expect(page.locator("#setting-session_ttl_seconds .error")).to_be_visible()
        assert await axe_findings(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("button", name="Undo: session_ttl_seconds").click()
        await page.get_by_label("Find a setting").fill("pool images")
        await expect(page.locator(".setting:visible")).to_have_count(1)
        await page.get_by_label("Find a setting").fill("")
        await set_number(page, "python", "2")
        await expect(page.locator("#save-state")).to_contain_text("at once")
        await page.locator("[id='section-pool']").scroll_into_view_if_needed()
        await screenshot(page, f"settings-{theme}-{size[0]}")
        await page.get_by_role("tab", name="File").click()
        assert await axe_findings(page) == []
