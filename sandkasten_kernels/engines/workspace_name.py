"""What a workspace may be called: asked at every door that a name can come in by."""

from __future__ import annotations

import re

from ..errors import InvalidWorkspace

__all__ = ["is_workspace_name", "workspace_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}[a-z0-9]")


def is_workspace_name(text: str) -> bool:
    """Return whether a workspace may be called so: then it is also a name of a directory, and none that leads out."""
    return _NAME.fullmatch(text) is not None


def workspace_name(text: str, field: str) -> str:
    """Return a name that came in as ``field``. Raises `InvalidWorkspace`."""
    if not is_workspace_name(text):
        raise InvalidWorkspace(f"{field}: {text[:80]!r} is not 2 to 64 of a-z, 0-9 and -, with no - at its ends")
    return text
