"""``/api/kernels/{id}/channels``: the WebSocket that carries a kernel's messages, in both framings."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from functools import partial

from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..calls import LinkError
from ..link import MAX_MESSAGE_BYTES
from ..messages import EMPTY, Parts, build, json_object
from ..relay import V1, MalformedFrame, legacy_decode, legacy_encode, v1_decode, v1_encode
from ..sessions import Session
from .base import Handler, Services

__all__ = ["Channels"]

log = logging.getLogger("sandkasten_kernels.channels")
MAX_UNREAD_BYTES = MAX_MESSAGE_BYTES + 64 * 1024 * 1024
MAX_LAB_FRAME_BYTES = 10 * 1024 * 1024 - 4096
MAX_IN_FLIGHT = 32
FRAME_BYTES = 128
GONE, TOO_SLOW, REPLACED = 1001, 4000, 4001
GONE_SECONDS = 120
MAX_SESSION_ID = 256


class Channels(Handler, WebSocketHandler):
    """One client of one kernel.

    What the client has not read yet waits here, up to `MAX_UNREAD_BYTES`; a client above that is told so and cut off,
    and nobody else notices.
    """

    session: Session
    session_id = ""
    _v1 = False
    _lab = False
    _in_flight = 0
    _unread_bytes = 0

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "GET":
            return
        headers = self.request.headers
        upgrades = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in upgrades:
            raise HTTPError(400, "this path speaks WebSocket only")
        if headers.get("Sec-WebSocket-Version") != "13" or not headers.get("Sec-WebSocket-Key"):
            raise HTTPError(400, "the WebSocket handshake has no key, or is not of version 13")
        if not self.services.web.accepts(headers):
            raise HTTPError(
                403, f"pages of {headers.get('Origin', 'another site')[:100]} may not connect: allow_origin"
            )
        self.session_id = self.get_query_argument("session_id", "")
        if len(self.session_id) > MAX_SESSION_ID:
            raise HTTPError(400, f"session_id is longer than {MAX_SESSION_ID} characters")

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` has checked it, and answers in JSON

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._unread: deque[str | bytes] = deque()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return V1 if V1 in subprotocols else None

    async def get(self, kernel_id: str) -> None:
        self.session = self.services.sessions.get(kernel_id)
        await WebSocketHandler.get(self)

    def open(self, *args: str, **kwargs: str) -> None:
        self._v1 = self.selected_subprotocol == V1
        # jupyter_server's own gateway client stops for good at a binary frame, and reconnects at a large one
        self._lab = not self._v1 and self.request.headers.get("User-Agent", "").startswith("Tornado/")
        self.set_nodelay(True)  # without it every cell waits 40 ms for the client's delayed acknowledgement
        self._give_up_after(GONE_SECONDS)
        older = self._older()
        self.services.sessions.attach(self.session, self, older)
        if older:
            older.close(REPLACED, "a newer connection of this session_id took over")

    async def on_message(self, message: str | bytes) -> None:
        try:
            if self._v1 and isinstance(message, bytes):
                channel, parts = v1_decode(message)
            else:
                channel, parts = legacy_decode(message)
            await self.session.kernel.send(self, channel, parts)
        except MalformedFrame as error:
            log.warning("a message to kernel %s was passed over: %s", self.session.id, error)
            words = f"The gateway passed a message over: {error}.\n"
            self.deliver("iopub", build("stream", {"name": "stderr", "text": words}, "", EMPTY)[1])
        except LinkError as error:
            log.info("a message to kernel %s was not sent: %s", self.session.id, error)
            self.deliver("iopub", build("status", {"execution_state": "dead"}, "", EMPTY)[1])

    def on_close(self) -> None:
        if hasattr(self, "session"):
            self.services.sessions.detach(self.session, self)

    def deliver(self, channel: str, parts: Parts) -> None:
        """Send one message of the kernel's to the client."""
        frame = v1_encode(channel, parts) if self._v1 else legacy_encode(channel, parts)
        if self._lab and (isinstance(frame, bytes) or len(frame) > MAX_LAB_FRAME_BYTES):
            frame = _in_words(frame, parts)
        self._unread.append(frame)
        self._unread_bytes += len(frame) + FRAME_BYTES
        self._write()
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._cut_off()

    def end(self, reason: str) -> None:
        """Close: the kernel is gone for good."""
        self.close(GONE, reason[:100])

    def _older(self) -> Channels | None:
        """Return the socket that a client with our ``session_id`` had before: it has lost it and come again."""
        sockets = (client for client in self.session.kernel.link.clients if isinstance(client, Channels))
        return next((s for s in sockets if self.session_id and s.session_id == self.session_id), None)

    def _write(self) -> None:
        """Hand frames to the connection, a few at a time: each that it holds costs far more than its bytes."""
        while self._unread and self._in_flight < MAX_IN_FLIGHT:
            frame = self._unread.popleft()
            try:
                written = asyncio.ensure_future(self.write_message(frame, binary=isinstance(frame, bytes)))
            except WebSocketClosedError:
                self._unread.clear()
                return
            self._in_flight += 1
            written.add_done_callback(partial(self._written, len(frame) + FRAME_BYTES))

    def _written(self, size: int, written: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        self._unread_bytes -= size
        if not written.cancelled() and written.exception() is None:
            self._write()

    def _cut_off(self) -> None:
        limit = f"{MAX_UNREAD_BYTES // 2**20} MiB"
        log.warning("a client of kernel %s was cut off: more than %s unread", self.session.id, limit)
        self.services.sessions.detach(self.session, self)
        self._unread.clear()
        self._unread_bytes = 0
        words = f"The gateway cut this connection off: more than {limit} of output were not read.\n"
        self.deliver("iopub", build("stream", {"name": "stderr", "text": words}, "", EMPTY)[1])
        self.close(TOO_SLOW, f"more than {limit} unread")

    def _give_up_after(self, seconds: int) -> None:
        """Let TCP end a connection whose other end acknowledges nothing, pings included, for so long."""
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None and stream.socket is not None:
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)


def _in_words(frame: str | bytes, parts: Parts) -> str | bytes:
    """Return what a gateway client of jupyter_server is told instead of a frame that it cannot take."""
    kind = json_object(parts[0]).get("msg_type")
    why = "it has binary data" if isinstance(frame, bytes) else f"it has {len(frame) / 2**20:.0f} MiB"
    words = f"A message ({kind}) was left out: {why}, which JupyterLab cannot take through a gateway.\n"
    return legacy_encode("iopub", build("stream", {"name": "stderr", "text": words}, "", parts[1])[1])
