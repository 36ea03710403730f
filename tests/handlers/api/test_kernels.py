"""A kernel's life over REST and WebSocket, on a real engine."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime

import pytest

from tests.support.kernel_client import Api, execute_content

pytestmark = pytest.mark.local

framings = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


@framings
async def test_a_cell_gives_its_result_and_the_count_starts_at_one(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    result = await socket.execute("6 * 7")
    assert result.of("execute_result") == [{"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1}]
    assert result.reply["status"] == "ok"


@framings
async def test_streams_arrive_while_the_cell_runs(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    code = "import sys\nprint('out', flush=True)\ninput()\nprint('err', file=sys.stderr)"
    msg_id = await socket.send("execute_request", execute_content(code, answer=""))
    await socket.said("out\n")
    await socket.until("input_request")
    await socket.send("input_reply", {"value": ""}, channel="stdin")
    assert (await socket.result(msg_id)).stream("stderr") == "err\n"


@pytest.mark.docker
@framings
async def test_a_display_carries_its_mime_bundle(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    code = """
from IPython.display import display, Image
display({"text/html": "<b>ä</b>", "text/plain": "ä"}, raw=True)
import matplotlib; matplotlib.use("agg")
import io, matplotlib.pyplot as plt
plt.plot([1, 4, 9]); png = io.BytesIO(); plt.savefig(png); display(Image(png.getvalue()))
"""
    html, image = (content["data"] for content in (await socket.execute(code)).of("display_data"))
    assert html["text/html"] == "<b>ä</b>"
    assert base64.b64decode(image["image/png"]).startswith(b"\x89PNG")


@framings
async def test_input_asks_the_client_and_gets_its_answer(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    result = await socket.execute("print('hello', input('name? '))", answer="you")
    assert result.of("input_request") == [{"prompt": "name? ", "password": False}]
    assert result.stream() == "hello you\n"


@framings
async def test_buffers_reach_the_kernel_and_come_back(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    await socket.execute(
        "from ipykernel.comm import Comm\nc = Comm(target_name='t', data={}, buffers=[b'\\x00\\xff'*50])"
    )
    result = await socket.execute("c.send({}, buffers=[memoryview(b'abc'), b''])")
    (message,) = [m for m in result.messages if m.msg_type == "comm_msg"]
    assert message.buffers == [b"abc", b""]


@framings
async def test_the_reply_never_overtakes_the_output(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    for number in range(60):
        result = await socket.execute(f"for i in range(20): print({number}, i)")
        assert result.stream().splitlines() == [f"{number} {i}" for i in range(20)]
        assert [m.content for m in result.messages if m.msg_type == "status"][-1] == {"execution_state": "idle"}
        assert result.messages[-1].msg_type == "execute_reply"


async def test_an_interrupt_ends_the_cell_and_keeps_the_state(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    await socket.execute("import time; kept = 1")
    msg_id = await socket.send("execute_request", execute_content("print('in', flush=True)\ntime.sleep(60)"))
    await socket.said("in\n")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    assert (await socket.result(msg_id)).reply["ename"] == "KeyboardInterrupt"
    assert (await socket.execute("kept")).of("execute_result")[0]["data"]["text/plain"] == "1"


async def test_a_restart_answers_when_the_new_kernel_is_ready_and_keeps_files_and_environment(api: Api) -> None:
    kernel = await api.create(env={"KERNEL_COLOUR": "blue"})
    socket = await api.connect(kernel)
    await socket.execute("gone = 1; open('/workspace/kept', 'w').write('file')")
    response = await api.request("POST", f"/api/kernels/{kernel}/restart")
    assert response.code == 200
    assert json.loads(response.body)["execution_state"] == "idle"
    states: list[str] = []
    while "idle" not in states:
        states.append((await socket.until("status")).content["execution_state"])
    assert "restarting" not in states
    result = await socket.execute(
        "import os; print('gone' in globals(), open('kept').read(), os.environ['KERNEL_COLOUR'])"
    )
    assert result.stream() == "False file blue\n"
    assert result.reply["execution_count"] == 1


async def test_a_restart_ends_a_running_cell_with_an_error_not_a_hang(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    msg_id = await socket.send("execute_request", execute_content("print('in', flush=True)\nwhile True: pass"))
    await socket.said("in\n")
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert (await socket.result(msg_id)).reply["ename"] == "KernelRestarted"
    assert (await socket.execute("1")).reply["status"] == "ok"


async def test_a_deleted_kernel_is_gone_with_its_container(api: Api, gateway: object) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204
    await socket.until("status", execution_state="dead")
    assert (await api.request("GET", f"/api/kernels/{kernel}")).code == 404
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 404
    assert kernel not in [model["id"] for model in await api.kernels()]


async def test_the_model_is_what_clients_parse(api: Api) -> None:
    response = await api.request("POST", "/api/kernels", {"name": "python"})
    model = json.loads(response.body)
    assert response.headers["Location"] == f"/api/kernels/{model['id']}"
    assert model["name"] == "python3"
    assert (model["execution_state"], model["connections"]) == ("idle", 0)
    datetime.strptime(model["last_activity"], "%Y-%m-%dT%H:%M:%S.%fZ").astimezone()
    first, second = await api.connect(model["id"]), await api.connect(model["id"], v1=False)
    await asyncio.gather(first.execute("1"), second.execute("2"))
    assert (await api.get(f"/api/kernels/{model['id']}"))["connections"] == 2


async def test_two_clients_of_one_kernel_both_see_the_output_and_each_its_own_reply(api: Api) -> None:
    kernel = await api.create()
    first, second = await api.connect(kernel), await api.connect(kernel, v1=False)
    result = await first.execute("print('hi')")
    assert result.stream() == "hi\n"
    await second.said("hi\n")
    own = await second.execute("print('me')")
    assert [m.parent_id for m in own.messages if m.msg_type == "execute_reply"] == [own.messages[-1].parent_id]


async def test_status_messages_of_the_gateways_own_requests_reach_no_client(api: Api) -> None:
    socket = await api.connect(await api.create(env={"KERNEL_A": "b"}))
    msg_id = await socket.send("kernel_info_request", {})
    seen = []
    while not seen or seen[-1].msg_type != "kernel_info_reply":
        message = await socket.receive()
        assert message
        seen.append(message)
    assert {message.parent_id for message in seen} == {msg_id}


async def test_history_and_names_are_the_clients_own_from_the_first_cell(api: Api) -> None:
    socket = await api.connect(await api.create(env={"KERNEL_A": "b"}))
    result = await socket.execute(
        "print(In, [n for n in globals() if not n.startswith('_') and n not in vars(__builtins__)])"
    )
    names = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    history, _, found = result.stream().partition("] [")
    assert history.count("'") <= 4
    assert {name.strip(" '\n]") for name in found.split(",")} <= names


async def test_a_message_of_twenty_megabytes_passes_in_both_directions(api: Api) -> None:
    socket = await api.connect(await api.create())
    show = "from IPython.display import display; print(len(data)); display({'text/plain': data}, raw=True)"
    result = await socket.execute(f"data = {'x' * 20_000_000!r}\n{show}")
    assert result.stream() == "20000000\n"
    assert len(result.of("display_data")[0]["data"]["text/plain"]) == 20_000_000


LAB = "Tornado/6.5"  # how jupyter_server's gateway client names itself


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ä€😀" * 300_000], ids=["ascii", "wide"])
async def test_a_large_stream_arrives_in_pieces_and_whole(api: Api, text: str) -> None:
    socket = await api.connect(await api.create(), v1=False, max_message_size=1 << 20)
    result = await socket.execute(f"print({text[:3]!r} * {len(text) // 3})")
    assert result.stream() == text + "\n"


@framings
async def test_a_hundred_megabytes_printed_at_once_arrive_whole(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    result = await socket.execute("print('x' * 100_000_000)")
    assert len(result.stream()) == 100_000_001


async def test_labs_gateway_client_gets_words_for_what_would_end_its_connection(api: Api) -> None:
    socket = await api.connect(await api.create(), v1=False, user_agent=LAB)
    comm = "from ipykernel.comm import Comm\nComm(target_name='x', data={}, buffers=[b'\\xff\\xfe'])"
    assert "binary data" in (await socket.execute(comm)).stream("stderr")
    large = "from IPython.display import display\ndisplay({'text/plain': 'x' * 11_000_000}, raw=True)"
    assert "10 MiB" in (await socket.execute(large)).stream("stderr")
    assert (await socket.execute("print('fine')")).stream() == "fine\n"


async def test_a_socket_with_the_same_session_id_replaces_the_first(api: Api) -> None:
    kernel = await api.create()
    first = await api.connect(kernel, query="?session_id=me")
    other = await api.connect(kernel, query="?session_id=other")
    second = await api.connect(kernel, query="?session_id=me")
    while await first.receive():
        pass
    assert first.socket.close_code == 4001
    assert (await api.get(f"/api/kernels/{kernel}"))["connections"] == 2
    for socket in (second, other):
        assert (await socket.execute("1")).reply["status"] == "ok"


async def test_a_reply_under_way_reaches_the_socket_that_took_over(api: Api) -> None:
    kernel = await api.create()
    first = await api.connect(kernel, query="?session_id=me")
    msg_id = await first.send("execute_request", execute_content("print('in', flush=True); input()", answer=""))
    await first.until("input_request")
    second = await api.connect(kernel, query="?session_id=me")
    await second.send("input_reply", {"value": ""}, channel="stdin")
    assert (await second.result(msg_id)).reply["status"] == "ok"


async def test_a_control_request_does_not_wait_behind_a_busy_shell(api: Api) -> None:
    socket = await api.connect(await api.create())
    msg_id = await socket.send("execute_request", execute_content("print('in', flush=True); input()", answer=""))
    await socket.until("input_request")
    for _ in range(3000):
        await socket.send("comm_msg", {"comm_id": "none", "data": {}})
    await socket.send("kernel_info_request", {}, channel="control")
    await socket.until("kernel_info_reply")
    await socket.send("input_reply", {"value": ""}, channel="stdin")
    assert (await socket.result(msg_id)).reply["status"] == "ok"


async def test_a_module_of_the_users_own_name_breaks_no_start(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    await socket.execute("open('random.py', 'w').write('1/0'); open('mine.py', 'w').write('x = 5')")
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert (await socket.execute("import mine; print(mine.x)")).stream() == "5\n"


async def test_a_reply_waits_for_output_that_takes_the_gateway_longer_than_a_second(api: Api) -> None:
    kernel = await api.create()
    sockets = [await api.connect(kernel, v1=bool(number % 2)) for number in range(4)]
    result = await sockets[0].execute("line = 'x' * 1_000_000\nfor i in range(150): print(line, flush=True)")
    assert len(result.stream()) == 150 * 1_000_001


async def test_a_kernel_that_never_becomes_idle_still_gives_its_reply(api: Api) -> None:
    socket = await api.connect(await api.create())
    mute = "thread = get_ipython().kernel.iopub_thread; thread.send_multipart = lambda *a, **k: None"
    msg_id = await socket.send(
        "execute_request", execute_content(f"{mute}; thread.background_socket.send_multipart = thread.send_multipart")
    )
    while (message := await socket.receive()) and message.msg_type != "execute_reply":
        pass
    assert message
    assert message.parent_id == msg_id
