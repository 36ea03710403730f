"""Jupyter messages as ZMQ frames: sign, build and parse them.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html#wire-protocol
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "DELIMITER",
    "EMPTY",
    "MAX_HEADER_BYTES",
    "Parts",
    "Reply",
    "Signer",
    "build",
    "json_object",
    "message_type",
    "parts_of",
    "timestamp",
    "told_state",
]

DELIMITER = b"<IDS|MSG>"
EMPTY = b"{}"
MAX_HEADER_BYTES = 64 * 1024
MAX_STATUS_BYTES = 4096

#: ``header, parent_header, metadata, content, *buffers`` of one message, as bytes.
Parts = Sequence[bytes]


@dataclass(frozen=True)
class Reply:
    """The reply to a request that the gateway itself has sent."""

    msg_type: str
    content: dict[str, Any]
    data: bytes = b""


class Signer:
    """Signs and verifies messages with the key of one connection (HMAC-SHA256)."""

    def __init__(self, key: bytes) -> None:
        # Keyed once; a copy is cheaper than a new HMAC for each message.
        self._hmac = hmac.new(key, digestmod=hashlib.sha256)

    def frames(self, parts: Parts) -> list[bytes]:
        """Return the ZMQ frames of a message: delimiter, signature, then the parts."""
        digest = self._hmac.copy()
        for part in parts[:4]:
            digest.update(part)
        return [DELIMITER, digest.hexdigest().encode(), *parts]

    def signed(self, frames: Sequence[bytes]) -> Parts | None:
        """Return the parts of a message with a valid signature, else None. Buffers after the parts are not signed."""
        parts = parts_of(frames)
        if parts is None:
            return None
        _, signature, *_ = self.frames(parts[:4])
        # In constant time, so that code in the sandbox cannot guess a signature byte by byte.
        return parts if hmac.compare_digest(frames[-len(parts) - 1], signature) else None


def timestamp(moment: datetime | None = None) -> str:
    """Return a time (default: now) as ``2026-01-31T12:00:00.000000Z``, the one form that every client parses."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def build(
    msg_type: str, content: Mapping[str, Any], session: str, parent_header: bytes = EMPTY
) -> tuple[str, list[bytes]]:
    """Return the id and the parts of a new message from the gateway."""
    msg_id = uuid.uuid4().hex
    header = {
        "msg_id": msg_id,
        "msg_type": msg_type,
        "session": session,
        "username": "sandkasten",
        "date": timestamp(),
        "version": "5.3",
    }
    return msg_id, [json.dumps(header).encode(), parent_header, EMPTY, json.dumps(content).encode()]


def parts_of(frames: Sequence[bytes]) -> list[bytes] | None:
    """Return the parts of a message from a SUB socket (after its topic) or a DEALER socket; None if malformed."""
    for index in range(min(3, len(frames))):
        if frames[index] == DELIMITER:
            parts = list(frames[index + 2 :])
            return parts if len(parts) >= 4 else None
    return None


def json_object(data: bytes, limit: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """Return the JSON object in a frame; an empty one for anything else, also above ``limit`` bytes.

    A sandbox may send what it likes, and JSON of some MiB can become objects of some GiB.
    """
    if len(data) > limit:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # RecursionError: deeply nested JSON
        return {}
    return value if isinstance(value, dict) else {}


def message_type(parts: Parts) -> str | None:
    """Return the type of a message from a sandbox, or None for a message that must not reach clients.

    The header must be an object that names its type; the other three are only looked at from the outside, because they
    may be large: what does not begin and end as an object does is none.
    """
    if len(parts[1]) > MAX_HEADER_BYTES:
        return None
    if not all(part[:1] == b"{" and part[-1:] == b"}" for part in parts[:4]):
        return None
    kind = json_object(parts[0]).get("msg_type")
    return kind if isinstance(kind, str) else None


def told_state(parts: Parts) -> str:
    """Return the execution state in a ``status`` message, ``busy`` or ``idle``; empty for every other message.

    A kernel's own ``starting`` may come late, and would undo what the opening of its link has proven.
    """
    state = json_object(parts[3], MAX_STATUS_BYTES).get("execution_state")
    return state if isinstance(state, str) and state in ("busy", "idle") else ""
