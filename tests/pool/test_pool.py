"""Claims, limits and environments under concurrency, on a real engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = pytest.mark.local


async def full_pool(api: Api) -> dict[str, Any]:
    """Return the pool's status once it is as full as it should be and nothing starts."""
    return await eventually(api.pool, lambda pool: pool["warm"] == pool["target"] and not pool["starting"])


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Api]:
    """A gateway of its own that may have two sandboxes."""
    with GatewayProcess(
        tmp_path, config="limits: {max_sandboxes: 2}\npool: {images: {python: 1}}\n", engine="local"
    ) as running:
        async with Api(running.url, running.token) as client:
            yield client


async def test_a_hit_takes_a_kernel_that_was_running_and_the_pool_fills_again(api: Api) -> None:
    before = await full_pool(api)
    kernel = await api.create()
    after = await api.pool()
    assert (after["hits"], after["misses"], after["claimed"]) == (before["hits"] + 1, before["misses"], 1)
    assert (await full_pool(api))["warm"] == before["target"]
    assert [model["id"] for model in await api.kernels()] == [kernel]


async def test_twenty_concurrent_creates_on_a_pool_of_two_give_twenty_working_kernels(api: Api) -> None:
    await full_pool(api)
    kernels = await asyncio.gather(*(api.create(env={"KERNEL_N": str(n)}) for n in range(20)))
    assert len(set(kernels)) == 20

    async def answer(number: int, kernel: str) -> None:
        socket = await api.connect(kernel, v1=bool(number % 2))
        result = await socket.execute("import os; print(os.environ['KERNEL_N'])")
        assert result.stream() == f"{number}\n"
        assert result.reply["execution_count"] == 1

    await asyncio.gather(*(answer(number, kernel) for number, kernel in enumerate(kernels)))
    await asyncio.gather(*(api.request("DELETE", f"/api/kernels/{kernel}") for kernel in kernels))
    assert (await full_pool(api))["claimed"] == 0


async def test_nothing_of_the_gateways_environment_reaches_a_kernel(api: Api) -> None:
    socket = await api.connect(await api.create(env={"KERNEL_MINE": "1", "PATH": "/evil", "SECRET": "no"}))
    result = await socket.execute("import os, json; print(json.dumps(dict(os.environ)))")
    environment = json.loads(result.stream())
    assert environment["KERNEL_MINE"] == "1"
    assert environment["PATH"] != "/evil"
    assert not {"GATEWAY_SECRET", "SECRET"} & environment.keys()
    assert not [
        name for name in environment if any(word in name for word in ("TOKEN", "PASSWORD", "API_KEY", "DOCKER"))
    ]


async def test_a_variable_that_is_read_at_process_start_restarts_the_warm_kernel(tmp_path: Path) -> None:
    config = "env_names: [PYTHONHASHSEED, COLOUR]\npool: {images: {python: 1}}\n"
    with GatewayProcess(tmp_path, config, engine="local") as running:
        async with Api(running.url, running.token) as api:
            await full_pool(api)
            socket = await api.connect(await api.create(env={"PYTHONHASHSEED": "0", "COLOUR": "blue"}))
            result = await socket.execute("import os, sys; print(sys.flags.hash_randomization, os.environ['COLOUR'])")
            assert result.stream() == "0 blue\n"
            assert result.reply["execution_count"] == 1


async def test_a_working_directory_under_the_workspace_is_entered_and_one_of_the_clients_host_is_not(api: Api) -> None:
    for directory in ("/home/me/project", "/workspace/../etc", "/etc", "relative", ""):
        socket = await api.connect(await api.create(env={"KERNEL_WORKING_DIR": directory}))
        assert (await socket.execute("import os; print(os.getcwd())")).stream() == "/workspace\n"


async def test_the_limit_holds_under_concurrent_creates_and_names_itself(small: Api) -> None:
    responses = await asyncio.gather(*(small.request("POST", "/api/kernels") for _ in range(6)))
    assert Counter(response.code for response in responses) == {201: 2, 503: 4}
    refused = next(response for response in responses if response.code == 503)
    assert "limits.max_sandboxes" in json.loads(refused.body)["message"]
    assert int(refused.headers["Retry-After"]) > 0
    kernels = await small.kernels()
    assert len(kernels) == 2
    assert (await small.request("DELETE", f"/api/kernels/{kernels[0]['id']}")).code == 204
    await small.create()


async def test_a_member_that_dies_in_the_pool_is_replaced_and_never_handed_out(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    await full_pool(api)
    for container in gateway.containers():
        with contextlib.suppress(docker.errors.APIError):  # one of the test before, just being removed
            engine.api.kill(container)
    socket = await api.connect(await api.create())
    assert (await socket.execute("1")).reply["status"] == "ok"
    await full_pool(api)


async def test_a_client_that_leaves_while_it_waits_leaves_no_kernel(small: Api) -> None:
    await full_pool(small)
    await small.create()
    _reader, writer = await asyncio.open_connection(*small.url.removeprefix("http://").split(":"))
    head = f"POST /api/kernels HTTP/1.1\r\nHost: x\r\nAuthorization: token {small.token}\r\nContent-Length: 0\r\n\r\n"
    writer.write(head.encode())
    await small.get("/api/status")  # which is answered when the other has been read
    writer.close()
    assert (await full_pool(small))["claimed"] == 1
    assert len(await small.kernels()) == 1
    await small.create()


async def test_an_idle_kernel_without_clients_ends_after_its_time(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "kernel_ttl_seconds: 2\npool: {enabled: false}\n", engine="local") as running:
        async with Api(running.url, running.token) as api:
            watched = await api.create()
            socket = await api.connect(watched)
            forgotten = await api.create()
            await eventually(api.kernels, lambda models: forgotten not in [model["id"] for model in models])
            assert (await socket.execute("1")).reply["status"] == "ok"
            assert [model["id"] for model in await api.kernels()] == [watched]
