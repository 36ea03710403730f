"""Jupyter messages over the guest's ZMQ sockets, signed with the guest's own key.

The key is not the kernel's, so that code in the sandbox, which can open these sockets too, cannot command the guest.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html#wire-protocol
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from typing import Any, NamedTuple

DELIMITER = b"<IDS|MSG>"
Content = dict[str, Any]


class Request(NamedTuple):
    """A request whose signature was right: who asked, with which header, and what; ``data`` is not under it."""

    identities: list[bytes]
    header: bytes
    msg_type: str
    content: Content
    data: bytes = b""


class Wire:
    """Builds and checks messages with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._session = os.urandom(8).hex()

    def pack(self, msg_type: str, content: Content, parent: bytes = b"{}") -> list[bytes]:
        """Return the frames of a message, from the delimiter on."""
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        header = {
            "msg_id": os.urandom(16).hex(),
            "msg_type": msg_type,
            "session": self._session,
            "username": "guest",
            "date": date,
            "version": "5.3",
        }
        parts = [json.dumps(header).encode(), parent, b"{}", json.dumps(content).encode()]
        return [DELIMITER, self._sign(parts), *parts]

    def unpack(self, frames: list[bytes]) -> Request | None:
        """Return the request, or None for whatever is not a message with our signature."""
        try:
            index = frames.index(DELIMITER)
            signature, *parts = frames[index + 1 : index + 6]
            data = b"".join(frames[index + 6 : index + 7])
        except ValueError:
            return None
        if len(parts) != 4 or not hmac.compare_digest(signature, self._sign(parts)):
            return None
        header, content = json.loads(parts[0]), json.loads(parts[3])
        return Request(frames[:index], parts[0], str(header["msg_type"]), content, data)

    def _sign(self, parts: list[bytes]) -> bytes:
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(part)
        return digest.hexdigest().encode()
