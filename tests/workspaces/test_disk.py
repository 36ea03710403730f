"""Workspaces and the disk: their limit, a full disk, and what is left on the host."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import create, ended, run
from tests.support.waiting import eventually
from tests.support.workspace_requests import UID, end, foreign_folder, tidy, warm, workspaces

pytestmark = pytest.mark.docker

CYCLES = int(os.environ.get("TEST_CYCLES", "6"))
"""A thousand take a quarter of an hour."""


async def test_a_workspace_without_a_name_may_be_on_the_disk_and_goes_with_its_session(folder: Path) -> None:
    with GatewayProcess(folder, "pool: {images: {python: 1}}\nworkspace: {ephemeral: disk}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await warm(api)
            session = await create(api)
            assert session["workspace_id"] is None
            filled = await run(
                api, session, cmd="head -c 300M /dev/zero > big && stat -c %s big; stat -fc %T /workspace"
            )
            assert filled["output"].split()[0] == str(300 * 2**20)
            assert "tmpfs" not in filled["output"]
            (own,) = (p for p in (gateway.data_dir / "workspaces").iterdir() if (p / "data" / "big").exists())
            assert await workspaces(api) == {}
            await end(api, session)
            await eventually(lambda: not own.exists())
    assert list((gateway.data_dir / "workspaces").iterdir()) == []


async def test_what_fills_a_workspace_is_stopped_with_the_reason_and_then_ended(folder: Path) -> None:
    with GatewayProcess(folder, "pool: {images: {python: 1}}\nlimits: {workspace_mb: 5}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            session = await create(api, workspace_id="full")
            fill = "while :; do head -c 1M /dev/zero >> big; sleep 0.05; done"
            stopped = await run(api, session, cmd=fill, timeout_ms=60000)
            assert stopped["exit_code"] != 0
            assert not stopped["timed_out"] or "limits.workspace_mb is 5" in stopped["stderr"]
            assert "limits.workspace_mb is 5: what runs is stopped" in stopped["stderr"]
            assert (await run(api, session, cmd="rm big; echo freed"))["output"] == "freed\n"
            code = "f = open('big', 'w')\nwhile True: f.write('x' * 2**20); f.flush(); __import__('time').sleep(0.05)"
            answer = await run(api, session, code=code, timeout_ms=60000)
            assert "limits.workspace_mb is 5" in answer["stderr"]
            assert answer["outputs"][-1]["ename"] == "KeyboardInterrupt"
            await run(api, session, cmd=f"({fill}) & echo $!; disown")
            info = await ended(api, session)
            assert "limits.workspace_mb" in info["reason"]
            await tidy(api)


async def test_no_session_is_made_when_the_disk_is_nearly_full(folder: Path) -> None:
    disk = shutil.disk_usage(folder)
    config = f"pool: {{enabled: false}}\nlimits: {{min_free_disk_mb: {disk.total // 2**20}}}\n"
    with GatewayProcess(folder, config) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            for path, body in (("/v1/sessions", {}), ("/api/kernels", {}), ("/v1/sessions", {"workspace_id": "ab"})):
                answer = await api.request("POST", path, body)
                assert (answer.code, json.loads(answer.body)["error_code"]) == (503, "NO_CAPACITY")
                assert "limits.min_free_disk_mb" in json.loads(answer.body)["message"]
            assert await workspaces(api) == {}


def mounts(folder: Path) -> list[str]:
    """Return the mounts of workspaces below a directory of this host, and the loop devices in use there."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=True).stdout
    return sorted(line for line in [*lines, *loops.splitlines()] if f"{folder}/" in line)


async def cycles(api: Api, gateway: GatewayProcess, count: int) -> None:
    """Make a workspace, use it and delete it, again and again, and see that nothing is left."""
    before = mounts(gateway.data_dir)
    for _ in range(count):
        await warm(api)
        session = await create(api, workspace_id="cycle")
        await run(api, session, cmd="echo x > a")
        await end(api, session)
        assert (await api.request("DELETE", "/v1/workspaces/cycle")).code == 200
        # the engine lets go of a namespace a moment after it has said so
        await eventually(lambda: mounts(gateway.data_dir), lambda now: now == before)
    assert gateway.volumes() == []


async def test_cycles_leave_no_volume_no_mount_and_no_directory(api: Api, gateway: GatewayProcess) -> None:
    await cycles(api, gateway, CYCLES)
    assert list((gateway.data_dir / "workspaces").iterdir()) == []


async def test_a_workspace_that_is_an_image_cannot_grow_beyond_its_limit(folder: Path) -> None:
    config = "pool: {images: {python: 2}}\nlimits: {workspace_mb: 32}\nworkspace: {disk: image, ephemeral: disk}\n"
    before = mounts(folder)
    with GatewayProcess(folder, config) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            first = await create(api, workspace_id="small")
            look = (
                "stat -c %U .; ls; touch -d @0 old; df -m --output=size . | tail -1; "
                "grep ' /workspace ' /proc/self/mountinfo"
            )
            owner, size, *mounted = (await run(api, first, cmd=look))["output"].splitlines()
            assert owner == "sandbox"
            assert 16 <= int(size) <= 32
            assert " - ext4 " in mounted[-1]
            assert "nosuid,nodev" in mounted[-1]
            fill = "mkdir d; for i in $(seq 64); do head -c 1M /dev/urandom > d/$i || break; done; echo $i"
            filled = await run(api, first, cmd=fill)
            assert "No space left on device" in filled["stderr"]
            assert 16 <= int(filled["stdout"]) <= 32
            assert (await workspaces(api))["small"]["size_mb"] <= 32
            second = await create(api, workspace_id="small")
            shared = await run(api, second, code="import os; print(os.path.exists('d/1')); os.remove('d/1')")
            assert shared["stdout"] == "True\n"
            assert (await run(api, first, cmd="test -e d/1"))["exit_code"] == 1
            await asyncio.gather(end(api, first), end(api, second))
            third = await create(api, workspace_id="small")
            assert (await run(api, third, cmd="rm -r d; ls"))["output"] == "old\n"
            private = await create(api)
            assert "No space left" in (await run(api, private, cmd=fill))["stderr"]
            assert (await api.get(f"/v1/sessions/{private['id']}"))["status"] == "running"
            await tidy(api)
    assert list((gateway.data_dir / "workspaces").iterdir()) == []
    # the kernel frees a loop device a moment after its last mount has gone
    await eventually(lambda: mounts(folder), lambda now: now == before)


def test_images_are_refused_at_start_where_they_cannot_be_mounted() -> None:
    config = "workspace: {disk: image}\npool: {enabled: false}\n"
    with foreign_folder() as folder:
        gateway = GatewayProcess(folder, config, uid=UID)
        with pytest.raises(AssertionError, match="no image can be mounted here"):
            gateway.start()
        assert gateway.containers() == []


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    image, disk = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("least", [8, 0])
async def test_a_full_disk_is_said_in_words_and_costs_nobody_a_session(small_disk: Path, least: int) -> None:
    config = f"pool: {{images: {{python: 1}}}}\nlimits: {{min_free_disk_mb: {least}}}\n"
    with GatewayProcess(small_disk, config) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            session = await create(api, workspace_id="full")
            await run(api, session, code="mine = 5")
            filled = await run(api, session, cmd="cat /dev/zero > big; cat /dev/zero > more")
            assert "No space left on device" in filled["stderr"]
            body = {"path": "x", "content_base64": base64.b64encode(bytes(2**20)).decode()}
            answer = await api.request("POST", f"/v1/sessions/{session['id']}/fs/write", body)
            assert (answer.code, json.loads(answer.body)["error_code"]) == (507, "NO_SPACE")
            refused = await api.request("POST", "/v1/sessions", {})
            if least:
                assert (refused.code, json.loads(refused.body)["error_code"]) == (503, "NO_CAPACITY")
            else:
                assert refused.code in (201, 503), refused.body
            assert (await run(api, session, code="mine"))["output"] == "5\n"
            assert (await run(api, session, cmd="rm big more; echo freed"))["output"] == "freed\n"
            await end(api, await create(api))
            assert (await run(api, session, code="mine"))["output"] == "5\n"
            await tidy(api)
