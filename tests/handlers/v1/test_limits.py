"""Sessions over ``/v1`` with short times and low limits, and with a store that cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import WAITS, begun, create, ended, go, post, run, when
from tests.support.waiting import eventually

pytestmark = pytest.mark.local

RULES = """
pool: {enabled: false}
session_ttl_seconds: 2
retention_seconds: 3
limits: {max_sessions_per_owner: 3, max_sandboxes: 3, max_concurrent_execs: 3}
default_image: base
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with short times and low limits."""
    with GatewayProcess(tmp_path_factory.mktemp("strict"), RULES, engine="local") as running:
        yield running


@pytest.fixture
async def short(strict: GatewayProcess) -> AsyncIterator[Api]:
    async with Api(strict.url, strict.token) as client:
        yield client
        for session in await client.get("/v1/sessions"):
            await client.request("DELETE", f"/v1/sessions/{session['id']}")


async def test_a_session_ends_by_its_own_time_after_its_last_use_and_is_forgotten(short: Api) -> None:
    session = await create(short, ttl_seconds=60)
    assert (when(session["expires_at"]) - when(session["last_activity"])).total_seconds() == 60
    running = asyncio.create_task(run(short, session, cmd=f"touch begun; {WAITS}; echo done"))
    await begun(short, session)
    await post(short, f"/v1/sessions/{session['id']}/extend", ttl_seconds=1)
    await asyncio.sleep(1.5)
    await go(short, session)
    assert (await running)["output"] == "done\n"
    info = await ended(short, session)
    assert (info["status"], info["reason"]) == ("expired", "idle for 1 s")
    assert when(info["ended_at"]) >= when(info["last_activity"])
    await eventually(lambda: short.get("/v1/sessions"), lambda sessions: sessions == [])
    assert (await short.request("GET", f"/v1/sessions/{session['id']}")).code == 404


async def test_a_session_with_an_open_websocket_lives(short: Api) -> None:
    session = await create(short, ttl_seconds=60)
    socket = await short.connect(session["id"])
    await post(short, f"/v1/sessions/{session['id']}/extend", ttl_seconds=1)
    await ended(short, await create(short, ttl_seconds=1))
    asked = datetime.now(UTC)
    info = await short.get(f"/v1/sessions/{session['id']}")
    assert info["status"] == "running"
    assert when(info["expires_at"]) > asked
    socket.close()
    assert (await ended(short, session))["status"] == "expired"


@pytest.mark.parametrize("action", ["interrupt", "restart"])
async def test_a_kernel_that_is_interrupted_or_restarted_is_used(short: Api, action: str) -> None:
    session = await create(short, ttl_seconds=60)
    path = f"/v1/sessions/{session['id']}"
    before = (await short.get(path))["last_activity"]
    assert (await short.get(path))["last_activity"] == before
    response = await short.request("POST", f"/api/kernels/{session['id']}/{action}")
    assert response.code < 300
    assert when((await short.get(path))["last_activity"]) > when(before)


async def test_what_the_other_world_made_lives_by_its_own_rule(short: Api) -> None:
    kernel, session = await short.create(), await create(short)
    await ended(short, session)
    assert [k["id"] for k in await short.kernels()] == [kernel]
    assert (await short.get(f"/v1/sessions/{kernel}"))["ttl_seconds"] == 43200
    assert (await short.request("DELETE", f"/api/kernels/{kernel}")).code == 204


async def test_an_owners_limit_holds_however_many_ask_at_once(short: Api) -> None:
    answers = await asyncio.gather(*(short.request("POST", "/v1/sessions", {"ttl_seconds": 60}) for _ in range(8)))
    assert sorted(answer.code for answer in answers) == [201] * 3 + [429] * 5
    refused = next(answer for answer in answers if answer.code == 429)
    body = json.loads(refused.body)
    assert body["error_code"] == "LIMIT_REACHED"
    assert "limits.max_sessions_per_owner, 3" in body["message"]
    assert int(refused.headers["Retry-After"]) > 0
    response = await short.request("POST", "/api/kernels")
    assert response.code == 403


async def test_executions_have_a_limit_for_all_and_a_queue_for_one(short: Api) -> None:
    session = await create(short, ttl_seconds=60)
    path = f"/v1/sessions/{session['id']}/exec"
    asked = [asyncio.create_task(short.request("POST", path, {"cmd": WAITS})) for _ in range(5)]
    refused, _ = [await answer for answer in itertools.islice(asyncio.as_completed(asked), 2)]
    await go(short, session)
    assert sorted([(await answer).code for answer in asked]) == [200] * 3 + [503] * 2
    assert "limits.max_concurrent_execs" in json.loads(refused.body)["message"]
    assert "Retry-After" in refused.headers


@contextlib.contextmanager
def locked(gateway: GatewayProcess) -> Iterator[None]:
    """Keep the gateway's store from being written, as a full disk does."""
    with contextlib.closing(sqlite3.connect(gateway.data_dir / "sessions.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def test_what_runs_goes_on_while_the_store_cannot_be_written_and_nothing_is_lost(
    short: Api, strict: GatewayProcess
) -> None:
    session = await create(short, ttl_seconds=60)
    with locked(strict):
        assert (await run(short, session, cmd="echo goes on"))["output"] == "goes on\n"
        for _ in range(4):  # more than there may be sandboxes
            refused = await post(short, "/v1/sessions", 503)
            assert refused["error_code"] == "STORE_UNAVAILABLE"
    assert (await run(short, await create(short), cmd="echo anew"))["output"] == "anew\n"


async def test_a_session_that_is_too_old_is_not_called_idle(tmp_path: Path) -> None:
    config = "pool: {enabled: false}\ndefault_image: base\nmax_lifetime_seconds: 1\n"
    gateway = GatewayProcess(tmp_path, config, engine="local")
    await asyncio.to_thread(gateway.start)
    try:
        async with Api(gateway.url, gateway.token) as api:
            info = await ended(api, await create(api))
            assert (info["status"], info["reason"]) == ("expired", "as old as max_lifetime_seconds, 1 s")
    finally:
        await asyncio.to_thread(gateway.stop)
