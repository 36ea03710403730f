"""What a caller of ``/v1`` asks for, checked: bodies and queries as plain values; pure, without I/O.

Every fault is an `InvalidRequest`, or a kind of it, that names the field, what it must be, and its limit. Fields that
are not known are ignored, and null counts as absent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...engines.base import WORKSPACE
from ...engines.workspace_name import workspace_name
from ...errors import InvalidRequest
from ...execution.runner import Job
from ...kernelspecs.metadata import DEFAULT_CULLING, Culling
from ...sessions.request import environment

__all__ = [
    "MAX_TEXT_BYTES",
    "MAX_TIMEOUT_MS",
    "SessionBody",
    "exec_request",
    "extension",
    "file_content",
    "label_filter",
]

MAX_TEXT_BYTES = 1024 * 1024
MAX_TIMEOUT_MS = 600_000
MAX_TTL_SECONDS, MAX_LIFETIME_SECONDS = 86_400, 365 * 86_400
MAX_LABELS, MAX_LABEL = 32, 128
MAX_NAME = 128

_LINE_ENDS = dict.fromkeys(map(ord, "\r\n"))
_PLAIN = re.compile(r"[^\0\ud800-\udfff]*")


@dataclass(frozen=True)
class SessionBody:
    """A session that is asked for; None and empty values are the gateway's to fill in."""

    image: str | None = None
    culling: Culling = DEFAULT_CULLING
    workspace_id: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    mem_limit_mb: int | None = None
    cpu_limit: float | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, max_mem_limit_mb: int, max_cpu_limit: float) -> SessionBody:
        """Return what a body asks for. Raises `InvalidRequest`, `InvalidWorkspace`."""
        workspace = _text(body, "workspace_id", 1024)
        return cls(
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
    """Return what is to be run. Raises `InvalidRequest`.

    ``max_timeout_ms``: the configured maximum, which is also meant by no ``timeout_ms`` and by 0.
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
    """Return the ``ttl_seconds`` that a session is to have from now on; None where it keeps its own.

    0 is what is usual. Raises `InvalidRequest`.
    """
    return _whole(body, "ttl_seconds", 0, MAX_TTL_SECONDS)


def label_filter(filters: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return the labels that ``?label=k=v`` asks for; nothing has two values of one key. Raises `InvalidRequest`."""
    wanted = set()
    for text in filters:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidRequest(f"label: {text[:80]!r} is not of the form key=value")
        wanted.add((key, value))
    return frozenset(wanted)


def file_content(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the path of a file that is to be written, and its bytes. Raises `InvalidRequest`."""
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
    raise InvalidRequest("text, content_base64: must be a text")


def _labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or len(labels) > MAX_LABELS:
        raise InvalidRequest(f"labels: must be an object of at most {MAX_LABELS} texts")
    for key, value in labels.items():
        if not isinstance(value, str) or not 0 < len(key) <= MAX_LABEL or len(value) > MAX_LABEL:
            raise InvalidRequest(f"labels: keys and values are texts of at most {MAX_LABEL} characters")
        if "=" in key or not _PLAIN.fullmatch(key + value):
            raise InvalidRequest(f"labels: {key[:64]!r} has a character that no label has")
    return dict(labels)


def _text(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: must be a text")
    if not _PLAIN.fullmatch(value):
        raise InvalidRequest(f"{name}: must have no NUL and no lone surrogate")
    if len(value.encode()) > limit:
        raise InvalidRequest(f"{name}: {len(value.encode())} bytes, it may have {limit}")
    return value


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidRequest(f"{name}: must be a number from {least:g} to {most:g}")
    return float(value)
