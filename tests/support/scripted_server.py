"""A server that answers what it is told to, for clients that are tested without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

INFO = {"id": "x", "image": "base", "status": "running", "cwd": "/", "created_at": "", "expires_at": ""}


def answer(status: int, body: Any, *headers: str) -> bytes:
    """Return an answer as it is sent, after which the connection ends."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def refusal(status: int, code: str, *headers: str) -> bytes:
    """Return an error as the gateway sends one."""
    return answer(status, {"error": "words", "error_code": code, "message": "in words", "details": {"a": 1}}, *headers)


def events(*lines: str, whole: bool = True) -> bytes:
    """Return a stream of events, which is cut off where it is not ``whole``."""
    data = "".join(f"{line}\n" for line in lines).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(data):x}\r\n".encode() + data + b"\r\n" + (b"0\r\n\r\n" if whole else b"")


class Script:
    """A server that gives its answers in turn, one for each connection; an empty one ends it without a word."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Script]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if (length := request.lower().partition(b"content-length: ")[2]) and self.answers[0]:
            request += await reader.readexactly(int(length.split()[0]))
        self.requests.append(request)
        writer.write(self.answers.pop(0))
        await writer.drain()
        writer.close()
