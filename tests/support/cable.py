"""A cable to a gateway that can be cut: a small TCP proxy."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Cable:
    """Forwards connections to ``url``; `cut` ends those there are, new ones work, unless it is to ``refuse`` them."""

    refuse = False

    def __init__(self, url: str) -> None:
        self._target, _, path = url.removeprefix("http://").partition("/")
        self._path = f"/{path}" if path else ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """End every connection, at both ends."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        far, far_writer = await asyncio.open_connection(*self._target.split(":"))
        try:
            with contextlib.suppress(ConnectionError):
                await asyncio.gather(_copy(near, far_writer), _copy(far, near_writer))
        finally:
            near_writer.transport.abort()
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
