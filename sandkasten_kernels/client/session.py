"""Session: a sandbox with a kernel and a shell that keep their state."""

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

DEFAULT_TIMEOUT_MS = 30_000


class Session(Files):
    """One session. As a context manager it is destroyed at the end of the block.

        async with await client.create_session() as session:
            result = await session.exec("cd /tmp && pwd")

    ``timeout_ms`` of each method: the timeout in milliseconds; 0 for the longest that the gateway allows. After a
    timeout the command or code is stopped, and its output until then is the result. Cancelling a call, for example by
    `asyncio.wait_for`, or leaving a stream interrupts the command or code.
    """

    def __init__(self, api: Api, session_id: str) -> None:
        super().__init__(api, f"/v1/sessions/{quote(session_id, safe='')}")
        self._id = session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The id of the session; it is also the kernel's id in ``/api/kernels``."""
        return self._id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self._api.wire.uninterrupted(self.destroy())
        except SessionNotFound:
            return
        except SandboxError:
            # an error of the block matters more than one of the clean-up
            if error is None:
                raise

    async def exec(
        self,
        cmd: str,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        raw_output: bool = False,
        stdin: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a command in the session's bash. The directory, variables and background jobs persist.

        Parameters
        ----------
        raw_output: has no effect: the output is always exactly as the command wrote it.
        stdin, cwd, env: input, directory and variables of this command alone.
        check: raise `CommandFailed` or `CommandTimedOut` when the command does not succeed.
        """
        body = _command(cmd, timeout_ms, stdin, cwd, env)
        # patient: the gateway itself ends the command at its timeout; not `again`: it must not run twice
        result = ExecResult.of(await self._api.ask("POST", f"{self._path}/exec", json=body, patient=True))
        return result.check() if check else result

    async def run(self, code: str, *, timeout_ms: int = DEFAULT_TIMEOUT_MS, check: bool = False) -> RunResult:
        """Run code in the session's kernel, and return the outputs that a notebook would show. Variables persist.

        On an image without a kernel, bash runs the code. ``check``: raise when the code does not succeed.
        """
        body = {"code": code, "timeout_ms": timeout_ms}
        result = RunResult.of(await self._api.ask("POST", f"{self._path}/exec", json=body, patient=True))
        return result.check() if check else result

    async def exec_stream(
        self,
        cmd: str,
        *,
        timeout_ms: int = DEFAULT_TIMEOUT_MS,
        raw_output: bool = False,
        stdin: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[ExecChunk, None]:
        """Run a command and yield its output as it arrives. The last chunk has `done`, exit code and directory.

        Raises `StreamError` when the connection is lost before that.
        """
        body = _command(cmd, timeout_ms, stdin, cwd, env)
        async with aclosing(self._events(body)) as events:
            async for name, data in events:
                if name == "chunk":
                    yield ExecChunk(data["chunk"], data.get("timestamp", 0), stream=data.get("stream", ""))
                elif name == "done":
                    yield ExecChunk("", 0, done=True, **_ending(data))

    async def run_stream(self, code: str, *, timeout_ms: int = DEFAULT_TIMEOUT_MS) -> AsyncGenerator[RunChunk, None]:
        """Run code and yield its output as it arrives. A chunk with `display` is an output other than printed text.

        The last chunk has `done`, and the status. Raises `StreamError` when the connection is lost before that.
        """
        async with aclosing(self._events({"code": code, "timeout_ms": timeout_ms})) as events:
            async for name, data in events:
                if name == "chunk":
                    yield RunChunk(data["chunk"], data.get("timestamp", 0), stream=data.get("stream", ""))
                elif name == "output":
                    display = Output(data)
                    yield RunChunk(display.text, 0, display=display)
                elif name == "done":
                    status = {name: data[name] for name in ("status", "execution_count") if data.get(name) is not None}
                    yield RunChunk("", 0, done=True, **_ending(data), **status)

    async def interrupt(self) -> None:
        """Interrupt the running command and the running code, as Ctrl-C does."""
        await self._api.ask("POST", f"{self._path}/interrupt", again=True)

    async def restart(self) -> SessionInfo:
        """Restart the kernel, and return when it is ready.

        Its variables are lost; files, environment and shell stay.
        """
        return SessionInfo.of(await self._api.ask("POST", f"{self._path}/restart", patient=True))

    async def extend(self, ttl_seconds: int | None = None) -> SessionInfo:
        """Count as a use of the session now. ``ttl_seconds``: its new time to live after a use; 0 for the default."""
        body = {} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}
        return SessionInfo.of(await self._api.ask("POST", f"{self._path}/extend", json=body, again=True))

    async def stats(self) -> SessionStats:
        """Return memory, CPU time and number of processes of the sandbox."""
        return SessionStats.of(await self._api.ask("GET", f"{self._path}/stats", again=True))

    async def info(self) -> SessionInfo:
        """Return the properties of the session, also after its recent end. This does not count as a use."""
        return SessionInfo.of(await self._api.ask("GET", self._path, again=True))

    async def destroy(self) -> None:
        """End the session; no-op when it has just ended."""
        await self._api.ask("DELETE", self._path, again=True)

    async def _events(self, body: Mapping[str, Any]) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Yield name and data of each event, ``done`` last. Raises `StreamError` when there is no ``done``."""
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
                # after `done` the result is complete: a connection that is lost then does not matter
                if done is None:
                    raise
        if done is None:
            raise StreamError(f"the stream of session {self._id} ended without the event done")
        yield "done", done


def _object(event: ServerEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError as error:
        raise StreamError(f"the gateway sent an event that is not JSON: {event.data[:80]!r}") from error
    return data if isinstance(data, dict) else {}


def _command(
    cmd: str, timeout_ms: int, stdin: str | None, cwd: str | None, env: Mapping[str, str] | None
) -> dict[str, Any]:
    options = {"stdin": stdin, "cwd": cwd, "env": dict(env) if env is not None else None}
    return {
        "cmd": cmd,
        "timeout_ms": timeout_ms,
        **{name: value for name, value in options.items() if value is not None},
    }


def _ending(data: Mapping[str, Any]) -> dict[str, Any]:
    names = ("exit_code", "cwd", "duration_ms", "timed_out")
    return {name: data[name] for name in names if data.get(name) is not None}
