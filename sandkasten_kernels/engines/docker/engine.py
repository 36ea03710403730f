"""Sandboxes as Docker containers."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import Limits, WorkspaceSettings
from ...errors import EngineError, SandboxFailed
from ...guest import PROTOCOL
from ...images import PROTOCOL_LABEL, STANDARD, CustomImage, ImageState, Report, build_command, full_name
from ...paths import asset_dir
from ..base import Engine, Sandbox
from ..finding import Finding
from ..host.cgroups import CgroupReader
from ..host.door import Door
from ..host.firewall import network_name
from ..host.sandbox import HostSandbox, on_host
from ..spec import LeftSandbox, SandboxSpec, StoredWorkspace, Usage
from .arrival import WHERE_TO_RUN, arrived, reach, returned
from .builder.images import build_images
from .builder.state import image_states
from .connection import CALL_SECONDS, EngineConnection, connect
from .containers import Containers, container_name
from .doctor import diagnose
from .host import DockerHost
from .images import image_record
from .rules_keeper import FirewallKeeper
from .spec import HELPER_LABEL, container_config
from .sweeper import Sweeper
from .volumes import Volumes, private_name

__all__ = ["DockerEngine"]

BUILD_TIMEOUT_SECONDS = 1800.0
"""A build may print nothing for so long."""


class DockerEngine(Engine):
    """Runs each sandbox as a container with the security options of `container_config`."""

    can_adopt = True

    def __init__(self, *, instance: str, run_dir: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.run_dir = run_dir
        self._connection = EngineConnection()
        self._cgroups = CgroupReader()
        self._containers = Containers(self._connection, instance, self.log)
        self._sweeper = Sweeper(self._containers, run_dir, self.tasks, self.log)
        self._seccomp = (asset_dir("images") / "seccomp.json").read_text()
        self._host: DockerHost | None = None
        self._rules: FirewallKeeper | None = None
        self._volumes: Volumes | None = None
        self._private = WorkspaceSettings(config=self.config)
        self._image_mb = Limits(config=self.config).workspace_mb if self._private.disk == "image" else 0
        self._creating: set[asyncio.Future[str]] = set()

    async def setup(self, specs: list[SandboxSpec]) -> None:
        self._sweeper.tasks = self.tasks.group()  # not in `__init__`: the gateway replaces `tasks` after that
        await self._connection.open()
        for image in sorted({full_name(spec.image) for spec in specs}):
            await self._check_image(image)
        await self._sweep()
        if specs:
            self._host = host = await self._connection.run(self._make_host, specs)
            self._rules = FirewallKeeper(self._connection, host, self.tasks.group(), self.log)
            await self._connection.run(host.setup)
            await self._probe(specs[0])
            self._rules.setup()

    async def cleanup(self) -> None:
        if not self._connection.is_open:
            return
        self.left = frozenset()
        # A container that the engine is still creating would escape the sweep.
        if self._creating:
            await asyncio.wait(self._creating, timeout=CALL_SECONDS)
        await self._sweeper.cleanup()
        if self._rules:
            await self._rules.cleanup()
        try:
            if self._volumes:
                # The helper still has to remove the private directories.
                await self._sweep(keep=HELPER_LABEL)
                await self._volumes.cleanup()
            await self._sweep()
            if self._host:
                await self._give_host_back(self._host)
        finally:
            self._close()

    async def leave(self) -> None:
        if not self._connection.is_open:
            return
        await self._sweeper.finish()
        await self._sweeper.cleanup()  # a removal that still waits would try for ever, without a connection
        if self._rules:
            await self._rules.cleanup()
        if self._volumes:
            self._volumes.close()
        self._close()

    def _close(self) -> None:
        self._host = self._rules = self._volumes = None
        self._connection.close()

    async def adopt(self, left: LeftSandbox) -> Sandbox:
        await self._connection.opened()
        sandbox = await returned(self._connection, self.instance, self.run_dir, left, self.tasks)
        self._sweeper.known.add(left.id)
        return sandbox

    async def remove_left(self, left: LeftSandbox) -> None:
        await self._containers.remove(container_name(left.id))
        await self._forget(left.id)

    async def start(self, spec: SandboxSpec) -> HostSandbox:
        name = uuid.uuid4().hex
        self._sweeper.known.add(name)  # before the container exists: else it counts as ownerless
        door = Door(self.run_dir / name)
        # Not `run`: after a timeout the container may still appear, and `discard` waits for that.
        created = self._connection.begin(self._start_container, name, spec, door.directory)
        self._creating.add(created)
        created.add_done_callback(self._creating.discard)
        try:
            container = await self._connection.answer(created)
            arrival = await arrived(self._connection, container, door, self.tasks, self.log)
            sandbox = HostSandbox(name, spec, container, arrival=arrival)
            if self._volumes and self._private.ephemeral == "disk" and not spec.workspace:
                await self._give_private(self._volumes, sandbox)
        except BaseException:
            self._sweeper.discard(created, name, door)
            raise
        self._sweeper.engine_answers(self.left)  # it has just answered
        return sandbox

    async def destroy(self, sandbox: Sandbox) -> None:
        sandbox.close()
        await self._containers.remove(sandbox.handle)
        await self._forget(sandbox.id)

    async def _forget(self, sandbox: str) -> None:
        """Remove the files of a sandbox after its container was removed."""
        if self._volumes:
            await self._volumes.remove_private(sandbox)
        self._sweeper.known.discard(sandbox)
        with contextlib.suppress(FileNotFoundError):
            (self.run_dir / sandbox).rmdir()

    async def resize(self, sandbox: Sandbox, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        await self._containers.resize(sandbox.handle, cpu_limit, mem_limit_mb)

    async def how_ended(self, sandbox: Sandbox) -> str:
        return await self._containers.how_ended(sandbox.handle)

    async def stats(self, sandbox: Sandbox) -> dict[str, int]:
        return await self._containers.stats(sandbox.handle)

    async def usages(self, sandboxes: Sequence[Sandbox]) -> Mapping[str, Usage]:
        return await asyncio.to_thread(self._cgroups.read, map(on_host, sandboxes)) if sandboxes else {}

    async def workspaces(self) -> list[StoredWorkspace]:
        return await self._volumes.stored() if self._volumes else []

    async def make_workspace(self, name: str) -> None:
        await self._storage.make(name)

    async def attach(self, sandbox: Sandbox, workspace: str) -> bool:
        return await self._storage.attach(on_host(sandbox), workspace)

    def stored_in(self, sandbox: Sandbox, workspace: str) -> str:
        on_disk = self._private.ephemeral == "disk"
        return workspace or (private_name(sandbox.id) if on_disk else "")

    async def _give_private(self, volumes: Volumes, sandbox: HostSandbox) -> None:
        """Attach a private workspace on the disk, which ends with the sandbox. Raises `EngineError`."""
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

    def _make_host(self, specs: list[SandboxSpec]) -> DockerHost:
        return DockerHost(
            self._connection.api,
            self.instance,
            self.run_dir,
            reserve_mb=Limits(config=self.config).host_reserve_mb,
            bridge=any(spec.network_mode == "bridge" for spec in specs),
            log=self.log,
        )

    async def image_problem(self, image: str) -> str:
        await self._connection.open()
        reference = full_name(image)
        record = await self._connection.run(image_record, self._connection.client, reference)
        if not record:
            return f"there is no image {reference}"
        protocol = record["Config"]["Labels"].get(PROTOCOL_LABEL)
        if protocol != str(PROTOCOL):
            return f"image {reference} speaks guest protocol {protocol}, this gateway {PROTOCOL}"
        return ""

    async def image_states(self, images: Mapping[str, CustomImage], base: str = "") -> list[ImageState]:
        await self._connection.open()
        return await self._connection.run(image_states, self._connection.client, images, base=base or None)

    def build(self, names: Sequence[str], images: Mapping[str, CustomImage], report: Report, base: str = "") -> None:
        client = connect(BUILD_TIMEOUT_SECONDS)
        try:
            build_images(client, names or (*STANDARD, *images), base=base or None, report=report, custom=images)
        finally:
            client.close()

    async def diagnose(self, images: Sequence[str], custom: Mapping[str, CustomImage]) -> AsyncIterator[Finding]:
        async for finding in diagnose(self._connection, images, custom):
            yield finding

    async def memory_mb(self) -> int:
        await self._connection.open()
        info = await self._connection.run(self._connection.client.info)
        return int(info["MemTotal"]) >> 20

    async def _check_image(self, image: str) -> None:
        if problem := await self.image_problem(image):
            raise EngineError(f"{problem}: run '{build_command(image)}'")

    async def _probe(self, spec: SandboxSpec) -> None:
        """Start one sandbox, open a socket inside it, and set up the workspaces with it."""
        try:
            sandbox = await self.start(spec)
        except SandboxFailed as error:
            raise EngineError(f"a sandbox cannot be used from here: {error}. {WHERE_TO_RUN}") from error
        try:
            await reach(sandbox)
            if self.workspaces_dir:
                run = self._connection.run
                self._volumes = Volumes(self.instance, self.workspaces_dir, self.run_dir, run, self.log, self._image_mb)
                await self._volumes.setup(self._connection.api, sandbox, self.left)
        finally:
            await self.destroy(sandbox)

    async def _give_host_back(self, host: DockerHost) -> None:
        try:
            await self._connection.run(host.cleanup)
        except EngineError as error:
            self.log.warning("network and cgroup of the sandboxes are not removed until the next start: %s", error)

    async def _sweep(self, keep: str = "") -> None:
        """Remove containers of earlier runs; not those with the label ``keep``, or those that may be adopted."""
        swept = await self._sweeper.sweep(self.left, keep)
        self.swept += swept

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
        if spec.network_mode == "bridge" and self._rules:
            self._rules.load()  # another program may have flushed them since
        api = self._connection.api
        container: str = api.create_container_from_config(config, name=container_name(name))["Id"]
        api.start(container)
        return container

    @property
    def _storage(self) -> Volumes:
        if self._volumes is None:
            raise EngineError("the engine's workspaces are not set up")
        return self._volumes
