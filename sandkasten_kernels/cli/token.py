"""``sandkasten-kernels token``: shows the gateway's token, or makes a new one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..client.runtime_file import read_running
from ..errors import ConfigError
from ..gateway import new_token, token_of
from .settings import SettingsCommand

__all__ = ["TokenCommand"]


class TokenCommand(SettingsCommand):
    """Prints the token that clients must send: pass it to them as SANDKASTEN_API_KEY, not on a command line.

    With --new it makes a new token, which the gateway takes from its next start on.
    """

    examples = """\
  sandkasten-kernels token
  export SANDKASTEN_API_KEY="$(sandkasten-kernels token)"
  sandkasten-kernels token --new --data-dir=/srv/sandkasten"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--new", action="store_true", help="replace the token by a new one")
        super().add_arguments(parser)

    def run(self, options: argparse.Namespace) -> int:
        settings = self.load(options).settings
        configured, data_dir = str(settings.value("api_key")), Path(str(settings.value("data_dir"))).absolute()
        if configured and options.new:
            raise ConfigError(f"api_key is set by {settings.place('api_key')}: change it there")
        token = configured or (new_token(data_dir) if options.new else token_of(data_dir))
        print(token)
        running = read_running(data_dir)
        if running and running.token != token:
            print("the running gateway takes its previous token until it is restarted", file=sys.stderr)
        elif options.new:
            print("the gateway takes this token from its next start on", file=sys.stderr)
        return 0
