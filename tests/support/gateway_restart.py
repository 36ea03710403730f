"""A gateway that is killed and started again, and what is asked of it before and after."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, KernelSocket, execute_content
from tests.support.waiting import eventually


async def v1(api: Api, method: str, path: str, status: int = 200, **body: Any) -> Any:
    """Return what ``/v1`` answers."""
    response = await api.request(method, f"/v1{path}", body if method == "POST" else None)
    assert response.code == status, response.body
    return json.loads(response.body)


async def output(api: Api, session: str, **job: str) -> str:
    """Return what code or a command says."""
    return str((await v1(api, "POST", f"/sessions/{session}/exec", **job))["output"])


async def warm(api: Api, kernelspec: str = "python3") -> None:
    """Return when the pool has a warm sandbox of a kernelspec."""
    await eventually(lambda: api.pool(kernelspec), lambda pool: pool["warm"])


async def restarted(gateway: GatewayProcess, number: signal.Signals = signal.SIGKILL) -> Api:
    """Return the API of the gateway's next process, which has taken over what the one before has left."""
    await asyncio.to_thread(gateway.stop, number)
    return await back(gateway)


async def back(gateway: GatewayProcess) -> Api:
    """Return what `restarted` does, of a gateway that has been stopped."""
    await asyncio.to_thread(gateway.start_again)
    api = Api(gateway.url, gateway.token)
    await taken_over(api)
    return api


async def taken_over(api: Api, kernel_id: str = "") -> None:
    """Return when a kernel, or each that there is, is adopted: a gateway that is slow at it serves meanwhile."""

    def adopted(kernels: list[dict[str, Any]]) -> bool:
        return not any(kernel["execution_state"] == "starting" and kernel_id in kernel["id"] for kernel in kernels)

    await eventually(api.kernels, adopted)


async def begun(socket: KernelSocket, code: str) -> str:
    """Return the id of an execution that has printed its first line."""
    cell = await socket.send("execute_request", execute_content(code))
    await socket.until("stream")
    return cell
