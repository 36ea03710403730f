"""``GET /v1/status``: a snapshot of the gateway, once or as a stream."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from tornado.iostream import StreamClosedError

from ...status import StatusFeed
from ..base import Handler

__all__ = ["StatusFeedHandler"]


class StatusFeedHandler(Handler):
    """``GET /v1/status``: a snapshot as a JSON object. ``?session=`` adds that session, as ``session``.

    With ``Accept: text/event-stream`` the answer is a stream: the event ``status`` with the snapshot, then, at most
    once a second, ``change``.
    """

    async def get(self) -> None:
        feed = self.services.status
        if "text/event-stream" not in self.request.headers.get("Accept", ""):
            self.write_text(await feed.now(self.get_query_argument("session", "")))
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        try:
            await self.unless_gone(self._send(feed))
        except (asyncio.CancelledError, StreamClosedError):
            return

    async def _send(self, feed: StatusFeed) -> None:
        """Send updates until the client disconnects, stops reading, or signs out."""
        async with aclosing(feed.updates(self.get_query_argument("session", ""))) as updates:
            async for update in updates:
                if not self.services.authenticator.caller(self.request):
                    return
                self.write(f"event: {update.event}\ndata: {update.data}\n\n")
                try:
                    await asyncio.wait_for(self.flush(), self.settings["idle_seconds"])
                except TimeoutError:
                    self.request.connection.stream.close()  # type: ignore[union-attr]
                    return
