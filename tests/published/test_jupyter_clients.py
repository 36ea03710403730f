"""The clients that people use: JupyterLab's server, jupyter-kernel-client, a script with websocket-client."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import websocket
from jupyter_kernel_client import JupyterKernelClient

from sandkasten_kernels.paths import asset_dir
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import PATIENCE_SECONDS, Api, execute_content
from tests.support.lab import LabServer, LabSocket

pytestmark = [pytest.mark.docker, pytest.mark.slow]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SLIDER = """
import ipywidgets
slider = ipywidgets.IntSlider(value=3, max=100)
slider.observe(lambda change: print("moved to", change.new, flush=True), "value")
display(slider)
"""


@pytest.fixture(scope="module")
def lab_server(module_gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One server for the tests of this module."""
    with LabServer(tmp_path_factory.mktemp("lab"), module_gateway.url, module_gateway.token) as running:
        yield running


@pytest.fixture
async def lab(lab_server: LabServer) -> AsyncIterator[Api]:
    """The server's own REST API."""
    async with Api(lab_server.url, lab_server.token) as client:
        yield client


@pytest.fixture
async def notebook(lab: Api, api: Api) -> AsyncIterator[dict[str, Any]]:
    """The session of an open notebook; it is shut down with the test, and the gateway then has no kernel."""
    body = {"path": f"{uuid.uuid4().hex}.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    response = await lab.request("POST", "/api/sessions", body)
    assert response.code == 201, response.body
    session = json.loads(response.body)
    yield session
    assert (await lab.request("DELETE", f"/api/sessions/{session['id']}")).code in (204, 404)
    assert await api.kernels() == []


@pytest.fixture
async def cell(lab: Api, notebook: dict[str, Any]) -> AsyncIterator[LabSocket]:
    """The WebSocket of the open notebook's kernel."""
    socket = await LabSocket.open(lab.url, lab.token, notebook["kernel"]["id"])
    yield socket
    socket.close()


async def test_lab_lists_the_kernelspec_and_serves_its_logo(lab: Api) -> None:
    specs = await lab.get("/api/kernelspecs")
    assert specs["default"] == "python3"
    spec = specs["kernelspecs"]["python3"]
    assert spec["spec"]["language"] == "python"
    response = await lab.request("GET", spec["resources"]["logo-svg"])
    assert response.code == 200
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.body == (asset_dir("kernelspecs") / "python3" / "logo-svg.svg").read_bytes()


async def test_lab_sees_the_kernel_that_the_gateway_has(lab: Api, api: Api, notebook: dict[str, Any]) -> None:
    kernel_id = notebook["kernel"]["id"]
    assert notebook["kernel"]["name"] == "python3"
    assert [kernel["id"] for kernel in await api.kernels()] == [kernel_id]
    assert [kernel["id"] for kernel in await lab.kernels()] == [kernel_id]


async def test_a_notebook_runs_cells(cell: LabSocket) -> None:
    info = await cell.send("kernel_info_request", {})
    assert (await cell.until("kernel_info_reply")).parent_id == info
    first = await cell.execute("x = 20\nprint('hello')\nx + 1")
    assert first.stream() == "hello\n"
    assert first.of("execute_result")[0]["data"]["text/plain"] == "21"
    assert first.reply["execution_count"] == 1
    assert (await cell.execute("x / 0")).reply["ename"] == "ZeroDivisionError"
    figure = await cell.execute("%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    assert figure.of("display_data")[0]["data"]["image/png"].startswith("iVBOR")


async def test_a_notebook_gets_the_kernel_variables_of_labs_environment(cell: LabSocket) -> None:
    assert (await cell.execute("import os; print(os.environ['KERNEL_COURSE'])")).stream() == "physics\n"


async def test_a_slider_of_ipywidgets_moves_both_ways(cell: LabSocket) -> None:
    shown = await cell.execute(SLIDER)
    assert shown.reply["status"] == "ok"
    opened = {content["comm_id"]: content for content in shown.of("comm_open")}
    model_id = shown.of("display_data")[0]["data"][WIDGET_VIEW]["model_id"]
    assert opened[model_id]["target_name"] == "jupyter.widget"
    assert opened[model_id]["data"]["state"]["value"] == 3

    data = {"method": "update", "state": {"value": 42}, "buffer_paths": []}
    moved = await cell.send("comm_msg", {"comm_id": model_id, "data": data})
    told, text = await cell.until("stream"), ""
    while not (text := text + told.content["text"]).endswith("\n"):
        told = await cell.until("stream")
    assert (told.parent_id, text) == (moved, "moved to 42\n")
    assert (await cell.execute("print(slider.value)")).stream() == "42\n"

    updates = [message["data"] for message in (await cell.execute("slider.value = 7")).of("comm_msg")]
    assert {"method": "update", "state": {"value": 7}, "buffer_paths": []} in updates


async def test_a_cell_asks_the_user(cell: LabSocket) -> None:
    result = await cell.execute("print('hello', input('your name? '))", answer="Ada")
    assert result.of("input_request") == [{"prompt": "your name? ", "password": False}]
    assert result.stream() == "hello Ada\n"


async def test_lab_interrupts_a_sleeping_cell(lab: Api, notebook: dict[str, Any], cell: LabSocket) -> None:
    code = "import time\nx = 1\nprint('asleep', flush=True)\ntime.sleep(600)"
    sleeping = await cell.send("execute_request", execute_content(code))
    await cell.said("asleep\n")
    assert (await lab.request("POST", f"/api/kernels/{notebook['kernel']['id']}/interrupt")).code == 204
    assert (await cell.result(sleeping)).reply["ename"] == "KeyboardInterrupt"
    assert (await cell.execute("print(x)")).stream() == "1\n"


async def test_lab_restarts_the_kernel_and_goes_on(lab: Api, notebook: dict[str, Any], cell: LabSocket) -> None:
    kernel_id = notebook["kernel"]["id"]
    await cell.execute("x = 1\nopen('kept.txt', 'w').write('kept')")
    response = await lab.request("POST", f"/api/kernels/{kernel_id}/restart")
    assert (response.code, json.loads(response.body)["id"]) == (200, kernel_id)
    again = await LabSocket.open(lab.url, lab.token, kernel_id)
    code = "import os; print('x' in globals(), open('kept.txt').read(), os.environ['KERNEL_COURSE'])"
    try:
        after = await again.execute(code)
    finally:
        again.close()
    assert after.stream() == "False kept physics\n"
    assert after.reply["execution_count"] == 1
    assert (await cell.execute("1 + 1")).reply["status"] == "ok"


async def test_lab_restarts_a_kernel_whose_cell_does_not_end(
    lab: Api, notebook: dict[str, Any], cell: LabSocket
) -> None:
    endless = await cell.send("execute_request", execute_content("print('running', flush=True)\nwhile True: pass"))
    await cell.said("running\n")
    assert (await lab.request("POST", f"/api/kernels/{notebook['kernel']['id']}/restart")).code == 200
    assert (await cell.result(endless)).reply["status"] == "error"
    assert (await cell.execute("print('new')")).stream() == "new\n"


async def test_a_notebook_that_is_shut_down_leaves_no_kernel_here_and_there(
    lab: Api, api: Api, notebook: dict[str, Any], cell: LabSocket
) -> None:
    await cell.execute("1")
    assert (await lab.request("DELETE", f"/api/sessions/{notebook['id']}")).code == 204
    path = f"/api/kernels/{notebook['kernel']['id']}"
    assert [(await client.request("GET", path)).code for client in (lab, api)] == [404, 404]
    assert await lab.get("/api/sessions") == []


async def test_jupyter_kernel_client_runs_code(gateway: GatewayProcess, api: Api) -> None:
    def run() -> str:
        with JupyterKernelClient(server_url=gateway.url, token=gateway.token) as kernel:
            result = kernel.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\n20 + 1")
            texts = {output.get("name", output["output_type"]): output.get("text") for output in result["outputs"]}
            assert texts == {"stdout": "out\n", "stderr": "err\n", "execute_result": None}
            assert result["outputs"][-1]["data"]["text/plain"] == "21"
            assert (result["status"], result["execution_count"]) == ("ok", 1)
            error = kernel.execute("1 / 0")
            assert (error["status"], error["outputs"][0]["ename"]) == ("error", "ZeroDivisionError")
            assert kernel.last_activity is not None
            kernel.restart()
            assert kernel.execute("'sys' in globals()")["outputs"][0]["data"]["text/plain"] == "False"
            assert kernel.is_alive()
            return str(kernel.id)

    kernel_id = await asyncio.to_thread(run)
    assert (await api.request("GET", f"/api/kernels/{kernel_id}")).code == 404


async def test_a_script_with_websocket_client_needs_only_the_token_in_the_url(
    gateway: GatewayProcess, api: Api
) -> None:
    kernel_id = await api.create()
    url = f"{gateway.url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels?token={gateway.token}"
    connection = websocket.create_connection(url, timeout=PATIENCE_SECONDS)

    def run() -> list[dict[str, Any]]:
        header = {"msg_id": "first", "msg_type": "execute_request", "session": "script", "version": "5.0"}
        connection.send(json.dumps({"header": header, "parent_header": {}, "content": {"code": "6 * 7"}}))
        messages = [json.loads(connection.recv())]
        while messages[-1]["msg_type"] != "execute_reply":
            messages.append(json.loads(connection.recv()))
        return messages

    try:
        messages = await asyncio.wait_for(asyncio.to_thread(run), PATIENCE_SECONDS)
    finally:
        connection.abort()
    results = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    assert results == [{"text/plain": "42"}]
    assert {message["parent_header"]["msg_id"] for message in messages} == {"first"}
