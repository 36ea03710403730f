"""The errors that a user may see, and the one an operator sees before anything has started.

Whatever else is raised is a defect of ours: it is logged with an id and answered as a bare 500.
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
    """The public family: `status` is the HTTP status, `code` the machine's word for it, `message` a sentence.

    The message goes to the client as it is: no path of the host, no secret. `retry_after` (seconds) is None
    where trying again does not help. `details` is what a program may want to know besides.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"
    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class InvalidRequest(SandkastenError):
    """The request cannot be understood or asks for something that does not exist."""

    status = 400
    code = "INVALID_REQUEST"


class Unauthorized(SandkastenError):
    """The caller has given no token, or a wrong one."""

    status = 401
    code = "UNAUTHORIZED"


class ForeignPage(SandkastenError):
    """The caller is a browser with a cookie, and nothing shows that it was one of our own pages that asked."""

    status = 403
    code = "FOREIGN_PAGE"


class TooLarge(SandkastenError):
    """The body of the request is larger than a request may have."""

    status = 413
    code = "TOO_LARGE"


class InvalidImage(InvalidRequest):
    """No kernelspec runs in the image that was asked for."""

    code = "INVALID_IMAGE"


class InvalidSettings(InvalidRequest):
    """Settings that were to be saved are wrong: ``details.errors`` has ``name``, ``line`` and ``message`` of each.

    ``name`` is empty for a fault of the text as a whole, ``line`` 0 where the fault is not in the file.
    """

    code = "INVALID_SETTINGS"

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        first = errors[0]
        words = f"{first['name']}: {first['message']}" if first["name"] else str(first["message"])
        super().__init__(words + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""))
        self.details = {"errors": list(errors)}


class SettingsChanged(SandkastenError):
    """Somebody else has saved the settings since they were read."""

    status = 409
    code = "SETTINGS_CHANGED"


class SettingsReadOnly(SandkastenError):
    """The configuration file cannot be read or written by the gateway."""

    status = 403
    code = "SETTINGS_READ_ONLY"


class InvalidWorkspace(InvalidRequest):
    """What was asked for cannot be the name of a workspace."""

    code = "INVALID_WORKSPACE"


class LimitReached(SandkastenError):
    """The owner has as many as it may have; ending one helps. Told as 403 on ``/api`` and as 429 on ``/v1``."""

    status = 403
    code = "LIMIT_REACHED"


class TooMany(LimitReached):
    """Too much is under way at once; waiting helps."""

    status = 429


class SessionEnded(SandkastenError):
    """The session was there, and has ended; the message says how."""

    status = 410
    code = "SESSION_EXPIRED"


class KernelDead(SandkastenError):
    """The session's kernel has ended and is not started again by itself; its shell and its files are there."""

    status = 409
    code = "KERNEL_DEAD"


class UnknownFile(SandkastenError):
    """There is no such file in the sandbox."""

    status = 404
    code = "FILE_NOT_FOUND"


class FileRefused(SandkastenError):
    """What is at the path is not what was asked for, or leads out of the workspace."""

    status = 400
    code = "INVALID_REQUEST"


class NoSpace(SandkastenError):
    """The sandbox has no space left for what was sent."""

    status = 507
    code = "NO_SPACE"


class UnknownKernel(SandkastenError):
    """No kernel of the caller's has this id (any more)."""

    status = 404
    code = "SESSION_NOT_FOUND"


class UnknownNotebookSession(SandkastenError):
    """No notebook session has this id (any more)."""

    status = 404
    code = "SESSION_NOT_FOUND"


class UnknownKernelspec(SandkastenError):
    """No offered kernelspec has this name, or it has no such file."""

    status = 404
    code = "KERNELSPEC_NOT_FOUND"


class UnknownWorkspace(SandkastenError):
    """There is no workspace of this name."""

    status = 404
    code = "WORKSPACE_NOT_FOUND"


class WorkspaceInUse(SandkastenError):
    """A session uses the workspace, which therefore cannot be deleted."""

    status = 409
    code = "WORKSPACE_IN_USE"


class _Transient(SandkastenError):
    """A 503: the same request may succeed after `retry_after` seconds, which is always set."""

    status = 503
    retry_after: int

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message, retry_after=retry_after)


class NoCapacity(_Transient):
    """All sandboxes that may run at once are in use."""

    code = "NO_CAPACITY"


class EngineError(_Transient):
    """The engine does not answer, or an image is missing; the message says what to do."""

    code = "ENGINE_UNAVAILABLE"


class StoreFailed(_Transient):
    """What is known of the sessions cannot be written; the message says why."""

    code = "STORE_UNAVAILABLE"


class SandboxFailed(_Transient):
    """A sandbox or its kernel did not start."""

    code = "SANDBOX_FAILED"


class ConfigError(Exception):
    """A setting is wrong. The message is one line that names it; the program ends with exit code 2.

    ``path`` is the key, as far as there is one, ``problem`` the message without its place, ``line`` that of the file.
    """

    def __init__(self, message: str, *, path: tuple[str, ...] = (), problem: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.problem = problem or message
        self.line = line


class ImageBuildError(Exception):
    """An image could not be built; the message has the cause and the way out. Nothing serves yet: it has no status."""
