"""ReplayBuffer: messages for a client whose connection is away; pure, synchronous, without I/O."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable

from ..protocol import EMPTY, Parts, build, json_object

__all__ = ["MAX_OUTPUT_BYTES", "MAX_VITAL_BYTES", "Message", "ReplayBuffer", "size_of"]

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_VITAL_BYTES = 4 * 1024 * 1024
MAX_PARENTS = 16
MESSAGE_BYTES = 512

#: The channel of a message, and the message.
Message = tuple[str, Parts]


class _BoundedQueue:
    """Numbered messages of one kind; above ``limit`` bytes the oldest are dropped."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.messages: deque[tuple[int, Message]] = deque()

    def add(self, number: int, message: Message) -> list[Message]:
        """Keep a message; return the messages dropped for it, or the message itself if it alone is above the limit."""
        size = size_of(message[1])
        if size > self.limit:
            return [message]
        self.messages.append((number, message))
        self.bytes += size
        lost = []
        while self.bytes > self.limit:
            lost.append(self.messages.popleft()[1])
            self.bytes -= size_of(lost[-1][1])
        return lost


class ReplayBuffer:
    """Keeps messages for the next connection of one client.

    Invariants:

    - each message is taken once, in the order in which it was kept;
    - output has at most `MAX_OUTPUT_BYTES`; messages that a client waits for (replies, questions, states of the kernel)
      have `MAX_VITAL_BYTES` of their own, so that a flood of output never makes a client wait for ever;
    - above a limit the oldest messages are dropped, and a line on stderr, ahead of the others, says how many.

    A message counts as its bytes and `MESSAGE_BYTES`. Several clients of one kernel keep the same objects, so together
    they take little more memory than one. The owner decides how long a buffer is kept.
    """

    def __init__(self, max_output: int = MAX_OUTPUT_BYTES, max_vital: int = MAX_VITAL_BYTES) -> None:
        self._numbers = itertools.count()
        self._limits = max_output, max_vital
        self._clear()

    def _clear(self) -> None:
        self._output, self._vital = map(_BoundedQueue, self._limits)
        self._lost: dict[bytes, tuple[int, int]] = {}

    def keep(self, messages: Iterable[Message]) -> None:
        """Append messages."""
        for message in messages:
            kept = self._vital if _is_vital(message) else self._output
            for lost in kept.add(next(self._numbers), message):
                self._lose(lost[1])

    def take(self) -> list[Message]:
        """Remove and return the messages, after a line on stderr for each request that lost some."""
        notices = [self._notice(parent, count, size) for parent, (count, size) in self._lost.items()]
        merged = heapq.merge(self._output.messages, self._vital.messages, key=lambda entry: entry[0])
        messages = [message for _, message in merged]
        self._clear()
        return notices + messages

    def _lose(self, parts: Parts) -> None:
        parent = bytes(parts[1])
        count, size = self._lost.pop(parent, (0, 0))
        if len(self._lost) >= MAX_PARENTS:
            # The losses of the oldest request are added to this one's, so that the sum stays right.
            more = self._lost.pop(next(iter(self._lost)))
            count, size = count + more[0], size + more[1]
        self._lost[parent] = (count + 1, size + size_of(parts))

    def _notice(self, parent: bytes, count: int, size: int) -> Message:
        limit = f"{self._limits[0] / 2**20:g} MiB"
        what = f"{count} messages ({size / 2**20:.1f} MiB)" if count > 1 else f"a message ({size / 2**20:.1f} MiB)"
        notice = f"While this connection was away, {what} of output were lost: the last {limit} are kept.\n"
        known = parent if json_object(parent) else EMPTY
        return "iopub", build("stream", {"name": "stderr", "text": notice}, "", known)[1]


def size_of(parts: Parts) -> int:
    """Return how many bytes a message counts as."""
    return sum(map(len, parts)) + MESSAGE_BYTES


def _is_vital(message: Message) -> bool:
    channel, parts = message
    return channel != "iopub" or json_object(parts[0]).get("msg_type") == "status"
