"""Calls: the gateway's own requests that wait for their replies."""

from __future__ import annotations

import asyncio

from ..protocol import Parts, Reply, json_object, message_type

__all__ = ["Calls", "LinkError"]


MAX_REPLY_BYTES = 1024 * 1024


class LinkError(Exception):
    """The kernel or the guest did not answer, or its connection is closed; the message says which."""


class Calls:
    """Futures of replies by the ids of their requests. A reply without a future is ignored."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Reply]] = {}

    def expect(self, msg_id: str) -> asyncio.Future[Reply]:
        """Return the future of the reply to ``msg_id``."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[msg_id] = future
        # Also after a timeout or a cancel, so that a reply that never comes leaves no entry.
        future.add_done_callback(lambda _: self._waiting.pop(msg_id, None))
        return future

    def answer(self, msg_id: str, parts: Parts) -> bool:
        """Resolve the call that a reply belongs to; False when there is no such call."""
        future = self._waiting.get(msg_id)
        if future is None:
            return False
        if not future.done():
            data = parts[4] if len(parts) > 4 else b""
            future.set_result(Reply(message_type(parts) or "", json_object(parts[3], MAX_REPLY_BYTES), data))
        return True

    def fail(self, reason: str) -> None:
        """End every call with `LinkError`."""
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(LinkError(reason))
                future.exception()  # marks it as seen: else asyncio logs an error for a future that nobody awaits
