"""The SDK where something goes wrong: lost connections, a gateway that restarts, callers that give up."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.testing import bind_unused_port

from sandkasten_kernels import (
    GatewayUnreachable,
    SandboxClient,
    SandkastenAPIError,
    Session,
    SessionNotFound,
    StreamError,
    SyncSandboxClient,
    SyncSession,
)
from sandkasten_kernels.client.runtime_file import read_running
from tests.support.cable import Cable
from tests.support.gateway_process import GatewayProcess
from tests.support.sdk_clients import client_of
from tests.support.waiting import eventually, eventually_blocking

pytestmark = pytest.mark.local
FOR_EVER = "trap 'echo stopped > /workspace/stopped' EXIT; touch begun; sleep 1000"
STUBBORN = f'bash -c "{FOR_EVER}"'


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(base_url=gateway.url, api_key=gateway.token) as made:
        yield made


@pytest.fixture
async def session(client: SandboxClient) -> AsyncIterator[Session]:
    async with await client.create_session(image="base") as made:
        yield made


async def there(session: Session, name: str) -> None:
    """Return when a file is in the workspace."""
    await eventually(session.ls, lambda listing: name in listing.names)


async def idle(session: Session) -> None:
    """Return when nothing runs in the session's shell: the next command waits its turn."""
    assert (await session.exec("echo free")).output == "free\n"


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_connection_that_is_lost_in_a_stream_is_an_error_and_the_command_is_interrupted(
    gateway: GatewayProcess, session: Session, kind: str
) -> None:
    chunks: list[Any] = []
    seen = asyncio.Event()
    async with Cable(gateway.url) as cable, client_of(kind, cable.url, gateway.token) as over_cable:
        same = await over_cable.get_session(session.id)

        async def read() -> None:
            async for chunk in same.exec_stream(f"echo first; {STUBBORN}"):
                chunks.append(chunk)
                seen.set()

        reading = asyncio.create_task(read())
        await there(session, "begun")
        await asyncio.wait_for(seen.wait(), 60)
        await cable.cut()
        with pytest.raises(StreamError, match="lost before the answer was complete"):
            await reading
        assert [chunk.output for chunk in chunks] == ["first\n"]
        await there(session, "stopped")
        await idle(session)
        assert (await same.exec("echo works again")).output == "works again\n"


async def test_a_connection_that_is_lost_before_the_answer_is_told_and_nothing_runs_twice(
    gateway: GatewayProcess, session: Session
) -> None:
    async with (
        Cable(gateway.url) as cable,
        SandboxClient(base_url=cable.url, api_key=gateway.token) as over_cable,
    ):
        running = asyncio.create_task((await over_cable.get_session(session.id)).exec(f"echo once >> runs; {STUBBORN}"))
        await there(session, "begun")
        await cable.cut()
        with pytest.raises(GatewayUnreachable, match="closed the connection before it answered") as lost:
            await running
        assert isinstance(lost.value, httpx.TransportError)
    await there(session, "stopped")
    assert (await session.read("runs")).text == "once\n"


async def test_waiting_no_longer_for_a_command_interrupts_it(session: Session) -> None:
    waiting = asyncio.create_task(asyncio.wait_for(session.exec(STUBBORN), 60))
    await there(session, "begun")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await there(session, "stopped")
    await idle(session)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.exec("sleep 1000"), 0.2)
    await idle(session)


async def test_leaving_a_stream_interrupts_the_command(session: Session) -> None:
    async for chunk in session.exec_stream(f"echo seen; {STUBBORN}"):
        assert chunk.output == "seen\n"
        await there(session, "begun")
        break
    await there(session, "stopped")
    await idle(session)


def test_leaving_a_stream_of_the_blocking_client_interrupts_the_command(gateway: GatewayProcess) -> None:
    client = SyncSandboxClient(base_url=gateway.url, api_key=gateway.token)
    with client, client.create_session(image="base") as session:
        for chunk in session.exec_stream(f"echo seen; {STUBBORN}"):
            assert chunk.output == "seen\n"
            eventually_blocking(lambda: "begun" in session.ls().names)
            break
        eventually_blocking(lambda: "stopped" in session.ls().names)
        assert session.exec("echo free").ok


def test_ctrl_c_ends_a_blocking_call_and_the_command(gateway: GatewayProcess) -> None:
    client = SyncSandboxClient(base_url=gateway.url, api_key=gateway.token)
    with client, client.create_session(image="base") as session:
        pressing = threading.Thread(target=press_ctrl_c, args=(session,))
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            session.exec(STUBBORN)
        pressing.join()
        eventually_blocking(lambda: "stopped" in session.ls().names)
        assert session.exec("echo free").ok


def press_ctrl_c(session: SyncSession) -> None:
    eventually_blocking(lambda: "begun" in session.ls().names)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


async def test_a_block_that_fails_ends_its_session_and_keeps_its_error(client: SandboxClient) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await client.create_session(image="base") as session:
            raise ZeroDivisionError
    assert (await session.info()).status == "destroyed"
    session = await client.create_session(image="base")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), session:
            await session.exec("sleep 1000")
    assert (await session.info()).status == "destroyed"


async def test_an_error_is_what_migrated_code_expects_and_can_be_pickled(client: SandboxClient) -> None:
    with pytest.raises(SessionNotFound) as caught:
        await client.get_session("none")
    assert isinstance(caught.value, SandkastenAPIError)
    assert isinstance(caught.value, httpx.HTTPStatusError)
    assert caught.value.response.status_code == 404
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.code) == (SessionNotFound, str(caught.value), "SESSION_NOT_FOUND")


async def test_a_gateway_that_is_killed_and_started_between_two_calls_is_waited_for_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    listening, port = bind_unused_port()
    listening.close()
    gateway = GatewayProcess(tmp_path, "pool: {enabled: false}\n", port=port, engine="local")
    await asyncio.to_thread(gateway.start)
    try:
        async with (
            client_of("async", gateway.url, gateway.token, retry_for=60) as one,
            client_of("sync", gateway.url, gateway.token, retry_for=60) as other,
        ):
            session = await one.create_session(image="base")
            await session.exec("A=kept")
            same = await other.get_session(session.id)
            gateway.process.kill()
            await asyncio.to_thread(gateway.process.wait)
            calls = [asyncio.create_task(found.exec("echo $A")) for found in (session, same)]
            impatient = SandboxClient(base_url=gateway.url, api_key=gateway.token, retry_for=0)
            with pytest.raises(GatewayUnreachable, match="cannot be reached"):
                await impatient.list_sessions()
            await asyncio.to_thread(gateway.start)
            assert [(await call).output for call in calls] == ["kept\n", "kept\n"]
            await same.destroy()
    finally:
        await asyncio.to_thread(gateway.stop)
    assert not (gateway.data_dir / "gateway.json").exists()


async def test_the_gateway_of_this_user_is_found_without_being_named(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = gateway.data_dir / "gateway.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    running = read_running(gateway.data_dir)
    assert running is not None
    assert (running.url, running.token) == (f"{gateway.url}/", gateway.token)
    assert running.pid == gateway.process.pid
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(gateway.data_dir))
    async with SandboxClient() as client:
        await client.list_sessions()
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", os.devnull)
    monkeypatch.setenv("SANDKASTEN_URL", f"{gateway.url}/?token={gateway.token}")
    async with SandboxClient() as client:
        await client.list_sessions()
