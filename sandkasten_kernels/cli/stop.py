"""``sandkasten-kernels stop [--all]``: stops the gateway of a data directory, and ends what it has left."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from traitlets.config import Application

from ..engines import Engine
from ..errors import ConfigError, EngineError
from ..gateway.data_dir import DataDir
from ..store import Store

if TYPE_CHECKING:
    from ..app import SandkastenApp

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
        gateway = cast("SandkastenApp", self.parent)
        gateway.settings = gateway.settings_of(self._options)
        gateway.update_config(gateway.settings.config)
        path = Path(gateway.data_dir)
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
            asyncio.run(_end_all(gateway, path))


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


async def _end_all(gateway: SandkastenApp, path: Path) -> None:
    """End what no gateway runs any more, and note that in the store. Raises `ConfigError`, `EngineError`."""
    data = DataDir(path)
    try:
        await _end_sandboxes(gateway, gateway.engine_of(data))
        store = Store(data.path / "sessions.sqlite")
        ended = store.end_all("destroyed", "everything was ended: stop --all", time.time())
        store.close()
        print(f"every sandbox of {path} is gone; {ended} sessions were ended by that", file=sys.stderr)
    finally:
        data.close()


async def _end_sandboxes(gateway: SandkastenApp, engine: Engine) -> None:
    """Set the engine up, which removes what is nobody's, and give everything back."""
    try:
        try:
            await engine.setup(gateway.sandbox_specs())
        except EngineError:  # an image is missing, say: what can be removed without it is
            await engine.setup([])
    finally:
        await engine.cleanup()
