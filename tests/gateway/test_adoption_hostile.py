"""What hostile code does while the gateway is away: it poses as nobody, and holds nobody up."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.engines.host.door import Door
from sandkasten_kernels.protocol.messages import Reply
from sandkasten_kernels.relay import backlog as relief
from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_restart import restarted, taken_over
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker


async def test_code_in_a_sandbox_can_neither_pose_as_its_guest_nor_keep_it_from_coming_back(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        async with Api(running.url, running.token) as api:
            kernel = await api.create()
            await (await api.connect(kernel)).execute(INTRUDER)
            async with await restarted(running) as api:
                assert (await (await api.connect(kernel)).execute("print(len(callers))")).stream() == "8\n"


INTRUDER = """
import glob, json, os, socket, threading, time
x = 41
for name in glob.glob("/run/sandkasten/guest-*"):
    os.unlink(name)

def call():
    while True:
        with socket.socket(socket.AF_UNIX) as caller:
            try:
                caller.connect("/run/gateway/hello.sock")
                hello = json.dumps({"protocol": 2, "pid": 1}).encode() + b"\\n"
                socket.send_fds(caller, [hello], [os.open("/tmp", os.O_PATH)])
                caller.recv(100)
            except OSError:
                time.sleep(0.001)

callers = [threading.Thread(target=call, daemon=True) for _ in range(8)]
for caller in callers:
    caller.start()
"""


async def test_whoever_puts_sockets_in_place_of_the_guests_loses_its_own_session_alone(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        async with Api(running.url, running.token) as api:
            hostile, other = await api.create(), await api.create()
            await (await api.connect(other)).execute("x = 42")
            assert (await (await api.connect(hostile)).execute(IMPOSTOR)).reply["status"] == "ok"
            await asyncio.to_thread(running.kill)
            await asyncio.to_thread(running.start_again)
            async with Api(running.url, running.token) as api:
                await taken_over(api, other)
                assert (await (await api.connect(other)).execute("print(x)")).stream() == "42\n"
                await eventually(api.kernels, lambda kernels: len(kernels) <= 1)
                assert [kernel["id"] for kernel in await api.kernels()] == [other]
    assert "Traceback" not in running.log.read_text()


IMPOSTOR = """
import json, os, zmq
if os.fork() == 0:
    os.setsid()
    context, kinds, poller = zmq.Context(), {}, zmq.Poller()
    inodes, directory = set(), "/run/sandkasten"
    while True:
        for name in os.listdir(directory):
            kind = next((kind for word, kind in (("guest-control", zmq.ROUTER), ("guest-iopub", zmq.XPUB))
                         if name.startswith(word)), None)
            if kind is not None and os.lstat(f"{directory}/{name}").st_ino not in inodes:
                forged = context.socket(kind)
                forged.bind(f"ipc://{directory}/forged")
                inodes.add(os.lstat(f"{directory}/forged").st_ino)
                os.rename(f"{directory}/forged", f"{directory}/{name}")
                kinds[forged] = kind
                poller.register(forged, zmq.POLLIN)
        for forged, _ in poller.poll(5):
            frames = forged.recv_multipart()
            if kinds[forged] == zmq.XPUB:
                continue
            caller, delimiter, signature, header = frames[:4]
            note = {"identity": "x", "owned": True, "env": {}, "cwd": None}
            reply = {"status": "ok", "note": note, "state": "RUNNING", "pid": os.getppid(), "more": True}
            reply["sockets"] = dict.fromkeys(("shell", "control", "stdin", "iopub"), "a" + chr(0))
            kind = json.loads(header)["msg_type"].replace("_request", "_reply")
            answer = [json.dumps({"msg_id": "1", "msg_type": kind}).encode(), header, b"{}", json.dumps(reply).encode()]
            forged.send_multipart([caller, delimiter, signature, *answer])
"""


async def test_callers_at_a_door_that_are_sent_away_leave_the_gateway_its_turns(tmp_path: Path) -> None:
    door = Door(tmp_path / "door")
    arrival = asyncio.ensure_future(door.hello_again(1, b""))
    callers = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    try:
        for caller in callers:
            caller.connect(str(door.directory / "hello.sock"))
            caller.setblocking(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert any(waits(caller) for caller in callers)
        await eventually(lambda: not any(waits(caller) for caller in callers), interval=0)
    finally:
        arrival.cancel()
        door.remove()
        for caller in callers:
            caller.close()


def waits(caller: socket.socket) -> bool:
    """Whether a caller has not been sent away yet."""
    try:
        return caller.recv(1) != b""
    except BlockingIOError:
        return True


async def test_what_a_guest_kept_is_taken_for_a_limited_time_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dribbling:
        """A guest whose kernel always says a bit more, and never of the request that is looked for."""

        ended = False

        async def ask(self, msg_type: str, content: dict[str, Any], timeout: float, data: bytes = b"") -> Reply:
            await asyncio.sleep(0.01)
            self.ended = content["end"]
            return Reply("relief_reply", {"status": "ok", "more": True}, bytes(4))

    monkeypatch.setattr(relief, "BACKLOG_SECONDS", 0.1)
    guest = Dribbling()
    assert [message async for message in relief.read_backlog(guest, "marker", 1024)] == []  # type: ignore[arg-type]
    assert guest.ended
