"""FirstResult: how long the owner of a session waited for the first result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..protocol import Parts
from .runner import Sink

__all__ = ["FirstResult", "TimedSink"]

_RESULTS = (b'"stream"', b'"execute_result"', b'"display_data"', b'"error"')


class FirstResult:
    """A stopwatch that runs while a client waits: while its session is made, and from its first execution on.

    Parameters
    ----------
    waited: seconds that the client has waited for its session.
    observe: called once with all the seconds; None if they are unknown, as for a session of an earlier process.
    """

    def __init__(self, waited: float = 0, observe: Callable[[float], object] | None = None) -> None:
        self._waited = waited
        self._observe = observe
        self._started = 0.0

    @property
    def waiting(self) -> bool:
        """Whether an execution has begun, and no result has come."""
        return self._started > 0 and self._observe is not None

    def start(self) -> None:
        """Note the start of an execution; the first one counts."""
        self._started = self._started or time.monotonic()

    def stop(self) -> None:
        """Note a result, or the end of the execution."""
        if self._started and self._observe:
            self._observe(self._waited + time.monotonic() - self._started)
            self._observe = None

    def note_message(self, channel: str, parts: Parts) -> None:
        """Note a message to a client. Output and replies to executions are results; others do not count."""
        # a search in the bytes is cheaper than parsing the header of each message
        if (channel == "shell" and b'"execute_reply"' in parts[0]) or (
            channel == "iopub" and any(kind in parts[0] for kind in _RESULTS)
        ):
            self.stop()


class TimedSink:
    """A sink that notes the first result and passes everything on to another sink."""

    def __init__(self, sink: Sink, first: FirstResult) -> None:
        self._sink = sink
        self._first = first

    def text(self, stream: str, text: str) -> None:
        self._first.stop()
        self._sink.text(stream, text)

    def message(self, msg_type: str, content: Mapping[str, Any]) -> None:
        self._first.stop()
        self._sink.message(msg_type, content)
