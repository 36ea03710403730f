"""``/api/kernels/{id}/channels``: the WebSocket that carries a kernel's messages, in both framings."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import socket
import struct
import termios
from collections.abc import Callable, Sequence
from functools import partial

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ...protocol.frames import V1, MalformedFrame, legacy_decode, legacy_encode, v1_decode, v1_encode
from ...protocol.messages import EMPTY, Parts, build, json_object
from ...relay.calls import LinkError
from ...relay.link import MAX_MESSAGE_BYTES
from ...relay.replay import Message
from ...relay.seats import Seat
from ...sessions.session import Session
from ..base import Handler
from ..services import Services
from .outbox import ENDS_SECONDS, Outbox

__all__ = ["ChannelsHandler", "client_of"]

log = logging.getLogger("sandkasten_kernels.channels")
MAX_UNREAD_BYTES = MAX_MESSAGE_BYTES + 64 * 1024 * 1024
MAX_LAB_FRAME_BYTES = 10 * 1024 * 1024 - 4096
MAX_IN_FLIGHT = 32
TIDY_BYTES, TIDY_SECONDS = 1024 * 1024, 1.0
GONE, SIGNED_OUT, TOO_SLOW, REPLACED = 1001, 1008, 4000, 4001
GONE_SECONDS = 120
MAX_SESSION_ID = 256


def client_of(request: HTTPServerRequest) -> str:
    """Return what tells clients apart as far as it goes: their address and their program."""
    return f"{request.remote_ip} {request.headers.get('User-Agent', '')}"


class ChannelsHandler(Handler, WebSocketHandler):
    """One client of one kernel.

    What the client has not read yet waits here, up to `MAX_UNREAD_BYTES`; a client above that is told so and cut off,
    and nobody else notices. What a lost connection has not delivered goes to the next one of its ``session_id``.
    """

    session: Session
    session_id = ""
    client = ""
    _seat: Seat | None = None
    _stream: IOStream | None = None
    _v1 = False
    _lab = False
    _in_flight = 0
    _in_flight_bytes = 0
    _tidying: asyncio.TimerHandle | None = None
    _signs_out_no_more: Callable[[], None] | None = None

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
        self._outbox = Outbox()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return V1 if V1 in subprotocols else None

    async def get(self, kernel_id: str) -> None:
        self.session = self.services.sessions.get(kernel_id, self.owner)
        await WebSocketHandler.get(self)

    def open(self, *args: str, **kwargs: str) -> None:
        self._v1 = self.selected_subprotocol == V1
        # jupyter_server's own gateway client stops for good at a binary frame, and reconnects at a large one
        self._lab = not self._v1 and self.request.headers.get("User-Agent", "").startswith("Tornado/")
        self.set_nodelay(True)  # without it every cell waits 40 ms for the client's delayed acknowledgement
        self._stream = getattr(self.ws_connection, "stream", None)
        self._give_up_after(GONE_SECONDS)
        self.client = client_of(self.request)
        end = partial(self.close, SIGNED_OUT, "signed out")
        self._signs_out_no_more = self.services.authenticator.until_sign_out(self.request, end)
        self._seat = self.services.sessions.attach(self.session, self, self.session_id)

    async def on_message(self, message: str | bytes) -> None:
        try:
            if self._v1 and isinstance(message, bytes):
                channel, parts = v1_decode(message)
            else:
                channel, parts = legacy_decode(message)
            self._count(parts, len(message))
            if self._seat is not None:
                await self.session.kernel.send(self._seat, channel, parts)
        except MalformedFrame as error:
            log.warning("a message to kernel %s was passed over: %s", self.session.id, error)
            words = f"The gateway passed a message over: {error}.\n"
            self.deliver("iopub", build("stream", {"name": "stderr", "text": words}, "", EMPTY)[1])
        except LinkError as error:
            log.info("a message to kernel %s was not sent: %s", self.session.id, error)
            self.deliver("iopub", build("status", {"execution_state": "dead"}, "", EMPTY)[1])

    def on_close(self) -> None:
        if self._tidying:
            self._tidying.cancel()
        if self._signs_out_no_more:
            self._signs_out_no_more()
        self._leave()

    def deliver(self, channel: str, parts: Parts) -> None:
        """Send one message of the kernel's to the client."""
        self._outbox.put((channel, parts))
        if self.session.first_result.waiting:
            self.session.first_result.hear(channel, parts)
        self._write()
        if self._seat is not None and self._outbox.waiting_bytes + self._in_flight_bytes > MAX_UNREAD_BYTES:
            self._cut_off()

    def hand_over(self) -> Sequence[Message]:
        """Close: a newer connection of the same client gets what is returned."""
        undelivered = self._undelivered()
        self.close(REPLACED, "a newer connection of this session_id took over")
        return undelivered

    def end(self, reason: str) -> None:
        """Close: the kernel is gone for good."""
        self.close(GONE, reason[:100])

    def _count(self, parts: Parts, size: int) -> None:
        metrics = self.services.metrics
        metrics.relayed("to_kernel", size)
        if b'"execute_request"' in parts[0]:
            metrics.executions.labels("cell").inc()
            self.session.first_result.asked()

    def _leave(self) -> None:
        if self._seat is not None:
            undelivered = self._undelivered()
            self.services.sessions.detach(self.session, self._seat, self, undelivered)

    def _write(self) -> None:
        """Hand frames to the connection, a few at a time: each that it holds costs far more than its bytes."""
        while self._in_flight < MAX_IN_FLIGHT and (message := self._outbox.first()):
            frame = self._frame(*message)
            try:
                written = asyncio.ensure_future(self.write_message(frame, binary=isinstance(frame, bytes)))
            except WebSocketClosedError:
                return
            size = self._outbox.sent(self._bytes("_total_write_index"), asyncio.get_running_loop().time())
            self.services.metrics.relayed("to_client", len(frame))
            self._in_flight += 1
            self._in_flight_bytes += size
            written.add_done_callback(partial(self._written, size))

    def _frame(self, channel: str, parts: Parts) -> str | bytes:
        frame = v1_encode(channel, parts) if self._v1 else legacy_encode(channel, parts)
        if self._lab and (isinstance(frame, bytes) or len(frame) > MAX_LAB_FRAME_BYTES):
            return _in_words(frame, parts)
        return frame

    def _written(self, size: int, written: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= size
        if not written.cancelled() and written.exception() is None:
            self._write()
        if self._outbox.sent_bytes > TIDY_BYTES:
            self._tidy()

    def _tidy(self) -> None:
        """Forget what has arrived; looked for again, because it may arrive with nothing more to write."""
        self._outbox.arrived(self._arrived())
        if self._tidying:
            self._tidying.cancel()
        later = self._outbox.sent_bytes > TIDY_BYTES
        self._tidying = asyncio.get_running_loop().call_later(TIDY_SECONDS, self._tidy) if later else None

    def _undelivered(self) -> Sequence[Message]:
        """Return what the next connection is given; a client that said goodbye has got what was sent."""
        said_goodbye = self.close_code is not None
        since = math.inf if said_goodbye else asyncio.get_running_loop().time() - ENDS_SECONDS
        return self._outbox.undelivered(self._arrived(), since)

    def _arrived(self) -> int:
        """Return how many bytes of the connection have reached the other end, or once it is closed, the system."""
        done = self._bytes("_total_write_done_index")
        if self._stream is None or self._stream.socket is None:
            return done
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(self._stream.socket, termios.TIOCOUTQ, bytes(4)))
        return done - int(unacknowledged)

    def _bytes(self, name: str) -> int:
        """Return a count of bytes that Tornado keeps to itself."""
        return int(getattr(self._stream, name, 0))

    def _cut_off(self) -> None:
        limit = f"{MAX_UNREAD_BYTES // 2**20} MiB"
        log.warning("a client of kernel %s was cut off: more than %s unread", self.session.id, limit)
        self._leave()
        self._seat = None  # what is said below may be more still, and is not another reason
        words = f"The gateway cut this connection off: more than {limit} of output were not read.\n"
        self.deliver("iopub", build("stream", {"name": "stderr", "text": words}, "", EMPTY)[1])
        self.close(TOO_SLOW, f"more than {limit} unread")

    def _give_up_after(self, seconds: int) -> None:
        """Let TCP end a connection whose other end acknowledges nothing, pings included, for so long."""
        if self._stream is not None and self._stream.socket is not None:
            self._stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)


def _in_words(frame: str | bytes, parts: Parts) -> str | bytes:
    """Return what a gateway client of jupyter_server is told instead of a frame that it cannot take."""
    kind = json_object(parts[0]).get("msg_type")
    why = "it has binary data" if isinstance(frame, bytes) else f"it has {len(frame) / 2**20:.0f} MiB"
    words = f"A message ({kind}) was left out: {why}, which JupyterLab cannot take through a gateway.\n"
    return legacy_encode("iopub", build("stream", {"name": "stderr", "text": words}, "", parts[1])[1])
