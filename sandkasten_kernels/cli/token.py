"""``sandkasten-kernels token``: the token of the gateway of this configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from traitlets.config import Application

from ..client.runtime_file import read_running
from ..config.application import ConfiguredApp
from ..errors import ConfigError
from ..gateway.data_dir import new_token, token_of

__all__ = ["TokenApp"]


class TokenApp(Application):
    """Prints the token that callers need: `token`, with the options of `serve`. `token --new` makes another one, which
    counts from the gateway's next start; until then one that runs takes the token before it."""

    name = "sandkasten-kernels token"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels token
        sandkasten-kernels token --new --data-dir=/srv/sandkasten
    """

    def initialize(self, argv: list[str] | None = None) -> None:
        """Keep the options: all but ours are the gateway's own."""
        options = list(argv or [])
        if {"-h", "--help", "--help-all"}.intersection(options):
            super().initialize(["--help"])
        self._new = "--new" in options
        self._options = [option for option in options if option != "--new"]

    def start(self) -> None:
        """Print the token. Raises `ConfigError`."""
        gateway = cast(ConfiguredApp, self.parent)
        settings = gateway.settings_of(self._options)
        configured, data_dir = str(settings.value("api_key")), Path(str(settings.value("data_dir"))).absolute()
        if configured and self._new:
            raise ConfigError(f"token: api_key is set by {settings.place('api_key')}: change it there")
        token = configured or (new_token(data_dir) if self._new else token_of(data_dir))
        print(token)
        running = read_running(data_dir)
        if running and running.token != token:
            print("not yet: the gateway that runs takes the token before it until it is restarted", file=sys.stderr)
        elif self._new:
            print("it counts from the gateway's next start", file=sys.stderr)
