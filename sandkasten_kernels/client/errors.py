"""The exceptions of the SDK: subclasses of `SandboxError`, each with a message for the user.

Errors of HTTP are subclasses of httpx's errors too: code that catches `httpx.HTTPError` still works.
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
    """The base class; ``str()`` returns a message for the user."""


class GatewayNotFound(SandboxError):
    """Neither arguments nor environment nor this machine name a gateway."""


class GatewayUnreachable(SandboxError, httpx.TransportError):
    """The gateway did not answer, or the connection was lost before the answer."""


class StreamError(SandboxError):
    """A stream was cut off. The data until then is right, but incomplete."""


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
    """A command or a cell failed with ``check=True``; `result` has its output."""

    def __init__(self, message: str, result: FailedResult) -> None:
        super().__init__(message, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


class CommandTimedOut(CommandFailed, TimeoutError):
    """A command or a cell timed out with ``check=True``."""


class SandboxAPIError(SandboxError, httpx.HTTPStatusError):
    """The gateway answered with an error.

    Attributes
    ----------
    status_code: the HTTP status.
    code: the error code, as ``SESSION_EXPIRED``.
    message: the gateway's message.
    details: further fields of the error.
    retry_after: seconds after which the request may succeed; None when waiting does not help.
    """

    def __init__(self, status_code: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        # the one of httpx needs a request and a response, which not every error has
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
        """The body of the answer as a string; empty without an answer."""
        return self.response.text if hasattr(self, "response") else ""


class SessionNotFound(SandboxAPIError):
    """There is no session with this id, or it ended long ago."""


class SessionExpired(SandboxAPIError):
    """The session ended recently; the message says how."""


class LimitReached(SandboxAPIError):
    """The caller's limit is reached; `retry_after` says when to try again."""


class NoCapacity(SandboxAPIError):
    """The gateway's limit is reached; `retry_after` says when to try again."""


class Unauthorized(SandboxAPIError):
    """The API key is missing or wrong."""


class FileNotFound(SandboxAPIError):
    """There is no such file in the sandbox."""


class WorkspaceNotFound(SandboxAPIError):
    """There is no workspace with this name."""


class WorkspaceInUse(SandboxAPIError):
    """A session uses the workspace, so it cannot be deleted."""


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
    """Convert an error response (already read) to an exception; also one of a proxy, without our JSON."""
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
            # the query may contain a key
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
