"""Settings: the values of file, environment and command line, each with its origin."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from traitlets import HasTraits
from traitlets.config import Config
from traitlets.config.loader import DeferredConfig, LazyConfigValue

from ..errors import ConfigError
from .document import Document, shown
from .keys import Key, KeyPath, Keys, Sections, settings_name
from .validation import fault

__all__ = ["Settings", "ValueOrigin", "command_line_settings", "document_settings", "file_settings"]


class ValueOrigin(Protocol):
    """The origin of values: a file, an environment variable, the command line."""

    @property
    def base(self) -> Path:
        """The directory that relative paths start from."""

    def place(self, path: KeyPath) -> str:
        """Return the place of the value at ``path``: ``sandkasten.yaml:3``."""

    def error(self, path: KeyPath, problem: str) -> ConfigError:
        """Return the error for the value at ``path``."""


class Settings:
    """The given values, as a `Config`, and the origin of each by its key."""

    def __init__(self, sections: Sections) -> None:
        self.keys = Keys(sections)
        self.config = Config()
        self.origins: dict[KeyPath, ValueOrigin] = {}

    def set(self, key: Key, value: Any, origin: ValueOrigin) -> None:
        """Set ``key`` to a checked value."""
        self.config[key.class_name][key.path[-1]] = value
        self.origins[key.path] = origin

    def merge(self, other: Settings) -> None:
        """Take the values of ``other``, which replace those that are set here."""
        # Config.merge takes nested values over by reference
        self.config.merge(deepcopy(other.config))
        self.origins.update(other.origins)

    def value(self, *path: str) -> Any:
        """Return the value of a key: the given one, else the default."""
        key = self.keys[path]
        if path not in self.origins:
            return key.default()
        bearer = key.owner.__new__(key.owner)
        # set on an instance, so that traitlets converts the value as it does for the running part
        setattr(bearer, path[-1], _plain(key, self.config[key.class_name][path[-1]]))
        return getattr(bearer, path[-1])

    def given(self, *path: str) -> bool:
        """Return whether the key has a given value."""
        return path in self.origins

    def place(self, *path: str) -> str:
        """Return the place of a key's value; ``default`` for the default."""
        return self.origins[path].place(path) if path in self.origins else "default"

    def base(self, *path: str) -> Path:
        """Return the directory that relative paths in the key's value start from."""
        return self.origins[path].base if path in self.origins else Path()

    def error(self, path: KeyPath, problem: str) -> ConfigError:
        """Return the error for a value or a part of it, with its place where it was given."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]].error(path, problem)
        return ConfigError(f"{'.'.join(map(shown, path))}: {problem}", path=path, problem=problem)


class CommandLineOption(NamedTuple):
    """The command line as the origin of a value."""

    option: str
    depth: int
    base: Path = Path()

    def place(self, path: KeyPath) -> str:
        return "command line"

    def error(self, path: KeyPath, problem: str) -> ConfigError:
        message = f"{'.'.join((self.option, *map(shown, path[self.depth :])))}: {problem}"
        return ConfigError(message, path=path, problem=problem)


def file_settings(path: Path, sections: Sections) -> Settings:
    """Return the settings of the YAML file ``path``.

    An empty file or section sets nothing. Raises `ConfigError` for a file that cannot be read or is not a plain YAML
    mapping, for an unknown key and for a wrong value.
    """
    return document_settings(Document.read(path), sections)


def document_settings(document: Document, sections: Sections) -> Settings:
    """Return the settings of a YAML file that is already read. Raises `ConfigError` like `file_settings`."""
    settings = Settings(sections)
    for key, value in settings.keys.read(document.data, document.error):
        settings.set(key, value, document)
    return settings


def command_line_settings(config: Config, sections: Sections) -> Settings:
    """Return the settings of a parsed command line.

    As in traitlets, an option of a parent class applies to the class (``--Application.log_level=DEBUG``). Raises
    `ConfigError` for an unknown class or trait and for a wrong value.
    """
    settings = Settings(sections)
    settings.config.merge(deepcopy(config))
    classes = _classes(sections)
    # from the most general class to the most special one, which overrides the others
    for name, values in sorted(config.items(), key=lambda item: len(getattr(classes.get(item[0]), "__mro__", ()))):
        owner = classes.get(name)
        if owner is None:
            option = f"{name}.{next(iter(values), '')}" if isinstance(values, dict) else name
            raise ConfigError(f"--{shown(option)}: unknown option{settings.keys.option_hint(option)}")
        for trait_name, value in values.items():
            if not isinstance(value, LazyConfigValue):  # a read of an unset attribute leaves one
                _check_option(owner, trait_name, value, settings.keys)
                for key in settings.keys:
                    if key.path[-1] == trait_name and issubclass(key.owner, owner):
                        settings.set(key, value, CommandLineOption(f"--{name}.{trait_name}", len(key.path)))
    return settings


def _check_option(owner: type[HasTraits], name: str, value: Any, keys: Keys) -> None:
    option, trait = f"{settings_name(owner)}.{name}", owner.class_traits(config=True).get(name)
    if trait is None:
        raise ConfigError(f"--{shown(option)}: unknown option{keys.option_hint(option)}")
    try:
        # traitlets collects a repeated option in a list, which only a container accepts
        plain = value.get_value(trait) if isinstance(value, DeferredConfig) else value
    except ValueError:
        raise ConfigError(f"--{option}: given more than once") from None
    found = fault(owner, trait, plain)
    if found is not None:
        inside, problem = found
        raise ConfigError(f"--{'.'.join((option, *map(shown, inside)))}: {problem}")


def _plain(key: Key, value: Any) -> Any:
    return value.get_value(key.trait) if isinstance(value, DeferredConfig) else value


def _classes(sections: Sections) -> dict[str, type[HasTraits]]:
    """Return the classes of the sections, and their parents with settings, by name."""
    parents = (parent for cls in sections.values() for parent in cls.__mro__ if issubclass(parent, HasTraits))
    return {settings_name(parent): parent for parent in parents if parent.class_traits(config=True)}
