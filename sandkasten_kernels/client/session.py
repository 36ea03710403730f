"""Session: a sandbox of one's own, with a kernel and a shell that keep their state."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from .api import Api
from .errors import SandboxError, SessionNotFound, StreamError
from .files import Files
from .infos import SessionInfo, SessionStats
from .outputs import Output
from .results import ExecChunk, ExecResult, RunChunk, RunResult
from .sse import ServerEvent

__all__ = ["Session"]

USUAL_TIMEOUT_MS = 30_000


class Session(Files):
    """One session; as a context manager it is destroyed at the end of the block.

        async with await client.create_session() as session:
            result = await session.exec("cd /tmp && pwd")

    ``timeout_ms``, wherever it stands: how long that may take; 0: as long as the gateway allows. What exceeds it is
    ended, and what it said is the result. Whoever cancels a call, by `asyncio.wait_for` for instance, or leaves a
    stream, interrupts what he started.
    """

    def __init__(self, api: Api, session_id: str) -> None:
        super().__init__(api, f"/v1/sessions/{quote(session_id, safe='')}")
        self._id = session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The session's id, which is the kernel's under ``/api/kernels`` too."""
        return self._id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self._api.wire.last_word(self.destroy())
        except SessionNotFound:
            return
        except SandboxError:
            if error is None:
                raise

    async def exec(
        self,
        cmd: str,
        *,
        timeout_ms: int = USUAL_TIMEOUT_MS,
        raw_output: bool = False,
        stdin: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a command in the session's bash, which keeps directory, variables and background jobs.

        Parameters
        ----------
        raw_output: of no effect: output is always what the command wrote.
        stdin, cwd, env: of this one command.
        check: raise `CommandFailed` or `CommandTimedOut` where it did not succeed.
        """
        body = _command(cmd, timeout_ms, stdin, cwd, env)
        result = ExecResult.of(await self._api.ask("POST", f"{self._path}/exec", json=body, patient=True))
        return result.check() if check else result

    async def run(self, code: str, *, timeout_ms: int = USUAL_TIMEOUT_MS, check: bool = False) -> RunResult:
        """Run code in the session's kernel, which keeps its variables, and return what a notebook would show.

        On an image without a kernel of its own it is run by bash. ``check``: raise where it did not succeed.
        """
        body = {"code": code, "timeout_ms": timeout_ms}
        result = RunResult.of(await self._api.ask("POST", f"{self._path}/exec", json=body, patient=True))
        return result.check() if check else result

    async def exec_stream(
        self,
        cmd: str,
        *,
        timeout_ms: int = USUAL_TIMEOUT_MS,
        raw_output: bool = False,
        stdin: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[ExecChunk, None]:
        """Run a command and yield what it says as it says it; the last chunk has `done`, exit code and directory.

        Raises `StreamError` when the connection is lost before that.
        """
        body = _command(cmd, timeout_ms, stdin, cwd, env)
        async with aclosing(self._events(body)) as events:
            async for name, data in events:
                if name == "chunk":
                    yield ExecChunk(data["chunk"], data.get("timestamp", 0), stream=data.get("stream", ""))
                elif name == "done":
                    yield ExecChunk("", 0, done=True, **_ending(data))

    async def run_stream(self, code: str, *, timeout_ms: int = USUAL_TIMEOUT_MS) -> AsyncGenerator[RunChunk, None]:
        """Run code and yield what it says as it says it; a chunk with `display` is more than text.

        The last chunk has `done` and how it ended. Raises `StreamError` when the connection is lost before that.
        """
        async with aclosing(self._events({"code": code, "timeout_ms": timeout_ms})) as events:
            async for name, data in events:
                if name == "chunk":
                    yield RunChunk(data["chunk"], data.get("timestamp", 0), stream=data.get("stream", ""))
                elif name == "output":
                    display = Output(data)
                    yield RunChunk(display.text, 0, display=display)
                elif name == "done":
                    told = {name: data[name] for name in ("status", "execution_count") if data.get(name) is not None}
                    yield RunChunk("", 0, done=True, **_ending(data), **told)

    async def interrupt(self) -> None:
        """Send what runs, in the shell and in the kernel, a Ctrl-C."""
        await self._api.ask("POST", f"{self._path}/interrupt", again=True)

    async def restart(self) -> SessionInfo:
        """Start the kernel anew, without its variables; files, environment and shell stay. Returns when it is ready."""
        return SessionInfo.of(await self._api.ask("POST", f"{self._path}/restart", patient=True))

    async def extend(self, ttl_seconds: int | None = None) -> SessionInfo:
        """Renew the session now; with ``ttl_seconds`` it lives so long after each use from now on, 0: as usual."""
        body = {} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}
        return SessionInfo.of(await self._api.ask("POST", f"{self._path}/extend", json=body, again=True))

    async def stats(self) -> SessionStats:
        """Return memory, processor time and processes of the sandbox."""
        return SessionStats.of(await self._api.ask("GET", f"{self._path}/stats", again=True))

    async def info(self) -> SessionInfo:
        """Return what is known of the session, also when it has ended lately; this does not renew it."""
        return SessionInfo.of(await self._api.ask("GET", self._path, again=True))

    async def destroy(self) -> None:
        """End the session; nothing happens when it has just ended."""
        await self._api.ask("DELETE", self._path, again=True)

    async def _events(self, body: Mapping[str, Any]) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Yield name and data of each event, the ``done`` last. Raises `StreamError` where there is none."""
        done: dict[str, Any] | None = None
        async with aclosing(self._api.events("POST", f"{self._path}/exec/stream", json=body)) as events:
            try:
                async for event in events:
                    data = _object(event)
                    if event.name == "error":
                        raise StreamError(str(data.get("error", "the gateway ended the stream")))
                    if event.name == "done":
                        done = data
                    elif done is None:
                        yield event.name, data
            except StreamError:
                if done is None:
                    raise
        if done is None:
            raise StreamError(f"the stream of session {self._id} ended before the end of what it ran")
        yield "done", done


def _object(event: ServerEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError as error:
        raise StreamError(f"the gateway sent an event that is no JSON: {event.data[:80]!r}") from error
    return data if isinstance(data, dict) else {}


def _command(
    cmd: str, timeout_ms: int, stdin: str | None, cwd: str | None, env: Mapping[str, str] | None
) -> dict[str, Any]:
    asked = {"stdin": stdin, "cwd": cwd, "env": dict(env) if env is not None else None}
    return {"cmd": cmd, "timeout_ms": timeout_ms, **{name: value for name, value in asked.items() if value is not None}}


def _ending(data: Mapping[str, Any]) -> dict[str, Any]:
    names = ("exit_code", "cwd", "duration_ms", "timed_out")
    return {name: data[name] for name in names if data.get(name) is not None}
