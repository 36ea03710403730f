"""Commands and code over ``/v1``: in turn, within their time, and whole."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from typing import Any

import pytest

from tests.support.kernel_client import Api, execute_content
from tests.support.v1_requests import WAITS, create, go, run

pytestmark = pytest.mark.local


@pytest.fixture
async def session(api: Api) -> dict[str, Any]:
    return await create(api)


async def test_a_shell_keeps_its_state_and_its_streams_apart(api: Api, session: dict[str, Any]) -> None:
    first = await run(api, session, cmd="cd /tmp; export A=5; echo out; echo err >&2; (exit 3)")
    assert {name: first[name] for name in ("exit_code", "cwd", "stdout", "stderr", "truncated", "timed_out")} == {
        "exit_code": 3, "cwd": "/tmp", "stdout": "out\n", "stderr": "err\n", "truncated": False, "timed_out": False,
    }  # fmt: skip
    assert sorted(first["output"].split()) == ["err", "out"]
    assert isinstance(first["duration_ms"], int)
    assert (await run(api, session, cmd="pwd; echo $A"))["output"] == "/tmp\n5\n"
    assert (await api.get(f"/v1/sessions/{session['id']}"))["cwd"] == "/tmp"


async def test_one_command_may_have_its_own_stdin_directory_and_environment(api: Api, session: dict[str, Any]) -> None:
    own = await run(api, session, cmd="cat; pwd; echo $B", stdin="in\n", cwd="/tmp", env={"B": "it's"})
    assert own["output"] == "in\n/tmp\nit's\n"
    assert (await run(api, session, cmd="pwd; echo [$B]; cat"))["output"] == "/workspace\n[]\n"


async def test_code_gives_what_a_notebook_would_keep(api: Api, session: dict[str, Any]) -> None:
    answer = await run(api, session, code="import sys\nprint('a'); print('b', file=sys.stderr)\n2 + 2")
    assert (answer["status"], answer["exit_code"], answer["execution_count"]) == ("ok", 0, 1)
    assert (answer["stdout"], answer["stderr"]) == ("a\n", "b\n")
    assert answer["outputs"][-1]["data"] == {"text/plain": "4"}
    assert answer["output"].endswith("4\n")
    failed = await run(api, session, code="1 / 0")
    assert (failed["status"], failed["exit_code"]) == ("error", 1)
    assert failed["outputs"][0]["ename"] == "ZeroDivisionError"
    assert failed["outputs"][0]["traceback"]
    assert "division by zero" in failed["output"]
    assert "\x1b" not in failed["output"]


@pytest.mark.docker
async def test_a_figure_comes_as_a_picture_and_html_as_html(api: Api, session: dict[str, Any]) -> None:
    code = "import matplotlib.pyplot as plt\nfrom IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n"
    answer = await run(api, session, code=code + "plt.plot([1, 2])\nNone")
    bundles = [output["data"] for output in answer["outputs"]]
    assert bundles[0]["text/html"] == "<b>x</b>"
    assert base64.b64decode(bundles[-1]["image/png"]).startswith(b"\x89PNG")


async def test_a_busy_cell_does_not_block_a_command(api: Api, session: dict[str, Any]) -> None:
    cell = asyncio.create_task(
        run(api, session, code="import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(.01)")
    )
    assert (await run(api, session, cmd="echo beside"))["output"] == "beside\n"
    assert not cell.done()
    await run(api, session, cmd="touch /tmp/go")
    assert (await cell)["exit_code"] == 0


async def test_on_an_image_without_a_kernel_code_is_the_shells(api: Api) -> None:
    session = await create(api, image="base")
    await run(api, session, cmd="cd /tmp")
    answer = await run(api, session, code="pwd")
    assert (answer["output"], answer["status"]) == ("/tmp\n", "ok")


@pytest.mark.parametrize(
    "body", [{"cmd": "echo begun; sleep 100"}, {"code": "print('begun')\nimport time; time.sleep(100)"}]
)
async def test_what_exceeds_its_time_is_ended_with_what_it_has_said(
    api: Api, session: dict[str, Any], body: dict[str, str]
) -> None:
    answer = await run(api, session, **body, timeout_ms=3000)
    assert (answer["timed_out"], answer["exit_code"]) == (True, -1)
    assert answer["stdout"] == "begun\n"
    again = {"cmd": "echo usable"} if "cmd" in body else {"code": "print('usable')"}
    assert (await run(api, session, **again))["output"] == "usable\n"


async def test_code_that_cannot_be_interrupted_is_killed_and_it_is_said(api: Api, session: dict[str, Any]) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    answer = await run(api, session, code=code, timeout_ms=2000)
    assert answer["timed_out"]
    assert "variables are lost" in answer["stderr"]
    assert (await run(api, session, code="print('anew')"))["output"] == "anew\n"


async def test_what_waits_runs_in_order(api: Api, session: dict[str, Any]) -> None:
    await asyncio.gather(*(run(api, session, cmd=f"sleep 0.05; echo {n} >> /tmp/order") for n in range(8)))
    order = (await run(api, session, cmd="cat /tmp/order"))["output"].split()
    assert sorted(order) == [str(n) for n in range(8)]


async def test_too_many_that_wait_for_one_session_are_refused(api: Api, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['id']}/exec"
    asked = [asyncio.create_task(api.request("POST", path, {"cmd": WAITS})) for _ in range(24)]
    refused, *_ = [await answer for answer in itertools.islice(asyncio.as_completed(asked), 7)]
    await go(api, session)
    assert sorted([(await answer).code for answer in asked]) == [200] * 17 + [429] * 7
    assert "16 executions wait for this session already" in json.loads(refused.body)["message"]
    assert "Retry-After" in refused.headers


async def test_output_beyond_the_limit_keeps_head_and_tail(api: Api, session: dict[str, Any]) -> None:
    answer = await run(api, session, cmd="echo first; seq 2000000; echo last")
    assert answer["truncated"]
    assert answer["stdout"].startswith("first\n1\n2\n")
    assert answer["stdout"].endswith("2000000\nlast\n")
    assert "bytes are missing here" in answer["stdout"]
    assert len(answer["stdout"]) < 8 * 2**20 + 200


async def test_an_execution_that_exceeds_its_time_leaves_other_clients_cells_alone(
    api: Api, session: dict[str, Any]
) -> None:
    socket = await api.connect(session["id"])
    cell = (
        "import os, time\nprint('begun', flush=True)\n"
        "while not os.path.exists('/tmp/go'): time.sleep(.01)\nprint('whole')"
    )
    msg_id = await socket.send("execute_request", execute_content(cell))
    await socket.said("begun\n")
    answer = await run(api, session, code="open('/tmp/unasked', 'w')", timeout_ms=300)
    assert (answer["timed_out"], answer["exit_code"]) == (True, -1)
    assert "was not begun within 0.3 s" in answer["stderr"]
    await run(api, session, cmd="touch /tmp/go")
    result = await socket.result(msg_id)
    assert result.reply["status"] == "ok"
    assert result.stream().endswith("whole\n")


async def test_a_command_that_waits_for_another_clients_is_withdrawn(api: Api) -> None:
    session = await create(api, image="base")
    socket = await api.connect(session["id"])
    waiting = "echo begun; until [ -e /tmp/go ]; do sleep 0.05; done; echo whole"
    msg_id = await socket.send("execute_request", execute_content(waiting))
    await socket.said("begun\n")
    answer = await run(api, session, cmd="touch /tmp/unasked", timeout_ms=300)
    assert answer["timed_out"]
    await api.request("POST", f"/v1/sessions/{session['id']}/fs/write", {"path": "x", "text": ""})
    other = await create(api, image="base")
    assert other["id"] != session["id"]
    await socket.send("interrupt_request", {}, channel="control")
    assert (await socket.result(msg_id)).reply["status"] in ("ok", "error")
    assert (await run(api, session, cmd="ls /tmp/unasked"))["exit_code"] == 2


ODD = {
    "text that is none": "get_ipython().display_pub.publish({'text/plain': [1]})",
    "deep": "x = []\nfor _ in range(990): x = [x]\nget_ipython().display_pub.publish({'application/json': x})",
    "many parts": "get_ipython().display_pub.publish({'application/json': [[]] * 1_000_000})",
    "an odd state": "get_ipython().kernel.iopub_thread.socket  # the next line sends a status that is a list\n"
    "k = get_ipython().kernel; k.session.send(k.iopub_socket, 'status', {'execution_state': []})",
    "an odd directory": "import os\nclass R:\n    def __repr__(self): return '-' * 8000 + '1'\nos.getcwd = lambda: R()",
}


@pytest.mark.parametrize("code", ODD.values(), ids=ODD.keys())
async def test_no_output_however_odd_costs_anybody_his_kernel(api: Api, session: dict[str, Any], code: str) -> None:
    socket = await api.connect(session["id"])
    await socket.execute("mine = 5")
    await run(api, session, code=code)
    assert (await run(api, session, code="print(mine)"))["stdout"] == "5\n"
    assert (await socket.execute("print(mine)")).stream() == "5\n"
