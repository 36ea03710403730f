"""A gateway that is killed and started again, and what is asked of it before and after."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

from .gateway import Gateway
from .kernel_client import Api, KernelSocket, execute_content


async def v1(api: Api, method: str, path: str, status: int = 200, **body: Any) -> Any:
    """Return what ``/v1`` answers."""
    response = await api.request(method, f"/v1{path}", body if method == "POST" else None)
    assert response.code == status, response.body
    return json.loads(response.body)


async def output(api: Api, session: str, **job: str) -> str:
    """Return what code or a command says."""
    return str((await v1(api, "POST", f"/sessions/{session}/exec", **job))["output"])


async def warm(api: Api, count: int = 1) -> None:
    """Return when the pool has so many warm sandboxes."""
    while (await api.pool())["warm"] < count:
        await asyncio.sleep(0.1)


async def restarted(gateway: Gateway, number: signal.Signals = signal.SIGKILL, away: float = 0.0) -> Api:
    """Return the API of the gateway's next process; nobody answers for ``away`` seconds."""
    await asyncio.to_thread(gateway.stop, number)
    await asyncio.sleep(away)
    await asyncio.to_thread(gateway.start_again)
    return Api(gateway.url, gateway.token)


async def begun(socket: KernelSocket, code: str) -> str:
    """Return the id of an execution that has printed its first line."""
    cell = await socket.send("execute_request", execute_content(code))
    await socket.until("stream")
    return cell
