"""Every method of the SDK, in both clients, against a live gateway."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.client import (
    CommandFailed,
    CommandTimedOut,
    FileNotFound,
    SandboxAPIError,
    SandboxClient,
    SessionExpired,
    SessionNotFound,
    SyncSandboxClient,
    WorkspaceInUse,
    WorkspaceNotFound,
)
from tests.support.cable import Cable
from tests.support.gateway_process import GatewayProcess
from tests.support.sdk_clients import client_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker
EXAMPLE = "import matplotlib.pyplot as plt; plt.plot([1, 4, 9]); plt.show()"


@pytest.fixture(params=["async", "sync"])
async def client(request: pytest.FixtureRequest, gateway: GatewayProcess) -> AsyncIterator[Any]:
    async with client_of(request.param, gateway.url, gateway.token) as made:
        yield made


@pytest.fixture(scope="module")
def sessions(module_gateway: GatewayProcess) -> Iterator[list[str]]:
    """One session for each of the two clients."""
    with SyncSandboxClient(base_url=module_gateway.url, api_key=module_gateway.token) as client:
        made = [client.create_session(ttl_seconds=600) for _ in range(2)]
        yield [session.id for session in made]
        for session in made:
            session.destroy()


@pytest.fixture
async def session(client: Any, sessions: list[str]) -> Any:
    """The client's session, with an empty workspace and a shell that stands there."""
    found = await client.get_session(sessions[isinstance(client, SandboxClient)])
    await found.exec("cd /workspace; rm -rf *", check=True)
    return found


async def test_a_session_is_made_found_listed_extended_and_destroyed(client: Any) -> None:
    made = await client.create_session(
        image="base",
        ttl_seconds=600,
        name="mine",
        labels={"job": "sdk"},
        env={"A": "5"},
        mem_limit_mb=256,
        cpu_limit=0.5,
    )
    info = await made.info()
    assert (info.id, info.status, info.image, info.name) == (made.id, "running", "base", "mine")
    assert (info.labels, info.ttl_seconds, info.workspace_id) == ({"job": "sdk"}, 600, None)
    assert (await made.stats()).memory_limit == 256 * 2**20
    assert (await made.exec("echo $A")).output == "5\n"
    assert (await client.list_sessions(labels={"job": "sdk"}))[0].id == made.id
    assert await client.list_sessions(labels={"job": "none"}) == []
    assert (await made.extend(5000)).ttl_seconds == 5000
    assert (await made.extend()).ttl_seconds == 5000
    again = await client.get_session(made.id)
    assert (await again.exec("echo again")).output == "again\n"
    await made.destroy()
    await made.destroy()
    assert (await made.info()).status == "destroyed"
    assert made.id in repr(made)


async def test_a_command_has_its_result_whatever_it_is(session: Any) -> None:
    result = await session.exec("cd /tmp; echo out; echo err >&2; exit 3", raw_output=True)
    assert (result.exit_code, result.stdout, result.stderr, result.ok) == (3, "out\n", "err\n", False)
    result = await session.exec("cat; pwd; echo $B", stdin="in\n", cwd="/", env={"B": "6"})
    assert (result.output, result.ok, result.truncated, result.timed_out) == ("in\n/\n6\n", True, False, False)
    late = await session.exec("echo begun; sleep 50", timeout_ms=1000)
    assert (late.exit_code, late.timed_out, late.output) == (-1, True, "begun\n")


async def test_a_failure_is_an_exception_only_where_it_is_asked_for(session: Any) -> None:
    assert (await session.exec("true", check=True)).ok
    with pytest.raises(CommandFailed, match="exit code 2: ls: cannot access 'none'") as failed:
        await session.exec("ls none", check=True)
    assert failed.value.result.exit_code == 2
    with pytest.raises(CommandTimedOut, match="timed out") as late:
        await session.exec("sleep 50", timeout_ms=200, check=True)
    assert isinstance(late.value, TimeoutError)
    with pytest.raises(CommandFailed, match="ZeroDivisionError: division by zero"):
        await session.run("1 / 0", check=True)
    assert (await session.run("1 / 0")).status == "error"


async def test_a_stream_has_every_chunk_as_it_comes_and_an_end(session: Any) -> None:
    chunks = []
    waits = "until [ -e seen ]; do sleep 0.05; done"
    async for chunk in session.exec_stream(f"echo one; {waits}; echo two >&2; cd /tmp; exit 3"):
        if not chunks:
            await session.write("seen", "")
        chunks.append(chunk)
    assert [(chunk.output, chunk.stream) for chunk in chunks[:-1]] == [("one\n", "stdout"), ("two\n", "stderr")]
    assert chunks[1].timestamp >= chunks[0].timestamp > 0
    assert [chunk.done for chunk in chunks] == [False, False, True]
    assert (chunks[-1].exit_code, chunks[-1].duration_ms > 0) == (3, True)
    assert [c.output async for c in session.exec_stream("cat", stdin="x", cwd="/", env={"C": "7"})] == ["x", ""]
    late = [chunk async for chunk in session.exec_stream("sleep 50", timeout_ms=200)][-1]
    assert (late.timed_out, late.exit_code) == (True, -1)


async def test_a_cell_has_what_a_notebook_would_show(session: Any, tmp_path: Path) -> None:
    cell = await session.run(f"print('printed'); {EXAMPLE}\n'a result'")
    assert (cell.status, cell.error, cell.text) == ("ok", None, "printed\n'a result'\n")
    assert cell.execution_count >= 1
    (image,) = cell.images
    assert (image.mime, image.extension) == ("image/png", "png")
    assert image.save(tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [output.kind for output in cell.outputs] == ["stream", "display_data", "execute_result"]
    failed = await session.run("import sys; print('err', file=sys.stderr); {}['key']")
    assert (str(failed.error), failed.error.name, failed.exit_code) == ("KeyError: 'key'", "KeyError", 1)
    assert "\x1b" not in failed.error.traceback
    assert (failed.text, failed.stderr) == ("", "err\n")


async def test_a_cell_streams_text_and_displays(session: Any) -> None:
    chunks = [chunk async for chunk in session.run_stream(f"print('printed'); {EXAMPLE}\n6 * 7")]
    assert "".join(chunk.output for chunk in chunks if not chunk.display) == "printed\n"
    displays = [chunk.display for chunk in chunks if chunk.display]
    assert displays[0].image.mime == "image/png"
    assert displays[1].text == chunks[-2].output == "42\n"
    assert (chunks[-1].done, chunks[-1].status, chunks[-1].execution_count >= 1) == (True, "ok", True)


async def test_interrupt_and_restart(session: Any) -> None:
    await session.run("a = 1")
    running = asyncio.create_task(session.run("open('begun', 'w').close(); import time; time.sleep(100)"))
    await eventually(session.ls, lambda listing: "begun" in listing.names)
    await session.interrupt()
    assert (await running).error.name == "KeyboardInterrupt"
    assert (await session.restart()).status == "running"
    assert (await session.run("a")).error.name == "NameError"


async def test_files_come_back_as_they_were(session: Any, tmp_path: Path) -> None:
    for data in (b"", b"text\n", bytes(range(256)) * 100, b"x" * 9_000_000):
        await session.write("a/b.bin", data)
        found = await session.read("/workspace/a/b.bin")
        assert (found.content, found.path, found.truncated) == (data, "/workspace/a/b.bin", False)
    assert (await session.read("a/b.bin", max_bytes=3)).truncated
    await session.write("t.txt", "Grüße")
    assert (await session.read("t.txt")).text == "Grüße"
    entry = next(entry for entry in await session.ls() if entry.name == "t.txt")
    assert (entry.size, entry.is_dir, entry.kind) == (7, False, "file")
    assert await session.download("t.txt", tmp_path) == tmp_path / "t.txt"
    assert (tmp_path / "t.txt").read_text() == "Grüße"
    pieces = [piece async for piece in session.download_stream("a/b.bin")]
    assert (sum(map(len, pieces)), len(pieces) > 1) == (9_000_000, True)
    await session.mkdir("d/e")
    await session.remove("d/e")
    assert (await session.ls("d")).names == []
    for call in (session.read("none"), session.remove("none"), session.ls("none"), session.download("none", tmp_path)):
        with pytest.raises(FileNotFound):
            await call
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


async def test_uploads_of_files_directories_and_what_is_open(session: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "one.bin").write_bytes(bytes(range(256)) * 4000)
    (tmp_path / "data" / "Ünï cödé.txt").write_text("a")
    (tmp_path / "data" / "link").symlink_to("/etc/passwd")
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho ran\n")
    told: list[tuple[int, int | None]] = []
    paths = await session.upload(tmp_path / "run.sh", progress=lambda *passed: told.append(passed))
    assert (paths, told[-1]) == (["/workspace/run.sh"], (19, 19))
    assert await session.upload(io.BytesIO(b"x"), dest_path="in", filename="y.txt") == ["/workspace/in/y.txt"]
    with (tmp_path / "run.sh").open("rb") as opened:
        opened.read(10)
        assert await session.upload(opened, dest_path="in") == ["/workspace/in/run.sh"]
    assert (await session.read("in/run.sh")).text == "echo ran\n"
    assert await session.upload(tmp_path / "data", dest_path="in") == ["/workspace/in/data"]
    assert (await session.exec("cd in/data && find . -type f | sort")).output == "./deep/one.bin\n./Ünï cödé.txt\n"
    assert await session.download("in/data", tmp_path / "back") == tmp_path / "back"
    assert (tmp_path / "back" / "deep" / "one.bin").read_bytes() == bytes(range(256)) * 4000
    assert (tmp_path / "back" / "Ünï cödé.txt").read_text() == "a"
    archive = io.BytesIO(b"".join([piece async for piece in session.download_stream("in")]))
    assert await session.unpack(archive, "copy") == 4
    for wrong, kind in ((tmp_path / "none", FileNotFoundError), (io.BytesIO(), ValueError)):
        with pytest.raises(kind):
            await session.upload(wrong)
    with pytest.raises(TypeError, match="binary mode"), (tmp_path / "run.sh").open() as text:
        await session.upload(text)
    with pytest.raises(ValueError, match="must not have"):
        await session.upload(io.BytesIO(b"x"), filename="a", dest_path="a\r\n--x")
    with pytest.raises(ValueError, match="file name cannot have"):
        await session.upload(io.BytesIO(b"x"), filename='a"b')


async def test_workspaces_and_their_files_without_a_session(client: Any, tmp_path: Path) -> None:
    async with await client.create_session(image="base", workspace_id="sdk-thesis") as session:
        await session.write("plan.txt", "hello")
        (info,) = [info for info in await client.list_workspaces() if info.id == "sdk-thesis"]
        assert info.session_ids == (session.id,)
        with pytest.raises(WorkspaceInUse, match="sdk-thesis"):
            await client.delete_workspace("sdk-thesis")
    workspace = client.workspace("sdk-thesis")
    assert (workspace.id, (await workspace.info()).session_ids) == ("sdk-thesis", ())
    assert (await workspace.read("plan.txt")).text == "hello"
    await workspace.write("more/x", b"1")
    assert await workspace.upload(io.BytesIO(b"y"), filename="y") == ["/workspace/y"]
    assert {"more", "plan.txt", "y"} <= set((await workspace.ls()).names)
    await workspace.mkdir("m")
    await workspace.remove("m")
    assert (await workspace.download("plan.txt", tmp_path / "p")).read_text() == "hello"
    await workspace.delete()
    for call in (workspace.info(), workspace.ls(), client.delete_workspace("sdk-thesis")):
        with pytest.raises(WorkspaceNotFound):
            await call


async def test_the_pool_is_shown(client: Any) -> None:
    found = {pool.kernelspec: pool for pool in await client.pool()}
    assert found["python3"].image == "python"
    assert found["python3"].target == 2


async def test_events_are_listed_and_followed_over_a_lost_connection(client: Any, gateway: GatewayProcess) -> None:
    session = await client.create_session(image="base", name="eventful")
    created = next(e for e in await client.events() if (e.session_id, e.kind) == (session.id, "claimed"))
    assert created.details["image"] == "base"
    kind = "async" if isinstance(client, SandboxClient) else "sync"
    async with Cable(gateway.url) as cable, client_of(kind, cable.url, gateway.token) as over_cable:
        followed = over_cable.follow_events(since=created.id - 1)
        assert (await anext(followed)).id == created.id
        await cable.cut()
        await session.destroy()
        while (event := await anext(followed)).kind != "ended":
            assert event.id > created.id
        assert event.session_id == session.id
        await followed.aclose()
    assert await client.events(since=event.id - 1, limit=1) == [event]


async def test_errors_are_of_one_family_and_in_words(client: Any) -> None:
    for odd in ("../none", "%2e%2e", "a b?c#d", "ü"):
        with pytest.raises(SessionNotFound):
            await client.get_session(odd)
    with pytest.raises(SessionNotFound, match="there is no session 'none'") as unknown:
        await client.get_session("none")
    assert (unknown.value.status_code, unknown.value.code, unknown.value.details) == (404, "SESSION_NOT_FOUND", {})
    session = await client.create_session(image="base")
    await session.destroy()
    with pytest.raises(SessionExpired, match="has ended") as expired:
        await session.exec("true")
    assert expired.value.status_code == 410
    assert "SESSION_EXPIRED" in expired.value.response_body
    with pytest.raises(SessionExpired):
        [chunk async for chunk in session.exec_stream("true")]
    with pytest.raises(SandboxAPIError, match="cobol") as wrong:
        await client.create_session(image="cobol")
    assert wrong.value.code == "INVALID_IMAGE"


async def test_many_at_once_are_no_trouble(client: Any) -> None:
    async with await client.create_session(image="base") as session:
        results = await asyncio.gather(*(session.exec(f"echo {n}") for n in range(16)))
        assert sorted(int(result.output) for result in results) == list(range(16))
        await asyncio.gather(*(session.write(f"f{n}", str(n)) for n in range(12)))
        assert len(await session.ls()) == 12
