"""Tools for the OpenAI Agents SDK, with the names and descriptions of the published client.

New code uses `tools`, which needs no SDK. The SDK of OpenAI is imported only when a tool is created.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .client import SandboxClient
from .results import ExecResult
from .session import Session

if TYPE_CHECKING:
    from agents import Tool

__all__ = ["SandkastenContext", "create_sandkasten_tools", "sandbox_tools_for_workspace", "sandkasten_tools"]

Function = Callable[..., Coroutine[Any, Any, str]]


@dataclass
class SandkastenContext:
    """The context of a run, in which the tools of `sandkasten_tools` find their session."""

    session: Session
    workspace_id: str | None = None


def create_sandkasten_tools(session: Session) -> list[Tool]:
    """Return tools that use this session: ``Agent(tools=create_sandkasten_tools(session))``."""

    def bound(function: Function) -> Function:
        async def call(*args: Any, **kwargs: Any) -> str:
            return await function(session, *args, **kwargs)

        return call

    return [_tool(function, bound(function)) for function in _FUNCTIONS]


def sandkasten_tools() -> list[Tool]:
    """Return tools that use the session of a run: ``Runner.run(..., context=SandkastenContext(session))``."""
    from agents import RunContextWrapper

    def of_context(function: Function) -> Function:
        async def call(ctx: Any, *args: Any, **kwargs: Any) -> str:
            return await function(ctx.context.session, *args, **kwargs)

        return call

    return [_tool(function, of_context(function), ctx=RunContextWrapper[Any]) for function in _FUNCTIONS]


@asynccontextmanager
async def sandbox_tools_for_workspace(
    client: SandboxClient, workspace_id: str, *, image: str = "python", ttl_seconds: int | None = None
) -> AsyncGenerator[tuple[Session, list[Tool]], None]:
    """Yield a new session with a workspace, and its tools. The session ends with the block."""
    async with await client.create_session(image=image, workspace_id=workspace_id, ttl_seconds=ttl_seconds) as session:
        yield session, create_sandkasten_tools(session)


def _tool(function: Function, call: Function, **first: Any) -> Tool:
    """Return a tool that calls ``call`` and is described as ``function``, with ``first`` in place of the session."""
    from agents import function_tool

    signature = inspect.signature(function, eval_str=True)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    leading = [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in first.items()]
    described: Any = call
    described.__name__, described.__doc__ = function.__name__, function.__doc__
    described.__signature__ = signature.replace(parameters=[*leading, *list(signature.parameters.values())[1:]])
    # the SDK reads both the signature and, by get_type_hints, the annotations
    described.__annotations__ = {p.name: p.annotation for p in described.__signature__.parameters.values()}
    described.__annotations__["return"] = str
    return function_tool(described)


async def sandbox_exec(session: Session, cmd: str, timeout_ms: int = 30000) -> str:
    """Execute a shell command in the sandbox.

    The sandbox maintains a persistent bash shell: directory changes, variables and background processes persist.

    Args:
        cmd: The shell command to execute (e.g. 'python script.py').
        timeout_ms: Timeout in milliseconds (default 30000).
    """
    return _shown(await session.exec(cmd, timeout_ms=timeout_ms))


async def sandbox_write_file(session: Session, path: str, content: str) -> str:
    """Write content to a file in the sandbox.

    Args:
        path: File path relative to /workspace or absolute (e.g. 'script.py').
        content: The text content to write.
    """
    await session.write(path, content)
    return f"wrote {path}"


async def sandbox_read_file(session: Session, path: str, max_bytes: int | None = None) -> str:
    """Read a file from the sandbox.

    Args:
        path: File path relative to /workspace or absolute.
        max_bytes: Maximum bytes to read (omit for full file).
    """
    found = await session.read(path, max_bytes=max_bytes)
    return found.text + ("\n(truncated)" if found.truncated else "")


async def sandbox_list_files(session: Session, path: str = ".") -> str:
    """List files and directories in the sandbox.

    Args:
        path: Directory path to list (default '.' for current directory).
    """
    return _shown(await session.exec("ls -la" if path in (".", "") else f"ls -la {shlex.quote(path)}"))


async def sandbox_stats(session: Session) -> str:
    """Get resource usage statistics for the sandbox."""
    stats = await session.stats()
    used, limit = stats.memory_bytes / 2**20, stats.memory_limit / 2**20
    return (
        f"memory_bytes={stats.memory_bytes} ({used:.2f} MB), memory_limit={stats.memory_limit} ({limit:.2f} MB), "
        f"cpu_usage_usec={stats.cpu_usage_usec}"
    )


_FUNCTIONS: list[Function] = [
    sandbox_exec,
    sandbox_write_file,
    sandbox_read_file,
    sandbox_list_files,
    sandbox_stats,
]


def _shown(result: ExecResult) -> str:
    return f"exit_code={result.exit_code}\ncwd={result.cwd}\n---\n{result.output}"
