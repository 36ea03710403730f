"""Messages that attack the gateway, and readers that do not read: what is sent is bounded, and nobody else has less."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time

import psutil
import pytest
import websocket

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import V1, Api, execute_content, parsed
from tests.support.misbehaviour import neighbour_is_fine
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker


async def test_forged_and_endless_messages_harm_only_their_sender(api: Api, gateway: GatewayProcess) -> None:
    kernel = await api.create()
    socket, watcher = await api.connect(kernel), await api.connect(kernel, v1=False)
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    code = """
import threading, zmq
thread = get_ipython().kernel.iopub_thread
done = threading.Event()
def attack():
    pub = thread.socket
    for frames in ([b''], [b'<IDS|MSG>'], [b'x', b'<IDS|MSG>', b'', b'{}'],
                   [b'stream', b'<IDS|MSG>', b'', b'[', b'{', b'null', b'\\xff'],
                   [b'kernel.x.status', b'<IDS|MSG>', b'', b'{}', b'{}', b'{}', b'[' * 100_000]):
        pub.send_multipart(frames)
    chunk = bytes(1 << 20)
    for _ in range(300): pub.send(chunk, zmq.SNDMORE)
    pub.send(b'end')
    done.set()
thread.schedule(attack)
print(done.wait(30))
"""
    assert (await socket.execute(code)).stream() == "True\n"
    assert "300 MiB was dropped" in (await watcher.until("stream", name="stderr")).content["text"]
    assert process.memory_info().rss - before < 250 * 2**20
    assert (await socket.execute("print('still here')")).stream() == "still here\n"
    await neighbour_is_fine(api)


FLOODS = {
    "huge header": "[b'x', b'<IDS|MSG>', b'', bomb, b'{}', b'{}', b'{}'], 2",
    "huge parent": "[b'x', b'<IDS|MSG>', b'', head, bomb, b'{}', b'{}'], 2",
    "tiny messages": "[b''], 300_000",
    "many frames": "[b''] * 1100, 3_000",
}


@pytest.mark.parametrize("attack", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_from_a_sandbox_neither_grows_nor_stalls_the_gateway(
    api: Api, gateway: GatewayProcess, attack: str
) -> None:
    socket = await api.connect(await api.create())
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    code = f"""
import threading
thread = get_ipython().kernel.iopub_thread
done = threading.Event()
head, bomb = b'{{"msg_type": "status"}}', b'{{"a":[' + b"[]," * 8_000_000 + b"[]]}}"
def attack():
    frames, times = {attack}
    for _ in range(times): thread.socket.send_multipart(frames)
    done.set()
thread.schedule(attack)
done.wait(60)
"""
    msg_id = await socket.send("execute_request", execute_content(code))
    slowest, largest = 0.0, before
    cell = asyncio.create_task(socket.result(msg_id))
    while not cell.done():
        began = time.monotonic()
        assert (await api.request("GET", "/healthz")).code == 200
        slowest = max(slowest, time.monotonic() - began)
        largest = max(largest, process.memory_info().rss)
        await asyncio.sleep(0.05)
    print(f"slowest answer {1000 * slowest:.0f} ms, grown by {(largest - before) >> 20} MiB")
    assert largest - before < 200 << 20
    assert [len(model["execution_state"]) for model in await api.kernels()] == [4]
    assert (await cell).reply["status"] == "ok"


UNFINISHED = """
import os, socket, struct
connections = []
for name in os.listdir('/proc/self/fd'):
    try:
        connection = socket.socket(fileno=os.dup(int(name)))
        if '/run/sandkasten' in str(connection.getsockname()) and not connection.getpeername():
            connections.append(connection)
    except OSError:
        pass
for connection in connections:
    connection.settimeout(30)
    connection.sendall(struct.pack('>BQ', 3, 100 << 20))  # the head of a long frame with more to come
    for _ in range(99): connection.sendall(bytes(1 << 20))
os.close(1); open('/workspace/sent', 'w').write(str(len(connections)))
"""


async def test_messages_that_are_never_finished_do_not_grow_the_gateway(api: Api, gateway: GatewayProcess) -> None:
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    for _ in range(2):
        kernel = await api.create()
        await (await api.connect(kernel)).send("execute_request", execute_content(UNFINISHED))
        read = f"/v1/sessions/{kernel}/fs/read?path=sent"
        found = await eventually(lambda: api.request("GET", read), lambda found: found.code == 200)  # noqa: B023
        assert int(base64.b64decode(json.loads(found.body)["content_base64"])) >= 4
    assert process.memory_info().rss - before < 400 << 20
    await neighbour_is_fine(api)


REPLIES = """
kernel = get_ipython().kernel
message = kernel.session.msg('execute_reply', {'status': 'ok', 'execution_count': 1}, parent=kernel.get_parent())
frames = kernel.session.serialize(message, ident=kernel._parent_ident['shell'])
socket = kernel.shell_stream.socket if kernel.shell_stream else kernel.shell_socket
for number in range(10):
    for _ in range(3000): socket.send_multipart(frames)
    print(number, flush=True)
"""


async def test_many_replies_to_one_request_cost_no_more_than_they_are(api: Api) -> None:
    socket = await api.connect(await api.create())
    msg_id = await socket.send("execute_request", execute_content(REPLIES))
    cell = asyncio.create_task(socket.result(msg_id))
    slowest = 0.0
    while not cell.done():
        began = time.monotonic()
        assert (await api.request("GET", "/healthz")).code == 200
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.05)
    print(f"slowest answer {1000 * slowest:.0f} ms")
    assert [m.msg_type for m in (await cell).messages].count("execute_reply") == 1


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_a_reader_that_stalls_loses_nothing_of_thirty_thousand_lines(api: Api, v1: bool) -> None:
    kernel = await api.create()
    lines = await asyncio.to_thread(read_late, f"{api.url}/api/kernels/{kernel}/channels?token={api.token}", v1)
    assert lines == [str(i) for i in range(30_000)]


def read_late(url: str, v1: bool) -> list[str]:
    """Run a cell of 30,000 lines, read nothing for 8 s, and return what then arrives."""
    options = {"subprotocols": [V1]} if v1 else {}
    connection = websocket.create_connection(url.replace("http", "ws", 1), timeout=60, **options)
    header = {"msg_id": "a", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    content = execute_content("for i in range(30_000): print(i, flush=True)")
    if v1:
        parts = [b"shell", *(json.dumps(part).encode() for part in (header, {}, {}, content))]
        offsets = [8 * (len(parts) + 2)]
        for part in parts:
            offsets.append(offsets[-1] + len(part))
        connection.send_binary(struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts))
    else:
        connection.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content}))
    time.sleep(8)
    text = ""
    while (message := parsed(connection.recv(), v1)).msg_type != "execute_reply":
        if message.msg_type == "stream":
            text += message.content["text"]
    connection.close()
    return text.split()


async def test_a_reader_that_never_reads_is_cut_off_alone_and_told(api: Api) -> None:
    kernel = await api.create()
    good = await api.connect(kernel)
    reader, writer = await asyncio.open_connection(*api.url.removeprefix("http://").split(":"))
    request = (
        f"GET /api/kernels/{kernel}/channels?token={api.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    result = await good.execute("line = 'x' * 1_000_000\nfor i in range(250): print(line, flush=True)")
    assert len(result.stream()) == 250 * 1_000_001

    async def connections() -> int:
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        await reader.read(1 << 24)
        return int((await api.get(f"/api/kernels/{kernel}"))["connections"])

    await eventually(connections, lambda count: count != 2, interval=0)
    writer.close()


LARGE = """
import json, threading
thread, parent = get_ipython().kernel.iopub_thread, json.dumps(get_ipython().kernel.get_parent()['header'], default=str)
head = b'{"msg_id": "large", "msg_type": "display_data", "session": "s", "username": "", "version": "5.3"}'
content = b'{"data": {"text/plain": "' + b"x" * (100 << 20) + b'"}, "metadata": {}}'
done = threading.Event()
def show():
    for _ in range(3):
        thread.socket.send_multipart([b"display", b"<IDS|MSG>", b"", head, parent.encode(), b"{}", content], copy=False)
    done.set()
thread.schedule(show)
done.wait(60)
"""


async def test_a_reader_of_a_few_huge_messages_is_cut_off_once(api: Api, gateway: GatewayProcess) -> None:
    kernel = await api.create()
    reader, writer = await asyncio.open_connection(*api.url.removeprefix("http://").split(":"))
    request = (
        f"GET /api/kernels/{kernel}/channels?token={api.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    assert (await api.request("POST", f"/v1/sessions/{kernel}/exec", {"code": LARGE})).code == 200
    await eventually(lambda: api.get(f"/api/kernels/{kernel}"), lambda model: model["connections"] == 0)
    writer.close()
    log = gateway.log.read_text()
    assert log.count(f"a client of kernel {kernel} was cut off") == 1
    assert "could not take a message" not in log
