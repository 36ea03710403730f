"""``GET /v1/events``: the event log, as a list or as a stream."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from tornado.iostream import StreamClosedError

from ...errors import InvalidRequest
from .base import V1Handler
from .sse import HEARTBEAT_SECONDS, sse_headers

__all__ = ["EventsHandler"]

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
PAGE = 100
UNREAD_SECONDS = 120.0


class EventsHandler(V1Handler):
    """``GET /v1/events``: at most ``limit`` events after ``since``, oldest first; without ``since`` the newest.

    With ``Accept: text/event-stream`` the answer is an endless stream of server-sent events. ``Last-Event-ID`` has
    priority over ``since``; without both, the stream begins with the last ``limit`` events. A client that reads nothing
    for `UNREAD_SECONDS` is disconnected; it can reconnect without missing an event.
    """

    async def get(self) -> None:
        streamed = "text/event-stream" in self.request.headers.get("Accept", "").lower()
        last_seen = self.request.headers.get("Last-Event-ID") if streamed else None
        limit = _whole("limit", self.get_query_argument("limit", str(DEFAULT_LIMIT)), MAX_LIMIT)
        since = _whole("since", last_seen or self.get_query_argument("since", ""), (1 << 63) - 1)
        log = self.services.events
        # min: an id from an older database may be above all of today's, and the stream would stay silent
        begin = (
            max(0, log.last - (DEFAULT_LIMIT if limit is None else limit)) if since is None else min(since, log.last)
        )
        if streamed:
            with suppress(asyncio.CancelledError, StreamClosedError):
                await self.unless_gone(self._stream(begin))
            return
        found = log.since(begin, DEFAULT_LIMIT if limit is None else limit)
        last = found[-1].id if found else begin
        self.write_json({"events": [event.model() for event in found], "last": last})

    async def _stream(self, last: int) -> None:
        """Send the events after ``last`` as fast as the client reads, until the client signs out.

        Without an event for `HEARTBEAT_SECONDS` send a comment.
        """
        log = self.services.events
        sse_headers(self)
        # sends the headers, so that the client knows at once that it is connected
        await self._send(b": connected\n\n")
        while self.services.authenticator.caller(self.request):
            for event in log.since(last, PAGE):
                data = json.dumps(event.model())
                await self._send(f"event: event\nid: {event.id}\ndata: {data}\n\n".encode())
                last = event.id
            try:
                await asyncio.wait_for(log.wait(last), HEARTBEAT_SECONDS)
            except TimeoutError:
                await self._send(b": heartbeat\n\n")

    async def _send(self, data: bytes) -> None:
        self.write(data)
        try:
            await asyncio.wait_for(self.flush(), UNREAD_SECONDS)
        except TimeoutError:
            self.request.connection.stream.close()  # type: ignore[union-attr]
            raise StreamClosedError from None


def _whole(name: str, text: str, most: int) -> int | None:
    """Return a whole number of the query; None for an empty string. Raises `InvalidRequest` above ``most``."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > most:
        raise InvalidRequest(f"{name}: must be a whole number from 0 to {most}")
    return int(text)
