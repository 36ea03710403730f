"""The pages in a real browser: what a person sees, clicks and types, above all on the page of all sessions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import DESKTOP, PATIENCE_MS, PHONE, axe_findings, browser, opened, shown
from tests.support.cable import Cable
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
expect.set_options(timeout=PATIENCE_MS)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway of these tests' own, so that its lists hold what they made."""
    with GatewayProcess(tmp_path_factory.mktemp("pages"), config="pool: {images: {python: 1}}\n") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests; each has a profile of its own."""
    async with browser() as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="module")
async def api(watched: GatewayProcess) -> AsyncIterator[Api]:
    """The gateway's REST API; sessions that a test leaves are ended."""
    async with Api(watched.url, watched.token) as client:
        yield client
        for kernel in await client.kernels():
            await client.request("DELETE", f"/v1/sessions/{kernel['id']}")


async def session(api: Api, **wanted: Any) -> str:
    """Return the id of a new session."""
    return str(json.loads((await api.request("POST", "/v1/sessions", wanted)).body)["id"])


def row(page: Page, name: str) -> Any:
    return page.locator("table.sessions tbody tr", has=page.get_by_role("link", name=name, exact=True))


async def test_one_signs_in_with_the_token_and_out_again(chromium: Browser, watched: GatewayProcess) -> None:
    async with opened(chromium, allowed_errors=("401",)) as page:
        await page.goto(f"{watched.url}/")
        await expect(page).to_have_title("Sign in · Sandkasten Kernels")
        assert await axe_findings(page) == []
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("That is not the token of this gateway.")
        await page.get_by_label("Token").fill(watched.token)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert watched.token not in page.url
        (cookie,) = await page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert watched.token not in await page.content() + str(await page.evaluate("document.cookie"))
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        assert await page.context.cookies() == []


async def test_a_link_of_another_site_finds_one_signed_in(chromium: Browser, watched: GatewayProcess) -> None:
    async with opened(chromium, allowed_errors=("401",)) as page:
        await page.goto(watched.url.replace("127.0.0.1", "localhost") + "/signin")
        await page.evaluate("url => { location.href = url; }", f"{watched.url}/?token={watched.token}")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def test_a_session_appears_without_reload_and_its_name_is_text(
    chromium: Browser, watched: GatewayProcess, api: Api
) -> None:
    async with shown(chromium, watched.url, watched.token) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script of a name ran: {dialog.message}"))
        await expect(page.get_by_text("No session runs")).to_be_visible()
        await session(api, name=EVIL, labels={"<b>": EVIL})
        await expect(page.get_by_role("link", name=EVIL)).to_be_visible()
        await expect(page.locator("#session-count")).to_have_text("1")
        assert await page.locator("main img").count() == 0
        await expect(row(page, EVIL).locator(".col-memory")).to_contain_text("MiB")
        await page.get_by_role("link", name=EVIL).click()
        await expect(page.get_by_role("heading", name=EVIL)).to_be_visible()
        await expect(page.locator("#facts")).to_contain_text(f"<b>={EVIL}")
        assert await page.locator("main img").count() == 0


async def test_a_session_is_ended_when_that_was_confirmed(chromium: Browser, watched: GatewayProcess, api: Api) -> None:
    for name in ("first", "second", "third"):
        await session(api, name=name)
    async with shown(chromium, watched.url, watched.token) as page:
        await row(page, "first").get_by_role("button", name="End first").click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await row(page, "first").get_by_role("button", name="End first").click()
        await page.get_by_role("dialog").get_by_role("button", name="End session").click()
        await expect(row(page, "first")).to_have_count(0)
        await expect(row(page, "second")).to_be_visible()
        await page.get_by_label("Search sessions").fill("second")
        await expect(row(page, "third")).to_have_count(0)
        await page.get_by_label("Select all that are shown").check()
        await page.get_by_label("Search sessions").fill("")
        await expect(row(page, "third")).to_be_visible()
        await page.get_by_role("button", name="End selected (1)").click()
        await page.get_by_role("dialog").get_by_role("button", name="End session").click()
        await expect(row(page, "second")).to_have_count(0)
        await expect(row(page, "third")).to_be_visible()
        await page.get_by_role("tab", name="Events").click()
        await expect(page.locator(".events li", has_text="ended").first).to_be_visible()
        assert await axe_findings(page) == []


async def test_a_kernel_is_interrupted_extended_and_restarted(
    chromium: Browser, watched: GatewayProcess, api: Api
) -> None:
    name = await session(api, name="worker", ttl_seconds=600)
    socket = await api.connect(name)
    async with shown(chromium, watched.url, watched.token) as page:
        request = await socket.send("execute_request", {"code": "while True: pass", "silent": False})
        await expect(row(page, "worker").locator(".state")).to_have_text("busy")
        await page.get_by_role("button", name="Interrupt worker").click()
        assert (await socket.result(request)).reply["ename"] == "KeyboardInterrupt"
        await expect(row(page, "worker").locator(".state")).to_have_text("idle")
        await page.get_by_role("button", name="Extend the time of worker").click()
        await expect(page.get_by_text("worker now has 10 min left.")).to_be_visible()
        await socket.execute("x = 1")
        await page.get_by_role("button", name="Restart the kernel of worker").click()
        await page.get_by_role("dialog").get_by_role("button", name="Restart").click()
        await expect(page.get_by_text("Restarted the kernel of worker.")).to_be_visible()
        assert (await socket.execute("x")).reply["ename"] == "NameError"
    socket.close()


async def test_a_workspace_is_looked_at_and_deleted(chromium: Browser, watched: GatewayProcess, api: Api) -> None:
    name = await session(api, name="writer", workspace_id="to-go")
    await api.request("POST", f"/v1/sessions/{name}/fs/write", {"path": "kept.txt", "text": "x"})
    async with shown(chromium, watched.url, watched.token, "/") as page:
        await page.get_by_role("tab", name="Workspaces").click()
        entry = page.locator(".workspaces tbody tr", has_text="to-go")
        await expect(entry.get_by_role("link", name="writer")).to_be_visible()
        await expect(entry.get_by_label("Delete to-go")).to_be_disabled()
        assert await axe_findings(page) == []
        await api.request("DELETE", f"/v1/sessions/{name}")
        await page.get_by_label("Count again").click()
        await expect(entry).to_contain_text("nobody")
        await entry.get_by_label("Browse to-go").click()
        await expect(page.get_by_role("dialog")).to_contain_text("kept.txt")
        await page.keyboard.press("Escape")
        await entry.get_by_label("Delete to-go").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete workspace").click()
        await expect(page.get_by_text("There is no workspace")).to_be_visible()


async def test_a_lost_connection_is_told_and_comes_back(chromium: Browser, watched: GatewayProcess, api: Api) -> None:
    name = await session(api, name="before")
    async with (
        Cable(watched.url) as cable,
        shown(chromium, cable.url, watched.token, allowed_errors=("ERR_",)) as page,
        shown(chromium, cable.url, watched.token, f"/sessions/{name}", allowed_errors=("ERR_", "WebSocket")) as other,
    ):
        await expect(row(page, "before")).to_be_visible()
        await expect(other.get_by_text("Live", exact=True)).to_be_visible()
        cable.refuse = True
        await cable.cut()
        for one in (page, other):
            await expect(one.get_by_role("alert").first).to_contain_text("The connection to the gateway is lost")
        await session(api, name="meanwhile")
        socket = await api.connect(name)
        await socket.execute("print('missed by nobody')")
        cable.refuse = False
        await expect(row(page, "meanwhile")).to_be_visible()
        for one in (page, other):
            await expect(one.locator("#lost")).to_be_hidden()
        await expect(other.locator(".cell .stdout")).to_have_text("missed by nobody\n")
        socket.close()


async def test_the_keyboard_alone_is_enough(chromium: Browser, watched: GatewayProcess, api: Api) -> None:
    await session(api, name="typed")
    async with shown(chromium, watched.url, watched.token) as page:
        await expect(row(page, "typed")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("/")
        await page.keyboard.type("nothing like it")
        await expect(page.get_by_text("No session matches")).to_be_visible()
        await page.keyboard.press("Control+a")
        await page.keyboard.type("typ")
        await expect(row(page, "typed")).to_be_visible()
        await page.get_by_role("tab", name="Sessions").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name="Workspaces")).to_be_focused()
        await page.keyboard.press("ArrowLeft")
        await page.get_by_role("button", name="End typed").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_role("button", name="End typed")).to_be_focused()


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_axe_finds_nothing_serious(chromium: Browser, watched: GatewayProcess, api: Api, theme: str) -> None:
    name = await session(api, name="looked at", labels={"team": "data"})
    for size in (DESKTOP, (900, 1000), PHONE) if theme == "dark" else (DESKTOP,):
        async with shown(chromium, watched.url, watched.token, size=size) as page:
            await page.evaluate("theme => localStorage.setItem('sandkasten-theme', theme)", theme)
            for path in ("/", f"/sessions/{name}"):
                await page.goto(watched.url + path)
                await expect(page.locator(".state", has_text="idle").first).to_be_visible()
                assert await page.evaluate("document.documentElement.dataset.theme") == theme
                assert await axe_findings(page) == [], (path, size)
                wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, f"{path} can be scrolled sideways at {size}"


async def test_the_theme_is_dark_until_another_is_chosen_and_kept(chromium: Browser, watched: GatewayProcess) -> None:
    async with shown(chromium, watched.url, watched.token, color_scheme="light") as page:
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        await page.get_by_role("button", name="Use the light theme").click()
        await page.reload()
        await expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()
