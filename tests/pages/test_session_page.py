"""The page of one session in a real browser: what runs there, its files, and its end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.browser import PATIENCE_MS, axe_findings, browser, shown
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

pytestmark = [pytest.mark.local, pytest.mark.asyncio(loop_scope="module")]
expect.set_options(timeout=PATIENCE_MS)
EVIL = "<img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests; each has a profile of its own."""
    async with browser() as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="module")
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    """The shared gateway's REST API, in the loop of the browser; sessions that a test leaves are ended."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        for kernel in await client.kernels():
            await client.request("DELETE", f"/v1/sessions/{kernel['id']}")


async def session(api: Api, **wanted: Any) -> str:
    """Return the id of a new session."""
    return str(json.loads((await api.request("POST", "/v1/sessions", wanted)).body)["id"])


@pytest.mark.docker
async def test_a_page_shows_what_anybody_runs_and_a_cells_picture(
    chromium: Browser, gateway: GatewayProcess, api: Api
) -> None:
    name = await session(api)
    async with shown(chromium, gateway.url, gateway.token, f"/sessions/{name}") as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script of a sandbox ran: {dialog.message}"))
        await page.get_by_label("Code or command").fill("print('seen ' * 2)\n6 * 7")
        await page.keyboard.press("Shift+Enter")
        await expect(page.locator(".cell .stdout")).to_have_text("seen seen \n")
        await expect(page.locator(".cell .result")).to_have_text("42")
        await page.get_by_label("Code or command").fill(
            "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
        )
        await page.get_by_role("button", name="Run").click()
        picture = page.locator(".cell img.picture").first
        await expect(picture).to_be_visible()
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        other = await api.connect(name)
        await other.execute(
            r"print('\x1b[1m' + '\x1b[0;' * 3000 + '\x1b[' + '0;' * 9000 + 'm10 %\r90 %\r\n' + 'x' * 90000)"
        )
        await expect(page.locator(".cell .stdout").last).to_contain_text("xxxx")
        assert (await page.locator(".cell .stdout").last.text_content() or "").lstrip("\x1b[0;").startswith("90 %\nx")
        html = "from IPython.display import HTML, SVG, Javascript, display\n"
        await other.execute(
            html + f'display(HTML({EVIL!r}), SVG(\'<svg onload="alert(2)" xmlns="http://www.w3.org/2000/svg"/>\'), '
            "Javascript('alert(3)'))\nprint('<b>bold</b>')\n1/0"
        )
        last = page.locator(".cell").last
        await expect(last.locator(".by")).to_contain_text("another client")
        await expect(last.locator(".error")).to_contain_text("ZeroDivisionError")
        await expect(last.locator(".stdout")).to_have_text("<b>bold</b>\n")
        await expect(last.locator(".result").first).to_contain_text("IPython.core.display.HTML")
        assert await last.locator("img, svg, script, b").count() == 0
        assert await axe_findings(page) == []
        other.close()


async def test_a_command_is_streamed_and_can_be_stopped(chromium: Browser, gateway: GatewayProcess, api: Api) -> None:
    name = await session(api, image="python")
    async with shown(chromium, gateway.url, gateway.token, f"/sessions/{name}") as page:
        await page.get_by_role("button", name="Shell").click()
        await page.get_by_label("Code or command").fill(r"printf '\033[31mred\033[0m one\n'; sleep 600; echo never")
        await page.keyboard.press("Enter")
        await expect(page.locator(".cell .stdout")).to_have_text("red one\n")
        await expect(page.locator(".cell .ansi-1")).to_have_text("red")
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".cell .by")).to_contain_text("stopped")
        await page.get_by_label("Code or command").fill("false")
        await page.keyboard.press("Enter")
        await expect(page.locator(".cell").last.locator(".by")).to_contain_text("exit code 1")
        await api.request("POST", f"/v1/sessions/{name}/exec", {"cmd": "echo from afar"})
        await expect(page.locator(".cell").last.locator(".stdout")).to_have_text("from afar\n")
        await expect(page.locator(".cell").last.locator(".by")).to_contain_text("another client")
        assert await page.locator(".cell").count() == 3


async def test_files_go_up_and_come_down(chromium: Browser, gateway: GatewayProcess, api: Api, tmp_path: Path) -> None:
    name = await session(api)
    (tmp_path / "up <b>.txt").write_bytes(b"\0\xff up")
    async with shown(chromium, gateway.url, gateway.token, f"/sessions/{name}") as page:
        await expect(page.get_by_text("Empty. Drop files here")).to_be_visible()
        await page.locator("input[type=file]").set_input_files(tmp_path / "up <b>.txt")
        await expect(page.locator(".files")).to_contain_text("up <b>.txt")
        async with page.expect_download() as waiting:
            await page.get_by_label("Download up <b>.txt").click()
        assert Path(await (await waiting.value).path()).read_bytes() == b"\0\xff up"
        await page.get_by_label("New directory").click()
        await page.get_by_label("Name").fill("made")
        await page.get_by_role("button", name="Make").click()
        await page.locator(".files").get_by_role("button", name="made", exact=True).click()
        await expect(page.locator(".crumbs")).to_contain_text("/made")
        await page.locator(".crumbs").get_by_role("button", name="/workspace").click()
        await page.get_by_label("Remove made").click()
        await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(page.locator(".files")).not_to_contain_text("made")


async def test_a_page_of_a_session_that_ends_or_never_was_says_so(
    chromium: Browser, gateway: GatewayProcess, api: Api
) -> None:
    name = await session(api, name="short")
    async with shown(chromium, gateway.url, gateway.token, f"/sessions/{name}", allowed_errors=("404",)) as page:
        await expect(page.locator("#state")).to_have_text("idle")
        await api.request("DELETE", f"/v1/sessions/{name}")
        await expect(page.locator("#ended")).to_contain_text("a client destroyed it")
        await expect(page.get_by_role("button", name="Interrupt")).to_be_hidden()
        await page.reload()
        await expect(page.locator("#ended")).to_contain_text("a client destroyed it")
        await page.goto(f"{gateway.url}/sessions/never")
        await expect(page.locator("#ended")).to_contain_text("there is no session")
