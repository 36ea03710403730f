"""``sandkasten-kernels serve``, or without a command: the gateway itself."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import cast

from ..config import Configuration, RootSettings
from ..gateway import Gateway
from .settings import SettingsCommand

__all__ = ["ServeCommand"]


class ServeCommand(SettingsCommand):
    """Serves until SIGTERM or Ctrl-C."""

    examples = """\
  sandkasten-kernels                                  # serve, with the defaults
  sandkasten-kernels serve --config=sandkasten.yaml
  SANDKASTEN_API_KEY=... sandkasten-kernels serve --listen=:8080"""

    def run(self, options: argparse.Namespace) -> int:
        configuration = self.load(options)
        asyncio.run(_serve(configuration, RootSettings(config=configuration.settings.config)))
        return 0


async def _serve(configuration: Configuration, app: RootSettings) -> None:
    """Start every part, serve until a signal, and stop every part in the opposite order."""

    def set_log_level(level: int | str) -> None:
        app.log_level = level
        package = logging.getLogger("sandkasten_kernels")  # the modules log as the application does
        package.setLevel(app.log.level)
        package.handlers = app.log.handlers
        package.propagate = False

    set_log_level(
        cast("int | str", app.log_level)
    )  # not that of `app.log`: traitlets leaves it at DEBUG and filters in the handler
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = Gateway(configuration, app.log, set_log_level)
    async with contextlib.AsyncExitStack() as stack:
        url = await gateway.setup(stack)
        print(_greeting(url), file=sys.stderr, flush=True)
        await stop.wait()
        app.log.info("stopping: sandboxes are %s", "kept" if gateway.keeps else "ended")


def _greeting(url: str) -> str:
    called = Path(sys.argv[0])
    program = shlex.quote(str(called.absolute())) if called.name == "sandkasten-kernels" else "sandkasten-kernels"
    # only its own user can read the environment of a process; everybody can read its arguments
    line = f"echo 'print(6 * 7)' | SANDKASTEN_URL={shlex.quote(url)} {program} run -"
    return f"\nThe gateway serves. Open it:\n\n    {url}\n\nor run code on it:\n\n    {line}\n\nCtrl-C stops it.\n"
