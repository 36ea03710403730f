"""Server-sent events of an execution.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, and what clients of ``/v1`` are known to need:
JSON in ASCII, a blank after the colon, each event in one write.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tornado.iostream import StreamClosedError

from ...errors import SandkastenError
from ...execution.outcome import Outcome
from ...execution.outputs import as_json, output_of
from ..base import Handler

__all__ = ["HEARTBEAT_SECONDS", "EventStream", "sse_headers"]

log = logging.getLogger("sandkasten_kernels.events")
HEARTBEAT_SECONDS = 10.0
MAX_UNREAD_BYTES = 64 * 1024 * 1024
EVENT_BYTES = 128
LAST_READ_SECONDS = 120.0


def sse_headers(handler: Handler) -> None:
    """Say that the answer is a stream of events, which nothing in between may keep or hold back."""
    handler.set_header("Content-Type", "text/event-stream")
    handler.set_header("Cache-Control", "no-cache")
    handler.set_header("X-Accel-Buffering", "no")


class EventStream:
    """Sends events as they come, and ends the answer at the end of the ``async with`` block.

    The first byte is sent with the first event or heartbeat, so that an error known before is an ordinary answer. What
    the client has not read waits here, up to `MAX_UNREAD_BYTES`; above that it is told so and cut off.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._more = asyncio.Event()
        self._begun = self._ended = False
        self._written = 0

    async def __aenter__(self) -> EventStream:
        self._writer = asyncio.create_task(self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if error is not None and not self._begun and not self._unsent:
            self._writer.cancel()
            return
        if error is not None:
            public = isinstance(error, SandkastenError)
            words = str(error) if public else f"something went wrong here: {self._handler.request_id}"
            if not public:
                log.error("request %s failed", self._handler.request_id, exc_info=error)
            self.send("error", {"error": words})
        self._ended = True
        self._more.set()
        while not self._writer.done():
            written = self._written
            await asyncio.wait({self._writer}, timeout=LAST_READ_SECONDS)
            if written == self._written and not self._writer.done():
                self._writer.cancel()
                self._handler.request.connection.stream.close()  # type: ignore[union-attr]

    def text(self, stream: str, text: str) -> None:
        """Send a chunk of ``stdout`` or ``stderr``."""
        self.send("chunk", {"chunk": text, "timestamp": time.time_ns() // 1_000_000, "stream": stream})

    def message(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Send a display, a result or an error as one nbformat output."""
        if output := output_of(msg_type, content):
            self.send("output", output)

    def done(self, outcome: Outcome, *, code: bool) -> None:
        """Send how it ended."""
        content: dict[str, Any] = {
            "exit_code": outcome.exit_code,
            "cwd": outcome.cwd,
            "duration_ms": outcome.duration_ms,
            "timed_out": outcome.timed_out,
        }
        if outcome.error:
            content["error"] = outcome.error
        if code:
            content |= {
                "status": "ok" if outcome.exit_code == 0 else "error",
                "execution_count": outcome.execution_count,
            }
        self.send("done", content)

    def send(self, event: str, data: Mapping[str, Any]) -> None:
        """Send an event of one's own; JSON in ASCII, whatever is in it."""
        if self._ended:
            return
        text = as_json(data)
        if text is None:
            text = json.dumps({"error": "this output is nested too deeply to be sent"})
        frame = f"event: {event}\ndata: {text}\n\n".encode()
        self._handler.services.metrics.relayed("to_client", len(frame))
        self._unsent.append(frame)
        self._unsent_bytes += len(frame) + EVENT_BYTES
        if self._unsent_bytes > MAX_UNREAD_BYTES:
            self._cut_off()
        self._more.set()

    def _cut_off(self) -> None:
        limit = f"{MAX_UNREAD_BYTES // 2**20} MiB"
        log.warning("a stream was cut off, more than %s unread [%s]", limit, self._handler.request_id)
        self._unsent.clear()
        self._unsent_bytes = 0
        self.send("error", {"error": f"cut off: more than {limit} of output were not read"})
        self._ended = True
        self._handler.abandon()

    async def _write(self) -> None:
        """Write what there is, each event at once; a comment when there is nothing for a while."""
        try:
            while self._unsent or not self._ended:
                if not self._unsent:
                    self._more.clear()
                    try:
                        await asyncio.wait_for(self._more.wait(), HEARTBEAT_SECONDS)
                    except TimeoutError:
                        await self._flush(b": still running\n\n")
                    continue
                frame = self._unsent.popleft()
                self._unsent_bytes -= len(frame) + EVENT_BYTES
                await self._flush(frame)
            self._handler.finish()
        except StreamClosedError:
            self._ended = True
            self._unsent.clear()

    async def _flush(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            sse_headers(self._handler)
        self._handler.write(data)
        await self._handler.flush()
        self._written += 1
