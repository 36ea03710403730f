"""SandkastenApp: the gateway as a program, with its options and its subcommands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from traitlets.config import Application

from . import __version__
from .cli.commands import COMMANDS
from .config.application import ConfiguredApp
from .config.traits import Defaults, Limits, WorkspaceSettings
from .gateway.gateway import Gateway
from .pool.pool import Pool

__all__ = ["SandkastenApp"]


class SandkastenApp(ConfiguredApp):
    """A Jupyter kernel gateway with kernels that already run, each alone in a locked-down container."""

    name = "sandkasten-kernels"
    version = __version__
    description = __doc__ or ""
    examples = """
        sandkasten-kernels                                  # serve, with the defaults
        sandkasten-kernels serve --config=sandkasten.yaml
        sandkasten-kernels images build                     # build the images, once
        sandkasten-kernels config show                      # show every setting and where it was set
    """

    classes: list[type] = [Pool, Defaults, WorkspaceSettings, Limits]
    aliases: dict[str, str] = {
        "listen": "SandkastenApp.listen",
        "api-key": "SandkastenApp.api_key",
        "config": "SandkastenApp.config_file",
        "engine": "SandkastenApp.engine",
        "data-dir": "SandkastenApp.data_dir",
        "log-level": "SandkastenApp.log_level",
    }
    flags: dict[str, Any] = {
        "debug": ({"SandkastenApp": {"log_level": logging.DEBUG}}, "Log messages of every level."),
    }
    subcommands: dict[str, Any] = COMMANDS

    def start(self) -> None:
        """Run the subcommand, or serve until SIGTERM or SIGINT."""
        super().start()
        if not isinstance(self.subapp, Application):
            asyncio.run(self.serve())

    async def serve(self) -> None:
        """Start every part, serve, and stop every part in the opposite order."""
        self.set_log_level(self.log.level)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        gateway = Gateway(self.configuration, self.log, self.set_log_level)
        async with contextlib.AsyncExitStack() as stack:
            url = await gateway.setup(stack)
            print(_greeting(url), file=sys.stderr, flush=True)
            await stop.wait()
            self.log.info("stopping: sandboxes are %s", "kept" if gateway.keeps else "ended")

    def set_log_level(self, level: int | str) -> None:
        """Set the log level of the application and of this package's modules."""
        self.log_level = level
        package = logging.getLogger("sandkasten_kernels")
        package.setLevel(self.log.level)
        package.handlers = self.log.handlers
        package.propagate = False


def _greeting(url: str) -> str:
    called = Path(sys.argv[0])
    program = shlex.quote(str(called.absolute())) if called.name == "sandkasten-kernels" else "sandkasten-kernels"
    # only its own user can read a process's environment; everybody can read its arguments
    line = f"echo 'print(6 * 7)' | SANDKASTEN_URL={shlex.quote(url)} {program} run -"
    return f"\nThe gateway serves. Open it:\n\n    {url}\n\nor run code on it:\n\n    {line}\n\nCtrl-C stops it.\n"
