"""Outbox: the messages on their way to one WebSocket. Pure and synchronous, without I/O."""

from __future__ import annotations

from collections import deque

from ...relay import Message, size_of

__all__ = ["ENDS_SECONDS", "Outbox"]

MAX_ENDS, ENDS_SECONDS = 16, 5.0


class Outbox:
    """The messages of one connection in order: those that wait, and those written that may not have arrived.

    A position in the connection's stream of bytes is the number of bytes before it. `sent` keeps the position at which
    each message ends; `undelivered` compares it with the number of bytes that have arrived.

    The other end may be a proxy that loses bytes which it has acknowledged. A cell would then seem to run for ever if
    the message that ends it is lost. So the outbox keeps the last `MAX_ENDS` replies and ``idle`` states, to send them
    again: a client ignores those that it knows.

    Attributes
    ----------
    waiting_bytes: size of the messages that wait.
    sent_bytes: size of the messages that are written and not known to have arrived.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.sent_bytes = 0
        self._waiting: deque[Message] = deque()
        self._sent: deque[tuple[int, Message]] = deque()
        self._ends: deque[tuple[float, Message]] = deque(maxlen=MAX_ENDS)

    def put(self, message: Message) -> None:
        """Append a message to those that wait."""
        self._waiting.append(message)
        self.waiting_bytes += size_of(message[1])

    def first(self) -> Message | None:
        """Return the message that has waited longest; None for none."""
        return self._waiting[0] if self._waiting else None

    def sent(self, end: int, now: float) -> int:
        """Note that the first waiting message was written; return its size in bytes.

        ``end``: the position at which it ends. ``now``: the time in seconds.
        """
        message = self._waiting.popleft()
        size = size_of(message[1])
        self._sent.append((end, message))
        if _is_end(message):
            self._ends.append((now, message))
        self.waiting_bytes -= size
        self.sent_bytes += size
        return size

    def arrived(self, end: int) -> None:
        """Drop the messages that end at position ``end`` or before."""
        while self._sent and self._sent[0][0] <= end:
            self.sent_bytes -= size_of(self._sent.popleft()[1][1])

    def undelivered(self, arrived: int, ends_since: float) -> list[Message]:
        """Return every message that has not arrived as a whole, and empty the outbox.

        ``arrived``: the number of bytes that have arrived. Ahead of the messages come the ends of cells that were
        written at time ``ends_since`` or later.
        """
        self.arrived(arrived)
        messages = [*(message for _, message in self._sent), *self._waiting]
        # by identity: two messages may be equal
        known = set(map(id, messages))
        ends = [end for sent, end in self._ends if sent >= ends_since and id(end) not in known]
        messages[:0] = ends
        self._ends.clear()
        self._sent.clear()
        self._waiting.clear()
        self.waiting_bytes = self.sent_bytes = 0
        return messages


def _is_end(message: Message) -> bool:
    """Return whether a message may be the one that tells a client that its request is done."""
    channel, parts = message
    return channel in ("shell", "control") or (b'"status"' in parts[0] and b'"idle"' in parts[3][:64])
