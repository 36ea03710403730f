"""A client of the SDK belongs to no event loop and to no process: its connections do."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandkasten_kernels import SandboxClient, SyncSandboxClient


class Teller(BaseHTTPRequestHandler):
    """Answers with one session, whose id is the port of the connection over which it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        described = dict.fromkeys(("image", "status", "cwd", "created_at", "expires_at"), "")
        body = json.dumps([{"id": str(self.client_address[1]), **described}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Teller) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_forked_process_has_connections_of_its_own(url: str) -> None:
    with SyncSandboxClient(base_url=url, api_key="key") as client:
        (parents,) = client.list_sessions()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                (childs,) = client.list_sessions()
                os.write(writer, childs.id.encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with open(reader) as told:
            assert told.read() not in ("", parents.id)
        assert client.list_sessions()[0].id == parents.id


def test_a_client_may_be_used_in_one_event_loop_after_the_other(url: str) -> None:
    client = SandboxClient(base_url=url, api_key="key")

    async def ask(*, close: bool) -> list[str]:
        told = [(await client.list_sessions())[0].id for _ in range(2)]
        if close:
            await client.close()
        return told

    first, second = (asyncio.run(ask(close=close)) for close in (False, True))
    assert len({*first, *second}) == 2
