"""Sandboxes as Docker containers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from ..errors import EngineError, SandboxFailed
from ..guest import PROTOCOL
from ..image import PROTOCOL_LABEL, build_command, full_name
from ..paths import asset_dir
from .base import Engine, Sandbox, SandboxSpec
from .container import INSTANCE_LABEL, container_config
from .door import Arrival, Door

__all__ = ["DockerEngine", "connect"]

T = TypeVar("T")
CALL_TIMEOUT_SECONDS = 60
HELLO_TIMEOUT_SECONDS = 30
THREADS = 8


def connect(timeout: float = CALL_TIMEOUT_SECONDS) -> docker.DockerClient:
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
            f"no Docker engine answers at {url} ({_words(error)}): start one ('systemctl start docker'), "
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
    context = docker.context.ContextAPI.get_current_context()
    if context is not None and context.name != "default" and context.Host:
        return context.Host, context.TLSConfig
    default = Path("/var/run/docker.sock")
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "docker.sock"
    usable = default if os.access(default, os.W_OK) or not rootless.exists() else rootless
    return f"unix://{usable}", None


class DockerEngine(Engine):
    """Runs each sandbox as a container with every lock that `container_config` names."""

    def __init__(self, *, instance: str, run_dir: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.run_dir = run_dir
        self._client: docker.DockerClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._seccomp = (asset_dir("images") / "seccomp.json").read_text()
        self._starting: set[asyncio.Task[str]] = set()

    async def setup(self, specs: list[SandboxSpec]) -> None:
        self._client = await self._run(connect)
        for image in sorted({full_name(spec.image) for spec in specs}):
            await self._check_image(image)
        await self._sweep()
        if specs:
            await self._probe(specs[0])

    async def cleanup(self) -> None:
        if self._client is None:
            return
        if self._starting:
            await asyncio.wait(self._starting)
        try:
            await self._sweep()
        finally:
            client, self._client = self._client, None
            client.close()
            self._threads.shutdown()

    async def start(self, spec: SandboxSpec) -> Sandbox:
        name = uuid.uuid4().hex
        door = Door(self.run_dir / name)
        created = asyncio.create_task(self._run(self._start_container, name, spec, door.directory))
        self._starting.add(created)
        created.add_done_callback(self._starting.discard)
        try:
            container = await asyncio.shield(created)
            arrival = await self._arrival(container, door)
        except BaseException:
            await asyncio.shield(self._discard(created, door))
            raise
        return Sandbox(name, spec, container, arrival)

    async def destroy(self, sandbox: Sandbox) -> None:
        sandbox.close()
        await self._remove(sandbox.handle)
        with contextlib.suppress(FileNotFoundError):
            (self.run_dir / sandbox.id).rmdir()

    async def _arrival(self, container: str, door: Door) -> Arrival:
        """Return the guest's arrival, or raise as soon as the container ends without one."""
        pid = (await self._run(self._api.inspect_container, container))["State"]["Pid"]
        exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):
            raise await self._failure(container) from None
        loop.add_reader(pidfd, exited.set)
        hello = asyncio.create_task(door.hello())
        death = asyncio.create_task(exited.wait())
        try:
            await asyncio.wait({hello, death}, timeout=HELLO_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if hello.done():
                return hello.result()
            raise await self._failure(container)
        except asyncio.CancelledError:
            if hello.done() and not hello.cancelled() and not hello.exception():
                hello.result().close()
            raise
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            for task in (hello, death):
                task.cancel()

    async def _failure(self, container: str) -> SandboxFailed:
        state = (await self._run(self._api.inspect_container, container))["State"]
        logs: bytes = await self._run(self._api.logs, container, tail=20)
        self.log.error("sandbox did not come up: %s\n%s", state, logs.decode("utf-8", "replace"))
        if state["Running"]:
            return SandboxFailed(f"the guest of a sandbox said nothing for {HELLO_TIMEOUT_SECONDS} s")
        return SandboxFailed(f"the guest of a sandbox ended with exit code {state['ExitCode']} before it said hello")

    async def _discard(self, created: asyncio.Task[str], door: Door) -> None:
        (result,) = await asyncio.gather(created, return_exceptions=True)
        if isinstance(result, str):
            await self._remove(result)
        door.remove()

    async def _check_image(self, image: str) -> None:
        mend = f"run '{build_command(image)}'"
        details = await self._run(self._inspect_image, image)
        if details is None:
            raise EngineError(f"there is no image {image}: {mend}")
        protocol = (details["Config"].get("Labels") or {}).get(PROTOCOL_LABEL)
        if protocol != str(PROTOCOL):
            raise EngineError(f"image {image} speaks guest protocol {protocol}, this gateway {PROTOCOL}: {mend}")

    def _inspect_image(self, image: str) -> dict[str, Any] | None:
        try:
            details: dict[str, Any] = self._api.inspect_image(image)
        except ImageNotFound:
            return None
        return details

    async def _probe(self, spec: SandboxSpec) -> None:
        """Start one sandbox and open a socket made inside it."""
        try:
            sandbox = await self.start(spec)
        except SandboxFailed as error:
            raise EngineError(
                f"a sandbox cannot be used from here: {error}. The gateway must run on the engine's own host, in the "
                "host's pid namespace, with a data directory that the engine can mount"
            ) from error
        try:
            os.close(sandbox.sockets.open("guest-control"))
        finally:
            await self.destroy(sandbox)

    async def _sweep(self) -> None:
        """Remove what an earlier run of this instance left: its containers and its directories of doors."""
        label = f"{INSTANCE_LABEL}={self.instance}"
        found = await self._run(self._api.containers, all=True, quiet=True, filters={"label": label})
        await asyncio.gather(*(self._remove(container["Id"]) for container in found))
        if found:
            self.log.info("removed %d sandboxes that nobody owned", len(found))
        for leftover in self.run_dir.iterdir():
            (leftover / "hello.sock").unlink(missing_ok=True)
            leftover.rmdir()

    async def _remove(self, container: str) -> None:
        def remove() -> None:
            try:
                self._api.remove_container(container, force=True, v=True)
            except NotFound:
                self.log.debug("container %s is gone already", container)
            except APIError as error:
                if "already in progress" not in _words(error):
                    raise

        await self._run(remove)

    def _start_container(self, name: str, spec: SandboxSpec, door: Path) -> str:
        config = container_config(name, spec, instance=self.instance, door=door, seccomp=self._seccomp)
        response = self._api.create_container_from_config(config, name=f"sandkasten-{name}")
        container: str = response["Id"]
        try:
            self._api.start(container)
        except (DockerException, requests.RequestException):
            self._api.remove_container(container, force=True)
            raise
        return container

    @property
    def _api(self) -> Any:
        if self._client is None:
            raise EngineError("the engine is not set up")
        return self._client.api

    async def _run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a blocking call returns. Raises `EngineError` for any failure of the engine's."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        except (DockerException, requests.RequestException) as error:
            raise EngineError(f"the Docker engine failed: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error.explanation if isinstance(error, APIError) else error).splitlines()[0][:300]
