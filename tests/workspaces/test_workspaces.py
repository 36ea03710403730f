"""Workspaces: files that outlive their session, attached to sandboxes that are already warm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import create, run
from tests.support.workspace_requests import UID, WRONG_NAMES, end, foreign_folder, tidy, warm, workspaces

pytestmark = pytest.mark.docker

WHEEL = """
import zipfile
with zipfile.ZipFile("greeting-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greeting.py", "word = 'hello'")
    wheel.writestr("greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1\\n")
    wheel.writestr("greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("greeting-1.dist-info/RECORD", "")
"""
UNABLE = """
from sandkasten_kernels.engines import Engine
from sandkasten_kernels.engines.docker import DockerEngine


class UnableEngine(DockerEngine):
    attach = Engine.attach
"""


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    """The shared gateway; ends the sessions and deletes the workspaces that a test leaves."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        await tidy(client)


async def survives(api: Api, source: str, *, attached: bool = True) -> None:
    """Write in one session, over REST, and read in the next, over Jupyter, and the other way round."""
    first = await create(api, workspace_id="keep")
    assert (first["workspace_id"], first["acquire_source"], first["cwd"]) == ("keep", source, "/workspace")
    look = "pwd; echo kept > a; mkdir d; stat -c %u a; ls; grep ' /workspace ' /proc/self/mountinfo"
    cmd = await run(api, first, cmd=look)
    assert cmd["output"].startswith("/workspace\n10001\na\nd\n")
    assert not attached or "nosuid,nodev" in cmd["output"].splitlines()[-1]
    code = "import os; print(os.getcwd(), open('a').read(), sorted(os.listdir()))"
    assert (await run(api, first, code=code))["output"] == "/workspace kept\n ['.local', 'a', 'd']\n"
    await end(api, first)
    await warm_if(api, source)
    kernel = await api.create(env={"KERNEL_WORKSPACE": "keep"})
    socket = await api.connect(kernel)
    result = await socket.execute("print(open('a').read()); open('b', 'w').write('from jupyter')")
    assert (result.stream(), result.reply["execution_count"]) == ("kept\n\n", 1)
    assert (await workspaces(api))["keep"]["session_ids"] == [kernel]
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204
    await warm_if(api, source)
    third = await create(api, workspace_id="keep")
    assert third["acquire_source"] == source
    assert (await run(api, third, cmd="cat b"))["output"] == "from jupyter"


async def warm_if(api: Api, source: str) -> None:
    if source == "pool":
        await warm(api)


async def test_what_one_session_writes_the_next_reads_on_a_hit(api: Api) -> None:
    await warm(api)
    await survives(api, "pool")
    assert (await workspaces(api))["keep"]["labels"]["sandkasten.workspace"] == "keep"


async def test_what_one_session_writes_the_next_reads_on_a_miss(folder: Path) -> None:
    with GatewayProcess(folder, "pool: {enabled: false}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await survives(api, "cold")
            await tidy(api)
    assert list((gateway.data_dir / "workspaces").iterdir()) == []


async def test_a_gateway_that_is_not_root_attaches_through_its_helper() -> None:
    with foreign_folder() as folder, GatewayProcess(folder, "pool: {images: {python: 1}}\n", uid=UID) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await warm(api)
            await survives(api, "pool")
            await asyncio.to_thread(kill_helper, gateway)
            await tidy(api)
            await warm(api)
            await survives(api, "pool")
            await tidy(api)
        gateway.stop()
        assert list((gateway.data_dir / "workspaces").iterdir()) == []
        assert gateway.data_dir.stat().st_uid == UID


def kill_helper(gateway: GatewayProcess) -> None:
    with contextlib.closing(docker.from_env()) as client:
        labels = [f"sandkasten.instance={gateway.instance}"]
        (helper,) = [
            found
            for found in client.containers.list(filters={"label": labels}, ignore_removed=True)
            if "sandkasten.sandbox" not in found.labels
        ]
        helper.kill()
        helper.wait()


async def test_where_nothing_can_be_attached_a_sandbox_starts_with_its_workspace(folder: Path) -> None:
    package = folder / "package"
    (package / "unable-1.dist-info").mkdir(parents=True)
    (package / "unable-1.dist-info" / "METADATA").write_text("Name: unable\nVersion: 1\n")
    (package / "unable-1.dist-info" / "entry_points.txt").write_text(
        "[sandkasten_kernels.engines]\nunable = unable:UnableEngine\n"
    )
    (package / "unable.py").write_text(UNABLE)
    config = "engine: unable\npool: {images: {python: 1}}\n"
    with GatewayProcess(folder, config, env={"PYTHONPATH": f"{package}:{Path(__file__).parents[2]}"}) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await warm(api)
            await survives(api, "cold", attached=False)
            session, *_ = await api.get("/v1/sessions")
            assert session["acquire_detail"].startswith("the workspace could not be attached")
            await tidy(api)


async def test_a_kernel_that_is_restarted_or_killed_stays_in_its_workspace(api: Api) -> None:
    await warm(api)
    session = await create(api, workspace_id="keep")
    await run(api, session, cmd="echo 1 > a")
    assert (await api.request("POST", f"/api/kernels/{session['id']}/restart")).code == 200
    assert (await run(api, session, code="print(open('a').read())"))["output"] == "1\n\n"
    assert (await run(api, session, cmd="exit"))["cwd"] == "/workspace"
    assert (await run(api, session, cmd="cat a"))["output"] == "1\n"


async def test_a_shell_kernel_stands_in_its_workspace(api: Api) -> None:
    session = await create(api, image="base", workspace_id="keep")
    assert (await run(api, session, code="pwd; echo shell > a"))["output"] == "/workspace\n"
    await end(api, session)
    other = await create(api, workspace_id="keep")
    assert (await run(api, other, code="print(open('a').read(), end='')"))["output"] == "shell\n"


async def test_what_pip_installs_is_there_the_next_time_in_kernel_and_shell(api: Api) -> None:
    hello = "import greeting; print(greeting.word)"
    await warm(api)
    first = await create(api, workspace_id="pips")
    assert (await run(api, first, code=WHEEL))["status"] == "ok"
    install = await run(api, first, code="%pip install --no-index ./greeting-1-py3-none-any.whl")
    assert "Successfully installed greeting-1" in install["output"]
    assert (await run(api, first, code=hello))["output"] == "hello\n"
    await end(api, first)
    await warm(api)
    second = await create(api, workspace_id="pips")
    assert second["acquire_source"] == "pool"
    assert (await run(api, second, code=hello))["output"] == "hello\n"
    shell = await run(api, second, cmd=f"python -c '{hello}'; pip list | grep greet")
    assert shell["output"].split() == ["hello", "greeting", "1"]
    assert (await api.request("POST", f"/api/kernels/{second['id']}/restart")).code == 200
    assert (await run(api, second, code=hello))["output"] == "hello\n"
    assert (await run(api, await create(api), code=hello))["status"] == "error"


@pytest.mark.parametrize("name", WRONG_NAMES)
async def test_a_name_that_is_none_is_refused_at_every_door(api: Api, gateway: GatewayProcess, name: str) -> None:
    before = sorted((gateway.data_dir / "workspaces").iterdir())
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    answers = [
        await api.request("POST", "/v1/sessions", {"workspace_id": name}),
        await api.request("POST", "/api/kernels", {"env": {"KERNEL_WORKSPACE": name}}),
        await api.request(
            "POST", "/api/sessions", {"path": "x", "type": "notebook", "env": {"KERNEL_WORKSPACE": name}}
        ),
        await api.request("DELETE", f"/v1/workspaces/{quoted}"),
    ]
    for answer in answers:
        assert (answer.code, json.loads(answer.body)["error_code"]) == (400, "INVALID_WORKSPACE")
    assert sorted((gateway.data_dir / "workspaces").iterdir()) == before


async def test_sessions_may_share_a_workspace(api: Api) -> None:
    first, second = await asyncio.gather(create(api, workspace_id="ours"), create(api, workspace_id="ours"))
    await run(api, first, cmd="echo hello > a")
    assert (await run(api, second, cmd="cat a"))["output"] == "hello\n"
    assert set((await workspaces(api))["ours"]["session_ids"]) == {first["id"], second["id"]}
    await end(api, first)
    assert (await api.request("DELETE", "/v1/workspaces/ours")).code == 409


async def test_every_session_may_have_a_workspace_that_stays(folder: Path) -> None:
    with GatewayProcess(folder, "pool: {images: {python: 1}}\nworkspace: {persist_by_default: true}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            session = await create(api)
            await run(api, session, cmd="echo kept > a")
            await end(api, session)
            again = await create(api, workspace_id=session["workspace_id"])
            assert (await run(api, again, cmd="cat a"))["output"] == "kept\n"
            assert (await create(api))["workspace_id"] not in (None, session["workspace_id"])
            await tidy(api)


async def test_neither_a_pruned_volume_nor_a_lost_database_loses_a_file(folder: Path) -> None:
    with GatewayProcess(folder) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            session = await create(api, workspace_id="dear")
            await run(api, session, cmd="echo precious > a")
            (name,) = gateway.volumes()
            subprocess.run(["docker", "volume", "rm", name], check=True, capture_output=True)
            assert (await run(api, session, cmd="cat a"))["output"] == "precious\n"
            assert list(await workspaces(api)) == ["dear"]
    (gateway.data_dir / "sessions.sqlite").unlink()
    with gateway:
        async with Api(gateway.url, gateway.token) as api:
            assert list(await workspaces(api)) == ["dear"]
            assert gateway.volumes() == [name]
            session = await create(api, workspace_id="dear")
            assert (await run(api, session, cmd="cat a"))["output"] == "precious\n"
            await tidy(api)
    assert gateway.volumes() == []
