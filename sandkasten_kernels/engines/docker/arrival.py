"""How the guest of a new container arrives, or why it does not."""

from __future__ import annotations

import asyncio
import logging
import os

from ...errors import SandboxFailed
from ..host.door import Arrival, Door
from .connection import EngineConnection

__all__ = ["arrived"]

HELLO_SECONDS = 30


async def arrived(connection: EngineConnection, container: str, door: Door, log: logging.Logger) -> Arrival:
    """Return the guest's arrival. Raises `SandboxFailed` as soon as the container ends without one; `EngineError`."""
    pid = (await connection.run(connection.api.inspect_container, container))["State"]["Pid"]
    exited = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):
        raise await _failure(connection, container, log) from None
    loop.add_reader(pidfd, exited.set)
    hello = asyncio.create_task(door.hello())
    death = asyncio.create_task(exited.wait())
    try:
        await asyncio.wait({hello, death}, timeout=HELLO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if hello.done():
            return hello.result()
        raise await _failure(connection, container, log)
    except asyncio.CancelledError:
        if hello.done() and not hello.cancelled() and not hello.exception():
            hello.result().close()
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        for task in (hello, death):
            task.cancel()


async def _failure(connection: EngineConnection, container: str, log: logging.Logger) -> SandboxFailed:
    """Return what is wrong with a container whose guest did not arrive; its last words are in the log."""
    state = (await connection.run(connection.api.inspect_container, container))["State"]
    logs: bytes = await connection.run(connection.api.logs, container, tail=20)
    log.error("sandbox did not come up: %s\n%s", state, logs.decode("utf-8", "replace"))
    if state["Running"]:
        return SandboxFailed(f"the guest of a sandbox said nothing for {HELLO_SECONDS} s")
    return SandboxFailed(f"the guest of a sandbox ended with exit code {state['ExitCode']} before it said hello")
