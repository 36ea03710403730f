"""Sessions over ``/v1``: created, listed and ended, and the same kernels as in ``/api``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from typing import Any

import docker
import pytest

from sandkasten_kernels.engines.docker.connection import EngineConnection
from sandkasten_kernels.engines.docker.containers import Containers
from sandkasten_kernels.errors import InvalidRequest
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import begun, create, ended, post, run
from tests.support.waiting import eventually

pytestmark = pytest.mark.local

FIELDS = {"id", "image", "status", "cwd", "created_at", "expires_at", "last_activity", "container_id", "acquire_source"}


async def test_a_session_is_one_thing_in_both_worlds(api: Api) -> None:
    session = await create(api, image="python", name="mine")
    assert session.keys() >= FIELDS
    assert (session["image"], session["status"], session["cwd"]) == ("python", "running", "/workspace")
    assert session["id"] in [kernel["id"] for kernel in await api.kernels()]
    socket = await api.connect(session["id"])
    await socket.execute("x = 6")
    assert (await run(api, session, code="print(x * 7)"))["output"] == "42\n"
    kernel = await api.create()
    assert (await api.get("/v1/sessions"))[0]["id"] == kernel


@pytest.mark.parametrize("image", ["python", "sandbox-runtime:python", None, ""])
async def test_an_image_has_a_short_and_a_full_name(api: Api, image: str | None) -> None:
    assert (await create(api, image=image))["image"] == "python"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": "cobol"}, "INVALID_IMAGE"),
        ({"image": "../../etc"}, "INVALID_IMAGE"),
        ({"workspace_id": "../../etc"}, "INVALID_WORKSPACE"),
        ({"ttl_seconds": -1}, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_made_is_refused_with_its_code(api: Api, body: dict[str, Any], code: str) -> None:
    answer = await post(api, "/v1/sessions", 400, **body)
    assert answer["error_code"] == code
    assert answer["error"] == answer["message"]


async def test_a_session_that_was_destroyed_is_remembered_and_cannot_be_used(api: Api) -> None:
    session = await create(api)
    path = f"/v1/sessions/{session['id']}"
    for _ in range(2):
        response = await api.request("DELETE", path)
        assert (response.code, json.loads(response.body)) == (200, {"ok": True})
    info = await api.get(path)
    assert (info["status"], info["reason"]) == ("destroyed", "a client destroyed it")
    assert (await run(api, session, 410, cmd="true"))["error_code"] == "SESSION_EXPIRED"
    assert session["id"] not in [kernel["id"] for kernel in await api.kernels()]
    assert session["id"] in [s["id"] for s in await api.get("/v1/sessions")]
    for method, unknown in (("GET", "/v1/sessions/none"), ("DELETE", "/v1/sessions/none")):
        response = await api.request(method, unknown)
        assert (response.code, json.loads(response.body)["error_code"]) == (404, "SESSION_NOT_FOUND")
    assert (await post(api, "/v1/sessions/none/exec", 404, cmd="true"))["error_code"] == "SESSION_NOT_FOUND"


async def test_labels_find_sessions_newest_first(api: Api) -> None:
    first = await create(api, labels={"job": "a", "tier": "x"})
    second = await create(api, labels={"job": "a"})
    found = [session["id"] for session in await api.get("/v1/sessions?label=job=a")]
    assert found == [second["id"], first["id"]]
    assert [s["id"] for s in await api.get("/v1/sessions?label=job=a&label=tier=x")] == [first["id"]]
    assert await api.get("/v1/sessions?label=job=b") == []
    assert await api.get("/v1/sessions?label=job=a&label=job=b") == []
    assert (await api.request("GET", "/v1/sessions?label=job")).code == 400


async def test_a_client_of_the_other_world_that_exits_ends_nothing(api: Api) -> None:
    session = await create(api)
    socket = await api.connect(session["id"], user_agent="Tornado/6")
    other = await api.connect(session["id"], user_agent="another program of this address")
    headers = {"Authorization": f"token {api.token}", "User-Agent": "Tornado/6"}
    assert (await api.request("DELETE", f"/api/kernels/{session['id']}", headers=headers)).code == 204
    while await socket.receive():
        pass
    assert (await other.execute("print('still here')")).stream() == "still here\n"
    assert (await run(api, session, code="print('alive')"))["output"] == "alive\n"
    notebook = {"path": "n.ipynb", "type": "notebook", "kernel": {"id": session["id"]}}
    response = await api.request("POST", "/api/sessions", notebook)
    assert response.code == 201
    path = f"/api/sessions/{json.loads(response.body)['id']}"
    assert (await api.request("DELETE", path)).code == 204
    assert (await api.get(f"/v1/sessions/{session['id']}"))["status"] == "running"


@pytest.mark.docker
async def test_the_environment_reaches_kernel_shell_and_children_and_nothing_else(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    value = "a-value-nobody-else-may-see"
    session = await create(api, env={"MY_SETTING": value})
    code = "import os, subprocess; print(os.environ['MY_SETTING'], subprocess.getoutput('echo $MY_SETTING'))"
    assert (await run(api, session, code=code))["output"] == f"{value} {value}\n"
    assert (await run(api, session, cmd="echo $MY_SETTING; bash -c 'echo $MY_SETTING'"))["output"] == f"{value}\n" * 2
    await api.request("POST", f"/api/kernels/{session['id']}/restart")
    assert (await run(api, session, code=code))["output"] == f"{value} {value}\n"
    assert value not in str(engine.api.inspect_container(session["container_id"]))
    assert value not in str(await api.get(f"/v1/sessions/{session['id']}"))
    assert value not in gateway.log.read_text()
    files = [path.read_bytes() for path in gateway.data_dir.iterdir() if path.is_file()]
    assert not any(value.encode() in data for data in files)
    other = await create(api)
    assert (await run(api, other, cmd="echo [$MY_SETTING]"))["output"] == "[]\n"


async def test_a_variable_that_is_read_at_start_is_there_and_it_is_said_how(api: Api) -> None:
    session = await create(api, env={"PYTHONHASHSEED": "0"})
    assert "started anew" in session["acquire_detail"]
    assert (await run(api, session, code="import sys; print(sys.flags.hash_randomization)"))["output"] == "0\n"


@pytest.mark.docker
async def test_limits_are_changed_on_a_warm_sandbox(api: Api) -> None:
    await eventually(api.pool, lambda pool: pool["warm"] >= 1)
    session = await create(api, mem_limit_mb=1024, cpu_limit=0.5)
    assert session["acquire_source"] == "pool"
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    shown = (await run(api, session, cmd=f"cat {files} /sys/fs/cgroup/cpu.max 2>/dev/null"))["output"].split()
    assert shown[:2] == [str(1024 * 2**20), "50000"]
    stats = await api.get(f"/v1/sessions/{session['id']}/stats")
    assert stats["memory_limit"] == 1024 * 2**20
    assert stats["memory_bytes"] > 2**20
    assert stats["cpu_usage_usec"] > 0
    assert (await post(api, "/v1/sessions", 400, mem_limit_mb=8192))["message"].startswith("mem_limit_mb: must be")


async def test_what_this_machine_cannot_give_is_refused_with_its_number(api: Api) -> None:
    most = min(4, os.cpu_count() or 1)
    answer = await post(api, "/v1/sessions", 400, cpu_limit=most + 0.5)
    assert (answer["error_code"], answer["message"]) == (
        "INVALID_REQUEST",
        f"cpu_limit: must be a number from 0.01 to {most}",
    )


@pytest.mark.docker
async def test_a_limit_that_the_engine_refuses_is_the_callers_fault(api: Api, gateway: GatewayProcess) -> None:
    session = await create(api)
    with contextlib.closing(EngineConnection()) as connection:
        await connection.open()
        containers = Containers(connection, gateway.instance, logging.getLogger())
        with pytest.raises(InvalidRequest, match=r"cpu_limit, mem_limit_mb: the engine refused: .*CPUs"):
            await containers.resize(session["container_id"], cpu_limit=10**6, mem_limit_mb=None)


@pytest.mark.docker
async def test_a_sandbox_that_ends_is_a_crashed_session(api: Api, engine: docker.DockerClient) -> None:
    session = await create(api)
    running = asyncio.create_task(run(api, session, cmd="touch begun; sleep 100"))
    await begun(api, session)
    engine.api.kill(session["container_id"])
    answer = await running
    assert answer["exit_code"] == -1
    assert "is gone" in answer["stderr"]
    info = await ended(api, session)
    assert (info["status"], info["reason"]) == (
        "crashed",
        "its sandbox was ended over the engine, from outside of the gateway (SIGKILL)",
    )
    assert "ended over the engine" in (await run(api, session, 410, cmd="true"))["message"]
