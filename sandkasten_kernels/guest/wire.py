"""Wire: builds and checks Jupyter messages, signed with the guest's own key.

Code in the sandbox can connect to the guest's sockets too, and knows the kernel's key. With a key of its own, the guest
takes requests from the gateway alone.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html#wire-protocol
"""

from __future__ import annotations

import json
import os
import time
from _operator import _compare_digest as equal_in_constant_time
from typing import Any, NamedTuple

try:  # hashlib and hmac would load OpenSSL: a fifth of the guest's memory
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

DELIMITER = b"<IDS|MSG>"
BLOCK = 64
Content = dict[str, Any]


class Request(NamedTuple):
    """A request with a valid signature, which does not cover ``data``."""

    identities: list[bytes]
    header: bytes
    msg_type: str
    content: Content
    data: bytes = b""


class Wire:
    """Builds and checks messages with one key."""

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
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
        """Return the request; None for frames that are not a message with a valid signature."""
        try:
            index = frames.index(DELIMITER)
            signature, *parts = frames[index + 1 : index + 6]
            data = b"".join(frames[index + 6 : index + 7])
        except ValueError:
            return None
        if len(parts) != 4 or not equal_in_constant_time(signature, self._sign(parts)):
            return None
        header, content = json.loads(parts[0]), json.loads(parts[3])
        return Request(frames[:index], parts[0], str(header["msg_type"]), content, data)

    def _sign(self, parts: list[bytes]) -> bytes:
        """Return the HMAC-SHA256 of a message's parts (RFC 2104)."""
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return str(outer.hexdigest()).encode()
