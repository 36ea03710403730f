"""Configuration: file, environment and command line, read and merged, before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from traitlets.config import Config

from .environment import CONFIG_VARIABLE, environment_settings
from .file import NAME, SettingsFile
from .settings import Settings, command_line_settings, file_settings
from .traits import SECTIONS

__all__ = ["Configuration"]


@dataclass(frozen=True)
class Configuration:
    """The settings of one gateway and where they come from.

    Attributes
    ----------
    settings: every value with its origin.
    file: the configuration file, which need not exist.
    over: environment and command line alone, which override the file.
    """

    settings: Settings
    file: SettingsFile
    over: Settings

    @classmethod
    def load(cls, options: Config, config_file: str = "", environ: Mapping[str, str] = os.environ) -> Configuration:
        """Return what file, environment and command line say together; each overrides the one before it.

        Parameters
        ----------
        options: the parsed command line.
        config_file: the file that the command line names; empty: ``SANDKASTEN_CONFIG`` names it, or else it is
            ``settings.yaml`` in ``data_dir``, which may be absent.

        Raises `ConfigError` for an unknown key or variable, a wrong value, and a named file that cannot be read.
        """
        over = environment_settings(environ, SECTIONS)
        over.merge(command_line_settings(options, SECTIONS))
        named = config_file or environ.get(CONFIG_VARIABLE)
        # from environment and command line alone: a file in data_dir cannot say where data_dir is
        own = Path(over.value("data_dir")) / NAME
        file = SettingsFile(Path(named) if named else own, own=not named)
        settings = Settings(SECTIONS)
        # a named file must exist: with a misspelt path the gateway would start with the defaults
        if named or os.access(own, os.F_OK):
            settings.merge(file_settings(Path(named or own), SECTIONS))
            file.check_own(settings)
        settings.merge(over)
        return cls(settings, file, over)
