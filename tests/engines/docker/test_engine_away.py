"""The engine goes away and comes back: what runs is not disturbed, what cannot be done is said, nothing is left."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.engine_cable import EngineCable, Mode
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CONFIG = "pool: {images: {python: 1}}\n"


@pytest.mark.parametrize("mode", [Mode.CUT, Mode.MUTE])
async def test_kernels_live_on_without_the_engine_and_new_ones_come_when_it_is_back(tmp_path: Path, mode: Mode) -> None:
    async with EngineCable(tmp_path / "docker.sock") as cable:
        gateway = GatewayProcess(tmp_path, CONFIG, env={"DOCKER_HOST": cable.url})
        await asyncio.to_thread(gateway.start)
        try:
            async with Api(gateway.url, gateway.token) as api:
                await live_through(api, gateway, cable, mode)
        finally:
            await cable.become(Mode.WHOLE)
            await asyncio.to_thread(gateway.stop)
    assert "Traceback" not in gateway.log.read_text()


async def live_through(api: Api, gateway: GatewayProcess, cable: EngineCable, mode: Mode) -> None:
    staying, ended = await api.create(), await api.create()
    socket = await api.connect(staying)
    await socket.execute("x = 6")
    await warm(api, 1)
    await cable.become(mode)

    from_pool = await api.create()
    assert (await (await api.connect(from_pool)).execute("print('warm')")).stream() == "warm\n"
    response = await api.request("POST", "/api/kernels")
    assert response.code == 503
    assert int(response.headers["Retry-After"]) > 0
    answer = json.loads(response.body)
    assert answer["error_code"] == "ENGINE_UNAVAILABLE"
    assert "Docker engine" in answer["message"]
    assert (await socket.execute("print(x * 7)")).stream() == "42\n"
    assert (await api.request("POST", f"/api/kernels/{staying}/restart")).code == 200
    assert (await api.request("DELETE", f"/api/kernels/{ended}")).code == 204
    assert (await api.get("/api/status"))["kernels"] == 2

    await cable.become(Mode.WHOLE)
    await warm(api, 1)
    new = await api.create()
    assert (await (await api.connect(new)).execute("print('back')")).stream() == "back\n"
    await warm(api, 1)
    # three kernels and a warm one: the ended one is removed late, but it is
    await eventually(gateway.containers, lambda containers: len(containers) <= 4)


async def warm(api: Api, count: int) -> None:
    await eventually(api.pool, lambda pool: pool["warm"] >= count)


async def test_a_gateway_that_finds_no_engine_says_so_and_ends(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, CONFIG, env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(AssertionError, match=r"no Docker engine answers at unix://.*none.sock"):
        await asyncio.to_thread(gateway.start)
    assert gateway.process.wait() == 1
