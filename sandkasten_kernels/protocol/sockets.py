"""The gateway's end of one socket in a sandbox: an asyncio protocol that speaks ZMTP over a stream.

The stream comes from the sandbox's endpoint. A lost connection is reported to its owner, and never made again here.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from . import zmtp

__all__ = ["Endpoint", "SocketError", "ZmtpSocket"]

EVENTS_PER_TURN = 200
UNSENT_BYTES = 8 * 1024 * 1024


class SocketError(Exception):
    """A socket of a sandbox cannot be used; the message names it and the reason."""


class Endpoint(Protocol):
    """Where the sockets of one sandbox are opened.

    Attributes
    ----------
    room: memory for unfinished messages, shared with other endpoints; None for no limit of that kind.
    """

    room: zmtp.MemoryBudget | None

    async def open_socket(self, name: str) -> socket.socket:
        """Return a stream, connected and non-blocking, to the socket ``name``. Raises `SocketError`."""


class ZmtpSocket(asyncio.Protocol):
    """One ZMTP connection, opened by `connect`.

    Calls ``on_message`` with the frames of each message, ``on_oversized`` for each message above the limit, and
    ``on_lost`` once when the other side ends the connection (not after `close`).
    """

    def __init__(
        self,
        socket_type: str,
        on_message: Callable[[list[bytes]], None],
        on_oversized: Callable[[zmtp.Oversized], None],
        on_lost: Callable[[], None],
        *,
        identity: bytes = b"",
        max_bytes: int,
    ) -> None:
        self._socket_type = socket_type
        self._identity = identity
        self._decoder = zmtp.Decoder(max_bytes)
        self._on_message = on_message
        self._on_oversized = on_oversized
        self._on_lost = on_lost
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = False
        self.heard_at = 0.0
        """Time of the last bytes from the peer, also of an unfinished message, by the event loop's clock; 0: none."""
        self._paused = False
        self._held: Iterator[list[bytes] | zmtp.ZmtpCommand | zmtp.Oversized] | None = None

    async def connect(self, endpoint: Endpoint, name: str, timeout: float) -> None:
        """Return when the peer has answered the handshake.

        Raises `SocketError` without such a socket, and when the peer has not answered within ``timeout`` seconds.
        """
        self._decoder.room = endpoint.room
        try:
            async with asyncio.timeout(timeout):
                stream = await endpoint.open_socket(name)
                await asyncio.get_running_loop().create_connection(lambda: self, sock=stream)
                await self._ready
        except TimeoutError as error:
            raise SocketError(f"socket {name}: no answer within {timeout:g} s") from error
        finally:
            # Also after a cancelled or timed out wait: no half-open connection stays.
            if not self._ready.done() or self._ready.cancelled() or self._ready.exception():
                self.close()

    def send(self, frames: Sequence[bytes]) -> None:
        """Send one message; await `drain` before the next large one. Raises `SocketError` on a lost connection."""
        if self._transport is None or self._closed:
            raise SocketError("the connection is closed")
        self._transport.write(zmtp.encode(frames))

    async def drain(self) -> None:
        """Return when the backlog of unsent bytes is small; a sandbox that does not read slows its own client."""
        await self._writable.wait()

    def pause(self) -> None:
        """Deliver no message until `resume`; the peer's bytes stay in its own buffers."""
        self._paused = True

    def resume(self) -> None:
        """Deliver messages again, the held ones first; no-op without `pause`."""
        self._paused = False
        held, self._held = self._held, None
        if held is not None:
            self._work(held)

    def close(self) -> None:
        """End the connection and drop unsent bytes; no callback is called afterwards."""
        self._closed = True
        self._writable.set()
        if self._transport is not None:
            # Not `close`: that waits until a peer that does not read has taken the unsent bytes.
            self._transport.abort()
        if not self._ready.done():
            self._ready.set_exception(SocketError("the connection was closed"))
            self._ready.exception()  # marks it as seen: there may be no waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._closed:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        transport.write(zmtp.GREETING + zmtp.ready(self._socket_type, self._identity))

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._work(self._decoder.feed(data))

    def _work(self, events: Iterator[list[bytes] | zmtp.ZmtpCommand | zmtp.Oversized]) -> None:
        """Handle events, at most `EVENTS_PER_TURN` in one turn: a sandbox that floods us must not block the others."""
        if self._transport is None or self._closed:
            return
        try:
            for count, event in enumerate(events, 1):
                # Commands go on: a paused channel still needs its handshake, and PINGs their PONGs.
                if self._paused and not isinstance(event, zmtp.ZmtpCommand):
                    self._transport.pause_reading()
                    self._held = itertools.chain((event,), events)
                    return
                if isinstance(event, list):
                    self._on_message(event)
                elif isinstance(event, zmtp.Oversized):
                    self._on_oversized(event)
                else:
                    self._on_command(event)
                if self._closed:
                    return
                if count >= EVENTS_PER_TURN:
                    self._transport.pause_reading()
                    asyncio.get_running_loop().call_soon(self._work, events)
                    return
            # Only now: `data_received` must not feed the decoder while an iterator of it is unfinished.
            self._transport.resume_reading()
        except zmtp.ProtocolError as error:
            self._lose(SocketError(f"the sandbox does not speak ZMTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(SocketError("the sandbox ended the connection"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _on_command(self, command: zmtp.ZmtpCommand) -> None:
        assert self._transport is not None
        if command.name == b"READY" and not self._ready.done():
            if self._socket_type == "SUB":
                # ZMTP 3.0 subscribes by a message: 1, then a topic; the empty topic means every message.
                self._transport.write(zmtp.encode([b"\x01"]))
            self._ready.set_result(None)
        # A peer that sends PINGs and reads nothing must not fill the send buffer with PONGs.
        elif command.name == b"PING" and self._writable.is_set():
            # A PING has 2 bytes of TTL, then up to 16 bytes of context, which the PONG repeats (ZMTP 3.1).
            self._transport.write(zmtp.encode_command(b"PONG", command.body[2:18]))
        elif command.name == b"ERROR":
            raise zmtp.ProtocolError("the peer refused the handshake")

    def _lose(self, error: SocketError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        if not self._closed:
            self.close()
            self._on_lost()
