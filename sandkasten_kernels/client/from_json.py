"""FromJson: dataclasses made from the gateway's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

__all__ = ["FromJson"]


class FromJson:
    """Made from a JSON object. Unknown fields are ignored, because a newer gateway may send more."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return an instance; a field that is null or absent gets its default."""
        known = (entry.name for entry in fields(cls))  # type: ignore[arg-type]
        return cls(**{name: data[name] for name in known if data.get(name) is not None})
