"""Tools for agents: the same plain functions for the OpenAI Agents SDK, LangChain and a loop of one's own."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import RunContextWrapper, function_tool
from agents.tool import FunctionTool
from agents.tool_context import ToolContext
from langchain_core.tools import StructuredTool

from sandkasten_kernels import SandboxClient, SandkastenContext, Session, SyncSandboxClient, create_sandkasten_tools
from sandkasten_kernels.client import sandbox_tools_for_workspace, sandkasten_tools
from sandkasten_kernels.client.tools import Toolbox, schema_of, tools
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.docker
NAMES = ["run_code", "run_command", "read_file", "write_file", "list_files"]


@pytest.fixture
async def session(gateway: GatewayProcess) -> AsyncIterator[Session]:
    client = SandboxClient(base_url=gateway.url, api_key=gateway.token)
    async with client, await client.create_session() as made:
        yield made


async def use(tool: Any, context: Any = None, **arguments: Any) -> str:
    """Return what the Agents SDK gives a model for a call."""
    assert isinstance(tool, FunctionTool)
    text = json.dumps(arguments)
    found = ToolContext(context=context, tool_name=tool.name, tool_call_id="1", tool_arguments=text)
    return str(await tool.on_invoke_tool(found, text))


async def test_what_a_model_reads_is_true_short_and_never_an_exception(session: Session) -> None:
    toolbox = tools(session, max_characters=1000)
    written = await toolbox.call("write_file", '{"path": "a/b.txt", "content": "one\\ntwo\\n"}')
    assert written == "[wrote 8 bytes to a/b.txt]"
    assert await toolbox.call("read_file", {"path": "a/b.txt"}) == "one\ntwo\n"
    assert await toolbox.call("list_files", "") == "a/"
    assert await toolbox.call("list_files", {"path": "a"}) == "b.txt  8"
    assert await toolbox.call("run_command", {"command": "cd a; wc -l < b.txt; false"}) == "2\n[exit code 1]"
    assert await toolbox.call("run_command", {"command": "pwd"}) == "/workspace/a\n[exit code 0]"
    assert await toolbox.call("run_code", {"code": "x = 6; print('p'); x * 7"}) == "p\n42\n"
    assert await toolbox.call("run_code", {"code": "x = 7"}) == "[no output]"
    plot = "import matplotlib.pyplot as plt; plt.plot([x]); plt.show()"
    assert (await toolbox.call("run_code", {"code": plot})).startswith("[image/png, ")
    assert "ZeroDivisionError: division by zero" in await toolbox.call("run_code", {"code": "1 / 0"})
    late = await toolbox.call("run_command", {"command": "echo a; sleep 50", "timeout_seconds": 1})
    assert late == "a\n[stopped: timed out after 1 s]"
    long = await toolbox.call("run_command", {"command": "seq 100000"})
    assert (len(long) < 1200, "characters left out" in long, long.endswith("[exit code 0]")) == (True, True, True)
    await session.write("binary", b"\xff\xfe")
    assert await toolbox.call("read_file", {"path": "binary"}) == "[/workspace/binary is not a text file: 2 bytes]"
    for name, arguments, words in (
        ("read_file", '{"path": "none"}', "none"),
        ("read_file", "{}", "missing a required argument: 'path'"),
        ("read_file", '{"path": "a", "more": 1}', "unexpected keyword argument 'more'"),
        ("read_file", "{", "Expecting property name"),
        ("read_file", "[1]", "argument after ** must be a mapping"),
        ("no_tool", "{}", "there is no tool 'no_tool'; choose one of: run_code, run_command"),
    ):
        answer = await toolbox.call(name, arguments)
        assert answer.startswith("Error: ")
        assert words in answer
    await session.destroy()
    assert (await toolbox.call("run_command", {"command": "true"})).startswith("Error: this session has ended")


def test_the_schemas_say_what_the_functions_take(gateway: GatewayProcess) -> None:
    client = SyncSandboxClient(base_url=gateway.url, api_key=gateway.token)
    with client, client.create_session(image="base") as session:
        toolbox = tools(session)
        assert [tool.__name__ for tool in toolbox] == NAMES
        assert [schema["function"]["name"] for schema in toolbox.schemas] == NAMES
        assert schema_of(toolbox["run_command"]) == {
            "name": "run_command",
            "description": "Run a shell command in the sandbox and return its output and exit code. "
            "All calls share one bash: the working directory, variables and background jobs persist.",
            "parameters": {
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": 'The bash command, for example "ls -la | wc -l".'},
                    "timeout_seconds": {
                        "type": "integer",
                        "description": "Stop the command after this many seconds.",
                        "default": 60,
                    },
                },
                "required": ["command"],
                "additionalProperties": False,
            },
        }
        assert toolbox["run_command"](command="echo hi") == "hi\n[exit code 0]"
        assert toolbox.call("run_command", '{"command": "echo hi"}') == "hi\n[exit code 0]"
        assert not any(map(inspect.iscoroutinefunction, toolbox))
        assert toolbox.call("none", "{}").startswith("Error: there is no tool 'none'")
        check_langchain(toolbox)


def check_langchain(toolbox: Toolbox) -> None:
    """Assert that LangChain takes the functions, with the words for their arguments, and can call them."""
    taken = {tool.name: tool for tool in (StructuredTool.from_function(t, parse_docstring=True) for t in toolbox)}
    assert list(taken) == NAMES
    assert taken["write_file"].args["content"]["description"] == "The complete new content of the file."
    taken["write_file"].invoke({"path": "lc.txt", "content": "from a chain"})
    assert taken["read_file"].invoke({"path": "lc.txt"}) == "from a chain"


async def test_the_agents_sdk_takes_the_functions(session: Session) -> None:
    taken = {tool.name: tool for tool in (function_tool(function) for function in tools(session))}
    assert list(taken) == NAMES
    code = taken["run_code"].params_json_schema["properties"]["code"]
    assert (code["type"], code["description"]) == ("string", "The Python code to run.")
    assert await use(taken["run_code"], code="print(6 * 7)") == "42\n"


async def test_the_tools_of_the_published_client_carry_over(session: Session, gateway: GatewayProcess) -> None:
    bound = {tool.name: tool for tool in create_sandkasten_tools(session)}
    assert await use(bound["sandbox_exec"], cmd="echo hello") == "exit_code=0\ncwd=/workspace\n---\nhello\n"
    assert await use(bound["sandbox_write_file"], path="f.txt", content="written") == "wrote f.txt"
    context = SandkastenContext(session=session, workspace_id="mine")
    found = {tool.name: tool for tool in sandkasten_tools()}
    assert await use(found["sandbox_read_file"], context, path="f.txt", max_bytes=3) == "wri\n(truncated)"
    assert "f.txt" in await use(found["sandbox_list_files"], context)
    assert (await use(found["sandbox_stats"], context)).startswith("memory_bytes=")
    assert found["sandbox_exec"].params_json_schema["properties"].keys() == {"cmd", "timeout_ms"}
    assert isinstance(RunContextWrapper(context).context.session, Session)
    async with SandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        async with sandbox_tools_for_workspace(client, "sdk-tools", image="base") as (other, made):
            await use(made[1], path="kept", content="1")
            assert (await other.info()).workspace_id == "sdk-tools"
        await client.delete_workspace("sdk-tools")
