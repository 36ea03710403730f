"""A cable between a gateway and the Docker engine that a test can cut, or leave mute."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from pathlib import Path
from types import TracebackType


class Mode(enum.Enum):
    """What the cable does with what is sent."""

    WHOLE = enum.auto()
    CUT = enum.auto()
    MUTE = enum.auto()


class EngineCable:
    """Serves a Unix socket and relays it to the engine's own; `url` goes into a gateway's ``DOCKER_HOST``.

    When `mode` becomes ``CUT`` every connection ends and none is taken; ``MUTE`` keeps them and carries nothing.
    """

    def __init__(self, path: Path, engine: str = "/var/run/docker.sock") -> None:
        self.url = f"unix://{path}"
        self._path = path
        self._engine = engine
        self._mode = Mode.WHOLE
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server
        self._relays: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> EngineCable:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self._end_relays()

    async def become(self, mode: Mode) -> None:
        """Change the mode, also for the connections there are."""
        self._mode = mode
        self._whole.set() if mode is Mode.WHOLE else self._whole.clear()
        if mode is Mode.CUT:
            await self._end_relays()

    async def _end_relays(self) -> None:
        for task in self._relays:
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.CancelledError):
            if self._mode is Mode.CUT:
                return
            await self._whole.wait()
            engine_reader, engine_writer = await asyncio.open_unix_connection(self._engine)
            with contextlib.closing(engine_writer):
                await asyncio.gather(self._carry(reader, engine_writer), self._carry(engine_reader, writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._whole.wait()
            sink.write(data)
            await sink.drain()
        sink.write_eof()
