"""Sandboxes as Docker containers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from ..config import Limits, WorkspaceSettings
from ..errors import EngineError, InvalidRequest, SandboxFailed
from ..guest import PROTOCOL
from ..image import PROTOCOL_LABEL, build_command, full_name
from ..paths import asset_dir
from .autopsy import LOOK_BACK_SECONDS, how_it_ended, how_it_was_killed
from .base import Engine, LeftSandbox, Sandbox, SandboxSpec, StoredWorkspace
from .client import CALL_SECONDS, connect, words
from .container import HELPER_LABEL, INSTANCE_LABEL, SANDBOX_LABEL, container_config
from .door import Arrival, Door
from .host import Host
from .network import network_name
from .returning import returned
from .volumes import Volumes, private_name

__all__ = ["DockerEngine", "connect"]

T = TypeVar("T")
HELLO_SECONDS = 30
RETRY_SECONDS = (0.5, 2.0, 5.0, 15.0)
THREADS = 8
RULES_SECONDS = 60.0


class DockerEngine(Engine):
    """Runs each sandbox as a container with every lock that `container_config` names."""

    can_adopt = True

    def __init__(self, *, instance: str, run_dir: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.run_dir = run_dir
        self._client: docker.DockerClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._seccomp = (asset_dir("images") / "seccomp.json").read_text()
        self._host: Host | None = None
        self._volumes: Volumes | None = None
        self._private = WorkspaceSettings(parent=self.parent)
        self._image_mb = Limits(parent=self.parent).workspace_mb if self._private.disk == "image" else 0
        self._names: set[str] = set()
        self._creating: set[asyncio.Future[str]] = set()
        self._discards: set[asyncio.Task[None]] = set()
        self._doubtful = False
        self._stopping = asyncio.Event()
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def setup(self, specs: list[SandboxSpec]) -> None:
        self._client = await self._run(connect)
        self._connected.set()
        for image in sorted({full_name(spec.image) for spec in specs}):
            await self._check_image(image)
        await self._sweep()
        if specs:
            await self._run(self._prepare_host, specs)
            await self._probe(specs[0])
            if self._host and self._host.has_network:
                self._keeper = asyncio.create_task(self._keep_rules(self._host))

    async def cleanup(self) -> None:
        if self._client is None:
            return
        self.left = frozenset()
        if self._creating:
            await asyncio.wait(self._creating, timeout=CALL_SECONDS)
        for task in self._discards:
            task.cancel()
        await asyncio.gather(*self._discards, return_exceptions=True)
        await self._stop_keeper()
        try:
            if self._volumes:
                await self._sweep(keep=HELPER_LABEL)
                await self._volumes.cleanup()
            await self._sweep()
            if self._host:
                await self._give_host_back(self._host)
        finally:
            self._close()

    async def _stop_keeper(self) -> None:
        if self._keeper:  # not cancelled: what it has begun must not come after the rules are taken away
            self._stopping.set()
            await asyncio.wait({self._keeper})
            if error := self._keeper.exception():
                self.log.error("the packet rules were not looked after any more", exc_info=error)
            self._keeper = None

    def _close(self) -> None:
        client, self._client, self._host, self._volumes = self._client, None, None, None
        if client:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def adopt(self, left: LeftSandbox) -> Sandbox:
        await self._connected.wait()
        sandbox = await returned(self._api, self._run, self.instance, self.run_dir, left)
        self._names.add(left.id)
        return sandbox

    async def remove_left(self, left: LeftSandbox) -> None:
        await self._remove(_container_name(left.id))
        await self._forget(left.id)

    async def leave(self) -> None:
        if self._client is None:
            return
        for task in tuple(self._discards):
            await asyncio.wait({task}, timeout=CALL_SECONDS)
        await self._stop_keeper()
        if self._volumes:
            self._volumes.close()
        self._close()

    async def start(self, spec: SandboxSpec) -> Sandbox:
        name = uuid.uuid4().hex
        self._names.add(name)
        door = Door(self.run_dir / name)
        created = self._call(self._start_container, name, spec, door.directory)
        self._creating.add(created)
        created.add_done_callback(self._creating.discard)
        try:
            container = await self._answer(created)
            arrival = await self._arrival(container, door)
            sandbox = Sandbox(name, spec, container, arrival)
            if self._volumes and self._private.ephemeral == "disk" and not spec.workspace:
                await self._give_private(self._volumes, sandbox)
        except BaseException:
            self._in_background(self._discard(created, name, door))
            raise
        if self._doubtful:
            self._doubtful = False
            self._in_background(self._remove_unknown())
        return sandbox

    async def destroy(self, sandbox: Sandbox) -> None:
        sandbox.close()
        await self._remove(sandbox.handle)
        await self._forget(sandbox.id)

    async def _forget(self, sandbox: str) -> None:
        """Remove what belonged to a sandbox whose container is gone."""
        if self._volumes:
            await self._volumes.remove_private(sandbox)
        self._names.discard(sandbox)
        with contextlib.suppress(FileNotFoundError):
            (self.run_dir / sandbox).rmdir()

    async def resize(self, sandbox: Sandbox, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        changes: dict[str, int] = {}
        if cpu_limit is not None:
            changes |= {"NanoCpus": int(cpu_limit * 1e9)}
        if mem_limit_mb is not None:
            changes |= {"Memory": mem_limit_mb * 2**20, "MemorySwap": mem_limit_mb * 2**20}
        await self._run(self._update, sandbox.handle, changes)

    async def how_ended(self, sandbox: Sandbox) -> str:
        return await self._run(self._how_ended, sandbox.handle)

    async def stats(self, sandbox: Sandbox) -> dict[str, int]:
        found = await self._run(self._api.stats, sandbox.handle, stream=False, one_shot=True)
        return {
            "memory_bytes": found["memory_stats"].get("usage", 0),
            "memory_limit": found["memory_stats"].get("limit", 0),
            "cpu_usage_usec": found["cpu_stats"]["cpu_usage"].get("total_usage", 0) // 1000,
            "pids": found["pids_stats"].get("current", 0),
        }

    async def workspaces(self) -> list[StoredWorkspace]:
        return await self._volumes.stored() if self._volumes else []

    async def make_workspace(self, name: str) -> None:
        await self._storage.make(name)

    async def attach(self, sandbox: Sandbox, workspace: str) -> bool:
        return await self._storage.attach(sandbox, workspace)

    def stored_in(self, sandbox: Sandbox, workspace: str) -> str:
        on_disk = self._private.ephemeral == "disk"
        return workspace or (private_name(sandbox.id) if on_disk else "")

    async def _give_private(self, volumes: Volumes, sandbox: Sandbox) -> None:
        """Give a sandbox a workspace on the disk that goes with it."""
        try:
            await volumes.make_private(sandbox.id)
            if not await volumes.attach(sandbox, private_name(sandbox.id)):
                raise EngineError("workspace.ephemeral: disk: nothing can be attached to a sandbox here: choose tmpfs")
        except BaseException:
            sandbox.close()
            await volumes.remove_private(sandbox.id)
            raise

    async def remove_workspace(self, name: str) -> None:
        await self._storage.remove(name)

    async def workspace_size(self, name: str) -> tuple[int, bool]:
        return await self._storage.size(name)

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
            await asyncio.wait({hello, death}, timeout=HELLO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
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
            return SandboxFailed(f"the guest of a sandbox said nothing for {HELLO_SECONDS} s")
        return SandboxFailed(f"the guest of a sandbox ended with exit code {state['ExitCode']} before it said hello")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._discards.add(task := asyncio.create_task(work))
        task.add_done_callback(self._discards.discard)

    async def _discard(self, created: asyncio.Future[str], name: str, door: Door) -> None:
        """Remove what a failed start has left, however long the engine does not answer."""
        try:
            await asyncio.wait({created})
            if not created.cancelled() and isinstance(created.exception(), requests.RequestException):
                self._doubtful = True  # the engine may yet make it, from what it has read of the request
            for delay in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
                try:
                    await self._remove(_container_name(name))
                    break
                except EngineError as error:
                    self.log.warning("sandbox %s is not removed yet, next try in %g s: %s", name, delay, error)
                await asyncio.sleep(delay)
        finally:
            self._names.discard(name)
            door.remove()

    async def _remove_unknown(self) -> None:
        """Remove the containers of this instance that an engine made after it had failed to answer."""
        try:
            for container in await self._run(self._containers):
                if container["Labels"].get(SANDBOX_LABEL, "") not in {"", *self._names, *self.left}:
                    await self._remove(container["Id"])
        except EngineError as error:
            self.log.warning("what the engine made late is not removed yet: %s", error)
            self._doubtful = True

    def _containers(self) -> list[dict[str, Any]]:
        filters = {"label": f"{INSTANCE_LABEL}={self.instance}"}
        found: list[dict[str, Any]] = self._api.containers(all=True, filters=filters)
        return found

    def _prepare_host(self, specs: list[SandboxSpec]) -> None:
        self._host = Host(
            self._api,
            self.instance,
            reserve_mb=Limits(parent=self.parent).host_reserve_mb,
            bridge=any(spec.network_mode == "bridge" for spec in specs),
            log=self.log,
        )
        self._host.setup()

    async def _keep_rules(self, host: Host) -> None:
        """Lay the packet rules again and again until the engine is cleaned up: whatever may flush them does not ask."""
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RULES_SECONDS)
                return
            try:
                await self._run(self._lay_rules, host)
            except EngineError as error:
                self.log.warning("the packet rules of the sandboxes' network are not looked after: %s", error.message)

    def _lay_rules(self, host: Host) -> None:
        if host.lay_rules():
            self.log.warning(
                "the packet rules of the sandboxes' network were missing and are laid again: something has flushed the "
                "host's (a restart of nftables?), and sandboxes could reach what is near"
            )

    async def image_problem(self, image: str) -> str:
        reference = full_name(image)
        details = await self._run(self._inspect_image, reference)
        if details is None:
            return f"there is no image {reference}"
        protocol = (details["Config"].get("Labels") or {}).get(PROTOCOL_LABEL)
        if protocol != str(PROTOCOL):
            return f"image {reference} speaks guest protocol {protocol}, this gateway {PROTOCOL}"
        return ""

    async def _check_image(self, image: str) -> None:
        if problem := await self.image_problem(image):
            raise EngineError(f"{problem}: run '{build_command(image)}'")

    def _how_ended(self, container: str) -> str:
        now = time.time()
        times = {"since": f"{now - LOOK_BACK_SECONDS:.9f}", "until": f"{now:.9f}"}
        filters = {"container": container, "event": "kill"}
        if words := how_it_was_killed(self._api.events(**times, filters=filters, decode=True)):
            return words
        self._api.wait(container, timeout=CALL_SECONDS)  # its process has ended a moment before the engine knows
        return how_it_ended(self._api.inspect_container(container))

    def _update(self, container: str, changes: dict[str, int]) -> None:
        """Change a container's resources; docker-py has no ``NanoCpus`` for it."""
        url = self._api._url("/containers/{0}/update", container)  # noqa: SLF001
        try:
            self._api._raise_for_status(self._api._post_json(url, data=changes))  # noqa: SLF001
        except APIError as error:
            if error.status_code != 400:
                raise
            raise InvalidRequest(f"cpu_limit, mem_limit_mb: the engine refused: {words(error)}") from error

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
            if self.workspaces_dir:
                self._volumes = Volumes(
                    self.instance, self.workspaces_dir, self.run_dir, self._run, self.log, self._image_mb
                )
                await self._volumes.setup(self._api, sandbox, self.left)
        finally:
            await self.destroy(sandbox)

    async def _give_host_back(self, host: Host) -> None:
        try:
            await self._run(host.cleanup)
        except EngineError as error:
            self.log.warning("network and cgroup of the sandboxes are left for the next start: %s", error)

    async def _sweep(self, keep: str = "") -> None:
        """Remove what an earlier run of this instance left: its containers and its directories of doors.

        Containers with the label ``keep`` stay, and sandboxes that may be adopted.
        """
        found = [
            container
            for container in await self._run(self._containers)
            if keep not in container["Labels"] and container["Labels"].get(SANDBOX_LABEL) not in self.left
        ]
        await asyncio.gather(*(self._remove(container["Id"]) for container in found))
        if found:
            self.swept += len(found)
            self.log.info("removed %d sandboxes that nobody owned", len(found))
        for leftover in self.run_dir.iterdir():
            if leftover.name in self.left:
                continue
            (leftover / "hello.sock").unlink(missing_ok=True)
            leftover.rmdir()

    async def _remove(self, container: str) -> None:
        def remove() -> None:
            try:
                self._api.remove_container(container, force=True, v=True)
            except NotFound:
                self.log.debug("container %s is gone already", container)
            except APIError as error:
                if "already in progress" not in words(error):
                    raise

        await self._run(remove)

    def _start_container(self, name: str, spec: SandboxSpec, door: Path) -> str:
        config = container_config(
            name,
            spec,
            instance=self.instance,
            door=door,
            seccomp=self._seccomp,
            network=network_name(self.instance) if spec.network_mode == "bridge" else "none",
            cgroup=self._host.cgroup if self._host else "",
            volume=self._storage.volume(spec.workspace) if spec.workspace else "",
            workspace_mb=self._private.ephemeral_mb,
        )
        if spec.network_mode == "bridge" and self._host:
            self._lay_rules(self._host)
        container: str = self._api.create_container_from_config(config, name=_container_name(name))["Id"]
        self._api.start(container)
        return container

    @property
    def _storage(self) -> Volumes:
        if self._volumes is None:
            raise EngineError("the engine's workspaces are not set up")
        return self._volumes

    @property
    def _api(self) -> Any:
        if self._client is None:
            raise EngineError("the engine is not set up")
        return self._client.api

    async def _run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a blocking call returns, within `CALL_SECONDS`. Raises `EngineError` for any failure of it."""
        return await self._answer(self._call(function, *args, **kwargs))

    def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        call = asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to see it
        return call

    async def _answer(self, call: asyncio.Future[T]) -> T:
        done, _ = await asyncio.wait({call}, timeout=CALL_SECONDS)
        if not done:
            raise EngineError(f"the Docker engine did not answer within {CALL_SECONDS:g} s")
        try:
            return call.result()
        except (DockerException, requests.RequestException) as error:
            raise EngineError(f"the Docker engine failed: {words(error)}") from error


def _container_name(sandbox: str) -> str:
    return f"sandkasten-{sandbox}"
