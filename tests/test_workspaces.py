"""Workspaces: files that outlive their session, attached to sandboxes that are already warm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from .gateway import Gateway
from .kernel_client import Api
from .v1 import create, run

pytestmark = [pytest.mark.docker, pytest.mark.alone]

WRONG_NAMES = ["../../etc", "/etc", "Upper", "a" * 65, "a", "-ab", "ab-", "a/b", "..", ".trash-00", "ab\n", "é" * 4]
UID = 12345
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
async def api(gateway: Gateway) -> AsyncIterator[Api]:
    """The shared gateway; sessions and workspaces that a test leaves are ended and deleted."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        await tidy(client)


async def tidy(api: Api) -> None:
    for session in await api.get("/v1/sessions"):
        await api.request("DELETE", f"/v1/sessions/{session['id']}")
    for workspace in await workspaces(api):
        response = await api.request("DELETE", f"/v1/workspaces/{workspace}")
        assert response.code == 200, response.body


async def workspaces(api: Api) -> dict[str, dict[str, Any]]:
    return {workspace["id"]: workspace for workspace in (await api.get("/v1/workspaces"))["workspaces"]}


async def end(api: Api, session: dict[str, Any]) -> None:
    assert (await api.request("DELETE", f"/v1/sessions/{session['id']}")).code == 200


async def warm(api: Api) -> None:
    while not (await api.pool())["warm"]:
        await asyncio.sleep(0.05)


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
    with Gateway(folder, "pool: {enabled: false}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await survives(api, "cold")
            await tidy(api)
    gateway.assert_nothing_left()
    assert list((gateway.data_dir / "workspaces").iterdir()) == []


async def test_a_gateway_that_is_not_root_attaches_through_its_helper() -> None:
    with foreign_folder() as folder, Gateway(folder, "pool: {images: {python: 1}}\n", uid=UID) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await warm(api)
            await survives(api, "pool")
            await asyncio.to_thread(kill_helper, gateway)
            await tidy(api)
            await warm(api)
            await survives(api, "pool")
            await tidy(api)
        gateway.stop()
        gateway.assert_nothing_left()
        assert list((gateway.data_dir / "workspaces").iterdir()) == []
        assert gateway.data_dir.stat().st_uid == UID


@contextlib.contextmanager
def foreign_folder() -> Iterator[Path]:
    """A directory of another user's, below one that it may enter."""
    with tempfile.TemporaryDirectory(prefix="sk-") as folder:
        os.chown(folder, UID, UID)
        yield Path(folder)


def kill_helper(gateway: Gateway) -> None:
    with contextlib.closing(docker.from_env()) as client:
        labels = [f"sandkasten.instance={gateway.instance}"]
        (helper,) = [
            found
            for found in client.containers.list(filters={"label": labels})
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
    with Gateway(folder, config, env={"PYTHONPATH": f"{package}:{Path(__file__).parent.parent}"}) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            await warm(api)
            await survives(api, "cold", attached=False)
            session, *_ = await api.get("/v1/sessions")
            assert session["acquire_detail"].startswith("the workspace could not be attached")
            await tidy(api)
    gateway.assert_nothing_left()


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
async def test_a_name_that_is_none_is_refused_at_every_door(api: Api, gateway: Gateway, name: str) -> None:
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


async def test_sessions_may_share_a_workspace(api: Api) -> None:
    first, second = await asyncio.gather(create(api, workspace_id="ours"), create(api, workspace_id="ours"))
    await run(api, first, cmd="echo hello > a")
    assert (await run(api, second, cmd="cat a"))["output"] == "hello\n"
    assert set((await workspaces(api))["ours"]["session_ids"]) == {first["id"], second["id"]}
    await end(api, first)
    assert (await api.request("DELETE", "/v1/workspaces/ours")).code == 409


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
    api: Api, gateway: Gateway, folder: Path
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


async def test_nothing_is_deleted_through_a_mount(api: Api, gateway: Gateway, folder: Path) -> None:
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
    shutil.rmtree(trash)  # the gateway would at its next start


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
        while not (await api.pool())["claimed"]:
            await asyncio.sleep(0.02)
        assert (await api.request("DELETE", "/v1/workspaces/shelf")).code == 409
        finish.set()
        answer = await upload
    assert (answer.status_code, answer.json()["paths"]) == (200, ["/workspace/big"])
    assert (await api.request("DELETE", "/v1/workspaces/shelf")).code == 200


async def test_every_session_may_have_a_workspace_that_stays(folder: Path) -> None:
    with Gateway(folder, "pool: {images: {python: 1}}\nworkspace: {persist_by_default: true}\n") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            session = await create(api)
            await run(api, session, cmd="echo kept > a")
            await end(api, session)
            again = await create(api, workspace_id=session["workspace_id"])
            assert (await run(api, again, cmd="cat a"))["output"] == "kept\n"
            assert (await create(api))["workspace_id"] not in (None, session["workspace_id"])
            await tidy(api)
    gateway.assert_nothing_left()


async def test_neither_a_pruned_volume_nor_a_lost_database_loses_a_file(folder: Path) -> None:
    with Gateway(folder) as gateway:
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
    gateway.assert_nothing_left()
    assert gateway.volumes() == []
