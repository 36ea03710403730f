"""FromJson: a dataclass made of what the gateway answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

__all__ = ["FromJson"]


class FromJson:
    """Made of a JSON object: of its fields those that the class has, so that a newer gateway may say more."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return what the object says; a field that is null or absent has its default."""
        known = (entry.name for entry in fields(cls))  # type: ignore[arg-type]
        return cls(**{name: data[name] for name in known if data.get(name) is not None})
