"""SessionRequest: the session that a caller asks for, through either API."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..engines import WORKSPACE, workspace_name
from ..errors import InvalidImage, InvalidRequest
from ..kernelspecs import DEFAULT_CULLING, Culling, Kernelspec, Kernelspecs
from ..store import Record

__all__ = ["SessionRequest", "directory", "environment", "jupyter_request"]

WORKSPACE_VARIABLE = "KERNEL_WORKSPACE"
MAX_ENV_BYTES = 64 * 1024

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_PLAIN = re.compile(r"[^\0\ud800-\udfff]*")


@dataclass(frozen=True, kw_only=True)
class SessionRequest:
    """A session that a caller asks for. Every value is checked already; None and empty values mean the default.

    Attributes
    ----------
    kernelspec: name of a kernelspec; None for that of ``image``, or the default one.
    image: name of an image, short or full; any kernelspec that stands for it. ``kernelspec`` takes precedence.
    env: variables of the kernel and the shell; never stored.
    origin: the API that the request came through, ``api`` or ``v1``.
    culling: when the session is to end; what it leaves None is the policy's to decide.
    mem_limit_mb, cpu_limit: limits of the sandbox, in MiB and in processors.
    workspace_id: name of a workspace; empty for a directory that goes with the session.
    """

    kernelspec: str | None = None
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    origin: str = "api"
    culling: Culling = DEFAULT_CULLING
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    mem_limit_mb: int | None = None
    cpu_limit: float | None = None
    workspace_id: str = ""

    def spec(self, specs: Kernelspecs) -> Kernelspec:
        """Return the kernelspec that the request means. Raises `UnknownKernelspec`, `InvalidImage`."""
        if self.kernelspec or self.image is None:
            return specs.get(self.kernelspec)
        if found := specs.for_image(self.image.removeprefix("sandbox-runtime:")):
            return found
        images = ", ".join(specs.images())
        raise InvalidImage(f"image: {self.image[:80]!r} is not allowed; choose one of: {images}")

    def stored(self) -> dict[str, Any]:
        """Return the fields that a `Record` has under the same names; the kernelspec and image are the claim's."""
        return {name: getattr(self, name) for name in _STORED}


_STORED = {field.name for field in fields(SessionRequest)} & {field.name for field in fields(Record)} - {
    "kernelspec",
    "image",
}


def jupyter_request(kernelspec: str | None, env: Any, allowed: Collection[str]) -> SessionRequest:
    """Return the request of a Jupyter client.

    Of ``env`` the kernel gets the variables ``KERNEL_*`` and those named in ``allowed``; the others are ignored.
    ``KERNEL_WORKSPACE`` names the workspace. Raises `InvalidRequest`, `InvalidWorkspace`.
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
    """Return the working directory that a client asks for; None unless it is below the workspace.

    JupyterLab sends a path of its own host in ``KERNEL_WORKING_DIR``, which means nothing in a sandbox.
    """
    path = posixpath.normpath(env.get("KERNEL_WORKING_DIR", ""))
    return path if path.startswith(WORKSPACE + "/") else None


def environment(env: Any) -> dict[str, str]:
    """Return checked variables for a session or a command; none for None. Raises `InvalidRequest`."""
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise InvalidRequest("env: must be an object of strings")
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"env: {name[:64]!r} is not the name of a variable: use letters, digits and _")
        if not isinstance(value, str) or not _PLAIN.fullmatch(value):
            raise InvalidRequest(f"env.{name}: must be a string without NUL characters or lone surrogates")
    if sum(len(name) + len(value.encode()) for name, value in env.items()) > MAX_ENV_BYTES:
        raise InvalidRequest(f"env: larger than {MAX_ENV_BYTES // 1024} KiB")
    return dict(env)
