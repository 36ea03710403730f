"""Engines by name: the entry points of the group ``sandkasten_kernels.engines``."""

from __future__ import annotations

from importlib.metadata import entry_points

from ..errors import ConfigError
from .base import Engine

__all__ = ["GROUP", "engine_names", "find_engine"]

GROUP = "sandkasten_kernels.engines"


def engine_names() -> list[str]:
    """Return the names of the engines that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_engine(name: str) -> type[Engine]:
    """Return the class of an installed engine. Raises `ConfigError` for one that cannot be loaded or is no engine."""
    point = next(iter(entry_points(group=GROUP, name=name)))
    package = point.dist.name if point.dist else "an unknown package"
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine: {name!r} of {package} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise ConfigError(f"engine: {point.value} of {package} is not a subclass of sandkasten_kernels.engines.Engine")
    return found
