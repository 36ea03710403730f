"""A page of very many sessions in a real browser: only what has changed is touched."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from playwright.async_api import expect
from tornado.testing import bind_unused_port

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.config.traits import Limits
from sandkasten_kernels.handlers.server import http_server
from sandkasten_kernels.status.feed import StatusFeed
from sandkasten_kernels.telemetry.activity import Activity
from tests.support.browser import PATIENCE_MS, browser, shown
from tests.support.services import some_services
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
expect.set_options(timeout=PATIENCE_MS)


class Crowd:
    """Sessions that nobody runs: each picture changes a few of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0

    async def take(self) -> dict[str, Any]:
        self.taken += 1
        time = f"2026-01-02T03:04:{self.taken % 60:02d}Z"
        host = {"cpu": 0.5, "cpus": 8, "load": 1.0, "memory_bytes": 1, "memory_total": 2}
        return {
            "time": time,
            "gateway": {"version": "1", "started": time, "connections": 0},
            "sandboxes": {"claimed": self.number, "warm": 0, "starting": 0, "ending": 0, "max": 500},
            "pool": [],
            "host": {**host, "disk_bytes": 1, "disk_total": 2},
            "sessions": [self.session(index) for index in range(self.number)],
        }

    def session(self, index: int) -> dict[str, Any]:
        changed = index % 10 == 0
        return {
            "id": f"{index:08d}-0000-4000-8000-000000000000", "name": f"session {index}", "labels": {},
            "image": "python", "kernelspec": "python3", "origin": "v1",
            "state": "busy" if changed and self.taken % 2 else "idle",
            "workspace_id": None, "created_at": "2026-01-02T03:00:00Z", "last_activity": "2026-01-02T03:00:00Z",
            "expires_at": "2026-01-02T09:00:00Z", "ttl_seconds": 1800, "connections": 0,
            "memory_bytes": 2**26 + (self.taken * 2**18 if changed else 0), "memory_limit": 2**29, "cpu": 0.0,
            "cpu_limit": 1.0,
        }  # fmt: skip


WATCH_ROWS = """() => {
    const body = document.querySelector("table.sessions tbody");
    Object.assign(window, { rows: [...body.children], touched: new Set(), moved: 0 });
    new MutationObserver((records) => {
        for (const { target } of records) {
            const row = (target.nodeType === 1 ? target : target.parentElement)?.closest("tr");
            if (row) touched.add(row.dataset.id);
            else moved += 1;
        }
    }).observe(body, { subtree: true, childList: true, characterData: true, attributes: true });
}"""


async def test_two_hundred_sessions_stay_smooth() -> None:
    """Rows stay where they are, and only what has changed is touched."""
    crowd = Crowd(200)
    feed = StatusFeed(crowd.take, Activity(), BackgroundTasks(logging.getLogger(__name__)))
    server = http_server(some_services(limits=Limits(), status=feed))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    feed.setup()
    try:
        async with browser() as chromium, shown(chromium, f"http://127.0.0.1:{port}", "t") as page:
            await expect(page.locator("table.sessions tbody tr")).to_have_count(200)
            await page.evaluate(WATCH_ROWS)
            seen = crowd.taken
            await eventually(
                lambda: page.evaluate("touched.size"), lambda touched: crowd.taken >= seen + 4 and touched >= 20
            )
            first = page.locator("table.sessions tbody tr", has_text="session 0").first
            await expect(first.locator(".col-memory")).to_contain_text("MiB")
            assert await page.evaluate(
                "rows.every((row, i) => row === document.querySelectorAll('table.sessions tbody tr')[i])"
            )
            assert await page.evaluate("moved") == 0
            assert await page.evaluate("touched.size") <= 200
            await page.get_by_label("Search sessions").fill("session 19")
            await expect(page.locator("table.sessions tbody tr")).to_have_count(12)  # 19, 119, 190 to 199
            await page.get_by_label("Search sessions").fill("")
            await page.get_by_role("button", name="Memory").click()
            await page.get_by_role("button", name="Memory").click()
            await expect(page.locator("table.sessions tbody tr").first).to_contain_text(re.compile("session .*0"))
    finally:
        await feed.cleanup()
        server.stop()
        await server.close_all_connections()
