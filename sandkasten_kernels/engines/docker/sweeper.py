"""Sweeper: removes containers without an owner, left by an earlier process or by a start that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path

import requests

from ...background import BackgroundTasks
from ...errors import EngineError
from ...retry import forever, retry
from ..host.door import Door
from .connection import CALL_SECONDS
from .containers import Containers, container_name
from .host import SCRIPT_PREFIX
from .spec import MOUNT_HELPER, SANDBOX_LABEL

__all__ = ["Sweeper"]

RETRY_SECONDS = (0.5, 2.0, 5.0, 15.0)


class Sweeper:
    """Removes containers without an owner, and tries again for as long as the engine does not answer.

    Attributes
    ----------
    known: ids of the sandboxes that this process has, or is about to have.
    tasks: owner of the removals that run in the background.

    Parameters
    ----------
    run_dir: the directory with the doors of the sandboxes.
    """

    def __init__(self, containers: Containers, run_dir: Path, tasks: BackgroundTasks, log: logging.Logger) -> None:
        self.known: set[str] = set()
        self.tasks = tasks
        self._containers = containers
        self._run_dir = run_dir
        self._log = log
        self._doubtful = False
        self._removals: set[asyncio.Task[None]] = set()

    async def sweep(self, left: Collection[str], keep: str = "") -> int:
        """Remove all containers and doors; return the number of containers.

        Those of the sandboxes in ``left`` stay, and containers with the label ``keep``. Raises `EngineError`.
        """
        found = [
            container
            for container in await self._containers.found()
            if keep not in container["Labels"] and container["Labels"].get(SANDBOX_LABEL) not in left
        ]
        await asyncio.gather(*(self._containers.remove(container["Id"]) for container in found))
        if found:
            self._log.info("removed %d sandboxes without an owner", len(found))
        for script in self._run_dir.glob(f"{SCRIPT_PREFIX}*"):
            script.unlink(missing_ok=True)
        for leftover in self._run_dir.iterdir():
            if leftover.name in left:
                continue
            try:
                # By name, and no tree: a directory with other files is not ours to remove.
                for name in ("hello.sock", MOUNT_HELPER):
                    (leftover / name).unlink(missing_ok=True)
                leftover.rmdir()
            except OSError as error:
                self._log.warning("%s is not a directory of a sandbox and stays: %s", leftover, error.strerror)
        return len(found)

    def discard(self, created: asyncio.Future[str], name: str, door: Door) -> None:
        """Start to remove what a failed start has left; ``created`` is the call that may yet create its container."""
        self._start(partial(self._discard, created, name, door))

    def engine_answers(self, left: Collection[str]) -> None:
        """Start to remove containers that the engine created after we had given up on its answer; not ``left``."""
        if self._doubtful:
            self._doubtful = False
            self._start(partial(self._remove_unknown, left))

    async def finish(self) -> None:
        """Return when every removal is done, or has taken `CALL_SECONDS`."""
        for task in tuple(self._removals):
            await asyncio.wait({task}, timeout=CALL_SECONDS)

    async def cleanup(self) -> None:
        """Cancel the removals: a `sweep` afterwards finds all of their containers."""
        await self.tasks.cleanup()

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        # restarted when it fails: an unexpected exception must not leave a container behind
        self._removals.add(task := self.tasks.keep("removal of containers", work))
        task.add_done_callback(self._removals.discard)

    async def _discard(self, created: asyncio.Future[str], name: str, door: Door) -> None:
        try:
            await asyncio.wait({created})  # until then there may be nothing to remove
            if not created.cancelled() and isinstance(created.exception(), requests.RequestException):
                self._doubtful = True  # the engine may have read the request, and create the container later
            await retry(
                lambda: self._containers.remove(container_name(name)),
                EngineError,
                forever(RETRY_SECONDS),
                lambda error, delay: self._log.warning(
                    "sandbox %s is not removed yet, next try in %g s: %s", name, delay, error
                ),
            )
        finally:
            self.known.discard(name)
            door.remove()

    async def _remove_unknown(self, left: Collection[str]) -> None:
        try:
            for container in await self._containers.found():
                if container["Labels"].get(SANDBOX_LABEL, "") not in {"", *self.known, *left}:
                    await self._containers.remove(container["Id"])
        except EngineError as error:
            self._log.warning("containers that the engine created late are not removed yet: %s", error)
            self._doubtful = True
