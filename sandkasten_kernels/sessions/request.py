"""What is wanted of a session, whoever asks for it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engines.base import WORKSPACE
from ..engines.workspace_name import workspace_name
from ..errors import InvalidRequest
from ..kernelspecs.metadata import DEFAULT_CULLING, Culling
from .session import Origin

__all__ = ["SessionRequest", "directory", "environment", "jupyter_request"]

WORKSPACE_VARIABLE = "KERNEL_WORKSPACE"
MAX_ENV_BYTES = 64 * 1024

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_PLAIN = re.compile(r"[^\0\ud800-\udfff]*")


@dataclass(frozen=True, kw_only=True)
class SessionRequest:
    """A session that is asked for: a kernelspec's name, and what its kernel, its shell and the lists get to know.

    ``env`` is checked already; ``workspace_id`` is empty for a workspace that goes with the session;
    ``mem_limit_mb`` and ``cpu_limit`` are None for what is usual, and so is what ``culling`` does not say.
    """

    kernelspec: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = "api"
    culling: Culling = DEFAULT_CULLING
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    mem_limit_mb: int | None = None
    cpu_limit: float | None = None
    workspace_id: str = ""


def jupyter_request(kernelspec: str | None, env: Any, allowed: Collection[str]) -> SessionRequest:
    """Return what a Jupyter client asks for: of its ``env`` a kernel gets ``KERNEL_*`` and the names ``allowed``.

    ``KERNEL_WORKSPACE`` names its workspace. Raises `InvalidRequest`, `InvalidWorkspace`.
    """
    if env is None:
        return SessionRequest(kernelspec=kernelspec)
    if not isinstance(env, Mapping):
        raise InvalidRequest("env must be an object of strings")
    taken = environment({name: value for name, value in env.items() if name.startswith("KERNEL_") or name in allowed})
    workspace = taken.get(WORKSPACE_VARIABLE, "")
    return SessionRequest(
        kernelspec=kernelspec,
        env=taken,
        workspace_id=workspace and workspace_name(workspace, WORKSPACE_VARIABLE),
    )


def directory(env: Mapping[str, str]) -> str | None:
    """Return the directory a client asks for, if it is one of the workspace's; a path of the client's host is not."""
    path = posixpath.normpath(env.get("KERNEL_WORKING_DIR", ""))
    return path if path.startswith(WORKSPACE + "/") else None


def environment(env: Any) -> dict[str, str]:
    """Return variables for a session or a command. Raises `InvalidRequest`."""
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise InvalidRequest("env: must be an object of texts")
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"env: {name[:64]!r} is no name of a variable")
        if not isinstance(value, str) or not _PLAIN.fullmatch(value):
            raise InvalidRequest(f"env.{name}: must be a text without NUL or lone surrogates")
    if sum(len(name) + len(value.encode()) for name, value in env.items()) > MAX_ENV_BYTES:
        raise InvalidRequest(f"env: larger than {MAX_ENV_BYTES // 1024} KiB")
    return dict(env)
