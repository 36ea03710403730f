"""SettingsCommand: the base class of the commands that read the gateway's configuration."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import DeferredConfigList

from ..config import SECRETS, SECTIONS, Configuration, Keys, RootSettings
from .base import Command

__all__ = ["SHORT_OPTIONS", "SettingsCommand", "option_values"]

CONFIG_FILE = f"{RootSettings.settings_name}.config_file"
LOG_LEVEL = f"{RootSettings.settings_name}.log_level"
SHORT_OPTIONS = {
    f"{RootSettings.settings_name}.{name.replace('-', '_')}": name
    for name in ("listen", "api-key", "engine", "data-dir", "log-level")
}
"""The settings that have a short option as well: ``{"SandkastenApp.data_dir": "data-dir"}``."""


class SettingsCommand(Command):
    """A command that reads the gateway's configuration, with an option for every setting: ``--Section.key=value``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of all settings; ``--help`` shows the short ones, ``--help-all`` every one."""
        hidden: list[tuple[argparse.Action, str]] = []
        parser.add_argument(
            "--help-all",
            action=_HelpAll,
            const=hidden,
            help="show this help with the options of all settings, and exit",
        )
        parser.set_defaults(settings={})
        group = parser.add_argument_group(
            "settings",
            "Each setting is also a key of the configuration file and an environment variable "
            "(docs/configuration.md). Give an option for a list or mapping several times to add items.",
        )
        _add_setting(group, "--config", CONFIG_FILE, RootSettings.config_file.help)
        for key in Keys(SECTIONS):
            target, text = key.option.removeprefix("--"), key.trait.help
            if key.path[-1] in SECRETS:
                text += f" `ps` shows this option to every user: set {key.variables[0]} or the file's key instead."
            if target in SHORT_OPTIONS:
                _add_setting(group, f"--{SHORT_OPTIONS[target]}", target, text)
            hidden.append((_add_setting(group, key.option, target, argparse.SUPPRESS), text))
        group.add_argument("--debug", action="store_true", help="Log messages of every level.")

    def prepare(self, parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
        """Declare unknown options as settings, so that `Configuration.load` reports each with the nearest right one.

        A value in a word of its own then belongs to its option; no message takes it for an argument and repeats it.
        """
        for word in argv:
            option = word.partition("=")[0]
            if option.startswith("--") and option != "--":
                with contextlib.suppress(argparse.ArgumentError):  # the option exists
                    _add_setting(parser, option, option.removeprefix("--"), argparse.SUPPRESS)
        return argv

    def load(self, options: argparse.Namespace) -> Configuration:
        """Return what file, environment and the parsed options say together. Raises `ConfigError`."""
        return Configuration.load(option_values(options), options.settings.get(CONFIG_FILE, [""])[-1])


def option_values(options: argparse.Namespace) -> Config:
    """Return the values of the parsed options by class and trait, as strings that are not checked yet."""
    config = Config()
    given = {**options.settings, **({LOG_LEVEL: DeferredConfigList(["DEBUG"])} if options.debug else {})}
    for target, values in given.items():
        owner, _, name = target.rpartition(".")
        (config.setdefault(owner, Config()) if owner else config)[name] = values
    return config


class _SettingAction(argparse.Action):
    """Append the value of an option to the values of its setting; more than one is an error except for containers."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        namespace.settings.setdefault(self.dest, DeferredConfigList()).append(values)


class _HelpAll(argparse.Action):
    """Show the help with the hidden options: ``const`` has each of them with its help text."""

    def __init__(self, option_strings: list[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for action, text in self.const:
            action.help = text.replace("%", "%%")
        parser.print_help()
        parser.exit()


def _add_setting(container: Any, option: str, target: str, text: str) -> argparse.Action:
    """Add an option, with ``text`` as its help, for the setting ``target`` (``Section.key``)."""
    # argparse formats help texts with the % operator
    text = text if text is argparse.SUPPRESS else text.replace("%", "%%")
    action: argparse.Action = container.add_argument(
        option, action=_SettingAction, dest=target, metavar="VALUE", default=argparse.SUPPRESS, help=text
    )
    return action
