"""Bodies that are used while they arrive: no faster than they are used, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from sandkasten_kernels.config.traits import Limits
from sandkasten_kernels.errors import NoSpace
from sandkasten_kernels.handlers.base import log_request
from sandkasten_kernels.handlers.bodies import BoundedApplication
from sandkasten_kernels.handlers.origins import OriginPolicy
from sandkasten_kernels.handlers.v1 import uploads as streamed
from sandkasten_kernels.handlers.v1.uploads import Pieces, StreamedHandler
from tests.support.services import some_services

IDLE_SECONDS = 0.6
PATIENCE_SECONDS = 60.0
HEAD = "POST /{} HTTP/1.1\r\nHost: x\r\nAuthorization: token {}\r\nContent-Length: {}\r\n{}\r\n"


class Count(StreamedHandler):
    """Answers how many bytes came, asked for ``/count``; fails at the first of ``/fail``."""

    cancelled: asyncio.Event

    async def take(self, pieces: AsyncIterator[bytes], session_id: str) -> Any:
        count = 0
        try:
            async for piece in pieces:
                count += len(piece)
                if session_id == "fail":
                    raise NoSpace("there is none")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {"count": count}


@asynccontextmanager
async def connected(limit: int = 10_000) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    services = some_services(limits=Limits(max_upload_bytes=limit))
    Count.cancelled = asyncio.Event()
    routes = [(r"/(.*)", Count, {"services": services})]
    app = BoundedApplication(routes, web=OriginPolicy(), idle_seconds=IDLE_SECONDS, log_function=log_request)
    server = HTTPServer(app)
    sock, port = bind_unused_port()
    server.add_socket(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield reader, writer
    finally:
        writer.close()
        server.stop()
        await server.close_all_connections()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(int(length.split()[1]))


async def ended(reader: asyncio.StreamReader) -> bool:
    """Return when the other side has ended the connection, in whatever way."""
    try:
        return not await reader.read()
    except ConnectionError:
        return True


async def test_a_slow_client_that_moves_is_waited_for() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD.format("count", "t", 20, "").encode())
        for _ in range(20):
            writer.write(b"x")
            await asyncio.sleep(IDLE_SECONDS / 10)
        assert await answer(reader) == (200, b'{"count": 20}')
        writer.write(HEAD.format("count", "t", 0, "").encode())
        assert await answer(reader) == (200, b'{"count": 0}')


@pytest.mark.parametrize("sent", [b"", b"half"])
async def test_a_client_that_pauses_is_cut_off_and_its_work_ended(sent: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD.format("count", "t", 8, "").encode() + sent)
        assert await reader.read() == b""
        await Count.cancelled.wait()


async def test_a_client_that_leaves_ends_its_work() -> None:
    async with connected() as (_, writer):
        writer.write(HEAD.format("count", "t", 8, "").encode() + b"half")
        writer.close()
        await Count.cancelled.wait()


@pytest.mark.parametrize(("path", "key", "status"), [("fail", "t", 507), ("count", "wrong", 401)])
async def test_what_is_refused_is_answered_at_once_and_the_rest_read(path: str, key: str, status: int) -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD.format(path, key, 9000, "").encode() + b"x")
        assert (await answer(reader))[0] == status
        writer.write(bytes(8999) + HEAD.format("count", "t", 1, "").encode() + b"x")
        assert await answer(reader) == (200, b'{"count": 1}')


async def test_one_without_a_key_has_no_time_to_waste() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD.format("count", "wrong", 9000, "").encode())
        assert (await answer(reader))[0] == 401

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(IDLE_SECONDS / 10)

        dripping = asyncio.create_task(drip())
        assert await ended(reader)
        dripping.cancel()


async def test_a_body_that_waits_to_be_wanted_is_not_asked_for() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD.format("count", "t", 2**60, "Expect: 100-continue\r\n").encode())
        status, body = await answer(reader)
        assert status == 413
        assert b"more than 10000 bytes: limits.max_upload_bytes" in body
        assert await reader.read() == b""


async def test_more_than_can_be_dropped_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "MAX_DROPPED_BYTES", 100_000)
    async with connected() as (reader, writer):
        writer.write(HEAD.format("fail", "t", 5_000_000, "").encode())
        writer.write(bytes(1000))
        assert (await answer(reader))[0] == 507
        writer.write(bytes(4_999_000))
        assert await ended(reader)


async def test_pieces_come_no_faster_than_they_are_taken() -> None:
    pieces, put = Pieces(), 0

    async def produce() -> None:
        nonlocal put
        for _ in range(20):
            await pieces.put(bytes(100_000))
            put += 1
        pieces.end()

    producer, taken = asyncio.create_task(produce()), 0
    async for piece in pieces:
        taken += 1
        assert len(piece) == 100_000
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert put - taken <= 3
    await producer
    assert taken == 20
    pieces.drop()
    await asyncio.wait_for(pieces.put(bytes(10_000_000)), PATIENCE_SECONDS)
