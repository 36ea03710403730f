"""``sandkasten-kernels stop [--all]``: stops the gateway of a data directory, and ends what it has left."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import cast

from traitlets.config import Application

from ..config.application import ConfiguredApp
from ..config.settings import Settings
from ..config.traits import Defaults
from ..engines import Engine, SandboxSpec
from ..errors import ConfigError, EngineError
from ..gateway.checks import find_kernelspecs
from ..gateway.components import engine_of, sandbox_specs
from ..gateway.data_dir import DataDir
from ..store import Store

__all__ = ["StopApp"]

STOP_SECONDS = 90
ALL = "--all"


class StopApp(Application):
    """Stops the gateway of this configuration, as a signal would: `stop`, with the options of `serve`.

    `stop --all` ends everything: the gateway, if one runs, and every sandbox, also those that a gateway with `on_stop:
    keep`, or one that was killed, has left. Named workspaces stay.
    """

    name = "sandkasten-kernels stop"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels stop --config=sandkasten.yaml
        sandkasten-kernels stop --all --data-dir=/var/lib/sandkasten
    """

    def initialize(self, argv: list[str] | None = None) -> None:
        """Keep the options: they are the gateway's own."""
        self._options = [word for word in argv or [] if word != ALL]
        self._all = ALL in (argv or [])
        if {"-h", "--help", "--help-all"}.intersection(self._options):
            super().initialize(["--help"])

    def start(self) -> None:
        """Do it, and say what was done; exit with 1 when the gateway does not stop. Raises `ConfigError`."""
        gateway = cast(ConfiguredApp, self.parent)
        settings = gateway.settings_of(self._options)
        path = Path(settings.value("data_dir"))
        if not path.is_dir():
            raise ConfigError(f"data_dir: there is no {path}: name the gateway's own with --data-dir or --config")
        pid = DataDir.holder(path)
        if pid is None:
            print(f"no gateway runs on {path}", file=sys.stderr)
        elif not _stop(pid):
            print(f"{self.name}: process {pid} did not stop within {STOP_SECONDS} s", file=sys.stderr)
            sys.exit(1)
        else:
            print(f"the gateway on {path} has stopped", file=sys.stderr)
        if self._all:
            asyncio.run(_end_all(settings, path, gateway.log))


def _stop(pid: int) -> bool:
    """Tell a process to stop; return whether it did in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(STOP_SECONDS * 1000))
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise ConfigError(f"the gateway, process {pid}, is another user's: stop it as that user") from error
    finally:
        os.close(pidfd)


async def _end_all(settings: Settings, path: Path, log: logging.Logger) -> None:
    """End every sandbox and mark its sessions as ended in the store. Raises `ConfigError`, `EngineError`."""
    data = DataDir(path)
    try:
        specs = sandbox_specs(find_kernelspecs(settings), Defaults(config=settings.config))
        await _end_sandboxes(engine_of(settings, data, log), specs)
        store = Store(data.path / "sessions.sqlite")
        ended = store.end_all("destroyed", "ended by stop --all", time.time())
        store.close()
        print(f"every sandbox of {path} has ended, and {ended} sessions with them", file=sys.stderr)
    finally:
        data.close()


async def _end_sandboxes(engine: Engine, specs: list[SandboxSpec]) -> None:
    """Set the engine up, which removes sandboxes that nobody owns, and clean it up again."""
    try:
        try:
            await engine.setup(specs)
        except EngineError:  # a missing image, for example; sandboxes can be removed without it
            await engine.setup([])
    finally:
        await engine.cleanup()
