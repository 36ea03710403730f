"""The status of the gateway: one snapshot for all viewers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.testing import bind_unused_port

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines.host import cgroups as usage
from sandkasten_kernels.engines.host.sandbox import HostSandbox
from sandkasten_kernels.engines.spec import Usage
from sandkasten_kernels.handlers.server import http_server
from sandkasten_kernels.status import feed as status_feed
from sandkasten_kernels.status.feed import StatusFeed, Update
from sandkasten_kernels.status.host import HostMonitor
from sandkasten_kernels.telemetry.activity import Activity
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.services import some_services
from tests.support.waiting import eventually

PATIENCE_SECONDS = 60
log = logging.getLogger(__name__)


class Source:
    """A source of snapshots with sessions that the test sets; counts the snapshots."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {"a": "idle", "b": "idle"}
        self.taken = 0
        self.failing = False

    async def take(self) -> dict[str, Any]:
        self.taken += 1
        if self.failing:
            raise OSError("no such file")
        rows = [{"id": name, "state": state} for name, state in self.sessions.items()]
        return {"time": str(self.taken), "sessions": rows}


@asynccontextmanager
async def fed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Source, StatusFeed]]:
    monkeypatch.setattr(status_feed, "SECONDS", 0.1)
    source = Source()
    feed = StatusFeed(source.take, Activity(), BackgroundTasks(log))
    feed.setup()
    yield source, feed
    await feed.cleanup()


async def next_of(updates: AsyncGenerator[Update]) -> tuple[str, Any]:
    update = await asyncio.wait_for(anext(updates), PATIENCE_SECONDS)
    return update.event, json.loads(update.data)


async def test_a_viewer_gets_all_there_is_and_then_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fed(monkeypatch) as (source, feed), aclosing(feed.updates()) as updates:
        event, whole = await next_of(updates)
        assert (event, [row["id"] for row in whole["sessions"]]) == ("status", ["a", "b"])
        assert whole["history"]["rows"]
        source.sessions = {"a": "busy", "c": "idle"}
        told: dict[str, str] = {}
        gone: list[str] = []
        while "c" not in told:
            event, change = await next_of(updates)
            assert event == "change"
            told |= {row["id"]: row["state"] for row in change["sessions"]}
            gone += change["gone"]
        assert (told, gone) == ({"a": "busy", "c": "idle"}, ["b"])
        assert (await next_of(updates))[1]["sessions"] == []


async def test_the_picture_is_made_once_however_many_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fed(monkeypatch) as (source, feed):
        viewers = [feed.updates() for _ in range(50)]
        first = await asyncio.gather(*map(next_of, viewers))
        before = source.taken
        await asyncio.gather(*map(next_of, viewers))
        assert source.taken - before <= 2
        assert len({whole["time"] for _, whole in first}) <= 2
        for viewer in viewers:
            await viewer.aclose()


async def test_a_viewer_that_missed_some_gets_all_there_is_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fed(monkeypatch) as (source, feed), aclosing(feed.updates()) as slow, aclosing(feed.updates()) as fast:
        assert (await next_of(slow))[0] == "status"
        for _ in range(4):
            await next_of(fast)
        source.sessions["d"] = "idle"
        assert (await next_of(slow))[0] == "status"


async def test_nobody_is_shown_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fed(monkeypatch) as (source, feed):
        await feed.now()
        taken = source.taken
        await asyncio.sleep(0.5)  # nobody looks, and nothing is taken
        assert source.taken <= taken + 1
        source.sessions = {"new": "idle"}
        assert [row["id"] for row in json.loads(await feed.now())["sessions"]] == ["new"]
        assert json.loads(await feed.now("new"))["session"]["id"] == "new"
        assert json.loads(await feed.now("old"))["session"] is None


async def test_a_picture_that_fails_is_told_in_the_log_and_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with fed(monkeypatch) as (source, feed), aclosing(feed.updates()) as updates:
        await next_of(updates)
        source.failing = True
        taken = source.taken
        await eventually(lambda: source.taken >= taken + 2, interval=0)
        source.failing = False
        await next_of(updates)
        assert "the background task 'status feed' failed" in caplog.text


async def test_viewers_end_with_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fed(monkeypatch) as (_, feed), aclosing(feed.updates()) as updates:
        await next_of(updates)
        await feed.cleanup()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [update.event async for update in updates] in ([], ["change"])


@pytest.mark.parametrize("reads", [True, False])
async def test_viewers_that_go_or_read_nothing_leave_nothing_behind(
    reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fed(monkeypatch) as (source, feed):
        source.sessions = {str(number): "idle" * 1000 for number in range(2000)}
        server = http_server(some_services(status=feed), body_seconds=PATIENCE_SECONDS if reads else 0.2)
        sock, port = bind_unused_port()
        server.add_socket(sock)
        request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX-API-Key: t\r\nAccept: text/event-stream\r\n\r\n"
        connections = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(request)
            connections.append((reader, writer))
        async with asyncio.timeout(PATIENCE_SECONDS):
            for reader, writer in connections:
                await reader.readuntil(b"event: status\n")
                if reads:
                    writer.transport.abort()
        await eventually(lambda: not feed.viewers)
        for _, writer in connections:
            writer.transport.abort()
        server.stop()


def sandbox_here(pidfd: int) -> HostSandbox:
    """A sandbox whose process is this one."""
    return cast(HostSandbox, Thing(id="here", arrival=SimpleNamespace(pidfd=pidfd)))


class Thing(SimpleNamespace):
    """Equal only to itself, as a sandbox is."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.mark.parametrize("unified", [True, False])
def test_usage_is_read_from_either_kind_of_cgroups(
    unified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "0::/box\n" if unified else "4:memory:/box\n2:cpu,cpuacct:/box\n0::/other\n"
    files = (
        {
            "box/memory.current": "4096\n",
            "box/memory.max": "8192\n",
            "box/cpu.stat": "usage_usec 1500000\nuser_usec 3\n",
        }
        if unified
        else {
            "memory/box/memory.usage_in_bytes": "4096\n",
            "memory/box/memory.limit_in_bytes": "8192\n",
            "cpuacct/box/cpuacct.usage": "1500000000\n",
        }
    )
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path: lines if path.name == "cgroup" else read(path))
    pidfd = os.pidfd_open(os.getpid())
    try:
        reader = usage.CgroupReader(tmp_path)
        sandbox = sandbox_here(pidfd)
        for _ in range(2):
            assert reader.read([sandbox]) == {"here": Usage(4096, 8192, 1_500_000)}
        for file in tmp_path.rglob("*.*"):
            file.unlink()
        assert reader.read([sandbox, sandbox_here(-1)]) == {}
    finally:
        os.close(pidfd)


def test_the_host_has_numbers_that_can_be() -> None:
    watch = HostMonitor(Path("/"))
    for _ in range(2):
        host = watch.read()
        assert 0 <= host.cpu <= 1
        assert 0 < host.memory_bytes < host.memory_total
        assert 0 < host.disk_bytes <= host.disk_total


@pytest.mark.docker
async def test_the_status_of_a_real_gateway(api: Api, gateway: GatewayProcess) -> None:
    made = json.loads((await api.request("POST", "/v1/sessions", {"name": "watched", "labels": {"a": "b"}})).body)
    socket = await api.connect(made["id"])
    await socket.execute("print('x' * 1000)")
    status = await api.get("/v1/status")
    (row,) = [row for row in status["sessions"] if row["id"] == made["id"]]
    assert (row["name"], row["labels"], row["image"], row["connections"]) == ("watched", {"a": "b"}, "python", 1)
    assert (row["state"], row["expires_at"]) == ("idle", None), "it is in use"
    assert 2**20 < row["memory_bytes"] < row["memory_limit"] == 512 * 2**20
    assert status["sandboxes"]["claimed"] >= 1
    assert next(pool for pool in status["pool"] if pool["kernelspec"] == "python3")["claims"] >= 1
    columns = status["history"]["columns"]
    seen = [dict(zip(columns, row, strict=True)) for row in status["history"]["rows"]]
    assert sum(step["creates"] for step in seen) >= 1
    assert sum(step["bytes"] for step in seen) >= 1000
    assert (await api.get(f"/api/kernels/{made['id']}"))["connections"] == 1
    socket.close()
    assert (await api.request("GET", "/v1/status", headers={})).code == 401
