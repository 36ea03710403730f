"""How the guest of a container arrives: of a new one, or of one that an earlier process of the gateway left."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from ...background import BackgroundTasks
from ...errors import EngineError, SandboxFailed
from ...images import full_name
from ...protocol import SocketError
from ..base import Sandbox
from ..host.door import Arrival, Door
from ..host.sandbox import HostSandbox
from ..spec import LeftSandbox
from .connection import CALL_SECONDS, EngineConnection, words
from .spec import INSTANCE_LABEL, SANDBOX_LABEL

__all__ = ["WHERE_TO_RUN", "arrived", "reach", "returned"]

WHERE_TO_RUN = (
    "The gateway must run on the engine's own host, in the host's pid namespace, with a data directory that the engine "
    "can mount"
)

HELLO_SECONDS = 30
HELLO_AGAIN_SECONDS = 20.0
CALL_AGAIN_SECONDS = 2.0


async def arrived(
    connection: EngineConnection, container: str, door: Door, tasks: BackgroundTasks, log: logging.Logger
) -> Arrival:
    """Return the arrival of a new container's guest.

    Raises `SandboxFailed` after `HELLO_SECONDS`, or as soon as the container ends before; `EngineError`.
    """
    pid = (await connection.run(connection.api.inspect_container, container))["State"]["Pid"]
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):  # the container has ended already: its pid is 0, or gone
        raise await _failure(connection, container, log) from None
    loop.add_reader(pidfd, exited.set)
    hello = tasks.awaited("hello of a guest", door.hello())
    death = tasks.awaited("end of a guest", exited.wait())
    try:
        await asyncio.wait({hello, death}, timeout=HELLO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if hello.done():
            return hello.result()
        raise await _failure(connection, container, log)
    except asyncio.CancelledError:
        # The guest arrived in the turn of the cancellation; nobody else closes its descriptors.
        if hello.done() and not hello.cancelled() and not hello.exception():
            hello.result().close()
        raise
    finally:
        loop.remove_reader(pidfd)  # first: the number may soon be that of another descriptor
        os.close(pidfd)
        for task in (hello, death):
            task.cancel()


async def _failure(connection: EngineConnection, container: str, log: logging.Logger) -> SandboxFailed:
    """Return the error for a container without an arrival of its guest; log its state and the end of its output."""
    state = (await connection.run(connection.api.inspect_container, container))["State"]
    logs: bytes = await connection.run(connection.api.logs, container, tail=20)
    log.error("sandbox did not come up: %s\n%s", state, logs.decode("utf-8", "replace"))
    if state["Running"]:
        return SandboxFailed(f"the guest of a sandbox said nothing for {HELLO_SECONDS} s")
    return SandboxFailed(f"the guest of a sandbox ended with exit code {state['ExitCode']} before it said hello")


async def returned(
    connection: EngineConnection, instance: str, run_dir: Path, left: LeftSandbox, tasks: BackgroundTasks
) -> HostSandbox:
    """Return a sandbox of an earlier process after its guest has said hello again. Raises as `Engine.adopt`.

    The sandbox has had the door's directory mounted since its start. Only the container's first process is accepted,
    by the process id that the kernel gives for the connection: any code in the sandbox can connect to the door.
    """
    run, api = connection.run, connection.api
    found = await run(_inspect, api, left.handle)
    labels = (found or {}).get("Config", {}).get("Labels") or {}
    if found is None or labels.get(INSTANCE_LABEL) != instance or labels.get(SANDBOX_LABEL) != left.id:
        raise SandboxFailed("its sandbox was removed while the gateway was away")
    state = found["State"]
    if not state["Running"]:
        raise SandboxFailed(f"its sandbox ended while the gateway was away ({_end(state, left)})")
    if state.get("Paused"):  # a frozen guest cannot answer
        await run(api.unpause, left.handle)
    pid = int(state["Pid"])
    try:
        # Before the wake-up, at which the guest connects to it.
        door = Door(run_dir / left.id, again=True)
    except OSError as error:
        raise SandboxFailed(f"its sandbox cannot be reached: the way to it was removed ({error.strerror})") from error
    try:
        arrival = await _hello_again(lambda: run(_wake, api, left.handle), door, pid, left, tasks)
    finally:
        door.shut()
    try:
        outdated = found["Image"] != await run(_image_id, api, full_name(left.spec.image))
    except BaseException:
        arrival.close()
        raise
    return HostSandbox(left.id, left.spec, left.handle, left.workspace, outdated, arrival=arrival)


async def _hello_again(
    wake: Callable[[], Awaitable[Any]], door: Door, pid: int, left: LeftSandbox, tasks: BackgroundTasks
) -> Arrival:
    """Return the guest's arrival; wake the guest every `CALL_AGAIN_SECONDS`, because other callers may block the door.

    Raises `SandboxFailed` after `HELLO_AGAIN_SECONDS`.
    """
    hello = tasks.awaited("hello of a guest", door.hello_again(pid, left.key))
    try:
        async with asyncio.timeout(HELLO_AGAIN_SECONDS):
            while not hello.done():
                await wake()
                await asyncio.wait({hello}, timeout=CALL_AGAIN_SECONDS)
        return hello.result()
    except TimeoutError as error:
        hello.cancel()
        raise SandboxFailed(f"the guest of its sandbox did not answer within {HELLO_AGAIN_SECONDS:g} s") from error
    except BaseException:
        hello.add_done_callback(_give_back)
        hello.cancel()
        raise


def _give_back(hello: asyncio.Task[Arrival]) -> None:
    """Close the descriptors of a guest that arrived after the wait for it had ended."""
    if not hello.cancelled() and not hello.exception():
        hello.result().close()


def _inspect(api: Any, container: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.inspect_container(container)
    except NotFound:
        return None
    return found


def _wake(api: Any, container: str) -> None:
    try:
        api.kill(container, "SIGHUP")  # a guest says hello again at SIGHUP
    except APIError as error:
        if error.status_code not in (404, 409):  # removed; not running
            raise EngineError(f"the Docker engine failed: {words(error)}") from error
        raise SandboxFailed("its sandbox ended while it was adopted") from error


def _image_id(api: Any, image: str) -> str:
    try:
        return str(api.inspect_image(image)["Id"])
    except NotFound:
        return ""


def _end(state: dict[str, Any], left: LeftSandbox) -> str:
    code = state.get("ExitCode")
    if code == 137:  # 128 + SIGKILL
        killed = f"killed, out of memory, limit {left.spec.mem_limit_mb} MiB" if state.get("OOMKilled") else "killed"
        return f"{killed}: exit code {code}"
    return f"exit code {code}"


async def reach(sandbox: Sandbox) -> None:
    """Return when a socket of the guest was opened from here. Raises `EngineError`."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            (await sandbox.open_socket("guest-control")).close()
    except (SocketError, TimeoutError) as error:
        raise EngineError(
            f"the sockets of a sandbox cannot be reached ({error or 'no answer'}). {WHERE_TO_RUN}"
        ) from error
