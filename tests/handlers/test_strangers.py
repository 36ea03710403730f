"""Who has no key is given little room, however much he sends."""

from __future__ import annotations

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import RequestHandler

from sandkasten_kernels.handlers.auth import Authenticator
from sandkasten_kernels.handlers.bodies import MAX_BODY_BYTES, MAX_STRANGERS_BYTES, BoundedApplication, is_oversized


class Counter(RequestHandler):
    """Answers how much of a body was kept, and whether it was all."""

    def post(self) -> None:
        self.write({"kept": len(self.request.body), "all": not is_oversized(self.request)})


@pytest.mark.parametrize(
    ("key", "size", "kept"),
    [("", MAX_STRANGERS_BYTES, True), ("", MAX_STRANGERS_BYTES + 1, False), ("", MAX_BODY_BYTES, False),
     ("t", MAX_BODY_BYTES, True), ("t", MAX_BODY_BYTES + 1, False)],
)  # fmt: skip
async def test_of_a_stranger_as_much_is_kept_as_a_form_has(key: str, size: int, kept: bool) -> None:
    server = HTTPServer(BoundedApplication([("/", Counter)], is_known=Authenticator("t").caller))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    async with httpx.AsyncClient(headers={"X-API-Key": key}, timeout=60) as client:
        told = (await client.post(f"http://127.0.0.1:{port}/", content=bytes(size))).json()
    server.stop()
    assert told["all"] == kept
    assert (told["kept"] == size) == kept
    assert told["kept"] <= (MAX_BODY_BYTES if key else MAX_STRANGERS_BYTES)
