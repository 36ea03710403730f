"""A small client of the Jupyter REST and WebSocket API, written from the contract and not with the gateway's code."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.support.waiting import PATIENCE_SECONDS, eventually

V1 = "v1.kernel.websocket.jupyter.org"


class Message(NamedTuple):
    """One message as a client sees it."""

    channel: str
    msg_type: str
    parent_id: str | None
    content: dict[str, Any]
    buffers: list[bytes]


@dataclass
class Result:
    """What one execution gave."""

    messages: list[Message] = field(default_factory=list)

    @property
    def reply(self) -> dict[str, Any]:
        return next(m.content for m in self.messages if m.msg_type == "execute_reply")

    def stream(self, name: str = "stdout") -> str:
        return "".join(m.content["text"] for m in self.messages if m.msg_type == "stream" and m.content["name"] == name)

    def of(self, msg_type: str) -> list[dict[str, Any]]:
        return [m.content for m in self.messages if m.msg_type == msg_type]


class Api:
    """The REST API of a gateway."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self._client = AsyncHTTPClient(force_instance=True, max_clients=50)

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._client.close()

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        """Return the answer, whatever its status."""
        headers = {"Authorization": f"token {self.token}"} if headers is None else headers
        data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else None
        if data is None and method == "POST":
            data = ""
        request = HTTPRequest(
            self.url + path, method, dict(headers), data, request_timeout=PATIENCE_SECONDS, follow_redirects=False,
            allow_nonstandard_methods=True,
        )  # fmt: skip
        return await self._client.fetch(request, raise_error=False)

    async def get(self, path: str) -> Any:
        """Return the JSON document at ``path``."""
        response = await self.request("GET", path)
        assert response.code == 200, response.body
        return json.loads(response.body)

    async def kernels(self) -> list[dict[str, Any]]:
        return list(await self.get("/api/kernels"))

    async def pool(self, kernelspec: str = "python3") -> dict[str, Any]:
        """Return the pool's figures of one kernelspec."""
        pools = (await self.get("/api/status"))["pool"]
        return dict(next(pool for pool in pools if pool["kernelspec"] == kernelspec))

    async def until_claimed(self, count: int) -> None:
        """Return when so many sandboxes of Python have an owner: one that served a workspace's files has it for 5 s."""
        await eventually(self.pool, lambda pool: pool["claimed"] == count)

    async def create(self, **body: Any) -> str:
        """Return the id of a new kernel."""
        response = await self.request("POST", "/api/kernels", body or None)
        assert response.code == 201, response.body
        return str(json.loads(response.body)["id"])

    async def connect(
        self, kernel_id: str, v1: bool = True, query: str = "", user_agent: str = "a test", **kwargs: Any
    ) -> KernelSocket:
        """Return a WebSocket of a kernel."""
        url = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels"
        request = HTTPRequest(url + query, headers={"Authorization": f"Bearer {self.token}"}, user_agent=user_agent)
        socket = await websocket_connect(
            request, subprotocols=[V1] if v1 else None, **{"max_message_size": 1 << 30, **kwargs}
        )
        assert socket.selected_subprotocol == (V1 if v1 else None)
        return KernelSocket(socket, v1)


class KernelSocket:
    """One WebSocket of a kernel, in either framing."""

    def __init__(self, socket: WebSocketClientConnection, v1: bool) -> None:
        self.socket = socket
        self.v1 = v1
        self.session = uuid.uuid4().hex

    async def send(
        self,
        msg_type: str,
        content: dict[str, Any],
        channel: str = "shell",
        buffers: tuple[bytes, ...] = (),
        **header: Any,
    ) -> str:
        """Send a message and return its id."""
        full = {
            "msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": self.session, "username": "test",
            "date": "", "version": "5.3", **header,
        }  # fmt: skip
        if self.v1:
            parts = [
                channel.encode(),
                *(json.dumps(part).encode() for part in (full, {}, {}, content)),
                *buffers,
            ]
            offsets = [8 * (len(parts) + 2)]
            for part in parts:
                offsets.append(offsets[-1] + len(part))
            frame = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)
            await self.socket.write_message(frame, binary=True)
        else:
            message = {
                "header": full,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": channel,
            }
            await self.socket.write_message(json.dumps(message))
        return str(full["msg_id"])

    async def receive(self, timeout: float = PATIENCE_SECONDS) -> Message | None:
        """Return the next message; None when the connection is closed."""
        frame = await asyncio.wait_for(self.socket.read_message(), timeout)
        if frame is None:
            return None
        return parsed(frame, self.v1)

    async def execute(self, code: str, answer: str | None = None, **content: Any) -> Result:
        """Run code until its reply, which must come after all its output; ``answer`` goes to ``input()``."""
        msg_id = await self.send("execute_request", execute_content(code, answer, **content))
        return await self.result(msg_id, answer)

    async def result(self, msg_id: str, answer: str | None = None) -> Result:
        """Collect the messages of a request until its reply."""
        result = Result()
        while message := await self.receive():
            if message.parent_id != msg_id:
                continue
            result.messages.append(message)
            if message.msg_type == "input_request":
                await self.send("input_reply", {"value": answer}, channel="stdin")
            if message.msg_type == "execute_reply":
                return result
        raise AssertionError(f"the connection closed: {self.socket.close_code} {self.socket.close_reason}")

    async def until(self, msg_type: str, **content: Any) -> Message:
        """Return the next message of a type whose content has these fields."""
        while message := await self.receive():
            if message.msg_type == msg_type and content.items() <= message.content.items():
                return message
        raise AssertionError(f"the connection closed: {self.socket.close_code} {self.socket.close_reason}")

    async def said(self, text: str, name: str = "stdout") -> None:
        """Return when a text has come, in how many pieces it may be: ipykernel may send a line apart from its end."""
        seen = ""
        while text not in seen:
            seen = (seen + (await self.until("stream", name=name)).content["text"])[-1000:]

    def close(self) -> None:
        self.socket.close()


def execute_content(code: str, answer: str | None = None, **content: Any) -> dict[str, Any]:
    """Return the content of an ``execute_request``."""
    return {
        "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": answer is not None,
        "stop_on_error": True, **content,
    }  # fmt: skip


def parsed(frame: str | bytes, v1: bool) -> Message:
    """Return a WebSocket frame as a message."""
    if v1:
        assert isinstance(frame, bytes)
        (count,) = struct.unpack_from("<Q", frame)
        offsets = struct.unpack_from(f"<{count}Q", frame, 8)
        parts = [frame[a:b] for a, b in itertools.pairwise(offsets)]
        header, parent, _, content = (json.loads(part) for part in parts[1:5])
        return Message(parts[0].decode(), header["msg_type"], parent.get("msg_id"), content, parts[5:])
    buffers: list[bytes] = []
    if isinstance(frame, bytes):
        (count,) = struct.unpack_from(">I", frame)
        ends = [*struct.unpack_from(f">{count}I", frame, 4), len(frame)]
        text, *buffers = (frame[a:b] for a, b in itertools.pairwise(ends))
        message = json.loads(text)
    else:
        message = json.loads(frame)
    assert message["msg_id"] == message["header"]["msg_id"]
    parent = message["parent_header"].get("msg_id")
    return Message(message["channel"], message["header"]["msg_type"], parent, message["content"], buffers)
