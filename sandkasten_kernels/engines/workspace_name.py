"""The rule for names of workspaces, which every entry point checks: a name becomes a directory on the host."""

from __future__ import annotations

import re

from ..errors import InvalidWorkspace

__all__ = ["is_workspace_name", "workspace_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}[a-z0-9]")


def is_workspace_name(text: str) -> bool:
    """Return whether a string is allowed as the name of a workspace; it then is a safe directory name too."""
    return _NAME.fullmatch(text) is not None


def workspace_name(text: str, field: str) -> str:
    """Return the name if it is allowed. Raises `InvalidWorkspace`; its message begins with ``field``."""
    if not is_workspace_name(text):
        raise InvalidWorkspace(f"{field}: {text[:80]!r} is not 2 to 64 of a-z, 0-9 and -, with no - at its ends")
    return text
