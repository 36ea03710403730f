"""Parameters: bodies and queries of ``/v1``, checked and converted. Pure, without I/O.

Every function raises `InvalidRequest`, or a subclass, for a wrong value; the message names the field, the type that it
must have, and its limit. Unknown fields are ignored; null counts as absent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...engines import WORKSPACE, workspace_name
from ...errors import InvalidRequest
from ...execution import Job
from ...kernelspecs import Culling
from ...sessions import SessionRequest, environment

__all__ = [
    "MAX_TEXT_BYTES",
    "MAX_TIMEOUT_MS",
    "exec_request",
    "extension",
    "file_content",
    "label_filter",
    "session_request",
]

MAX_TEXT_BYTES = 1024 * 1024
MAX_TIMEOUT_MS = 600_000
MAX_TTL_SECONDS, MAX_LIFETIME_SECONDS = 86_400, 365 * 86_400
MAX_LABELS, MAX_LABEL = 32, 128
MAX_NAME = 128

# the command base64 and Python's encodebytes break lines
_LINE_ENDS = dict.fromkeys(map(ord, "\r\n"))
_PLAIN = re.compile(r"[^\0\ud800-\udfff]*")


def session_request(body: Mapping[str, Any], *, max_mem_limit_mb: int, max_cpu_limit: float) -> SessionRequest:
    """Return the session that the body of ``POST /v1/sessions`` asks for.

    Parameters
    ----------
    max_mem_limit_mb, max_cpu_limit: the operator's limits, in MiB and in processors.

    Raises `InvalidRequest`, `InvalidWorkspace`.
    """
    workspace = _text(body, "workspace_id", 1024)
    return SessionRequest(
        origin="v1",
        image=_text(body, "image", 255) or None,
        culling=Culling(
            _whole(body, "ttl_seconds", 0, MAX_TTL_SECONDS) or None,
            _whole(body, "max_lifetime_seconds", 0, MAX_LIFETIME_SECONDS) or None,
            _flag(body, "cull_connected"),
            _flag(body, "cull_busy"),
        ),
        workspace_id=workspace and workspace_name(workspace, "workspace_id"),
        name=_text(body, "name", MAX_NAME),
        labels=_labels(body.get("labels")),
        env=environment(body.get("env")),
        mem_limit_mb=_whole(body, "mem_limit_mb", 128, max_mem_limit_mb),
        cpu_limit=_number(body, "cpu_limit", 0.01, max_cpu_limit),
    )


def exec_request(body: Mapping[str, Any], *, max_timeout_ms: int) -> Job:
    """Return the job that the body of an execution asks for. Raises `InvalidRequest`.

    Parameters
    ----------
    max_timeout_ms: the configured maximum, in milliseconds; also the default, and the meaning of 0.
    """
    cmd, code = body.get("cmd"), body.get("code")
    if (cmd is None) == (code is None):
        raise InvalidRequest("cmd, a command for the shell, or code, for the kernel: one of the two is needed")
    name = "code" if cmd is None else "cmd"
    text = _text(body, name, MAX_TEXT_BYTES)
    stdin, cwd, env = _text(body, "stdin", MAX_TEXT_BYTES), _text(body, "cwd", 4096), environment(body.get("env"))
    if code is not None and (stdin or cwd or env):
        raise InvalidRequest("stdin, cwd and env are for cmd alone: code runs in the kernel as it is")
    timeout_ms = _whole(body, "timeout_ms", 0, min(MAX_TIMEOUT_MS, max_timeout_ms)) or max_timeout_ms
    return Job(text, cmd is not None, timeout_ms / 1000, stdin, cwd, env)


def extension(body: Mapping[str, Any]) -> int | None:
    """Return a session's new ``ttl_seconds``: 0 for the policy's default, None for no change.

    Raises `InvalidRequest`.
    """
    return _whole(body, "ttl_seconds", 0, MAX_TTL_SECONDS)


def label_filter(filters: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return keys and values of the arguments ``?label=key=value``; a session must have all of them.

    Two values for one key are allowed, and match no session. Raises `InvalidRequest`.
    """
    found = set()
    for text in filters:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidRequest(f"label: {text[:80]!r} is not of the form key=value")
        found.add((key, value))
    return frozenset(found)


def file_content(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return path and content of the file that a body asks to write. Raises `InvalidRequest`."""
    path, text, encoded = body.get("path"), body.get("text"), body.get("content_base64")
    if not isinstance(path, str) or not path:
        raise InvalidRequest(f"path: must be the path of a file, below {WORKSPACE}")
    if (text is None) == (encoded is None):
        raise InvalidRequest("text or content_base64, the content of the file: one of the two is needed")
    try:
        if isinstance(text, str):
            return path, text.encode()
        if isinstance(encoded, str):
            return path, base64.b64decode(encoded.translate(_LINE_ENDS), validate=True)
    except ValueError as error:
        raise InvalidRequest(f"{'content_base64' if text is None else 'text'}: {error}"[:300]) from error
    raise InvalidRequest("text, content_base64: must be a string")


def _labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or len(labels) > MAX_LABELS:
        raise InvalidRequest(f"labels: must be an object of at most {MAX_LABELS} strings")
    for key, value in labels.items():
        if not isinstance(value, str) or not 0 < len(key) <= MAX_LABEL or len(value) > MAX_LABEL:
            raise InvalidRequest(f"labels: keys and values are strings of at most {MAX_LABEL} characters")
        if "=" in key or not _PLAIN.fullmatch(key + value):
            raise InvalidRequest(
                f"labels: {key[:64]!r} has a character that is not allowed: no =, no NUL, no lone surrogate"
            )
    return dict(labels)


def _text(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: must be a string")
    if not _PLAIN.fullmatch(value):
        raise InvalidRequest(f"{name}: must have no NUL characters and no lone surrogates")
    if len(value.encode()) > limit:
        raise InvalidRequest(f"{name}: {len(value.encode())} bytes; the limit is {limit}")
    return value


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    # bool is a subclass of int
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidRequest(f"{name}: must be a whole number from {least} to {most}")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{name}: must be true or false")
    return value


def _number(body: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    # in this form the comparison refuses NaN too
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidRequest(f"{name}: must be a number from {least:g} to {most:g}")
    return float(value)
