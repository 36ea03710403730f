"""A program of a user's own, as a type checker in its strictest mode sees it; it is checked and run by the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import assert_type

from sandkasten_kernels import (
    CellError,
    ExecChunk,
    ExecResult,
    Image,
    Listing,
    RunChunk,
    RunResult,
    SandboxClient,
    SessionInfo,
    SyncSandboxClient,
)
from sandkasten_kernels.client import ReadResult, Session, SyncSession, SyncWorkspace, Workspace


async def from_an_event_loop() -> str:
    async with SandboxClient() as client:
        assert_type(client.workspace("thesis"), Workspace)
        async with await client.create_session(image="base", ttl_seconds=60, labels={"job": "typed"}) as session:
            assert_type(session, Session)
            result = await session.exec("echo typed", timeout_ms=5000, check=True)
            assert_type(result, ExecResult)
            stream = session.exec_stream("true")
            assert_type(stream, AsyncGenerator[ExecChunk, None])
            async for chunk in stream:
                assert_type(chunk, ExecChunk)
            cell = await session.run("true")
            assert_type(cell, RunResult)
            assert_type(cell.images, tuple[Image, ...])
            assert_type(cell.error, CellError | None)
            await session.write("f", b"x")
            assert_type(await session.read("f", max_bytes=1), ReadResult)
            assert_type(await session.ls(), Listing)
            assert_type(await client.list_sessions(labels={"job": "typed"}), list[SessionInfo])
            return result.output


def blocking() -> str:
    with SyncSandboxClient() as client:
        assert_type(client.workspace("thesis"), SyncWorkspace)
        with client.create_session(image="base", ttl_seconds=60, labels={"job": "typed"}) as session:
            assert_type(session, SyncSession)
            result = session.exec("echo typed", timeout_ms=5000, check=True)
            assert_type(result, ExecResult)
            stream = session.run_stream("true")
            assert_type(stream, Generator[RunChunk, None, None])
            for chunk in stream:
                assert_type(chunk, RunChunk)
            session.write("f", "x")
            assert_type(session.read("f", max_bytes=1), ReadResult)
            assert_type(session.ls(), Listing)
            assert_type(client.list_sessions(), list[SessionInfo])
            return result.output


def wrong(client: SyncSandboxClient) -> None:
    with client.create_session(image=5) as session:  # type: ignore[arg-type]
        session.exec(cmd=5)  # type: ignore[arg-type]
        session.exec("true", no_such_option=True)  # type: ignore[call-arg]
        session.no_such_method()  # type: ignore[attr-defined]
