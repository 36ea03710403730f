"""The application: its options, what file, environment and command line say of them, and its commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from traitlets import Bool, Enum, Integer, List, TraitError, Unicode, validate
from traitlets.config import Application
from traitlets.config.loader import ArgumentError

from . import __version__
from .cli.commands import CLIENT_COMMANDS, one_line_errors
from .cli.stop import StopApp
from .config.address import parse_listen
from .config.environment import CONFIG_VARIABLE, environment_settings
from .config.file import NAME, SettingsFile
from .config.keys import Sections
from .config.settings import Settings, command_line_settings, file_settings
from .config.traits import Defaults, Limits, WorkspaceSettings
from .engines import Engine, SandboxSpec
from .engines.registry import find_engine
from .errors import ConfigError
from .gateway.checks import find_kernelspecs
from .gateway.data_dir import DataDir, default_data_dir
from .gateway.gateway import Gateway
from .images.custom import CustomImages
from .kernelspecs.kernelspec import Kernelspecs
from .pool.launcher import sandbox_spec
from .pool.pool import Pool

__all__ = ["SandkastenApp", "main"]


class SandkastenApp(Application):
    """A Jupyter kernel gateway whose kernels are already running, each alone in a locked-down container."""

    name = "sandkasten-kernels"
    version = __version__
    description = __doc__ or ""
    examples = """
        sandkasten-kernels                                  # serve, with the defaults
        sandkasten-kernels serve --config=sandkasten.yaml
        sandkasten-kernels images build                     # the images, once
        sandkasten-kernels config show                      # every setting, and where it was set
    """

    listen = Unicode("127.0.0.1:8080", help="HOST:PORT to serve at; port 0 takes a free one.").tag(config=True)
    api_key = Unicode(
        "",
        help="The token callers need. Empty: one is generated once, kept in data_dir and printed at start.",
    ).tag(config=True)
    default_image = Unicode("python", help="The image of a kernel whose kernelspec is not named.").tag(config=True)
    allowed_images = List(Unicode(), help="Images that may be used, by name. Empty: those that have a kernelspec.").tag(
        config=True
    )
    images = CustomImages(
        help="Images of one's own, by name: `{science: {from: python, pip: [polars], apt: [ffmpeg]}}`, made by "
        "`images build science` (docs/images.md)."
    ).tag(config=True)
    kernelspec_dirs = List(
        Unicode(),
        help="Directories of kernelspecs, searched before ours; a relative path counts from the file's directory.",
    ).tag(config=True)
    data_dir = Unicode(
        help="Where the gateway keeps its state: token, instance, what is needed at run time. A directory of its own."
    ).tag(config=True, default_words="`/var/lib/sandkasten` for root, else `~/.local/state/sandkasten` (XDG)")
    session_ttl_seconds = Integer(
        1800,
        min=0,
        max=86400,
        help="A session made over /v1 ends so many seconds after its last use, unless its caller said otherwise; 0: "
        "never. What runs, or has a client attached, is in use.",
    ).tag(config=True)
    kernel_ttl_seconds = Integer(
        43200, min=0, help="The same for a kernel made over /api, by JupyterLab for instance, in seconds; 0: never."
    ).tag(config=True)
    max_lifetime_seconds = Integer(
        0,
        min=0,
        help="A session ends so many seconds after its creation, however it is used, when nothing runs; 0: never.",
    ).tag(config=True)
    cull_connected = Bool(
        False, help="Whether a session that is not used ends although a client is attached over a WebSocket."
    ).tag(config=True)
    cull_busy = Bool(
        False,
        help="Whether a session ends although something runs: when it is older than max_lifetime_seconds, or was not "
        "used for its ttl. Without it such a session ends when that is done.",
    ).tag(config=True)
    retention_seconds = Integer(
        3600, min=0, help="How many seconds a session that has ended is still shown, with how it ended."
    ).tag(config=True)
    env_names = List(Unicode(), help="Variables that a caller may set for its kernel, besides KERNEL_*.").tag(
        config=True
    )
    base_url = Unicode("/", help="The path that stands before every route, as in /sandkasten/.").tag(config=True)
    trust_proxy = Bool(
        False,
        help="Whether X-Forwarded-For, -Proto and -Host are believed: only behind a proxy that sets all three itself.",
    ).tag(config=True)
    allow_origin = Unicode(
        "", help="The origin of another site's pages that may call the gateway, or * for any. Empty: none."
    ).tag(config=True)
    allow_credentials = Bool(
        False, help="Whether the pages of allow_origin, one that is named, may also send the browser's cookie."
    ).tag(config=True)
    engine = Unicode("docker", help="Where sandboxes run: a name of the entry points sandkasten_kernels.engines.").tag(
        config=True
    )
    on_stop = Enum(
        ["end", "keep"],
        "end",
        help="What becomes of sandboxes when the gateway is told to stop: end; or keep, they run on, and its next "
        "start goes on with them (docs/reliability.md). When it is killed they are kept in any case.",
    ).tag(config=True)
    config_file = Unicode("", help="The YAML file; said on the command line only.").tag(
        config=True, command_line_only=True
    )

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
        "debug": ({"SandkastenApp": {"log_level": logging.DEBUG}}, "Log all there is to know."),
    }
    subcommands: dict[str, Any] = {
        "doctor": ("sandkasten_kernels.cli.doctor.DoctorApp", "Check this machine and the configuration."),
        "images": ("sandkasten_kernels.cli.images.ImagesApp", "Build the images of the sandboxes."),
        "config": (
            "sandkasten_kernels.cli.config.ConfigApp",
            "Check the configuration, or show it with the source of each value.",
        ),
        "stop": (StopApp, "Stop the gateway; with --all, end every sandbox."),
        "token": ("sandkasten_kernels.cli.token.TokenApp", "Print the token, or make a new one."),
        **CLIENT_COMMANDS,
    }

    def _log_level_default(self) -> int:
        return logging.INFO

    def _log_format_default(self) -> str:
        return "%(asctime)s%(highlevel)s %(message)s"

    def _data_dir_default(self) -> str:
        return str(default_data_dir())

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read command line, environment and file, and check them. Raises `ConfigError`."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if argv[:1] == ["serve"]:
            argv = argv[1:]
        self._parse_strictly(argv)
        if not isinstance(self.subapp, Application):
            self.settings = self._read_settings()
            self.update_config(self.settings.config)

    def settings_of(self, argv: list[str]) -> Settings:
        """Return what file, environment and the options ``argv`` say together. Raises `ConfigError`."""
        self._parse_strictly(argv)
        return self._read_settings()

    def _read_settings(self) -> Settings:
        """Read file, environment and command line; each has more weight than the one before it."""
        if self.extra_args:
            raise ConfigError(f"unknown argument {self.extra_args[0]!r}: see {self.name} --help")
        options = command_line_settings(self.cli_config, SECTIONS)
        self.over = environment_settings(os.environ, SECTIONS)
        self.over.merge(options)
        named = self.config_file or os.environ.get(CONFIG_VARIABLE)
        own = Path(self.over.value("data_dir")) / NAME
        self.file = SettingsFile(Path(named) if named else own, own=not named)
        settings = Settings(SECTIONS)
        if named or os.access(own, os.F_OK):
            settings.merge(file_settings(Path(named or own), SECTIONS))
            self.file.check_own(settings)
        settings.merge(self.over)
        return settings

    @validate("listen")
    def _check_listen(self, proposal: dict[str, Any]) -> str:
        parse_listen(proposal["value"])
        return str(proposal["value"])

    def _parse_strictly(self, argv: list[str]) -> None:
        """Parse as traitlets does; raise `ConfigError` where it would log the values, keys too, and exit."""
        self.log.setLevel(logging.ERROR)
        try:
            Application.parse_command_line.__wrapped__(self, argv)  # type: ignore[attr-defined]
        except (ArgumentError, TraitError) as error:
            option = str(error).removeprefix("Error loading argument ").partition("=")[0]
            raise ConfigError(f"{option}: given twice, or not an option: see {self.name} --help") from error
        self.log.setLevel(self.log_level)

    def start(self) -> None:
        """Run the subcommand, or serve until a signal says to stop."""
        super().start()
        if not isinstance(self.subapp, Application):
            asyncio.run(self.serve())

    async def serve(self) -> None:
        """Start everything, serve, and stop everything in the opposite order."""
        self.set_log_level(self.log.level)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        gateway = Gateway(self)
        async with contextlib.AsyncExitStack() as stack:
            url = await gateway.setup(stack)
            print(_greeting(url), file=sys.stderr, flush=True)
            await stop.wait()
            self.log.info("stopping: sandboxes are %s", "kept" if gateway.keeps else "ended")

    def set_log_level(self, level: int | str) -> None:
        """Log at a level, and let the modules log as the application does."""
        self.log_level = level
        package = logging.getLogger("sandkasten_kernels")
        package.setLevel(self.log.level)
        package.handlers = self.log.handlers
        package.propagate = False

    def kernelspecs(self) -> Kernelspecs:
        """Return the kernelspecs on offer. Raises `ConfigError`."""
        return find_kernelspecs(self.settings)

    def sandbox_specs(self) -> list[SandboxSpec]:
        """Return what the sandboxes of each kernelspec are made of. Raises `ConfigError`."""
        defaults = Defaults(parent=self)
        return [sandbox_spec(spec, defaults) for spec in self.kernelspecs()]

    def engine_of(self, data: DataDir) -> Engine:
        """Return the engine for a data directory; nothing is asked of it yet. Raises `ConfigError`."""
        engine_class = find_engine(self.engine)
        engine = engine_class(parent=self, instance=data.instance(), run_dir=data.run_dir)
        engine.workspaces_dir = data.path / "workspaces"
        return engine


SECTIONS: Sections = {
    "": SandkastenApp,
    "defaults": Defaults,
    "pool": Pool,
    "workspace": WorkspaceSettings,
    "limits": Limits,
}


def main(argv: list[str] | None = None) -> None:
    """Run the command; exit with 2 for a wrong configuration, 1 for what failed later, each in one line."""
    app = SandkastenApp.instance()
    with one_line_errors():
        app.initialize(argv)
        app.start()


def _greeting(url: str) -> str:
    called = Path(sys.argv[0])
    program = shlex.quote(str(called.absolute())) if called.name == "sandkasten-kernels" else "sandkasten-kernels"
    # the environment of a process is its user's to read, its arguments are everybody's
    line = f"echo 'print(6 * 7)' | SANDKASTEN_URL={shlex.quote(url)} {program} run -"
    return f"\nThe gateway serves. Open it:\n\n    {url}\n\nor run code on it:\n\n    {line}\n\nCtrl-C stops it.\n"
