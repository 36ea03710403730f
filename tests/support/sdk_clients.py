"""Both clients of the SDK as one surface, so that a test is written once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sandkasten_kernels import SandboxClient, SyncSandboxClient
from sandkasten_kernels.client.blocking import SyncSession, SyncWorkspace

STREAMS = ("exec_stream", "run_stream", "download_stream", "follow_events")


class Awaited:
    """A blocking object whose methods run in a thread, so that they can be awaited."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return repr(self.inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name in STREAMS:
            return partial(self._iterate, found)
        if name == "workspace":
            return lambda workspace_id: _awaited(found(workspace_id))
        if not inspect.ismethod(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return _awaited(await asyncio.to_thread(found, *args, **kwargs))

        return call

    async def _iterate(self, found: Callable[..., Any], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        source = found(*args, **kwargs)
        try:
            while (item := await asyncio.to_thread(next, source, None)) is not None:
                yield item
        finally:
            source.close()

    async def __aenter__(self) -> Awaited:
        await asyncio.to_thread(self.inner.__enter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self.inner.__exit__, *error)


def _awaited(value: Any) -> Any:
    return Awaited(value) if isinstance(value, SyncSession | SyncWorkspace) else value


@asynccontextmanager
async def client_of(kind: str, url: str, token: str, **options: Any) -> AsyncIterator[Any]:
    """Give an ``async`` or a ``sync`` client."""
    made: Any
    if kind == "async":
        made = SandboxClient(base_url=url, api_key=token, **options)
    else:
        made = Awaited(SyncSandboxClient(base_url=url, api_key=token, **options))
    async with made as client:
        yield client
