"""The ZMTP 3.0 wire as pure functions and one decoder, without I/O.

The gateway implements ZMTP itself, because the peer, code in a sandbox, is hostile, and libzmq sets it no limits: a
multipart message without an end grows libzmq's memory, an oversized message costs the connection, and libzmq reconnects
by name without the caller's knowledge. Here a message has a limit in bytes and in frames. A message above it is skipped
and reported, and the connection goes on.

Source: RFC 23/ZMTP 3.0 (https://rfc.zeromq.org/spec/23/), NULL mechanism, socket types DEALER and SUB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

__all__ = [
    "GREETING",
    "Decoder",
    "MemoryBudget",
    "Oversized",
    "ProtocolError",
    "ZmtpCommand",
    "encode",
    "encode_command",
    "ready",
]

MORE, LONG, COMMAND = 1, 2, 4
# Signature, version 3.0, mechanism, as-server 0, filler: 64 bytes.
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_KEPT_OF_OVERSIZED, _KEPT_FRAME_BYTES = 8, 64 * 1024


class ProtocolError(Exception):
    """The peer does not speak ZMTP 3 with the NULL mechanism, or broke its framing."""


@dataclass(frozen=True)
class ZmtpCommand:
    """A ZMTP command from the peer: READY, PING, ERROR, or one that is ignored."""

    name: bytes
    body: bytes


@dataclass(frozen=True)
class Oversized:
    """Reported in place of a message above the limits: its size in bytes, and its first frames within them."""

    size: int
    frames: list[bytes]
    max_frames: int


def encode(frames: Sequence[bytes | memoryview]) -> bytes:
    """Return one multipart message in wire format; ``frames`` must not be empty."""
    parts: list[bytes | memoryview] = []
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        more = MORE if index < last else 0
        size = len(frame)
        parts.append(bytes((more, size)) if size < 256 else bytes((more | LONG,)) + size.to_bytes(8, "big"))
        parts.append(frame)
    return b"".join(parts)


def encode_command(name: bytes, body: bytes = b"") -> bytes:
    """Return a command in wire format."""
    data = bytes((len(name),)) + name + body
    if len(data) < 256:
        return bytes((COMMAND, len(data))) + data
    return bytes((COMMAND | LONG,)) + len(data).to_bytes(8, "big") + data


def ready(socket_type: str, identity: bytes = b"") -> bytes:
    """Return our READY command; ``identity`` is our name for a ROUTER on the other side (up to 255 bytes)."""
    properties: Iterable[tuple[bytes, bytes]] = (
        (b"Socket-Type", socket_type.encode()),
        (b"Identity", identity),
    )
    body = b"".join(bytes((len(k),)) + k + len(v).to_bytes(4, "big") + v for k, v in properties)
    return encode_command(b"READY", body)


class MemoryBudget:
    """A limit in bytes for the unfinished messages of many connections together.

    Above ``limit`` the message that is unfinished longest is dropped: an honest peer completes a message in a moment,
    and one that never completes must not use up the memory of the others. Messages of up to `SMALL_BYTES` do not count.
    """

    SMALL_BYTES = 1024 * 1024

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # in the order of insertion: the oldest unfinished message first
        # Weak, so that a closed connection gives its share back by itself.
        self._held: WeakKeyDictionary[Decoder, int] = WeakKeyDictionary()

    def hold(self, decoder: Decoder, size: int) -> None:
        """Record how many bytes of an unfinished message a decoder holds."""
        if size <= self.SMALL_BYTES:
            self._held.pop(decoder, None)
            return
        # A decoder that is in here keeps its place, so a message that grows slowly becomes the oldest.
        self._held[decoder] = size
        while sum(self._held.values()) > self._limit:
            oldest = next(iter(self._held))
            del self._held[oldest]
            oldest.pass_over()


class Decoder:
    """Turns the bytes of one connection into commands and messages.

    Invariants: the decoder holds at most ``max_bytes`` and ``max_frames`` of an unfinished message, whatever the peer
    announces; a message is delivered whole or as `Oversized`, in the order of sending.

    Parameters
    ----------
    max_bytes: size limit of a delivered message, the sum of its frames.
    max_frames: limit of the number of frames in a delivered message.

    Attributes
    ----------
    room: the memory for unfinished messages, shared with other decoders; None for no shared limit.
    """

    def __init__(self, max_bytes: int, max_frames: int = 1024) -> None:
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self.room: MemoryBudget | None = None
        self._feeding = False
        self._buffer = bytearray()
        self._greeted = False
        self._frames: list[bytes] = []
        self._size = 0
        self._count = 0
        self._skip = 0
        self._skip_flags = 0
        self._over = False

    def feed(self, data: bytes) -> Iterator[list[bytes] | ZmtpCommand | Oversized]:
        """Yield every message (a list of frames), `ZmtpCommand` and `Oversized` that ``data`` completes.

        Raises `ProtocolError` when the peer's greeting or framing is not ZMTP 3.
        """
        buffer = self._buffer
        buffer += data
        position = 0
        self._feeding = True
        try:
            if not self._greeted:
                if not self._greet(buffer):
                    return
                position = 64
            while True:
                available = len(buffer) - position
                if self._skip:  # inside a frame that is dropped as it arrives
                    step = min(self._skip, available)
                    position += step
                    self._skip -= step
                    if self._skip:  # inside a frame that is dropped as it arrives
                        return
                    if event := self._end_frame(self._skip_flags):
                        yield event
                    continue
                if available < 2:
                    return
                flags = buffer[position]
                if flags > 7:  # bits 3 to 7 are reserved and must be zero
                    raise ProtocolError(f"reserved flags {flags:#x}")
                head = 9 if flags & LONG else 2
                if available < head:
                    return
                size = int.from_bytes(buffer[position + 1 : position + head], "big")
                if flags & COMMAND:
                    # the RFC sets no limit to a command; ours keeps a peer from filling the buffer with one
                    if size > 65536 or flags & MORE or not size:
                        raise ProtocolError("malformed command")
                    if available < head + size:
                        return
                    body = bytes(buffer[position + head : position + head + size])
                    position += head + size
                    yield ZmtpCommand(body[1 : 1 + body[0]], body[1 + body[0] :])
                    continue
                # decided on the announced size: no byte of a frame above the limit is ever buffered
                if self._over or self._size + size > self._max_bytes or self._count >= self._max_frames:
                    self._open_frame(size, over=True)
                    position += head
                    self._skip, self._skip_flags = size, flags
                    if not size and (event := self._end_frame(flags)):
                        yield event
                    continue
                if available < head + size:
                    return
                self._open_frame(size, over=False)
                self._frames.append(bytes(buffer[position + head : position + head + size]))
                position += head + size
                if event := self._end_frame(flags):
                    yield event
        finally:
            del buffer[:position]  # once for all messages: each deletion moves the rest
            self._feeding = False
            if self.room:
                self.room.hold(self, sum(map(len, self._frames)) + len(buffer))

    def pass_over(self) -> None:
        """Drop the unfinished message; report it as `Oversized` when it ends.

        No-op while the iterator of `feed` is in use, which may be in the middle of this message.
        """
        if self._feeding or not self._greeted:
            return
        buffer = self._buffer
        head = 9 if buffer and buffer[0] & LONG else 2
        if not self._skip and len(buffer) >= head and not buffer[0] & COMMAND:
            size = int.from_bytes(buffer[1:head], "big")
            self._open_frame(size, over=True)
            self._skip, self._skip_flags = size - (len(buffer) - head), buffer[0]
            buffer.clear()
        elif self._count:
            self._over = True
        # The first frames name the request of the message; large ones would keep the memory in use.
        self._frames = [frame if len(frame) <= _KEPT_FRAME_BYTES else b"" for frame in self._frames]
        del self._frames[_KEPT_OF_OVERSIZED:]

    def _greet(self, buffer: bytearray) -> bool:
        # 0xFF, 8 bytes of padding, 0x7F: a peer of ZMTP 1 or another protocol fails before it has sent all 64 bytes
        if (buffer and buffer[0] != 0xFF) or (len(buffer) > 9 and not buffer[9] & 1):
            raise ProtocolError("no ZMTP signature")
        if len(buffer) < 64:
            return False
        if buffer[10] < 3 or bytes(buffer[12:32]).rstrip(b"\0") != b"NULL":
            raise ProtocolError("not ZMTP 3 with the NULL mechanism")
        self._greeted = True
        return True

    def _open_frame(self, size: int, *, over: bool) -> None:
        self._size += size
        self._count += 1
        if over and not self._over:
            self._over = True
            del self._frames[_KEPT_OF_OVERSIZED:]

    def _end_frame(self, flags: int) -> list[bytes] | Oversized | None:
        if flags & MORE:
            return None
        event = Oversized(self._size, self._frames, self._max_frames) if self._over else self._frames
        self._frames, self._size, self._count, self._over = [], 0, 0, False
        return event
