"""EventStream: the server-sent events of an execution.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, and the needs of known clients of ``/v1``:
JSON in ASCII, a space after the colon, each event in one write.
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
from ...execution import Outcome, as_json, output_of
from ..base import Handler

__all__ = ["HEARTBEAT_SECONDS", "EventStream", "sse_headers"]

log = logging.getLogger("sandkasten_kernels.events")
HEARTBEAT_SECONDS = 10.0
MAX_UNREAD_BYTES = 64 * 1024 * 1024
EVENT_BYTES = 128
LAST_READ_SECONDS = 120.0


def sse_headers(handler: Handler) -> None:
    """Set the headers of an event stream, which no proxy may cache or buffer."""
    handler.set_header("Content-Type", "text/event-stream")
    handler.set_header("Cache-Control", "no-cache")
    # nginx buffers answers unless this header forbids it
    handler.set_header("X-Accel-Buffering", "no")


class EventStream:
    """Sends events at once, and finishes the answer at the end of the ``async with`` block.

    The first event or heartbeat sends the headers. An error before that becomes an ordinary JSON answer; a later one
    becomes the event ``error``. Events that the client has not read wait here, up to `MAX_UNREAD_BYTES`. Above this
    limit the stream ends with an event ``error`` and the work is cancelled.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._more = asyncio.Event()
        self._begun = self._ended = False
        self._written = 0

    async def __aenter__(self) -> EventStream:
        self._writer = self._handler.services.tasks.run("event stream", self._write())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if error is not None and not self._begun and not self._unsent:
            self._writer.cancel()
            return
        if error is not None:
            public = isinstance(error, SandkastenError)
            request_id = self._handler.request_id
            message = str(error) if public else f"internal error: search the gateway's log for {request_id}"
            if not public:
                log.error("request %s failed", request_id, exc_info=error)
            self.send("error", {"error": message})
        self._ended = True
        self._more.set()
        while not self._writer.done():
            # a slow client may take long for the rest, while it reads at least one event in this time
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
        """Send how the job ended. ``code``: the job was code for the kernel, not a command."""
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
        """Send an event with any name and data, as JSON in ASCII. No-op after the stream has ended."""
        if self._ended:
            return
        text = as_json(data)
        if text is None:
            text = json.dumps({"error": "this output is nested too deeply for JSON"})
        frame = f"event: {event}\ndata: {text}\n\n".encode()
        self._handler.services.metrics.relayed("to_client", len(frame))
        self._unsent.append(frame)
        self._unsent_bytes += len(frame) + EVENT_BYTES
        if self._unsent_bytes > MAX_UNREAD_BYTES:
            self._cut_off()
        self._more.set()

    def _cut_off(self) -> None:
        limit = f"{MAX_UNREAD_BYTES // 2**20} MiB"
        log.warning("an event stream was cut off: more than %s unread [%s]", limit, self._handler.request_id)
        # first, so that the error below is within the limit
        self._unsent.clear()
        self._unsent_bytes = 0
        self.send("error", {"error": f"cut off: the client had more than {limit} of unread output"})
        self._ended = True
        self._handler.abandon()

    async def _write(self) -> None:
        """Write each event at once, and a comment as heartbeat after `HEARTBEAT_SECONDS` without any."""
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
