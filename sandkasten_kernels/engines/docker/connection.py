"""The connection to the Docker engine: its client blocks, so it is asked on threads, within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import docker
import requests
from docker.errors import DockerException

from ...errors import EngineError
from .client import CALL_SECONDS, connect, words

__all__ = ["EngineConnection"]

T = TypeVar("T")
THREADS = 8


class EngineConnection:
    """A client of the engine, and the threads on which it is asked; the wait for a free one counts as its time."""

    def __init__(self) -> None:
        self._client: docker.DockerClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._opened = asyncio.Event()

    async def open(self) -> None:
        """Return when the engine has answered. Raises `EngineError`."""
        self._client = await self.run(connect)
        self._opened.set()

    async def opened(self) -> None:
        """Return when `open` has."""
        await self._opened.wait()

    def close(self) -> None:
        """Ask nothing more; what is under way goes on, with nobody to see it. A second call does nothing."""
        client, self._client = self._client, None
        if client:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def is_open(self) -> bool:
        """Whether the engine can be asked."""
        return self._client is not None

    @property
    def client(self) -> docker.DockerClient:
        """The client. Raises `EngineError` before `open`, and after `close`."""
        if self._client is None:
            raise EngineError("the engine is not set up")
        return self._client

    @property
    def api(self) -> Any:
        """The client's low-level API, as `client`."""
        return self.client.api

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a blocking call returns, within `CALL_SECONDS`. Raises `EngineError` for any failure of it."""
        return await self.answer(self.begin(function, *args, **kwargs))

    def begin(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        """Begin a blocking call, which may end after nobody waits for it any more."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to see it
        return call

    async def answer(self, call: asyncio.Future[T]) -> T:
        """Return what a call gives that was begun; as `run`."""
        done, _ = await asyncio.wait({call}, timeout=CALL_SECONDS)
        if not done:
            raise EngineError(f"the Docker engine did not answer within {CALL_SECONDS:g} s")
        try:
            return call.result()
        except (DockerException, requests.RequestException) as error:
            raise EngineError(f"the Docker engine failed: {words(error)}") from error
