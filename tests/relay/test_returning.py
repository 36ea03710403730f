"""Clients that lose their connection while a cell runs, and come back, have missed nothing."""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import os
import socket
import struct
import termios
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import websocket

from tests.support.cable import Cable
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, KernelSocket, Message, Result, execute_content, parsed
from tests.support.lab import LabServer, LabSocket
from tests.support.waiting import eventually

pytestmark = pytest.mark.local

framings = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
WAITS = """
import signal, threading
go_on = threading.Event()
signal.signal(signal.SIGINT, lambda *_: go_on.set())
print('before', flush=True)
while not go_on.wait(0.02): pass
"""
COUNTS = WAITS + "for number in range(500): print(number, flush=True)\n"
NUMBERS = [str(number) for number in range(500)]


async def connected(api: Api, kernel: str, count: int) -> None:
    """Return when the kernel has so many connections."""
    await eventually(lambda: api.get(f"/api/kernels/{kernel}"), lambda model: model["connections"] == count)


async def go_on(api: Api, kernel: str) -> None:
    """Wake the cell that waits."""
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204


@framings
async def test_what_a_cell_says_while_its_client_is_away_is_said_when_it_returns(api: Api, v1: bool) -> None:
    kernel = await api.create()
    watcher = await api.connect(kernel)
    async with Cable(api.url) as cable:
        client = await Api(cable.url, api.token).connect(kernel, v1, "?session_id=me")
        code = COUNTS + "print('hello', input('name? '))"
        cell = await client.send("execute_request", execute_content(code, answer=""))
        await client.said("before\n")
        await cable.cut()
        await connected(api, kernel, 1)
        await go_on(api, kernel)
        await watcher.said("499\n")
        again = await Api(cable.url, api.token).connect(kernel, v1, "?session_id=me")
        result = await again.result(cell, answer="Ada")
        assert result.stream().split() == [*NUMBERS, "hello", "Ada"]
        assert result.of("input_request") == [{"prompt": "name? ", "password": False}]
        assert result.reply["status"] == "ok"
        assert (await again.execute("print('next')")).stream() == "next\n"


async def test_several_clients_that_are_away_at_once_each_get_all_and_their_own_replies(api: Api) -> None:
    kernel = await api.create()
    watcher = await api.connect(kernel)
    async with Cable(api.url) as cable:
        far = Api(cable.url, api.token)
        first = await far.connect(kernel, True, "?session_id=first")
        second = await far.connect(kernel, False, "?session_id=second")
        cell = await first.send("execute_request", execute_content(COUNTS))
        await second.said("before\n")
        asked = await second.send("execute_request", execute_content("print('mine')"))
        await connected(api, kernel, 3)
        await cable.cut()
        await connected(api, kernel, 1)
        await go_on(api, kernel)
        await watcher.said("mine\n")
        first = await far.connect(kernel, False, "?session_id=first")
        second = await far.connect(kernel, True, "?session_id=second")
        assert (await first.result(cell)).stream().split() == NUMBERS
        seen = Result()
        while not (seen.messages and seen.messages[-1].msg_type == "execute_reply"):
            message = await second.receive()
            assert message
            seen.messages.append(message)
        assert seen.stream().split() == [*NUMBERS, "mine"]
        assert [m.parent_id for m in seen.messages if m.msg_type == "execute_reply"] == [asked]


async def test_a_stranger_and_a_client_without_a_name_get_nothing_of_it(api: Api) -> None:
    kernel = await api.create()
    client = await api.connect(kernel, query="?session_id=me")
    nameless = await api.connect(kernel)
    await client.execute("print('secret')")
    client.close()
    nameless.close()
    await connected(api, kernel, 0)
    for query in ("", "?session_id=stranger"):
        other = await api.connect(kernel, query=query)
        msg_id = await other.send("kernel_info_request", {})
        first = await other.receive()
        assert first
        assert first.parent_id == msg_id
        assert (await other.execute("1")).stream() == ""


async def test_more_than_is_kept_is_told_and_the_end_of_it_arrives(api: Api) -> None:
    kernel = await api.create()
    watcher = await api.connect(kernel)
    client = await api.connect(kernel, query="?session_id=me")
    code = WAITS + "line = 'x' * 100_000\nfor number in range(400): print(number, line, flush=True)\nprint('done')"
    cell = await client.send("execute_request", execute_content(code))
    await client.said("before\n")
    client.close()
    await connected(api, kernel, 1)
    await go_on(api, kernel)
    await watcher.said("done")
    await watcher.until("status", execution_state="idle")
    again = await api.connect(kernel, query="?session_id=me")
    result = await again.result(cell)
    assert "16 MiB are kept" in result.stream("stderr")
    numbers = [int(word) for word in result.stream().split() if word.isdigit()]
    assert numbers == list(range(400))[-len(numbers) :]
    assert 100 < len(numbers) < 168
    assert result.reply["status"] == "ok"


async def test_what_a_client_says_on_a_connection_that_was_just_replaced_is_answered_on_the_new_one(api: Api) -> None:
    kernel = await api.create()
    url = f"{api.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={api.token}&session_id=me"
    first = await asyncio.to_thread(websocket.create_connection, url)  # it reads, and learns that, only when asked to
    second = await api.connect(kernel, query="?session_id=me")
    header = {"msg_id": "late", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": execute_content("print('late')")}
    await asyncio.to_thread(first.send, json.dumps(message))
    assert (await second.result("late")).stream() == "late\n"
    await asyncio.to_thread(first.shutdown)


async def test_a_reader_that_stalled_and_came_again_has_no_gap_and_nothing_twice(api: Api) -> None:
    """What the first connection could still read and what the second gets make up the whole."""
    kernel = await api.create()
    watcher = await api.connect(kernel)
    address = urlsplit(api.url)
    stalled = socket.create_connection((address.hostname, address.port))
    key = "AAAAAAAAAAAAAAAAAAAAAA=="
    request = (
        f"GET /api/kernels/{kernel}/channels?session_id=me&token={api.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket"
        f"\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    stalled.sendall(request.encode())
    await connected(api, kernel, 2)
    line = "'y' * 5000"
    code = f"for number in range(4000): print(number, {line}, flush=True)"
    await watcher.execute(code)
    unread = array.array("i", [0])
    fcntl.ioctl(stalled, termios.FIONREAD, unread)
    data = b""
    peeked = os.dup(stalled.fileno())
    with socket.socket(fileno=peeked) as copy:
        data = copy.recv(unread[0], socket.MSG_PEEK)
    assert 0 < len(data) < 4000 * 5000
    again = await api.connect(kernel, v1=False, query="?session_id=me")
    seen = [*frames(data.partition(b"\r\n\r\n")[2])]
    while "3999 " not in str(seen[-1].content.get("text", "")) if seen else True:
        message = await again.receive()
        assert message
        seen.append(message)
    stalled.close()
    text = "".join(m.content["text"] for m in seen if m.msg_type == "stream")
    assert [word for word in text.split() if word.isdigit()] == [str(number) for number in range(4000)]


def frames(data: bytes) -> list[Message]:
    """Return the whole text frames at the begin of what a server sent."""
    messages = []
    while len(data) > 10:
        size, begin = data[1], 2
        if size == 126:
            size, begin = struct.unpack_from(">H", data, 2)[0], 4
        elif size == 127:
            size, begin = struct.unpack_from(">Q", data, 2)[0], 10
        if len(data) < begin + size:
            break
        if data[0] & 0x0F == 1:
            messages.append(parsed(data[begin : begin + size].decode(), v1=False))
        data = data[begin + size :]
    return messages


async def test_a_notebook_whose_server_loses_the_gateway_for_a_while_misses_nothing(tmp_path: Path) -> None:
    """JupyterLab's server at a gateway under a path of its own, over a cable that is cut while a cell runs."""
    with GatewayProcess(tmp_path, "base_url: /deep/in\npool: {enabled: false}\n", engine="local") as gateway:
        async with Cable(gateway.url) as cable, Api(gateway.url, gateway.token) as api:
            folder = tmp_path / "lab"
            folder.mkdir()
            async with LabServer(folder, cable.url, gateway.token) as server:
                lab = Api(server.url, server.token)
                logo = (await lab.get("/api/kernelspecs"))["kernelspecs"]["python3"]["resources"]["logo-svg"]
                assert (await lab.request("GET", logo)).code == 200
                body = {"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
                session = json.loads((await lab.request("POST", "/api/sessions", body)).body)
                kernel = session["kernel"]["id"]
                socket = await LabSocket.open(lab.url, lab.token, kernel)
                await cut_while_a_cell_runs(api, cable, socket, kernel)
                assert (await lab.request("DELETE", f"/api/sessions/{session['id']}")).code == 204
                assert await api.kernels() == []


async def cut_while_a_cell_runs(api: Api, cable: Cable, socket: KernelSocket, kernel: str) -> None:
    """Assert that a cell whose request has arrived gives all its output, whatever happens to the connection."""
    first = await socket.send("execute_request", execute_content("print('the first cell')"))
    assert (await socket.result(first)).stream() == "the first cell\n"
    for _ in range(2):
        cell = await socket.send("execute_request", execute_content(COUNTS))
        await socket.said("before\n")
        cable.refuse = True  # so that nobody is back before it was seen that nobody is there
        await cable.cut()
        await connected(api, kernel, 0)
        cable.refuse = False
        await go_on(api, kernel)
        result = await socket.result(cell)
        assert result.stream().split() == NUMBERS
        assert result.reply["status"] == "ok"


async def test_a_client_that_is_away_keeps_no_kernel_from_ending(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "kernel_ttl_seconds: 2\npool: {enabled: false}\n", engine="local") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            kernel = await api.create()
            client = await api.connect(kernel, query="?session_id=me")
            await client.execute("1")
            client.close()
            await eventually(api.kernels, lambda kernels: kernels == [])
            assert (await api.request("GET", f"/api/kernels/{kernel}")).code == 404
