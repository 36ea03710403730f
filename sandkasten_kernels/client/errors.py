"""What can go wrong: one family, `SandboxError`, each with a sentence that says what and where.

Errors of HTTP are those of httpx too, so that code which catches `httpx.HTTPError` goes on working.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import httpx

__all__ = [
    "CommandFailed",
    "CommandTimedOut",
    "FileNotFound",
    "GatewayNotFound",
    "GatewayUnreachable",
    "LimitReached",
    "NoCapacity",
    "SandboxAPIError",
    "SandboxError",
    "SessionExpired",
    "SessionNotFound",
    "StreamError",
    "Unauthorized",
    "WorkspaceInUse",
    "WorkspaceNotFound",
    "api_error",
]


class SandboxError(Exception):
    """The family; ``str()`` of each is a sentence."""


class GatewayNotFound(SandboxError):
    """Nothing says where a gateway is."""


class GatewayUnreachable(SandboxError, httpx.TransportError):
    """The gateway does not answer, or the connection was lost before it had."""


class StreamError(SandboxError):
    """A stream ended before its end; what came until then is right, but not all."""


class FailedResult(Protocol):
    """The result of the command or cell that failed: an `ExecResult` or a `RunResult`."""

    @property
    def exit_code(self) -> int:
        """Exit code, above 0; -1 for a timeout."""

    @property
    def output(self) -> str:
        """Both streams, in the order in which they were written."""

    @property
    def stdout(self) -> str:
        """Standard output alone."""

    @property
    def stderr(self) -> str:
        """Standard error alone."""


class CommandFailed(SandboxError):
    """A command or a cell failed, and the caller asked for ``check=True``; `result` has its output."""

    def __init__(self, message: str, result: FailedResult) -> None:
        super().__init__(message, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


class CommandTimedOut(CommandFailed, TimeoutError):
    """It exceeded its time, and ``check=True`` was asked for."""


class SandboxAPIError(SandboxError, httpx.HTTPStatusError):
    """The gateway refused.

    Attributes
    ----------
    status_code: of HTTP.
    code: the machine's word for it, as ``SESSION_EXPIRED``.
    message: the gateway's sentence.
    details: what else it said.
    retry_after: seconds after which the same may succeed; None where waiting does not help.
    """

    def __init__(self, status_code: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        Exception.__init__(self, status_code, code, message, details)
        self.status_code = status_code
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.retry_after: float | None = None
        self._request = None

    def __str__(self) -> str:
        return self.message

    @property
    def response_body(self) -> str:
        """The body of the answer, as text; empty where there was no answer."""
        return self.response.text if hasattr(self, "response") else ""


class SessionNotFound(SandboxAPIError):
    """There is no session of this id, or it is forgotten already."""


class SessionExpired(SandboxAPIError):
    """The session has ended lately; the message says how."""


class LimitReached(SandboxAPIError):
    """You have as many as you may have; `retry_after` says when to try again."""


class NoCapacity(SandboxAPIError):
    """All that may run at once does; `retry_after` says when to try again."""


class Unauthorized(SandboxAPIError):
    """The API key is missing or wrong."""


class FileNotFound(SandboxAPIError):
    """There is no such file in the sandbox."""


class WorkspaceNotFound(SandboxAPIError):
    """There is no workspace of this name."""


class WorkspaceInUse(SandboxAPIError):
    """A session has the workspace, so it cannot be deleted."""


_BY_CODE: dict[str, type[SandboxAPIError]] = {
    "SESSION_NOT_FOUND": SessionNotFound,
    "SESSION_EXPIRED": SessionExpired,
    "LIMIT_REACHED": LimitReached,
    "NO_CAPACITY": NoCapacity,
    "UNAUTHORIZED": Unauthorized,
    "FILE_NOT_FOUND": FileNotFound,
    "WORKSPACE_NOT_FOUND": WorkspaceNotFound,
    "WORKSPACE_IN_USE": WorkspaceInUse,
}


def api_error(response: httpx.Response) -> SandboxAPIError:
    """Return the error that an answer is, whose body has been read; one of a proxy's too."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    code = str(body.get("error_code") or f"HTTP_{response.status_code}")
    message = body.get("message") or body.get("error")
    if not isinstance(message, str):
        message = (
            f"{response.request.url.copy_with(query=None)} answered {response.status_code} {response.reason_phrase}"
        )
    details = body.get("details")
    error = _BY_CODE.get(code, SandboxAPIError)(
        response.status_code, code, message, details if isinstance(details, dict) else None
    )
    error.response = response
    error.request = response.request
    error.retry_after = _seconds(response.headers.get("Retry-After", ""))
    return error


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None
