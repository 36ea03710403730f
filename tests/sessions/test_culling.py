"""Sessions end when they expire: idle, too old, connected but idle; busy ones only with ``cull_busy``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs
from sandkasten_kernels.kernelspecs.metadata import Culling
from sandkasten_kernels.sessions.culling import SLACK, Deadlines
from sandkasten_kernels.sessions.lifetime import FOR_EVER, Lifetime
from sandkasten_kernels.sessions.policy import SessionPolicy
from sandkasten_kernels.sessions.request import SessionRequest
from tests.kernelspecs.test_metadata import PYTHON
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, KernelSocket, execute_content
from tests.support.v1_requests import create, ended, run, when

OLD_SECONDS = 5
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["set", "discard", "due"]), st.integers(0, 9), st.floats(0, 100)), max_size=200
    )
)
def test_the_heap_gives_out_what_is_due_once_and_stays_small(steps: list[tuple[str, int, float]]) -> None:
    heap: Deadlines[int] = Deadlines()
    known: dict[int, float] = {}
    for step, item, when_ in steps:
        if step == "set":
            heap.set(item, when_)
            known[item] = when_
        elif step == "discard":
            heap.discard(item)
            known.pop(item, None)
        else:
            expected = {item for item, other in known.items() if other <= when_}
            found = heap.due(when_)
            assert (set(found), len(found)) == (expected, len(expected))
            assert [known[item] for item in found] == sorted(known[item] for item in found)
            known = {item: other for item, other in known.items() if item not in expected}
        assert heap.first() == min(known.values(), default=None)
        assert len(heap) == len(known)
        assert len(heap._heap) <= 2 * len(known) + SLACK


@pytest.mark.parametrize(
    ("lifetime", "busy", "connected", "end", "reason"),
    [
        (Lifetime(ttl_seconds=10), False, False, 10, "idle for 10 s"),
        (Lifetime(ttl_seconds=10), False, True, 110, None),
        (Lifetime(ttl_seconds=10, cull_connected=True), False, True, 10,
         "idle for 10 s, though a client was connected (cull_connected)"),
        (Lifetime(ttl_seconds=10), True, False, 110, None),
        (Lifetime(ttl_seconds=10, cull_connected=True), True, True, 110, None),
        (Lifetime(ttl_seconds=10, cull_busy=True), True, False, 10, "busy, but not used for 10 s (cull_busy)"),
        (Lifetime(ttl_seconds=10, cull_busy=True), True, True, 110, None),
        (Lifetime(ttl_seconds=0, max_lifetime_seconds=50), False, True, 50, "as old as max_lifetime_seconds, 50 s"),
        (Lifetime(ttl_seconds=0, max_lifetime_seconds=50), True, False, 105, None),
        (Lifetime(ttl_seconds=0, max_lifetime_seconds=50, cull_busy=True), True, False, 50,
         "as old as max_lifetime_seconds, 50 s, though it was busy (cull_busy)"),
        (Lifetime(ttl_seconds=0), False, False, None, None),
    ],
)  # fmt: skip
def test_the_end_of_a_session_follows_from_its_lifetime(
    lifetime: Lifetime, busy: bool, connected: bool, end: int | None, reason: str | None
) -> None:
    now = T0 + timedelta(seconds=100)
    found = lifetime.end(T0, T0, now, busy=busy, connected=connected)
    assert found == (FOR_EVER if end is None else T0 + timedelta(seconds=end))
    assert (found <= now) == (reason is not None)
    if reason:
        assert lifetime.reason(T0, now, busy=busy, connected=connected) == reason


def test_a_caller_may_choose_a_ttl_and_otherwise_only_a_shorter_life() -> None:
    spec = next(iter(Kernelspecs()))
    policy = SessionPolicy(ttl_seconds=5, max_lifetime_seconds=50, cull_busy=True)
    assert policy.lifetime(SessionRequest(origin="v1"), spec) == Lifetime(
        ttl_seconds=5, max_lifetime_seconds=50, cull_busy=True
    )
    assert policy.lifetime(SessionRequest(), spec).ttl_seconds == 43200
    longer = SessionRequest(origin="v1", culling=Culling(100, 100, None, False))
    assert policy.lifetime(longer, spec) == Lifetime(ttl_seconds=100, max_lifetime_seconds=50, cull_busy=True)
    shorter = SessionRequest(origin="v1", culling=Culling(None, 10, True, None))
    assert policy.lifetime(shorter, spec) == Lifetime(
        ttl_seconds=5, max_lifetime_seconds=10, cull_connected=True, cull_busy=True
    )
    unlimited = SessionPolicy(ttl_seconds=5)
    asked = SessionRequest(origin="v1", culling=Culling(None, 10))
    assert unlimited.lifetime(asked, spec).max_lifetime_seconds == 10


@pytest.fixture(scope="module")
def culling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with kernelspecs that differ only in their settings for culling."""
    folder = tmp_path_factory.mktemp("culling")
    specs = {
        "idle": {"ttl_seconds": 1},
        "old": {"ttl_seconds": 0, "max_lifetime_seconds": OLD_SECONDS},
        "kept": {"ttl_seconds": 3},
        "connected": {"ttl_seconds": 3, "cull_connected": True},
        "busy": {"ttl_seconds": 0, "max_lifetime_seconds": OLD_SECONDS, "cull_busy": True},
    }
    for name, settings in specs.items():
        (folder / "specs" / name).mkdir(parents=True)
        metadata = {"sandkasten": {"image": "python", "pool": False, "culling": settings}}
        (folder / "specs" / name / "kernel.json").write_text(json.dumps({**PYTHON, "metadata": metadata}))
    config = "kernelspec_dirs: [specs]\npool: {images: {python: 1}}\nsession_ttl_seconds: 600\n"
    with GatewayProcess(folder, config, engine="local") as running:
        yield running


@pytest.fixture
async def culled(culling: GatewayProcess) -> AsyncIterator[Api]:
    async with Api(culling.url, culling.token) as api:
        yield api
        for kernel in await api.kernels():
            await api.request("DELETE", f"/api/kernels/{kernel['id']}")


async def told(api: Api, session: str) -> tuple[str, str]:
    """Return status and reason of a session that has ended, which are those of its event."""
    info = await ended(api, {"id": session})
    events = (await api.get("/v1/events?since=0&limit=1000"))["events"]
    of_session = [event for event in events if event["session_id"] == session]
    assert (of_session[-1]["kind"], of_session[-1]["reason"]) == ("culled", info["reason"])
    return info["status"], info["reason"]


@pytest.mark.local
async def test_an_idle_kernel_ends_and_its_client_is_told_why(culled: Api, culling: GatewayProcess) -> None:
    kernel = await culled.create(name="idle")
    assert await told(culled, kernel) == ("expired", "idle for 1 s")
    assert f"kernel {kernel} ended: idle for 1 s" in culling.log.read_text()
    response = await culled.request("GET", f"/api/kernels/{kernel}")
    assert (response.code, json.loads(response.body)["message"]) == (
        404, "this kernel has ended (expired): idle for 1 s"
    )  # fmt: skip


@pytest.mark.local
async def test_a_connected_kernel_is_in_use_unless_its_kernelspec_says_otherwise(culled: Api) -> None:
    kept = await culled.create(name="kept")
    socket = await culled.connect(kept)
    lost = await culled.create(name="connected")
    other = await culled.connect(lost)
    assert await told(culled, lost) == ("expired", "idle for 3 s, though a client was connected (cull_connected)")
    assert (await other.until("stream", name="stderr")).content["text"] == (
        "The kernel is gone: idle for 3 s, though a client was connected (cull_connected).\n"
    )
    assert (await culled.get(f"/v1/sessions/{kept}"))["status"] == "running"
    socket.close()
    assert await told(culled, kept) == ("expired", "idle for 3 s")


@pytest.mark.local
async def test_a_busy_kernel_that_is_too_old_ends_when_it_is_done_and_at_once_with_cull_busy(culled: Api) -> None:
    async def busy(name: str) -> tuple[str, KernelSocket]:
        kernel = await culled.create(name=name)
        socket = await culled.connect(kernel)
        wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.1)\nprint('done')"
        await socket.send("execute_request", execute_content(wait))
        return kernel, socket

    (spared, one), (lost, other) = await asyncio.gather(busy("old"), busy("busy"))
    reason = f"as old as max_lifetime_seconds, {OLD_SECONDS} s"
    assert await told(culled, lost) == ("expired", f"{reason}, though it was busy (cull_busy)")
    assert "cull_busy" in (await other.until("stream", name="stderr")).content["text"]
    await run(culled, {"id": spared}, cmd="touch go")  # it is about as old as the other
    await one.said("done\n")
    assert await told(culled, spared) == ("expired", reason)


@pytest.mark.local
async def test_a_session_may_want_a_shorter_life_of_its_own(culled: Api) -> None:
    session = await create(culled, max_lifetime_seconds=4, cull_busy=True)
    assert (session["max_lifetime_seconds"], session["cull_busy"], session["cull_connected"]) == (4, True, False)
    assert (when(session["expires_at"]) - when(session["created_at"])).total_seconds() == 4
    answer = await run(culled, session, code="import time; time.sleep(60)")
    assert answer["exit_code"] != 0
    assert "as old as max_lifetime_seconds, 4 s, though it was busy (cull_busy)" in answer["stderr"]
    for wrong in ({"cull_busy": "yes"}, {"max_lifetime_seconds": -1}, {"cull_connected": 1}):
        response = await culled.request("POST", "/v1/sessions", wrong)
        assert (response.code, json.loads(response.body)["error_code"]) == (400, "INVALID_REQUEST")


@pytest.mark.local
async def test_sessions_that_are_due_at_once_all_end(culled: Api) -> None:
    settings: dict[str, Any] = {"image": "base", "ttl_seconds": 1}
    sessions = await asyncio.gather(*(create(culled, **settings) for _ in range(6)))
    for session in sessions:
        assert await told(culled, session["id"]) == ("expired", "idle for 1 s")
