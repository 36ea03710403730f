"""Clients can delete unused workspaces, and nothing else goes with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import create, run
from tests.support.workspace_requests import end, tidy, workspaces

pytestmark = pytest.mark.docker


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    """The shared gateway; ends the sessions and deletes the workspaces that a test leaves."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        await tidy(client)


async def test_a_workspace_is_deleted_only_when_no_session_uses_it(api: Api) -> None:
    session = await create(api, workspace_id="mine")
    refused = await api.request("DELETE", "/v1/workspaces/mine")
    answer = json.loads(refused.body)
    assert (refused.code, answer["error_code"]) == (409, "WORKSPACE_IN_USE")
    assert session["id"] in answer["message"]
    assert (await run(api, session, cmd="echo still here > a; cat a"))["output"] == "still here\n"
    await end(api, session)
    assert (await api.request("DELETE", "/v1/workspaces/mine")).code == 200
    assert await workspaces(api) == {}
    unknown = await api.request("DELETE", "/v1/workspaces/mine")
    assert (unknown.code, json.loads(unknown.body)["error_code"]) == (404, "WORKSPACE_NOT_FOUND")
    again = await create(api, workspace_id="mine")
    assert (await run(api, again, cmd="ls"))["output"] == ""


async def test_create_and_delete_at_the_same_moment_leave_every_session_with_its_files(api: Api) -> None:
    for _ in range(3):
        asked = [api.request("POST", "/v1/sessions", {"workspace_id": "race"}) for _ in range(3)]
        asked += [api.request("DELETE", "/v1/workspaces/race") for _ in range(3)]
        answers = await asyncio.gather(*asked)
        assert {answer.code for answer in answers[3:]} <= {200, 404, 409}
        for answer in answers[:3]:
            assert answer.code == 201, answer.body
            session = json.loads(answer.body)
            assert (await run(api, session, cmd="echo x >> log && stat -c %h /workspace"))["output"] != "0\n"
        (found,) = (await workspaces(api)).values()
        assert len(found["session_ids"]) == 3
        await tidy(api)


async def test_what_hostile_code_leaves_harms_nothing_outside_and_is_removed(
    api: Api, gateway: GatewayProcess, folder: Path
) -> None:
    outside = folder / "outside"
    outside.write_text("precious")
    session = await create(api, workspace_id="evil")
    nested = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nos.chdir('/workspace')"
    assert (await run(api, session, code=nested))["status"] == "ok"
    made = await run(
        api, session, cmd=f"ln -s {folder} link; ln -s / root; mkfifo fifo; mkdir -m 0 shut; echo x > f; ln f g"
    )
    assert made["exit_code"] == 0
    await end(api, session)
    data = gateway.data_dir / "workspaces" / "evil" / "data"
    (data / "of-root").write_text("root's")
    (data / "of-root").chmod(0o600)
    evil = (await workspaces(api))["evil"]
    assert evil["size_mb"] > 1
    second = await create(api, workspace_id="evil")
    assert (await run(api, second, cmd="cat of-root; ls link/ && cat root/etc/hostname"))["output"].count("denied") == 1
    await end(api, second)
    assert (await api.request("DELETE", "/v1/workspaces/evil")).code == 200
    assert outside.read_text() == "precious"
    assert list((gateway.data_dir / "workspaces").iterdir()) == []


async def test_nothing_is_deleted_through_a_mount(api: Api, gateway: GatewayProcess, folder: Path) -> None:
    (folder / "disk").mkdir()
    (folder / "disk" / "precious").touch()
    await end(api, await create(api, workspace_id="disk"))
    data = gateway.data_dir / "workspaces" / "disk" / "data"
    with mounted(folder / "disk", data):
        assert (await api.request("DELETE", "/v1/workspaces/disk")).code == 409
        assert list(await workspaces(api)) == ["disk"]
    (data / "inner").mkdir()
    with mounted(folder / "disk", data / "inner"):
        assert (await api.request("DELETE", "/v1/workspaces/disk")).code == 200
        assert await workspaces(api) == {}
        assert (folder / "disk" / "precious").exists()
    (trash,) = (gateway.data_dir / "workspaces").glob(".trash-*")
    shutil.rmtree(trash)  # the gateway does that at its next start


@contextlib.contextmanager
def mounted(source: Path, place: Path) -> Iterator[None]:
    """Bind a directory to another, as an operator may."""
    subprocess.run(["mount", "--bind", source, place], check=True)
    anchor = os.open(place, os.O_PATH)
    try:
        yield
    finally:
        where = Path(f"/proc/self/fd/{anchor}").readlink()  # wherever it was moved to
        os.close(anchor)
        subprocess.run(["umount", where], check=True)
