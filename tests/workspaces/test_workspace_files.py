"""Files of a workspace without a session: read, exported and imported, and not deleted meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import create, run
from tests.support.waiting import eventually
from tests.support.workspace_requests import WRONG_NAMES, end, tidy, workspaces

pytestmark = pytest.mark.docker


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    """The shared gateway; ends the sessions and deletes the workspaces that a test leaves."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        await tidy(client)


async def test_files_of_a_workspace_are_reached_without_a_session(api: Api) -> None:
    await end(api, await create(api, workspace_id="shelf"))
    base = "/v1/workspaces/shelf/fs"
    written = await api.request("POST", f"{base}/write", {"path": "notes/a.txt", "text": "hello"})
    assert json.loads(written.body) == {"ok": True, "path": "/workspace/notes/a.txt"}
    assert (await api.get(f"{base}?path=notes"))["entries"][0]["name"] == "a.txt"
    assert (await api.get(f"{base}/read?path=notes/a.txt"))["content_base64"] == "aGVsbG8="
    assert (await api.request("GET", f"{base}/download?path=notes/a.txt")).body == b"hello"
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="b.bin"\r\n\r\n\0\xff\r\n--x--\r\n'
    headers = {"Authorization": f"token {api.token}", "Content-Type": "multipart/form-data; boundary=x"}
    uploaded = await api.request("POST", f"{base}/upload", form, headers)
    assert json.loads(uploaded.body)["paths"] == ["/workspace/b.bin"]
    assert await api.get("/v1/sessions?label=none=at-all") == []
    assert (await workspaces(api))["shelf"]["session_ids"] == []
    session = await create(api, workspace_id="shelf")
    assert (await run(api, session, cmd="stat -c %u notes/a.txt b.bin; ln -s /etc out"))["output"] == "10001\n10001\n"
    refused = await api.request("GET", f"{base}/read?path=out/hostname")
    assert refused.code in (400, 404), refused.body
    await end(api, session)
    for method, path in (("GET", "/v1/workspaces/none-such/fs"), ("POST", "/v1/workspaces/none-such/fs/upload")):
        unknown = await api.request(method, path)
        assert (unknown.code, json.loads(unknown.body)["error_code"]) == (404, "WORKSPACE_NOT_FOUND")
    for name in WRONG_NAMES:
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        for method, path in (
            ("GET", "fs"),
            ("GET", "fs/download?path=a"),
            ("POST", "fs/upload"),
            ("POST", "fs/unpack"),
        ):
            wrong = await api.request(method, f"/v1/workspaces/{quoted}/{path}")
            assert (wrong.code, json.loads(wrong.body)["error_code"]) == (400, "INVALID_WORKSPACE")
    assert (await api.request("DELETE", "/v1/workspaces/shelf")).code == 200


async def test_a_workspace_is_exported_and_imported_as_an_archive(api: Api) -> None:
    def command(verb: str, name: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        program = [sys.executable, "-m", "sandkasten_kernels", "workspaces", verb, name]
        url = f"--url={api.url}/?token={api.token}"
        return subprocess.run([*program, url], input=data, capture_output=True, check=False, timeout=120)

    session = await create(api, workspace_id="from")
    await run(
        api, session, cmd="mkdir -p a/b; echo deep > a/b/c; head -c 3M /dev/urandom > big; ln -s /etc/passwd link"
    )
    total = (await run(api, session, cmd="cat big | sha256sum"))["output"]
    await end(api, session)
    archive = await asyncio.to_thread(command, "export", "from")
    assert archive.returncode == 0, archive.stderr
    refused = await asyncio.to_thread(command, "import", "from", archive.stdout)
    assert (refused.returncode, b"already" in refused.stderr) == (1, True)
    made = await asyncio.to_thread(command, "import", "to", archive.stdout)
    assert made.returncode == 0, made.stderr
    session = await create(api, workspace_id="to")
    found = await run(api, session, cmd="cat a/b/c; ls; cat big | sha256sum")
    assert found["output"] == f"deep\na\nbig\n{total}"
    assert (await asyncio.to_thread(command, "export", "../../etc")).returncode == 2
    assert b"there is no workspace" in (await asyncio.to_thread(command, "export", "none")).stderr


async def test_a_workspace_is_not_deleted_under_an_upload(api: Api) -> None:
    await end(api, await create(api, workspace_id="shelf"))
    begun, finish = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n' + bytes(2**20)
        begun.set()
        await finish.wait()
        yield b"\r\n--x--\r\n"

    headers = {"Authorization": f"token {api.token}", "Content-Type": "multipart/form-data; boundary=x"}
    async with httpx.AsyncClient(timeout=60) as client:
        url = f"{api.url}/v1/workspaces/shelf/fs/upload"
        upload = asyncio.create_task(client.post(url, content=body(), headers=headers))
        await begun.wait()
        await eventually(api.pool, lambda pool: pool["claimed"])
        assert (await api.request("DELETE", "/v1/workspaces/shelf")).code == 409
        finish.set()
        answer = await upload
    assert (answer.status_code, answer.json()["paths"]) == (200, ["/workspace/big"])
    assert (await api.request("DELETE", "/v1/workspaces/shelf")).code == 200
