"""The published ``sandkasten`` client works unmodified, its tools for agents too."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from agents.tool import FunctionTool
from agents.tool_context import ToolContext
from sandkasten import SandboxClient
from sandkasten.agents import create_sandkasten_tools

from tests.support.gateway_process import GatewayProcess

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[SandboxClient]:
    published = SandboxClient(base_url=gateway.url, api_key=gateway.token)
    yield published
    for info in await published.list_sessions():
        if info.status == "running":
            await (await published.get_session(info.id)).destroy()
    await published.close()


async def test_a_day_in_the_life_of_the_published_client(client: SandboxClient, tmp_path: Path) -> None:
    session = await client.create_session(image="python", ttl_seconds=600)
    result = await session.exec("cd /tmp && export A=5 && echo hi; false")
    assert (result.exit_code, result.cwd, result.output, result.truncated) == (1, "/tmp", "hi\n", False)
    assert (await session.exec("echo $A; pwd")).output == "5\n/tmp\n"
    info = await session.info()
    assert (info.status, info.image, info.cwd, info.workspace_id) == ("running", "python", "/tmp", None)
    assert info.container_id
    stats = await session.stats()
    assert 0 < stats.memory_bytes < stats.memory_limit
    assert (await client.list_sessions())[0].id == session.id
    await session.destroy()
    assert (await session.info()).status == "destroyed"
    with pytest.raises(httpx.HTTPStatusError):
        await session.exec("true")


async def test_its_stream_has_every_chunk_and_an_end(client: SandboxClient) -> None:
    async with await client.create_session() as session:
        text = "a\x85b\u2028c \U0001f600"
        chunks = [chunk async for chunk in session.exec_stream(f"printf '%s\\n' '{text}'; sleep 0.3; echo two; exit 3")]
        assert "".join(chunk.output for chunk in chunks) == f"{text}\ntwo\n"
        assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].exit_code == 3
        assert chunks[-1].cwd == "/workspace"


@pytest.mark.parametrize("data", [b"", b"text\n", bytes(range(256)) * 20])
async def test_its_files_come_back_as_they_were(client: SandboxClient, tmp_path: Path, data: bytes) -> None:
    async with await client.create_session() as session:
        await session.write("a/b.bin", data)
        assert (await session.read("a/b.bin")).content == data
        assert (await session.read("/workspace/a/b.bin", max_bytes=3)).content == data[:3]
        (tmp_path / "local.bin").write_bytes(data)
        assert await session.upload(tmp_path / "local.bin") == ["/workspace/local.bin"]
        assert await session.upload(io.BytesIO(data), dest_path="/workspace/d", filename="x") == ["/workspace/d/x"]
        assert (await session.exec("cmp local.bin d/x && stat -c %U d/x")).output == "sandbox\n"
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await session.read("none")
        assert caught.value.response.json()["error_code"] == "FILE_NOT_FOUND"


async def test_its_tools_for_agents_work(client: SandboxClient) -> None:
    async with await client.create_session() as session:
        tools = {tool.name: tool for tool in create_sandkasten_tools(session)}

        async def use(name: str, **arguments: Any) -> str:
            tool = tools[name]
            assert isinstance(tool, FunctionTool)
            context = ToolContext(context=None, tool_name=name, tool_call_id="1", tool_arguments=json.dumps(arguments))
            return str(await tool.on_invoke_tool(context, json.dumps(arguments)))

        assert "hello" in await use("sandbox_exec", cmd="echo hello")
        await use("sandbox_write_file", path="f.txt", content="written")
        assert "written" in await use("sandbox_read_file", path="f.txt")
        assert "f.txt" in await use("sandbox_list_files")
        assert "error" not in (await use("sandbox_stats")).lower()
