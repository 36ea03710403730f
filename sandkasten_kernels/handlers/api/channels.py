"""``/api/kernels/{id}/channels``: the WebSocket for a kernel's messages, in both framings."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Sequence
from functools import partial

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol13

from ...protocol import (
    EMPTY,
    V1,
    MalformedFrame,
    Parts,
    build,
    json_object,
    legacy_decode,
    legacy_encode,
    v1_decode,
    v1_encode,
)
from ...relay import MAX_MESSAGE_BYTES, LinkError, Message, Seat
from ...sessions import Session
from ..base import Handler
from ..services import Services
from .byte_counts import ByteCounts
from .outbox import ENDS_SECONDS, Outbox

__all__ = ["ChannelsHandler", "client_of"]

log = logging.getLogger("sandkasten_kernels.channels")
MAX_UNREAD_BYTES = MAX_MESSAGE_BYTES + 64 * 1024 * 1024
# Tornado's client, which jupyter_server uses, takes messages up to 10 MiB by default
MAX_LAB_FRAME_BYTES = 10 * 1024 * 1024 - 4096
MAX_IN_FLIGHT = 32
TRIM_BYTES, TRIM_SECONDS = 1024 * 1024, 1.0
GONE, SIGNED_OUT, TOO_SLOW, REPLACED = 1001, 1008, 4000, 4001
TCP_TIMEOUT_SECONDS = 120
MAX_SESSION_ID = 256


def client_of(request: HTTPServerRequest) -> str:
    """Return a client's address and program (``User-Agent``): two clients may have the same."""
    return f"{request.remote_ip} {request.headers.get('User-Agent', '')}"


class ChannelsHandler(Handler, WebSocketHandler):
    """One connection of a client to a kernel.

    Messages that the client has not read wait here, up to `MAX_UNREAD_BYTES`. Above this limit the gateway says so on
    the kernel's stderr and closes this connection; other clients are not affected. When a connection is lost, the next
    one with its ``session_id`` gets the messages that did not arrive.
    """

    session: Session
    session_id = ""
    client = ""
    _seat: Seat | None = None
    _bytes: ByteCounts | None = None
    _v1 = False
    _lab = False
    _in_flight = 0
    _in_flight_bytes = 0
    _trim_timer: asyncio.TimerHandle | None = None
    _forget_sign_out: Callable[[], None] | None = None

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "GET":
            return
        headers = self.request.headers
        upgrades = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in upgrades:
            raise HTTPError(400, "this route needs a WebSocket: send Connection: Upgrade and Upgrade: websocket")
        if headers.get("Sec-WebSocket-Version") != "13" or not headers.get("Sec-WebSocket-Key"):
            raise HTTPError(400, "Sec-WebSocket-Key must be set, and Sec-WebSocket-Version must be 13")
        if not self.services.web.accepts(headers):
            raise HTTPError(
                403,
                f"pages of {headers.get('Origin', 'another site')[:100]} are not allowed to connect; "
                "the setting allow_origin names the origin that is",
            )
        self.session_id = self.get_query_argument("session_id", "")
        if len(self.session_id) > MAX_SESSION_ID:
            raise HTTPError(400, f"session_id: must have at most {MAX_SESSION_ID} characters")

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` has checked it already: its error is JSON

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._outbox = Outbox()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return V1 if V1 in subprotocols else None

    async def get(self, kernel_id: str) -> None:
        self.session = self.services.sessions.get(kernel_id, self.owner)
        await WebSocketHandler.get(self)

    def open(self, *args: str, **kwargs: str) -> None:
        self._v1 = self.selected_subprotocol == V1
        # The gateway client of jupyter_server stops for good at a binary frame, and reconnects at a large one.
        self._lab = not self._v1 and self.request.headers.get("User-Agent", "").startswith("Tornado/")
        self.set_nodelay(True)  # without it every cell waits 40 ms for the client's delayed acknowledgement
        stream = self._stream()
        self._bytes = ByteCounts(stream)
        if stream.socket is not None:
            # Close a connection when the other end acknowledges nothing, pings included, for so long.
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * TCP_TIMEOUT_SECONDS)
        self.client = client_of(self.request)
        end = partial(self.close, SIGNED_OUT, "signed out")
        self._forget_sign_out = self.services.authenticator.until_sign_out(self.request, end)
        self._seat = self.services.sessions.attach(self.session, self, self.session_id)

    async def on_message(self, message: str | bytes) -> None:
        try:
            if self._v1 and isinstance(message, bytes):
                channel, parts = v1_decode(message)
            else:
                channel, parts = legacy_decode(message)
            self._count(parts, len(message))
            if self._seat is not None:
                # awaited: Tornado reads this client's next message only when the kernel has taken this one
                await self.session.kernel.send(self._seat, channel, parts)
        except MalformedFrame as error:
            log.warning("kernel %s: dropped a client's message: %s", self.session.id, error)
            text = f"The gateway dropped a message: {error}.\n"
            self.deliver("iopub", build("stream", {"name": "stderr", "text": text}, "", EMPTY)[1])
        except LinkError as error:
            log.info("kernel %s: could not send a client's message: %s", self.session.id, error)
            self.deliver("iopub", build("status", {"execution_state": "dead"}, "", EMPTY)[1])

    def on_close(self) -> None:
        if self._trim_timer:
            self._trim_timer.cancel()
        if self._forget_sign_out:
            self._forget_sign_out()
        self._leave()

    def deliver(self, channel: str, parts: Parts) -> None:
        """Send one message of the kernel to the client."""
        self._outbox.put((channel, parts))
        if self.session.first_result.waiting:
            self.session.first_result.note_message(channel, parts)
        self._write()
        if self._seat is not None and self._outbox.waiting_bytes + self._in_flight_bytes > MAX_UNREAD_BYTES:
            self._cut_off()

    def hand_over(self) -> Sequence[Message]:
        """Close, and return the messages that did not arrive, for a newer connection of the same client."""
        undelivered = self._undelivered()
        self.close(REPLACED, "a newer connection of this session_id took over")
        return undelivered

    def end(self, reason: str) -> None:
        """Close because the kernel has ended for good."""
        # a close frame has room for 123 bytes of UTF-8; a character that is cut in two is dropped
        self.close(GONE, reason.encode()[:123].decode(errors="ignore"))

    def _count(self, parts: Parts, size: int) -> None:
        metrics = self.services.metrics
        metrics.relayed("to_kernel", size)
        if b'"execute_request"' in parts[0]:
            metrics.executions.labels("cell").inc()
            self.session.first_result.start()

    def _leave(self) -> None:
        if self._seat is not None:
            undelivered = self._undelivered()
            self.services.sessions.detach(self.session, self._seat, self, undelivered)

    def _write(self) -> None:
        """Write waiting messages to the connection, at most `MAX_IN_FLIGHT` at a time.

        Each frame that Tornado holds costs far more memory than its bytes; messages in the outbox are shared.
        """
        while self._in_flight < MAX_IN_FLIGHT and (message := self._outbox.first()):
            frame = self._frame(*message)
            try:
                written = self.write_message(frame, binary=isinstance(frame, bytes))
            except WebSocketClosedError:
                return
            assert self._bytes is not None
            size = self._outbox.sent(self._bytes.written, asyncio.get_running_loop().time())
            self.services.metrics.relayed("to_client", len(frame))
            self._in_flight += 1
            self._in_flight_bytes += size
            written.add_done_callback(partial(self._written, size))

    def _frame(self, channel: str, parts: Parts) -> str | bytes:
        frame = v1_encode(channel, parts) if self._v1 else legacy_encode(channel, parts)
        if self._lab and (isinstance(frame, bytes) or len(frame) > MAX_LAB_FRAME_BYTES):
            return _placeholder(frame, parts)
        return frame

    def _written(self, size: int, written: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= size
        if not written.cancelled() and written.exception() is None:
            self._write()
        if self._outbox.sent_bytes > TRIM_BYTES:
            self._trim()

    def _trim(self) -> None:
        """Drop the messages that have arrived; look again later if many have not."""
        self._outbox.arrived(self._received())
        if self._trim_timer:
            self._trim_timer.cancel()
        # Messages arrive also when nothing more is written, so no later `_written` can be relied on.
        later = self._outbox.sent_bytes > TRIM_BYTES
        self._trim_timer = asyncio.get_running_loop().call_later(TRIM_SECONDS, self._trim) if later else None

    def _undelivered(self) -> Sequence[Message]:
        """Return the messages for the next connection of this client."""
        # A client that sent a close frame has received all that was sent before it: it needs no cell's end twice.
        closed_by_client = self.close_code is not None
        since = math.inf if closed_by_client else asyncio.get_running_loop().time() - ENDS_SECONDS
        return self._outbox.undelivered(self._received(), since)

    def _received(self) -> int:
        """Return how many bytes of the connection have reached the client; 0 before it is open."""
        return self._bytes.received() if self._bytes is not None else 0

    def _stream(self) -> IOStream:
        """Return the stream of the open connection."""
        assert isinstance(self.ws_connection, WebSocketProtocol13)
        assert self.ws_connection.stream is not None
        return self.ws_connection.stream

    def _cut_off(self) -> None:
        limit = f"{MAX_UNREAD_BYTES // 2**20} MiB"
        log.warning("a client of kernel %s was cut off: more than %s unread", self.session.id, limit)
        self._leave()
        self._seat = None  # the message below may exceed the limit too: `deliver` must not come here again
        text = f"The gateway closed this connection: the client had more than {limit} of unread output.\n"
        self.deliver("iopub", build("stream", {"name": "stderr", "text": text}, "", EMPTY)[1])
        self.close(TOO_SLOW, f"more than {limit} unread")


def _placeholder(frame: str | bytes, parts: Parts) -> str | bytes:
    """Return the stderr output that replaces a frame which jupyter_server's gateway client cannot receive."""
    msg_type = json_object(parts[0]).get("msg_type")
    why = "it has binary data" if isinstance(frame, bytes) else f"it has {len(frame) / 2**20:.0f} MiB"
    text = f"The gateway left out a message ({msg_type}): {why}, and JupyterLab cannot receive that from a gateway.\n"
    return legacy_encode("iopub", build("stream", {"name": "stderr", "text": text}, "", parts[1])[1])
