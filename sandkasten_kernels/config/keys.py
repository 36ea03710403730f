"""The keys of a configuration: their names in file, environment and command line, and hints for wrong names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from traitlets import HasTraits, TraitType

from ..errors import ConfigError
from .validation import fault, in_words

__all__ = ["Key", "KeyPath", "Keys", "MakeError", "Sections", "nearest", "settings_name"]

Sections: TypeAlias = Mapping[str, type[HasTraits]]
"""The class of settings of each section, by its name; "" is the root."""

KeyPath: TypeAlias = tuple[str, ...]
"""The path of a key, or of a part of its value: ``("pool", "images", "python")``."""

MakeError: TypeAlias = Callable[[KeyPath, str], ConfigError]
"""Returns the error for a path and a problem, with the place in the file, environment or command line."""

PREFIX = "SANDKASTEN_"
SHORT_SECTION = "defaults"


@dataclass(frozen=True)
class Key:
    """One setting: its path, the class that has it, and its trait."""

    path: KeyPath
    owner: type[HasTraits]
    trait: TraitType[Any, Any]

    @property
    def name(self) -> str:
        """The key with its section: ``pool.images``."""
        return ".".join(self.path)

    @property
    def option(self) -> str:
        """The command line option: ``--Pool.images``."""
        return f"--{self.class_name}.{self.path[-1]}"

    @property
    def class_name(self) -> str:
        """The class name in options and in a `Config`, which is that of the part with these settings."""
        return settings_name(self.owner)

    @property
    def applies(self) -> str:
        """What a saved change applies to while the gateway runs; empty: it takes effect after a restart."""
        return str(self.trait.metadata.get("applies", ""))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set the key; keys of ``defaults`` have a second one without the section."""
        names = [self.path[1:], self.path] if self.path[0] == SHORT_SECTION and self.path[1:] else [self.path]
        return tuple(PREFIX + "_".join(name).upper().replace(".", "_") for name in names)

    def fault(self, value: Any) -> tuple[KeyPath, str] | None:
        """Return the place and the description of the first fault in ``value``; None for a valid value."""
        found = fault(self.owner, self.trait, value)
        return None if found is None else ((*self.path, *found[0]), found[1])

    def default(self) -> Any:
        """Return the value when nobody sets it."""
        # traitlets sets up traits and defaults in __new__; an Application's __init__ does more
        return getattr(self.owner.__new__(self.owner), self.path[-1])


class Keys:
    """The keys of ``sections``, iterated in the order in which the classes declare them."""

    def __init__(self, sections: Sections) -> None:
        self.sections = sections
        self._keys: dict[KeyPath, Key] = {}
        for section, owner in sections.items():
            for name, trait in _file_traits(owner).items():
                path = (section, name) if section else (name,)
                self._keys[path] = Key(path, owner, trait)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    def __getitem__(self, path: KeyPath) -> Key:
        return self._keys[path]

    def read(self, data: Mapping[str, Any], error: MakeError) -> Iterator[tuple[Key, Any]]:
        """Yield each key that ``data`` sets, with its value; raise ``error(...)`` for an unknown key or wrong value."""
        for name, value in data.items():
            if (name,) in self._keys:
                yield self._checked((name,), value, error)
            elif not name or name not in self.sections:
                raise error((name,), f"unknown key{self.hint((name,))}")
            elif isinstance(value, dict):
                for inner, inner_value in value.items():
                    if (name, inner) not in self._keys:
                        raise error((name, inner), f"unknown key{self.hint((name, inner))}")
                    yield self._checked((name, inner), inner_value, error)
            elif value is not None:
                # None: a section with every key commented out, which sets nothing
                known = ", ".join(sorted(self._names(name)))
                raise error((name,), f"expected a mapping with some of {known}, got {in_words(value)}")

    def hint(self, path: KeyPath) -> str:
        """Return the end of an error message: the nearest key, first of the same section, else the known keys."""
        section = ".".join(path[:-1])
        outer, _, inner = path[-1].partition(".")
        if inner and outer and outer in self.sections:
            return f"; write {inner} under {outer}:"
        beside = self._names(section)
        if not section:
            beside += filter(None, self.sections)
        if (match := nearest(path[-1], beside)) is not None:
            return f"; did you mean {'.'.join((*path[:-1], match))}?"
        elsewhere = {key.path[-1]: key.name for key in self if ".".join(key.path[:-1]) != section}
        if (match := nearest(path[-1], elsewhere)) is not None:
            return f"; did you mean {elsewhere[match]}?"
        return f"; known: {', '.join(sorted(beside))}"

    def option_hint(self, option: str) -> str:
        """Return the end of an error message: the nearest option of the command line; empty if none is near."""
        classes = self.sections.values()
        options = [f"{settings_name(cls)}.{name}" for cls in classes for name in cls.class_traits(config=True)]
        # reversed: of classes with the same trait the first one wins
        by_name = {known.partition(".")[2]: known for known in reversed(options)}
        match = nearest(option, options) or by_name.get(nearest(option.rpartition(".")[2], by_name) or "")
        return f"; did you mean --{match}?" if match is not None else ""

    def _names(self, section: str) -> list[str]:
        return [key.path[-1] for key in self if ".".join(key.path[:-1]) == section]

    def _checked(self, path: KeyPath, value: Any, error: MakeError) -> tuple[Key, Any]:
        key = self._keys[path]
        if (found := key.fault(value)) is not None:
            raise error(*found)
        return key, value


def settings_name(owner: type[HasTraits]) -> str:
    """Return the name by which a `Config` knows a class of settings: its attribute `settings_name`, else its own."""
    return str(getattr(owner, "settings_name", owner.__name__))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in ``known`` that is nearest to ``name``; None when none is near."""
    folded = {other.casefold().replace("-", "_"): other for other in known}
    matches = difflib.get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.7)
    return folded[matches[0]] if matches else None


def _file_traits(owner: type[HasTraits]) -> dict[str, TraitType[Any, Any]]:
    """Return the traits that are keys, in declared order: those of this project, and `log_level` of traitlets."""
    # class_traits() is sorted by name; vars() has the order of the declarations
    names = {name: None for parent in owner.__mro__ for name in vars(parent)}
    traits = owner.class_traits(config=True)
    return {
        name: trait
        for name in names
        if (trait := traits.get(name)) is not None
        and not trait.metadata.get("command_line_only")
        and (name == "log_level" or not trait.this_class.__module__.startswith("traitlets."))
    }
