"""Outbox: the messages on their way to one WebSocket; pure, synchronous, without I/O."""

from __future__ import annotations

from collections import deque

from ..replay import Message, size_of

__all__ = ["Outbox"]


class Outbox:
    """Messages that wait, and those that are written but perhaps not arrived, in order.

    A place in the connection's stream of bytes is a number: that of the bytes before it. `sent` remembers for each
    message where it ends, so that `undelivered` tells from what has arrived which messages have not.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.sent_bytes = 0
        self._waiting: deque[Message] = deque()
        self._sent: deque[tuple[int, Message]] = deque()

    def put(self, message: Message) -> None:
        """Let a message wait behind the others."""
        self._waiting.append(message)
        self.waiting_bytes += size_of(message[1])

    def first(self) -> Message | None:
        """Return the message that has waited longest; None when there is none."""
        return self._waiting[0] if self._waiting else None

    def sent(self, end: int) -> int:
        """The first message is written up to ``end``; return its size."""
        message = self._waiting.popleft()
        size = size_of(message[1])
        self._sent.append((end, message))
        self.waiting_bytes -= size
        self.sent_bytes += size
        return size

    def arrived(self, end: int) -> None:
        """Forget what ends at ``end`` or before."""
        while self._sent and self._sent[0][0] <= end:
            self.sent_bytes -= size_of(self._sent.popleft()[1][1])

    def undelivered(self, arrived: int) -> list[Message]:
        """Return every message that has not arrived as a whole, and forget them all."""
        self.arrived(arrived)
        messages = [*(message for _, message in self._sent), *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        self.waiting_bytes = self.sent_bytes = 0
        return messages
