"""``sandkasten-kernels run --url=URL FILE``: run a program in a kernel of a gateway."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect
from traitlets import Unicode
from traitlets.config import Application

from .errors import ConfigError

__all__ = ["RunApp"]

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
TIMEOUT_SECONDS = 60


class RunApp(Application):
    """Runs a Python program in a fresh kernel, shows its output, and exits with 1 when it raised: ``run FILE``."""

    name = "sandkasten-kernels run"
    description = __doc__ or ""
    examples = "echo 'print(6 * 7)' | sandkasten-kernels run --url='http://127.0.0.1:8080/?token=TOKEN' -"
    url = Unicode("", help="The URL that the gateway printed at its start.").tag(config=True)
    aliases: dict[str, str] = {"url": "RunApp.url"}
    flags: dict[str, Any] = {}

    def start(self) -> None:
        """Run the program that the arguments name."""
        address = urlsplit(self.url)
        if not address.netloc or len(self.extra_args) != 1:
            raise ConfigError(f"run: expected --url=URL and one FILE or '-', as in: {self.examples}")
        file = self.extra_args[0]
        try:
            code = sys.stdin.read() if file == "-" else Path(file).read_text()
        except OSError as error:
            raise ConfigError(f"run: {file}: {error.strerror}") from error
        token = parse_qs(address.query).get("token", [""])[0]
        try:
            sys.exit(asyncio.run(_run(f"{address.scheme}://{address.netloc}{address.path.rstrip('/')}", token, code)))
        except (HTTPClientError, OSError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(2)


async def _run(base: str, token: str, code: str) -> int:
    client = AsyncHTTPClient()
    headers = {"Authorization": f"token {token}"}
    response = await client.fetch(
        HTTPRequest(f"{base}/api/kernels", "POST", headers, body="", request_timeout=TIMEOUT_SECONDS)
    )
    kernel = f"{base}/api/kernels/{json.loads(response.body)['id']}"
    try:
        request = HTTPRequest(f"ws{kernel.removeprefix('http')}/channels", headers=headers)
        socket = await websocket_connect(request, max_message_size=MAX_MESSAGE_BYTES)
        return await _execute(socket, code)
    finally:
        await client.fetch(HTTPRequest(kernel, "DELETE", headers))


async def _execute(socket: WebSocketClientConnection, code: str) -> int:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "allow_stdin": False}
    await socket.write_message(json.dumps({"header": header, "channel": "shell", "content": content}))
    while (frame := await socket.read_message()) is not None:
        message = json.loads(frame) if isinstance(frame, str) else {}
        if message.get("parent_header", {}).get("msg_id") != header["msg_id"]:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            print(content["text"], end="", flush=True, file=sys.stderr if content["name"] == "stderr" else sys.stdout)
        elif kind in ("execute_result", "display_data"):
            print(content["data"].get("text/plain", ""), flush=True)
        elif kind == "error":
            print("\n".join(content["traceback"]), file=sys.stderr)
        elif kind == "execute_reply":
            return 0 if content["status"] == "ok" else 1
    print("the gateway closed the connection", file=sys.stderr)
    return 2
