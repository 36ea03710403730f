"""Engines by name: the entry points of the group ``sandkasten_kernels.engines``."""

from __future__ import annotations

from importlib.metadata import entry_points

from ..errors import ConfigError
from .base import Engine

__all__ = ["GROUP", "engine_names", "find_engine"]

GROUP = "sandkasten_kernels.engines"


def engine_names() -> list[str]:
    """Return the names of the installed engines."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_engine(name: str) -> type[Engine]:
    """Return the class of an engine. Raises `ConfigError` if none of that name is installed, loads, or is an engine."""
    point = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        raise ConfigError(f"engine: no engine {name!r} is installed: choose one of {', '.join(engine_names())}")
    package = point.dist.name if point.dist else "an unknown package"
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine: {name!r} of {package} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise ConfigError(f"engine: {point.value} of {package} is not a subclass of sandkasten_kernels.engines.Engine")
    return found
