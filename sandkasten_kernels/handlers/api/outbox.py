"""Outbox: the messages on their way to one WebSocket; pure, synchronous, without I/O."""

from __future__ import annotations

from collections import deque

from ...relay.replay import Message, size_of

__all__ = ["ENDS_SECONDS", "Outbox"]

MAX_ENDS, ENDS_SECONDS = 16, 5.0


class Outbox:
    """Messages that wait, and those that are written but perhaps not arrived, in order.

    A place in the connection's stream of bytes is a number: that of the bytes before it. `sent` remembers for each
    message where it ends, so that `undelivered` tells from what has arrived which messages have not.

    The other end may be a proxy that loses what it has taken. A cell whose end is lost would seem to run for ever, so
    the last `MAX_ENDS` replies and ``idle`` states can be had again: a client passes over those that it knows.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.sent_bytes = 0
        self._waiting: deque[Message] = deque()
        self._sent: deque[tuple[int, Message]] = deque()
        self._ends: deque[tuple[float, Message]] = deque(maxlen=MAX_ENDS)

    def put(self, message: Message) -> None:
        """Let a message wait behind the others."""
        self._waiting.append(message)
        self.waiting_bytes += size_of(message[1])

    def first(self) -> Message | None:
        """Return the message that has waited longest; None when there is none."""
        return self._waiting[0] if self._waiting else None

    def sent(self, end: int, now: float) -> int:
        """The first message is written up to ``end`` at ``now``, in seconds; return its size."""
        message = self._waiting.popleft()
        size = size_of(message[1])
        self._sent.append((end, message))
        if _is_end(message):
            self._ends.append((now, message))
        self.waiting_bytes -= size
        self.sent_bytes += size
        return size

    def arrived(self, end: int) -> None:
        """Forget what ends at ``end`` or before."""
        while self._sent and self._sent[0][0] <= end:
            self.sent_bytes -= size_of(self._sent.popleft()[1][1])

    def undelivered(self, arrived: int, ends_since: float) -> list[Message]:
        """Return every message that has not arrived as a whole, and forget them all.

        Ahead of them are the ends of cells that were sent at ``ends_since`` or later.
        """
        self.arrived(arrived)
        messages = [*(message for _, message in self._sent), *self._waiting]
        known = set(map(id, messages))
        ends = [end for sent, end in self._ends if sent >= ends_since and id(end) not in known]
        messages[:0] = ends
        self._ends.clear()
        self._sent.clear()
        self._waiting.clear()
        self.waiting_bytes = self.sent_bytes = 0
        return messages


def _is_end(message: Message) -> bool:
    """Return whether a client may wait for a message to know that a request is done."""
    channel, parts = message
    return channel in ("shell", "control") or (b'"status"' in parts[0] and b'"idle"' in parts[3][:64])
