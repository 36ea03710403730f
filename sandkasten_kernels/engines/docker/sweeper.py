"""What becomes of containers that nobody owns: an earlier process left them, or a start that failed."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Coroutine
from pathlib import Path
from typing import Any

import requests

from ...errors import EngineError
from ..host.door import Door
from .connection import CALL_SECONDS
from .containers import Containers, container_name
from .spec import SANDBOX_LABEL

__all__ = ["Sweeper"]

RETRY_SECONDS = (0.5, 2.0, 5.0, 15.0)


class Sweeper:
    """Removes the containers that nobody owns, however long the engine does not answer.

    Attributes
    ----------
    known: ids of the sandboxes that this process has, or is about to have.

    Parameters
    ----------
    run_dir: where the directories of the sandboxes' doors are.
    """

    def __init__(self, containers: Containers, run_dir: Path, log: logging.Logger) -> None:
        self.known: set[str] = set()
        self._containers = containers
        self._run_dir = run_dir
        self._log = log
        self._doubtful = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def sweep(self, left: Collection[str], keep: str = "") -> int:
        """Remove all containers and doors but those of the sandboxes in ``left``; return how many containers it were.

        Containers with the label ``keep`` stay too. Raises `EngineError`.
        """
        found = [
            container
            for container in await self._containers.found()
            if keep not in container["Labels"] and container["Labels"].get(SANDBOX_LABEL) not in left
        ]
        await asyncio.gather(*(self._containers.remove(container["Id"]) for container in found))
        if found:
            self._log.info("removed %d sandboxes that nobody owned", len(found))
        for leftover in self._run_dir.iterdir():
            if leftover.name in left:
                continue
            try:
                (leftover / "hello.sock").unlink(missing_ok=True)
                leftover.rmdir()
            except OSError as error:
                self._log.warning("%s is no directory of a sandbox and stays: %s", leftover, error.strerror)
        return len(found)

    def discard(self, created: asyncio.Future[str], name: str, door: Door) -> None:
        """Begin to remove what a failed start has left; ``created`` is the call that may yet make its container."""
        self._begin(self._discard(created, name, door))

    def engine_answers(self, left: Collection[str]) -> None:
        """Begin to remove what the engine may have made late, where it had failed to answer; but not ``left``."""
        if self._doubtful:
            self._doubtful = False
            self._begin(self._remove_unknown(left))

    async def finish(self) -> None:
        """Return when what was begun is done, or takes too long."""
        for task in tuple(self._tasks):
            await asyncio.wait({task}, timeout=CALL_SECONDS)

    async def cleanup(self) -> None:
        """Give up what was begun: `sweep` takes all of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _discard(self, created: asyncio.Future[str], name: str, door: Door) -> None:
        try:
            await asyncio.wait({created})
            if not created.cancelled() and isinstance(created.exception(), requests.RequestException):
                self._doubtful = True  # the engine may yet make it, from what it has read of the request
            for delay in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
                try:
                    await self._containers.remove(container_name(name))
                    break
                except EngineError as error:
                    self._log.warning("sandbox %s is not removed yet, next try in %g s: %s", name, delay, error)
                await asyncio.sleep(delay)
        finally:
            self.known.discard(name)
            door.remove()

    async def _remove_unknown(self, left: Collection[str]) -> None:
        try:
            for container in await self._containers.found():
                if container["Labels"].get(SANDBOX_LABEL, "") not in {"", *self.known, *left}:
                    await self._containers.remove(container["Id"])
        except EngineError as error:
            self._log.warning("what the engine made late is not removed yet: %s", error)
            self._doubtful = True
