"""The connection to the Docker engine: its client blocks, so every call runs on a thread and has a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException

from ...errors import EngineError

__all__ = ["CALL_SECONDS", "EngineConnection", "connect", "words"]

T = TypeVar("T")
THREADS = 8
CALL_SECONDS = 20.0
"""A call without an answer for so long fails: the engine counts as gone."""


class EngineConnection:
    """A client of the engine with its threads. The wait for a free thread counts against the deadline of a call."""

    def __init__(self) -> None:
        self._client: docker.DockerClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._opened = asyncio.Event()
        self._opening = asyncio.Lock()
        self._closed = False

    async def open(self) -> None:
        """Return when the engine has answered; a second call returns at once.

        Raises `EngineError`, also after `close`.
        """
        async with self._opening:  # two callers at once must not make two clients, of which nobody closes one
            if self._closed:
                raise EngineError("the connection to the engine is closed: the gateway stops")
            if self._client is None:
                self._client = await self.run(connect)
        self._opened.set()

    async def opened(self) -> None:
        """Return when `open` has returned."""
        await self._opened.wait()

    def close(self) -> None:
        """Start no more calls; those that run end unseen. A second call does nothing."""
        self._closed = True
        client, self._client = self._client, None
        if client:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def is_open(self) -> bool:
        """Whether calls can be made: between `open` and `close`."""
        return self._client is not None

    @property
    def client(self) -> docker.DockerClient:
        """The client. Raises `EngineError` before `open`, and after `close`."""
        if self._client is None:
            raise EngineError("the engine is not set up")
        return self._client

    @property
    def api(self) -> Any:
        """The low-level API of the client; raises as `client`."""
        return self.client.api

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return the result of a blocking call. Raises `EngineError` if it fails, or takes more than `CALL_SECONDS`."""
        return await self.answer(self.begin(function, *args, **kwargs))

    def begin(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        """Start a blocking call and return its future; the call goes on even if its caller stops waiting."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))
        call.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # marks an exception as seen: the caller may be gone
        return call

    async def answer(self, call: asyncio.Future[T]) -> T:
        """Return the result of a call started by `begin`; raises as `run`."""
        # `wait_for` would cancel the future, and `Sweeper.discard` still waits for its result.
        done, _ = await asyncio.wait({call}, timeout=CALL_SECONDS)
        if not done:
            raise EngineError(f"the Docker engine did not answer within {CALL_SECONDS:g} s")
        try:
            return call.result()
        except (DockerException, requests.RequestException) as error:
            raise EngineError(f"the Docker engine failed: {words(error)}") from error


def connect(timeout: float = CALL_SECONDS) -> docker.DockerClient:
    """Return a client of the engine that the ``docker`` command would use.

    In this order: ``DOCKER_HOST``, the current context, the default socket, the user's own rootless engine. Raises
    `EngineError`, with what to do, when none answers.
    """
    url, tls = _endpoint()
    try:
        client = docker.DockerClient(base_url=url, tls=tls, timeout=timeout)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        raise EngineError(
            f"no Docker engine answers at {url} ({words(error)}): start one ('systemctl start docker'), "
            "join the docker group, or name another with DOCKER_HOST"
        ) from error
    return client


def _endpoint() -> tuple[str, Any]:
    if host := os.environ.get("DOCKER_HOST"):
        tls = None
        if os.environ.get("DOCKER_TLS_VERIFY"):
            path = Path(os.environ.get("DOCKER_CERT_PATH", Path.home() / ".docker"))
            pair = (str(path / "cert.pem"), str(path / "key.pem"))
            tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=str(path / "ca.pem"), verify=True)
        return host, tls
    # docker-py itself ignores the contexts of the command line.
    context = docker.context.ContextAPI.get_current_context()
    if context is not None and context.name != "default" and context.Host:
        return context.Host, context.TLSConfig
    default = Path("/var/run/docker.sock")
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "docker.sock"
    usable = default if os.access(default, os.W_OK) or not rootless.exists() else rootless
    return f"unix://{usable}", None


def words(error: Exception) -> str:
    """Return the cause of an exception in one line of at most 300 characters."""
    lines = str(error.explanation if isinstance(error, APIError) else error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
