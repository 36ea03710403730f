"""ConfiguredApp: an application that parses its command line strictly and merges it with file and environment."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator

from traitlets import TraitError
from traitlets.config import Application, Configurable
from traitlets.config.application import ClassesType
from traitlets.config.loader import ArgumentError

from ..errors import ConfigError
from .configuration import Configuration
from .keys import settings_name
from .settings import Settings
from .traits import RootSettings

__all__ = ["ConfiguredApp"]


class ConfiguredApp(RootSettings):
    """The gateway's program before it serves: what its subcommands need of it.

    Attributes
    ----------
    configuration: set by `initialize`, unless the command line names a subcommand.
    """

    configuration: Configuration

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read and check command line, environment and file. Raises `ConfigError`."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if argv[:1] == ["serve"]:
            argv = argv[1:]
        self._parse_strictly(argv)
        if not isinstance(self.subapp, Application):
            self.configuration = self._load()
            self.update_config(self.configuration.settings.config)

    def settings_of(self, argv: list[str]) -> Settings:
        """Return what file, environment and the options ``argv`` say together. Raises `ConfigError`."""
        self._parse_strictly(argv)
        return self._load().settings

    def _classes_with_config_traits(
        self, classes: ClassesType | None = None
    ) -> Generator[type[Configurable], None, None]:
        # each setting has one option: a class here that another one stands for in options has none
        return (cls for cls in super()._classes_with_config_traits(classes) if cls.__name__ == settings_name(cls))

    def _load(self) -> Configuration:
        if self.extra_args:
            raise ConfigError(f"unknown argument {self.extra_args[0]!r}: see {self.name} --help")
        return Configuration.load(self.cli_config, self.config_file)

    def _parse_strictly(self, argv: list[str]) -> None:
        """Parse as traitlets does, but raise `ConfigError` where it would log the values, keys too, and exit."""
        self.log.setLevel(logging.ERROR)
        try:
            Application.parse_command_line.__wrapped__(self, argv)  # type: ignore[attr-defined]
        except (ArgumentError, TraitError) as error:
            option = str(error).removeprefix("Error loading argument ").partition("=")[0]
            raise ConfigError(f"{option}: given twice, or not an option: see {self.name} --help") from error
        self.log.setLevel(self.log_level)
