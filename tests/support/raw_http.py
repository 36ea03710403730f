"""What is sent to a gateway byte by byte, and what it answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import websocket
from hypothesis import HealthCheck, settings

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import PATIENCE_SECONDS, V1

HANDSHAKE = [
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
]  # fmt: skip


def examples(count: int) -> settings:
    """Return what a property that is tried against a gateway needs: no deadline."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Answer(NamedTuple):
    """What the gateway answered; a status of 0 is a connection that was ended without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    def assert_is_an_error(self, *codes: int) -> None:
        """Assert one of these statuses, and the shape that every error has."""
        assert self.status in codes, self
        found = json.loads(self.body)
        assert found.keys() == {"error", "error_code", "message", "reason", "details"}
        assert found["message"] == found["error"]
        assert found["reason"] == HTTPStatus(self.status).phrase
        assert self.headers["x-request-id"]
        assert b"Traceback" not in self.body
        assert b"/site-packages/" not in self.body


class RawHttp:
    """Sends bytes as they are to a gateway."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.url, self.token = gateway.url, gateway.token
        address = urlsplit(gateway.url)
        self._address = str(address.hostname), int(address.port or 80)
        self.kernel = ""

    def connect(self) -> socket.socket:
        """Return a connection of one's own."""
        return socket.create_connection(self._address, timeout=PATIENCE_SECONDS)

    def raw(self, data: bytes, *, ends: bool = False) -> Answer:
        """Return the answer to these bytes; with ``ends`` the gateway is told that there are no more."""
        with self.connect() as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
                if ends:
                    sock.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(sock)
            try:
                response.begin()
                found = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, found, response.read())
            except (http.client.BadStatusLine, ConnectionError):
                return Answer(0, {}, b"")

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str, token: bool = True) -> Answer:
        """Return the answer to a well-formed request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
        if token:
            lines.append(f"Authorization: token {self.token}")
        return self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def channels(self, v1: bool, kernel: str = "") -> websocket.WebSocket:
        """Return a WebSocket of a kernel, by default of the one that the tests share."""
        url = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel or self.kernel}/channels?token={self.token}"
        options: dict[str, Any] = {"subprotocols": [V1]} if v1 else {}
        return websocket.create_connection(url, timeout=PATIENCE_SECONDS, **options)

    def assert_one_kernel(self) -> None:
        """Assert that there is no kernel but the one that the tests share."""
        assert [kernel["id"] for kernel in json.loads(self.ask("GET", "/api/kernels").body)] == [self.kernel]

    def assert_unharmed(self) -> None:
        """Assert that the gateway answers and the kernel runs a cell."""
        assert self.ask("GET", "/healthz").status == 200
        channels = self.channels(v1=False)
        header = {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request", "session": "s", "version": "5.3"}
        content = {"code": "print(6 * 7)", "silent": False}
        channels.send(json.dumps({"header": header, "channel": "shell", "content": content}))
        text = ""
        while True:
            frame = channels.recv()
            message = json.loads(frame) if isinstance(frame, str) else {"parent_header": {}}
            if message["parent_header"].get("msg_id") == header["msg_id"]:
                text += message["content"]["text"] if message["content"].get("name") == "stdout" else ""
                if message["msg_type"] == "execute_reply":
                    break
        channels.close()
        assert text == "42\n"


@contextlib.contextmanager
def wired(folder: Path) -> Iterator[RawHttp]:
    """A gateway with one kernel; at the end it is unharmed, and its log has no traceback."""
    with GatewayProcess(folder, "pool: {enabled: false}\nlog_level: INFO\n", engine="local") as gateway:
        wire = RawHttp(gateway)
        wire.kernel = str(json.loads(wire.ask("POST", "/api/kernels").body)["id"])
        yield wire
        wire.assert_unharmed()
    log = gateway.log.read_bytes()
    assert b"Traceback" not in log, log.decode(errors="replace")[-10_000:]
    assert not [byte for byte in log if byte < 32 and byte != 10]
