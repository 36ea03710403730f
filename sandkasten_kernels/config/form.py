"""The settings as a page shows them: traits, values, and the source of each value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml
from traitlets import Bool, Dict, Enum, Float, Int, List, TraitType, Unicode

from ..errors import ConfigError
from .docs import kind_in_words
from .document import Document
from .keys import Key, KeyPath, Keys
from .settings import Settings
from .validation import SECRETS, PositiveFloat

__all__ = ["AFTER_RESTART", "fault_of", "section_models", "value_of"]

AFTER_RESTART = "after restart"
_TITLES = {"": "gateway"}
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "CRITICAL"}


def section_models(settings: Settings, running: Settings) -> list[dict[str, Any]]:
    """Return ``name title settings`` of each section; ``running`` has the values that the gateway runs with."""
    return [
        {
            "name": section,
            "title": _TITLES.get(section, section),
            "settings": [_model(key, settings, running) for key in settings.keys if key.owner is owner],
        }
        for section, owner in settings.keys.sections.items()
    ]


def value_of(settings: Settings, path: KeyPath) -> Any:
    """Return a value for display and comparison: a log level by its name."""
    value = settings.value(*path)
    return _LEVELS.get(value, value) if path == ("log_level",) else value


def fault_of(error: ConfigError, keys: Keys) -> dict[str, Any]:
    """Return ``name line message`` of a fault.

    ``name`` is the key, empty for a fault of the whole file; ``line`` is 0 for a fault outside the file.
    """
    path = error.path or tuple(str(error).partition(": ")[0].split("."))
    for length in (2, 1):
        if path[:length] in {key.path for key in keys}:
            inside = ".".join(path[length:])
            problem = error.problem if error.line or not error.path else str(error)
            message = f"{inside}: {problem}" if inside and error.line else problem
            return {"name": ".".join(path[:length]), "line": error.line, "message": message}
    message = f"{'.'.join(error.path)}: {error.problem}" if error.path else error.problem
    return {"name": "", "line": error.line, "message": message}


def _model(key: Key, settings: Settings, running: Settings) -> dict[str, Any]:
    secret = key.path[-1] in SECRETS
    source = _source(key, settings)
    value, runs = value_of(settings, key.path), value_of(running, key.path)
    model = {
        "name": key.name,
        "help": key.trait.help,
        "type": {**_type(key.trait), "expected": kind_in_words(key.trait)},
        "source": source,
        "place": settings.place(*key.path),
        "editable": source in ("file", "default"),
        "applies": key.applies or AFTER_RESTART,
        "after_restart": value != runs,
        "secret": secret,
    }
    if secret:
        return {**model, "type": {"kind": "secret", "expected": "a string"}, "set": bool(value)}
    default = _LEVELS.get(key.default(), key.default()) if key.name == "log_level" else key.default()
    model = {**model, "default": default, "value": value, "running": runs}
    if _type(key.trait)["kind"] == "yaml":
        model["yaml"] = yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if value else ""
    return model


def _source(key: Key, settings: Settings) -> str:
    if not settings.given(*key.path):
        return "default"
    if isinstance(settings.origins[key.path], Document):
        return "file"
    return "command line" if settings.place(*key.path) == "command line" else "environment"


def _type(trait: TraitType[Any, Any]) -> Mapping[str, Any]:
    """Return the kind of form field for a trait, with its bounds or choices."""
    if isinstance(trait, Bool):
        return {"kind": "boolean"}
    if isinstance(trait, Enum):
        return {"kind": "choice", "choices": [value for value in trait.values or () if isinstance(value, str)]}
    if isinstance(trait, Int | Float):
        bounds = {"min": 0.0 if isinstance(trait, PositiveFloat) else trait.min, "max": trait.max}
        # traitlets says infinity for no bound, which JSON does not have
        known = {name: bound for name, bound in bounds.items() if bound is not None and math.isfinite(bound)}
        return {"kind": "integer" if isinstance(trait, Int) else "number", **known}
    if isinstance(trait, Unicode):
        return {"kind": "text"}
    if isinstance(trait, List) and isinstance(trait._trait, Unicode):  # noqa: SLF001  traitlets has no public name
        return {"kind": "list"}
    if isinstance(trait, Dict) and isinstance(trait._value_trait, Int):  # noqa: SLF001
        return {"kind": "numbers"}
    return {"kind": "yaml"}
