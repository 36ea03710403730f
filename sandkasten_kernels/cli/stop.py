"""``sandkasten-kernels stop [--all]``: stops the gateway of a data directory, and ends what it has left."""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import sys
import time
from pathlib import Path

from ..config import Defaults, RootSettings, Settings
from ..engines import Engine, SandboxSpec
from ..errors import ConfigError, EngineError, SandkastenError
from ..gateway import DataDir, engine_of, find_kernelspecs, sandbox_specs
from ..store import Store
from .settings import SettingsCommand

__all__ = ["StopCommand"]

STOP_SECONDS = 90


class StopCommand(SettingsCommand):
    """Stops the gateway of this configuration with SIGTERM, and waits until it has ended.

    With --all it ends every sandbox as well, also those left by a gateway that was killed or has on_stop: keep. Named
    workspaces stay.
    """

    examples = """\
  sandkasten-kernels stop --config=sandkasten.yaml
  sandkasten-kernels stop --all --data-dir=/var/lib/sandkasten"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="end every sandbox as well")
        super().add_arguments(parser)

    def run(self, options: argparse.Namespace) -> int:
        settings = self.load(options).settings
        path = Path(settings.value("data_dir"))
        if not path.is_dir():
            raise ConfigError(f"data_dir: there is no {path}: name the gateway's own with --data-dir or --config")
        pid = DataDir.holder(path)
        if pid is None:
            print(f"no gateway runs on {path}", file=sys.stderr)
        elif not _stop(pid):
            raise SandkastenError(f"process {pid} did not stop within {STOP_SECONDS} s")
        else:
            print(f"the gateway on {path} has stopped", file=sys.stderr)
        if options.all:
            asyncio.run(_end_all(settings, path))
        return 0


def _stop(pid: int) -> bool:
    """Send SIGTERM to a process; return whether it ended within `STOP_SECONDS`. Raises `ConfigError`."""
    try:
        # a pidfd stays with this process; its number may be used again
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
        raise ConfigError(f"the gateway, process {pid}, belongs to another user: stop it as that user") from error
    finally:
        os.close(pidfd)


async def _end_all(settings: Settings, path: Path) -> None:
    """End every sandbox and mark its sessions as ended in the store. Raises `ConfigError`, `EngineError`."""
    data = DataDir(path)
    try:
        specs = sandbox_specs(find_kernelspecs(settings), Defaults(config=settings.config))
        # first the sandboxes: after a failure the store still has the sessions, for another try
        await _end_sandboxes(engine_of(settings, data, RootSettings(config=settings.config).log), specs)
        store = Store(data.path / "sessions.sqlite")
        ended = store.end_all("destroyed", "ended by stop --all", time.time())
        store.close()
        print(f"every sandbox of {path} has ended; sessions ended with them: {ended}", file=sys.stderr)
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
