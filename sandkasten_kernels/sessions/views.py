"""Views: sessions as JSON, for ``/v1/sessions`` and for ``/api/kernels``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from ..protocol import timestamp
from ..store import Record
from .session import Session

__all__ = ["expected_model", "info", "kernel_model"]


def _time(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(seconds, UTC))


_HIDDEN = {"owner", "team", "origin"}
_SHOWN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sandbox": ("container_id", str),
    "created": ("created_at", _time),
    "last_activity": ("last_activity", _time),
    "ended": ("ended_at", _time),
    "ttl_seconds": ("ttl_seconds", int),
    "max_lifetime_seconds": ("max_lifetime_seconds", int),
    "workspace_id": ("workspace_id", lambda name: name or None),
    "labels": ("labels", dict),
}
"""How ``/v1`` names and shows the fields of a `Record`. It shows the others as they are, except `_HIDDEN`."""


def info(record: Record, session: Session | None = None) -> dict[str, Any]:
    """Return a session as ``/v1`` shows it.

    Parameters
    ----------
    record: the stored facts; they are all that there is of a session that has ended.
    session: the session itself, while the gateway has it.

    ``ended_at`` is there only after the end.
    """
    shown = {}
    for name in (field.name for field in fields(record)):
        value = getattr(record, name)
        if name not in _HIDDEN and not (name == "ended" and value is None):
            label, convert = _SHOWN.get(name, (name, lambda value: value))
            shown[label] = convert(value)
    ended = record.ended is not None
    if session:
        shown["last_activity"] = timestamp(session.last_activity)
    # a session that has ended "expires" when it ended; one that the gateway does not have, when it was last used
    expires = timestamp(session.expires_at) if session and not ended else shown.get("ended_at", shown["last_activity"])
    return shown | {
        "cwd": session.cwd if session else "",
        "expires_at": expires,
        "execution_state": session.kernel.link.execution_state if session and not ended else "dead",
        "unresponsive": bool(session and session.unresponsive),
    }


def kernel_model(session: Session) -> dict[str, Any]:
    """Return the kernel of a session as ``/api/kernels`` shows it."""
    link = session.kernel.link
    return {
        "id": session.id,
        "name": session.kernel.spec.name,
        "last_activity": timestamp(session.last_activity),
        "execution_state": link.execution_state,
        "connections": link.connections,
        "unresponsive": session.unresponsive,
    }


def expected_model(record: Record) -> dict[str, Any]:
    """Return the kernel of a session that the gateway is still adopting, as ``/api/kernels`` shows it."""
    return {
        "id": record.id,
        "name": record.kernelspec,
        "last_activity": _time(record.last_activity),
        "execution_state": "starting",
        "connections": 0,
    }
