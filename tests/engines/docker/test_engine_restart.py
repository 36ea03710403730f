"""The engine is restarted under a gateway, or its disk is full: sandboxes go on where they can, else it is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.dockerd import LIVE_RESTORE, Dockerd
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.slow]

CONFIG = "default_image: base\nallowed_images: [base]\npool: {images: {base: 1}}\n"


@pytest.fixture(scope="module")
def engine_of_our_own() -> Iterator[Dockerd]:
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("only root, where dockerd is installed, can start an engine of its own")
    with Dockerd("sandbox-runtime:base", disk_mb=1024) as running:
        yield running


async def v1(api: Api, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    response = await api.request(method, f"/v1{path}", body if method == "POST" else None)
    return response.code, json.loads(response.body)


async def made(api: Api) -> str:
    """Return the id of a new session, asked for until the engine gives one."""

    async def attempt() -> str:
        code, session = await v1(api, "POST", "/sessions")
        if code == 201:
            return str(session["id"])
        assert code == 503, session
        assert session["error_code"] in ("ENGINE_UNAVAILABLE", "SANDBOX_FAILED")
        return ""

    return await eventually(attempt, seconds=90, interval=0.5)


async def test_sandboxes_go_on_with_live_restore_and_are_told_to_have_ended_without(
    tmp_path: Path, engine_of_our_own: Dockerd
) -> None:
    dockerd = engine_of_our_own
    await asyncio.to_thread(dockerd.stop)
    await asyncio.to_thread(dockerd.start, LIVE_RESTORE)
    gateway = GatewayProcess(tmp_path, CONFIG, env={"DOCKER_HOST": dockerd.url})
    await asyncio.to_thread(gateway.start)
    try:
        async with Api(gateway.url, gateway.token) as api:
            session = await made(api)
            assert (await v1(api, "POST", f"/sessions/{session}/exec", cmd="x=42"))[0] == 200
            await asyncio.to_thread(dockerd.stop)
            assert (await v1(api, "POST", f"/sessions/{session}/exec", cmd="echo $x"))[1]["output"] == "42\n"
            await asyncio.to_thread(dockerd.start, LIVE_RESTORE)
            other = await made(api)
            assert (await v1(api, "POST", f"/sessions/{session}/exec", cmd="echo $x"))[1]["output"] == "42\n"
            assert (await v1(api, "DELETE", f"/sessions/{other}"))[0] == 200

            await asyncio.to_thread(dockerd.stop)
            await asyncio.to_thread(dockerd.start)
            _, ended = await eventually(
                lambda: v1(api, "GET", f"/sessions/{session}"), lambda answer: answer[1]["status"] != "running"
            )
            assert ended["status"] == "crashed"
            assert "sandbox" in ended["reason"] or "exit code" in ended["reason"] or "killed" in ended["reason"]
            assert (await v1(api, "POST", f"/sessions/{session}/exec", cmd="true"))[0] == 410
            new = await made(api)
            assert (await v1(api, "POST", f"/sessions/{new}/exec", cmd="echo $x"))[1]["output"] == "\n"
    finally:
        await asyncio.to_thread(gateway.stop)
    assert gateway.process.returncode == 0
    assert list((gateway.data_dir / "run").iterdir()) == []
    assert "Traceback" not in gateway.log.read_text()


async def test_a_full_disk_of_the_engine_is_told_and_what_runs_goes_on(
    tmp_path: Path, engine_of_our_own: Dockerd
) -> None:
    config = "default_image: base\nallowed_images: [base]\npool: {enabled: false}\n"
    gateway = GatewayProcess(tmp_path, config, env={"DOCKER_HOST": engine_of_our_own.url})
    await asyncio.to_thread(gateway.start)
    try:
        async with Api(gateway.url, gateway.token) as api:
            session = await made(api)
            with engine_of_our_own.full_disk():
                code, refused = await v1(api, "POST", "/sessions")
                assert (code, refused["error_code"]) == (503, "ENGINE_UNAVAILABLE")
                assert "no space left on device" in refused["message"]
                assert (await v1(api, "POST", f"/sessions/{session}/exec", cmd="echo 42"))[1]["output"] == "42\n"
            await made(api)
            with contextlib.closing(docker.DockerClient(base_url=engine_of_our_own.url)) as client:
                label = {"label": f"sandkasten.instance={gateway.instance}"}
                # what was half made is removed in the background
                await eventually(
                    lambda: client.api.containers(all=True, filters=label), lambda containers: len(containers) <= 2
                )
    finally:
        await asyncio.to_thread(gateway.stop)
    assert gateway.process.returncode == 0
    assert list((gateway.data_dir / "run").iterdir()) == []
    assert "Traceback" not in gateway.log.read_text()
