"""The errors for users, and `ConfigError` for the operator before anything has started.

Any other exception is a defect: the gateway logs it with an id and answers a bare 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

__all__ = [
    "ConfigError",
    "EngineError",
    "FileRefused",
    "ForeignPage",
    "ImageBuildError",
    "InvalidImage",
    "InvalidRequest",
    "InvalidSettings",
    "InvalidWorkspace",
    "KernelDead",
    "LimitReached",
    "NoCapacity",
    "NoSpace",
    "SandboxFailed",
    "SandkastenError",
    "SessionEnded",
    "SettingsChanged",
    "SettingsReadOnly",
    "StoreFailed",
    "TooLarge",
    "TooMany",
    "Unauthorized",
    "UnknownFile",
    "UnknownKernel",
    "UnknownKernelspec",
    "UnknownNotebookSession",
    "UnknownWorkspace",
    "WorkspaceInUse",
]


class SandkastenError(Exception):
    """The public family of errors.

    Attributes
    ----------
    status: HTTP status.
    code: identifier of the error for programs, as ``NO_CAPACITY``.
    message: a sentence that clients get as it is; it contains no path of the host and no secret.
    retry_after: seconds after which the same request may succeed; None where a retry does not help.
    details: further data for programs.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"
    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class InvalidRequest(SandkastenError):
    """The request is malformed or names a thing that does not exist."""

    status = 400
    code = "INVALID_REQUEST"


class Unauthorized(SandkastenError):
    """The caller sent no token, or a wrong one."""

    status = 401
    code = "UNAUTHORIZED"


class ForeignPage(SandkastenError):
    """A browser sent its cookie, but nothing proves that one of the gateway's own pages made the request."""

    status = 403
    code = "FOREIGN_PAGE"


class TooLarge(SandkastenError):
    """The body of the request exceeds its limit."""

    status = 413
    code = "TOO_LARGE"


class InvalidImage(InvalidRequest):
    """No kernelspec runs in the requested image."""

    code = "INVALID_IMAGE"


class InvalidSettings(InvalidRequest):
    """The settings of a save are wrong; ``details.errors`` has ``name``, ``line`` and ``message`` of each fault.

    ``name`` is empty for a fault of the whole text; ``line`` is 0 for a fault outside the file.
    """

    code = "INVALID_SETTINGS"

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        first = errors[0]
        message = f"{first['name']}: {first['message']}" if first["name"] else str(first["message"])
        super().__init__(message + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""))
        self.details = {"errors": list(errors)}


class SettingsChanged(SandkastenError):
    """Somebody else saved the settings after the caller had read them."""

    status = 409
    code = "SETTINGS_CHANGED"


class SettingsReadOnly(SandkastenError):
    """The gateway cannot read or write the configuration file."""

    status = 403
    code = "SETTINGS_READ_ONLY"


class InvalidWorkspace(InvalidRequest):
    """The requested name is not a valid name of a workspace."""

    code = "INVALID_WORKSPACE"


class LimitReached(SandkastenError):
    """The owner has reached a limit; ending a session helps. Status 403 on ``/api`` and 429 on ``/v1``."""

    status = 403
    code = "LIMIT_REACHED"


class TooMany(LimitReached):
    """Too many operations run at once; waiting helps."""

    status = 429


class SessionEnded(SandkastenError):
    """The session has ended; the message has the reason."""

    status = 410
    code = "SESSION_EXPIRED"


class KernelDead(SandkastenError):
    """The session's kernel has ended and does not restart by itself; its shell and its files still exist."""

    status = 409
    code = "KERNEL_DEAD"


class UnknownFile(SandkastenError):
    """The sandbox has no such file."""

    status = 404
    code = "FILE_NOT_FOUND"


class FileRefused(SandkastenError):
    """The path leads to another kind of file than requested, or out of the workspace."""

    status = 400
    code = "INVALID_REQUEST"


class NoSpace(SandkastenError):
    """The sandbox has no space left for the sent data."""

    status = 507
    code = "NO_SPACE"


class UnknownKernel(SandkastenError):
    """The caller has no kernel of this id, or no longer."""

    status = 404
    code = "SESSION_NOT_FOUND"


class UnknownNotebookSession(SandkastenError):
    """No notebook session has this id, or no longer."""

    status = 404
    code = "SESSION_NOT_FOUND"


class UnknownKernelspec(SandkastenError):
    """No kernelspec on offer has this name, or the kernelspec has no such file."""

    status = 404
    code = "KERNELSPEC_NOT_FOUND"


class UnknownWorkspace(SandkastenError):
    """No workspace has this name."""

    status = 404
    code = "WORKSPACE_NOT_FOUND"


class WorkspaceInUse(SandkastenError):
    """A session uses the workspace, so it cannot be deleted."""

    status = 409
    code = "WORKSPACE_IN_USE"


class _Transient(SandkastenError):
    """A 503: the same request may succeed after `retry_after` seconds, which are always set."""

    status = 503
    retry_after: int

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message, retry_after=retry_after)


class NoCapacity(_Transient):
    """Every sandbox that may run is in use."""

    code = "NO_CAPACITY"


class EngineError(_Transient):
    """The engine does not answer, or an image is missing; the message has the way out."""

    code = "ENGINE_UNAVAILABLE"


class StoreFailed(_Transient):
    """The store cannot be written; the message has the reason."""

    code = "STORE_UNAVAILABLE"


class SandboxFailed(_Transient):
    """A sandbox or its kernel did not start."""

    code = "SANDBOX_FAILED"


class ConfigError(Exception):
    """A setting is wrong. The message is one line that names it; the program ends with exit code 2.

    Attributes
    ----------
    path: the key; empty for a fault without one.
    problem: the message without its place.
    line: line of the file; 0 for a fault outside the file.
    """

    def __init__(self, message: str, *, path: tuple[str, ...] = (), problem: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.problem = problem or message
        self.line = line


class ImageBuildError(Exception):
    """An image could not be built; the message has the cause and the way out. Nothing serves yet: it has no status."""
