"""Volumes: the named workspaces of one gateway, each a directory on the host with a volume of the engine bound to it.

The directory holds the files: a missing volume is created again, and removing a volume removes no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from ...errors import EngineError, WorkspaceInUse
from ..host.door import accepted
from ..host.mounts import SCRIPT, Helper, HelperError, own_helper
from ..host.sandbox import HostSandbox
from ..spec import StoredWorkspace
from ..workspace_name import is_workspace_name
from .spec import INSTANCE_LABEL, MOUNT_HELPER, SANDBOX_UID, WORKSPACE_LABEL, helper_config

__all__ = ["Volumes", "private_name"]

ATTACH_SECONDS, START_SECONDS = 10.0, 20.0
TRASH, PRIVATE, PROBE, DATA, IMAGE = ".trash-", ".private-", ".probe", "data", "disk.img"
LEAST_IMAGE_MB = 16
COUNTS_AT_ONCE = 8
"""A count is a process of the helper, and its socket holds some hundred requests: `attach` must not wait for counts."""


class Volumes:
    """Creates, attaches and removes workspaces below ``root``.

    Parameters
    ----------
    run: runs a blocking call to the engine, with its deadline.
    run_dir: a directory for the socket and the script of a helper in a container.
    image_mb: size in MiB of the disk image of each new workspace; 0 for plain directories.
    """

    def __init__(
        self,
        instance: str,
        root: Path,
        run_dir: Path,
        run: Callable[..., Awaitable[Any]],
        log: logging.Logger,
        image_mb: int = 0,
    ) -> None:
        self._instance = instance
        self._root = root
        self._run_dir = run_dir
        self._run = run
        self._log = log
        self._image_mb = image_mb and max(image_mb, LEAST_IMAGE_MB)
        self._image = ""
        self._uid = SANDBOX_UID
        self._helper: Helper | None = None
        self._starting = asyncio.Lock()  # two requests at once must not start two helpers
        self._counting = asyncio.Semaphore(COUNTS_AT_ONCE)
        self._in_container = os.geteuid() != 0
        self.can_attach = False
        """Whether a workspace can be attached to a running sandbox."""

    async def setup(self, api: Any, sandbox: HostSandbox, left: Collection[str] = ()) -> None:
        """Find out with a running sandbox how workspaces are attached here; finish removals, create missing volumes.

        The private directories of the sandboxes in ``left`` stay. Raises `EngineError`.
        """
        self._api = api
        self._image = sandbox.spec.image
        self._uid = sandbox.arrival.uid
        self._root.mkdir(mode=0o700, exist_ok=True)
        await self._remove_leftovers({private_name(name) for name in left})
        for stored in self._directories():
            await self.make(stored.name)
        for in_container in (False, True):  # a process of root's first: it needs no container
            if in_container or not self._in_container:
                self._in_container = in_container
                if await self._probe(sandbox):
                    return
        if self._image_mb:
            raise EngineError(
                "workspace.disk: image: no image can be mounted here: it takes a gateway that is root, a free loop "
                "device, and mkfs.ext4. The log says what failed; or choose directory"
            )
        self._log.warning("workspaces cannot be attached to warm sandboxes here: sessions with one start cold")

    async def cleanup(self) -> None:
        """Remove the private directories of sandboxes, all of which have ended, and end the helper; idempotent."""
        await self._remove_leftovers()
        self.close()

    def close(self) -> None:
        """End the helper; a second call does nothing."""
        if self._helper:
            self._helper.close()
            self._helper = None

    async def _remove_leftovers(self, keep: Collection[str] = ()) -> None:
        for leftover in (*self._root.glob(f"{TRASH}*"), *self._root.glob(f"{PRIVATE}*")):
            if leftover.name not in keep:
                await self._empty(leftover.name)

    async def stored(self) -> list[StoredWorkspace]:
        """Return the existing workspaces: one for each directory, with the labels of its volume."""
        volumes = {volume["Name"]: volume.get("Labels") or {} for volume in await self._run(self._volumes)}
        return [
            StoredWorkspace(stored.name, stored.created, volumes.get(self.volume(stored.name), {}))
            for stored in self._directories()
        ]

    def volume(self, name: str) -> str:
        """Return the name of a workspace's volume in the engine."""
        return f"sandkasten-{self._instance}-{name}"

    async def make(self, name: str) -> None:
        """Create a workspace, or what is missing of it: the directory, owned by the sandbox's user, and the volume."""
        data = self._root / name / DATA
        data.parent.mkdir(mode=0o700, exist_ok=True)
        if not data.is_dir():
            await self._make_data(name)
        await self._run(self._make_volume, name)

    async def make_private(self, sandbox: str) -> None:
        """Create the private directory of a sandbox, which ends with it; `attach` makes its user the owner."""
        (self._root / private_name(sandbox)).mkdir()
        await self._make_data(private_name(sandbox))

    async def _make_data(self, name: str) -> None:
        """Create the contents of a workspace's directory; a failure leaves nothing behind."""
        data = self._root / name / DATA
        data.mkdir(mode=0o755)
        try:
            if self._image_mb:
                await self._ask("format", name, uid=self._uid, bytes=self._image_mb * 2**20)
            else:
                await self._ask("own", name, uid=self._uid)
        except BaseException:
            data.rmdir()
            raise

    async def remove_private(self, sandbox: str) -> None:
        """Remove the private directory of a sandbox that has ended; no-op without one."""
        if (self._root / private_name(sandbox)).is_dir():
            await self._empty(private_name(sandbox))

    async def attach(self, sandbox: HostSandbox, name: str) -> bool:
        """Mount a workspace over a sandbox's ``/workspace``; False if it cannot be done here. Raises `EngineError`."""
        if not self.can_attach:
            return False
        if self._in_container and (self._root / name / IMAGE).exists():
            raise EngineError(
                f"workspace {name} is an image (workspace.disk), which only a gateway that is root mounts"
            )
        pidfd, uid = sandbox.arrival.pidfd, sandbox.arrival.uid
        if pidfd < 0:
            raise EngineError("the sandbox has ended")
        await self._ask("attach", name, fd=pidfd, uid=uid, timeout=ATTACH_SECONDS)
        return True

    async def remove(self, name: str) -> None:
        """Remove a workspace with all its files. Raises `WorkspaceInUse`.

        Its name is free before its files are removed.
        """
        try:
            await self._ask("plain", name)
        except HelperError as error:
            if error.errno == errno.EXDEV:  # the helper found a mount on the way
                raise WorkspaceInUse(
                    f"workspace {name}: a file system is mounted on its directory: unmount it"
                ) from error
            raise
        await self._run(self._remove_volume, name)  # first: it fails while a container has the volume mounted
        trash = f"{TRASH}{secrets.token_hex(8)}"
        (self._root / name).rename(self._root / trash)
        await self._empty(trash)

    async def size(self, name: str) -> tuple[int, bool]:
        """Return bytes on the disk, and whether all were counted. Raises `EngineError`."""
        async with self._counting:
            counted = await self._ask("size", name)
        return int(counted["bytes"]), bool(counted["complete"])

    async def _empty(self, trash: str) -> None:
        """Remove a directory that belongs to no workspace; a failure is logged, and the next start tries again."""
        try:
            await self._ask("remove", trash)
        except EngineError as error:
            self._log.warning("%s is not removed: %s", self._root / trash, error.message)

    def _directories(self) -> list[StoredWorkspace]:
        found = [entry for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False)]
        return [
            StoredWorkspace(entry.name, entry.stat().st_mtime)
            for entry in sorted(found, key=lambda entry: entry.name)
            if is_workspace_name(entry.name)
        ]

    async def _probe(self, sandbox: HostSandbox) -> bool:
        """Return whether an empty directory can be attached to a sandbox, as a workspace would be."""
        try:
            (self._root / PROBE / DATA).mkdir(parents=True, exist_ok=True)
            if self._image_mb:
                await self._ask("format", PROBE, uid=self._uid, bytes=self._image_mb * 2**20)
            await self._ask("attach", PROBE, fd=sandbox.arrival.pidfd, uid=self._uid, timeout=ATTACH_SECONDS)
            self.can_attach = True
        except EngineError as error:
            how = "a helper container" if self._in_container else "a process of root's"
            self._log.info("%s cannot attach workspaces: %s", how, error.message)
            if not self._in_container:
                self.close()
        if self._image_mb:
            await self._empty(PROBE)
        with contextlib.suppress(OSError):
            (self._root / PROBE / DATA).rmdir()
            (self._root / PROBE).rmdir()
        return self.can_attach

    async def _ask(self, do: str, name: str, *, timeout: float | None = None, **more: Any) -> dict[str, Any]:
        async with self._starting:
            if self._helper is None or not self._helper.alive:
                self._helper = await self._container_helper() if self._in_container else own_helper(self._root)
            helper = self._helper
        return await helper.ask(do, name, timeout=timeout, **more)

    async def _container_helper(self) -> Helper:
        door = self._run_dir / f"helper-{secrets.token_hex(8)}"
        path = door / "hello.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
            door.mkdir(mode=0o755)
            anchor = os.open(door, os.O_PATH | os.O_DIRECTORY)
            try:
                listener.bind(f"/proc/self/fd/{anchor}/hello.sock")  # a socket's path has at most 107 bytes
            finally:
                os.close(anchor)
            path.chmod(0o666)
            listener.listen(1)
            try:
                (door / MOUNT_HELPER).write_text(SCRIPT.read_text())
                await self._run(self._start_helper, helper_config(self._instance, self._image, self._root, door))
                link = await asyncio.wait_for(accepted(listener), START_SECONDS)
            except TimeoutError as error:
                raise EngineError("the helper for workspaces did not start") from error
            except OSError as error:
                raise EngineError(f"the helper for workspaces did not start: {door}: {error.strerror}") from error
            finally:
                path.unlink()
                (door / MOUNT_HELPER).unlink(missing_ok=True)  # the helper has read all of it, or never will
                with contextlib.suppress(OSError):
                    door.rmdir()
        link.setblocking(False)
        return Helper(link)

    def _start_helper(self, config: dict[str, Any]) -> None:
        container = self._api.create_container_from_config(config)["Id"]
        self._api.start(container)

    def _volumes(self) -> list[dict[str, Any]]:
        found = self._api.volumes(filters={"label": f"{INSTANCE_LABEL}={self._instance}"})
        return found["Volumes"] or []

    def _make_volume(self, name: str) -> None:
        """Create the volume bound to the directory; replace one that is bound to an older path."""
        device = str(self._root / name / DATA)
        options = {"type": "none", "o": "bind", "device": device}
        labels = {INSTANCE_LABEL: self._instance, WORKSPACE_LABEL: name}
        made = self._api.create_volume(self.volume(name), driver="local", driver_opts=options, labels=labels)
        if (made.get("Options") or {}).get("device") != device:
            self._remove_volume(name)
            self._api.create_volume(self.volume(name), driver="local", driver_opts=options, labels=labels)

    def _remove_volume(self, name: str) -> None:
        try:
            self._api.remove_volume(self.volume(name))
        except NotFound:
            self._log.debug("the volume of workspace %s was removed already", name)
        except APIError as error:
            if error.status_code != 409:
                raise
            raise WorkspaceInUse(f"workspace {name}: a container has its volume mounted: end it") from error


def private_name(sandbox: str) -> str:
    """Return the name of a sandbox's private directory; it is not allowed as the name of a workspace."""
    return f"{PRIVATE}{sandbox}"
