"""The two transports of the client: `AsyncWire` for event loops, `BlockingWire` for threads.

The rest of the client is written once, as coroutines that await only methods of a wire. The methods of `BlockingWire`
never suspend, so a coroutine over it runs to its end in one step, in the caller's thread.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx

from .address import Address

__all__ = ["AsyncWire", "BlockingWire", "Body", "Wire"]

T = TypeVar("T")
CLEANUP_SECONDS = 10.0
# httpx allows 100 connections by default: long executions would make every other request wait
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


def _keepalive() -> list[tuple[int, int, int]]:
    """Return socket options that end a connection to a dead machine, while an answer may take any time."""
    values = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4))
    options = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in values if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *options]


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request, made in pieces while it is sent.

    Parameters
    ----------
    pieces: returns the pieces; called for each attempt, only once if not ``repeatable``.
    size: the total number of bytes; None if it is unknown.

    Attributes
    ----------
    spent: whether the body cannot be sent again.
    """

    def __init__(
        self, pieces: Callable[[], Iterator[bytes]], size: int | None, content_type: str, *, repeatable: bool = True
    ) -> None:
        self.spent = False
        self._make = pieces
        self._repeatable = repeatable
        length = {"Transfer-Encoding": "chunked"} if size is None else {"Content-Length": str(size)}
        self.headers = {"Content-Type": content_type, **length}

    def __iter__(self) -> Iterator[bytes]:
        self.spent = not self._repeatable
        return self._make()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self)
        # None as the end, because StopIteration cannot pass through a future
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield piece


class Wire(Protocol):
    """Sends requests to one gateway."""

    @property
    def http(self) -> httpx.AsyncClient | httpx.Client:
        """The httpx client with the gateway's URL, key and timeouts."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Return the answer once its headers arrive; the caller reads or closes it. Raises `httpx.TransportError`."""

    async def read(self, response: httpx.Response) -> bytes:
        """Return the whole body, and close the answer."""

    def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives."""

    async def finish(self, response: httpx.Response) -> None:
        """Close an answer; if it is not at its end, close its connection too."""

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a function that may block, for example on the disk."""

    async def sleep(self, seconds: float) -> None:
        """Return after this time."""

    async def uninterrupted(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine also when the caller is cancelled, for at most `CLEANUP_SECONDS`."""

    async def close(self) -> None:
        """Close all connections."""


class AsyncWire:
    """A wire on the running event loop, asyncio's or trio's. A later loop, as of a second `asyncio.run`, works too."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._loop: object = None
        self._client: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        token = anyio.lowlevel.current_token()
        loop = getattr(token, "native_token", token)
        if self._client is None or loop is not self._loop:  # connections belong to the loop in which they were opened
            transport = httpx.AsyncHTTPTransport(socket_options=_keepalive(), proxy=self._address.proxy, limits=LIMITS)
            self._client = httpx.AsyncClient(transport=transport, **_settings(self._address, self._timeout))
            self._loop = loop
        return self._client

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        try:
            return await response.aread()
        finally:
            await response.aclose()

    async def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        async for piece in response.aiter_bytes():
            yield piece

    async def finish(self, response: httpx.Response) -> None:
        await response.aclose()

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(function, *arguments)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def uninterrupted(self, work: Coroutine[Any, Any, None]) -> None:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            await work

    async def close(self) -> None:
        await self.http.aclose()


class BlockingWire:
    """A wire that blocks the calling thread. Threads and forked processes may share it."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._clients = {os.getpid(): self._client()}

    @property
    def http(self) -> httpx.Client:
        client = self._clients.get(os.getpid())
        if client is None:  # a connection shared with the parent process would mix up the answers
            # setdefault: two threads may come here at once
            client = self._clients.setdefault(os.getpid(), self._client())
        return client

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(socket_options=_keepalive(), proxy=self._address.proxy, limits=LIMITS)
        return httpx.Client(transport=transport, **_settings(self._address, self._timeout))

    async def send(self, request: httpx.Request) -> httpx.Response:
        return self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        try:
            return response.read()
        finally:
            response.close()

    async def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        for piece in response.iter_bytes():
            yield piece

    async def finish(self, response: httpx.Response) -> None:
        response.close()

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  this wire blocks

    async def uninterrupted(self, work: Coroutine[Any, Any, None]) -> None:
        await work

    async def close(self) -> None:
        self.http.close()


def _settings(address: Address, timeout: float) -> dict[str, Any]:
    return {
        "base_url": address.url,
        "headers": {"Authorization": f"Bearer {address.api_key}", "User-Agent": "sandkasten-kernels-sdk"},
        "timeout": httpx.Timeout(timeout, pool=None),
    }
