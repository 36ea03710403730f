"""``sandkasten-kernels config check|show|docs``: the configuration, without starting anything."""

from __future__ import annotations

import argparse
import json
from typing import Any

import yaml

from ..config import SECRETS, SECTIONS, Keys, Settings, configuration_docs
from ..errors import ConfigError
from ..gateway import check_settings
from .settings import SHORT_OPTIONS, SettingsCommand

__all__ = ["ConfigCommand"]

MASK = "********"


class ConfigCommand(SettingsCommand):
    """Checks the configuration, shows every value with the place where it is set, or prints the reference of all
    settings. A wrong configuration is one line on stderr and exit code 2."""

    examples = """\
  sandkasten-kernels config check --config=sandkasten.yaml   # print one line
  sandkasten-kernels config show --listen=127.0.0.1:9000     # print each value, and where it is set
  sandkasten-kernels config docs                             # print the reference of all settings"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("verb", choices=("check", "show", "docs"))
        parser.add_argument("--json", action="store_true", help="show as JSON, for programs")
        super().add_arguments(parser)

    def run(self, options: argparse.Namespace) -> int:
        if options.json and options.verb != "show":
            raise ConfigError("--json is an option of `config show` alone")
        settings = self.load(options).settings
        if options.verb == "check":
            print(_checked(settings))
        elif options.verb == "docs":
            print(configuration_docs(Keys(SECTIONS), SHORT_OPTIONS), end="")
        else:
            print(_as_json(settings) if options.json else _as_yaml(settings), end="")
        return 0


def _checked(settings: Settings) -> str:
    specs = check_settings(settings)
    names = ", ".join(spec.name for spec in specs)
    ignored = f"; ignored, without metadata.sandkasten: {', '.join(map(str, specs.foreign))}" if specs.foreign else ""
    return f"the configuration is right; kernelspecs: {names}, {specs.default.name} by default{ignored}"


def _values(settings: Settings) -> list[tuple[str, Any, str]]:
    """Return name, value and source of every key, with a mask in the place of secrets."""
    return [
        (key.name, _masked(key.path[-1], settings.value(*key.path)), settings.place(*key.path)) for key in settings.keys
    ]


def _masked(name: str, value: Any) -> Any:
    return MASK if name in SECRETS and value else value


def _as_json(settings: Settings) -> str:
    data = {name: {"value": value, "source": source} for name, value, source in _values(settings)}
    return json.dumps(data, indent=2) + "\n"


def _as_yaml(settings: Settings) -> str:
    """Return a configuration file with these values, and the source of each as a comment."""
    rows: list[tuple[str, str]] = []
    for name, value, source in _values(settings):
        section, _, last = name.rpartition(".")
        heading = f"{section}:"
        if section and heading not in [left for left, _ in rows]:
            rows.append((heading, ""))
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").rstrip("\n")
        rows.append((f"{'  ' if section else ''}{last}: {text}", f"# {source}"))
    width = min(60, max(len(left) for left, _ in rows))
    return "".join(f"{left:<{width}}  {right}".rstrip() + "\n" for left, right in rows)
