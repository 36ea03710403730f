"""``sandkasten-kernels config check|show|docs``: the configuration, before anything is started."""

from __future__ import annotations

import json
from typing import Any, cast

import yaml
from traitlets.config import Application

from ..config.application import ConfiguredApp
from ..config.docs import configuration_docs
from ..config.settings import Settings
from ..config.validation import SECRETS
from ..errors import ConfigError
from ..gateway.checks import check_settings

__all__ = ["ConfigApp"]

USAGE = "usage: config check|show|docs, and then the options of serve (and --json for show)"
MASK = "********"


class ConfigApp(Application):
    """Says what the gateway would run with: ``config check``, ``config show [--json]`` or ``config docs``, with the
    options of ``serve``."""

    name = "sandkasten-kernels config"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels config check --config=sandkasten.yaml   # one line; exit code 2 when something is wrong
        sandkasten-kernels config show --listen=127.0.0.1:9000     # each value, and where it was set
        sandkasten-kernels config docs                             # all there is to set
    """

    def initialize(self, argv: list[str] | None = None) -> None:
        """Keep the arguments: they are the gateway's own, after the verb."""
        verb, *self._options = argv or [""]
        if verb in ("-h", "--help", "--help-all"):
            super().initialize([verb])
        if verb not in ("check", "show", "docs"):
            raise ConfigError(f"config: unknown argument {verb!r}; {USAGE}")
        self._verb = verb

    def start(self) -> None:
        """Do what the verb says. Raises `ConfigError`."""
        as_json = self._verb == "show" and "--json" in self._options
        options = [option for option in self._options if not (as_json and option == "--json")]
        if options and not options[0].startswith("-"):
            raise ConfigError(f"config: unknown argument {options[0]!r}; {USAGE}")
        gateway = cast(ConfiguredApp, self.parent)
        settings = gateway.settings_of(options)
        if self._verb == "check":
            print(_checked(settings))
        elif self._verb == "docs":
            aliases = {option: alias for alias, option in gateway.aliases.items()}
            print(configuration_docs(settings.keys, aliases), end="")
        else:
            print(_as_json(settings) if as_json else _as_yaml(settings), end="")


def _checked(settings: Settings) -> str:
    specs = check_settings(settings)
    names = ", ".join(spec.name for spec in specs)
    ignored = (
        f"; passed over, without metadata.sandkasten: {', '.join(map(str, specs.foreign))}" if specs.foreign else ""
    )
    return f"the configuration is right; kernelspecs: {names}, {specs.default.name} by default{ignored}"


def _values(settings: Settings) -> list[tuple[str, Any, str]]:
    """Return name, value and source of every key; a secret is masked."""
    return [
        (key.name, _masked(key.path[-1], settings.value(*key.path)), settings.place(*key.path)) for key in settings.keys
    ]


def _masked(name: str, value: Any) -> Any:
    return MASK if name in SECRETS and value else value


def _as_json(settings: Settings) -> str:
    data = {name: {"value": value, "source": source} for name, value, source in _values(settings)}
    return json.dumps(data, indent=2) + "\n"


def _as_yaml(settings: Settings) -> str:
    """Return a YAML file that says the same, with the source of each value as a comment."""
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
