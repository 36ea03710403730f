"""Containers: lists, changes, inspects and removes the containers of one gateway."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

from docker.errors import APIError, NotFound

from ...errors import InvalidRequest
from ..spec import signal_name
from .connection import CALL_SECONDS, EngineConnection, words
from .spec import INSTANCE_LABEL

__all__ = ["Containers", "container_name", "how_it_ended", "how_it_was_killed"]

LOOK_BACK_SECONDS = 10.0
_DEADLY = {str(int(number)): number for number in (signal.SIGKILL, signal.SIGTERM)}
KILLED = 128 + signal.SIGKILL


def container_name(sandbox: str) -> str:
    """Return the name of the container of a sandbox."""
    return f"sandkasten-{sandbox}"


class Containers:
    """Calls the engine for containers, given by id or name. Every method raises `EngineError`.

    Parameters
    ----------
    instance: id of the gateway; its containers carry it in a label.
    """

    def __init__(self, connection: EngineConnection, instance: str, log: logging.Logger) -> None:
        self._connection = connection
        self._instance = instance
        self._log = log

    async def found(self) -> list[dict[str, Any]]:
        """Return the engine's list of the gateway's containers, including exited ones."""
        return await self._connection.run(self._found)

    async def resize(self, container: str, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        """Change the limits of a container; None keeps one. Raises `InvalidRequest` if the engine refuses."""
        changes: dict[str, int] = {}
        if cpu_limit is not None:
            changes |= {"NanoCpus": int(cpu_limit * 1e9)}
        if mem_limit_mb is not None:
            # Both, so that there is no swap; the engine refuses a Memory above MemorySwap.
            changes |= {"Memory": mem_limit_mb * 2**20, "MemorySwap": mem_limit_mb * 2**20}
        await self._connection.run(self._update, container, changes)

    async def how_ended(self, container: str) -> str:
        """Return the reason why a container has ended, as a sentence."""
        return await self._connection.run(self._how_ended, container)

    async def stats(self, container: str) -> dict[str, int]:
        """Return the usage of a container, as `Engine.stats`."""
        # Without `one_shot` the engine waits for a second sample, a second later.
        found = await self._connection.run(self._connection.api.stats, container, stream=False, one_shot=True)
        return {
            "memory_bytes": found["memory_stats"].get("usage", 0),
            "memory_limit": found["memory_stats"].get("limit", 0),
            "cpu_usage_usec": found["cpu_stats"]["cpu_usage"].get("total_usage", 0) // 1000,
            "pids": found["pids_stats"].get("current", 0),
        }

    async def remove(self, container: str) -> None:
        """Return when a container is removed, or its removal is in progress; no-op if it does not exist."""
        await self._connection.run(self._remove, container)

    def _found(self) -> list[dict[str, Any]]:
        filters = {"label": f"{INSTANCE_LABEL}={self._instance}"}
        found: list[dict[str, Any]] = self._connection.api.containers(all=True, filters=filters)
        return found

    def _update(self, container: str, changes: dict[str, int]) -> None:
        """Change the resources of a container by the API itself: `update_container` of docker-py lacks ``NanoCpus``."""
        api = self._connection.api
        url = api._url("/containers/{0}/update", container)  # noqa: SLF001
        try:
            api._raise_for_status(api._post_json(url, data=changes))  # noqa: SLF001
        except APIError as error:
            if error.status_code != 400:
                raise
            raise InvalidRequest(f"cpu_limit, mem_limit_mb: the engine refused: {words(error)}") from error

    def _how_ended(self, container: str) -> str:
        api, now = self._connection.api, time.time()
        # With `until` the engine ends the stream of events; without it the call blocks.
        times = {"since": f"{now - LOOK_BACK_SECONDS:.9f}", "until": f"{now:.9f}"}
        filters = {"container": container, "event": "kill"}
        if killed := how_it_was_killed(api.events(**times, filters=filters, decode=True)):
            return killed
        api.wait(container, timeout=CALL_SECONDS)  # the process ends a moment before the engine records its exit code
        return how_it_ended(api.inspect_container(container))

    def _remove(self, container: str) -> None:
        try:
            self._connection.api.remove_container(container, force=True, v=True)
        except NotFound:
            self._log.debug("container %s is removed already", container)
        except APIError as error:
            if "already in progress" not in words(error):
                raise


def how_it_was_killed(events: Iterable[Mapping[str, Any]]) -> str:
    """Return that a client of the engine killed a container, from its recent ``kill`` events; empty if none did.

    Only SIGKILL and SIGTERM count: a guest survives other signals.
    """
    signals = [event.get("Actor", {}).get("Attributes", {}).get("signal") for event in events]
    deadly = [_DEADLY[number].name for number in signals if number in _DEADLY]
    return f"its sandbox was ended over the engine, from outside of the gateway ({', '.join(deadly)})" if deadly else ""


def how_it_ended(details: Mapping[str, Any]) -> str:
    """Return why a container has ended by itself, from the result of ``inspect``."""
    state = details["State"]
    code = state.get("ExitCode", 0)
    # OOMKilled is true after any OOM kill inside, also if the first process then ended well.
    if state.get("OOMKilled") and code == KILLED:
        limit = details.get("HostConfig", {}).get("Memory", 0) // 2**20
        return "its sandbox was killed, out of memory" + (f", limit {limit} MiB" if limit else "")
    if code > 128:
        return f"the first process of its sandbox was killed by signal {signal_name(code - 128)}"
    return f"the first process of its sandbox ended with exit code {code}"
