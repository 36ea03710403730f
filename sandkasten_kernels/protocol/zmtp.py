"""The ZMTP 3.0 wire as pure functions and one decoder, without I/O.

The gateway speaks ZMTP itself, because what comes out of a sandbox is hostile and libzmq cannot bound it: a multipart
message that never ends grows libzmq's memory without limit, an oversized one costs the connection, and a lost
connection is made again by name behind the caller's back. Here a message has a limit in bytes and in frames, and one
above it is passed over and told, while the connection lives on.

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
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_KEPT_OF_OVERSIZED, _KEPT_FRAME_BYTES = 8, 64 * 1024


class ProtocolError(Exception):
    """The peer does not speak ZMTP 3 with the NULL mechanism, or broke its framing."""


@dataclass(frozen=True)
class ZmtpCommand:
    """A ZMTP command of the peer's: READY, PING, ERROR or one that is ignored."""

    name: bytes
    body: bytes


@dataclass(frozen=True)
class Oversized:
    """A message above the limits, told instead of delivered: its size, and its first frames as far as they fitted."""

    size: int
    frames: list[bytes]
    max_frames: int


def encode(frames: Sequence[bytes | memoryview]) -> bytes:
    """Return one multipart message as the bytes of its frames; ``frames`` must not be empty."""
    parts: list[bytes | memoryview] = []
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        more = MORE if index < last else 0
        size = len(frame)
        parts.append(bytes((more, size)) if size < 256 else bytes((more | LONG,)) + size.to_bytes(8, "big"))
        parts.append(frame)
    return b"".join(parts)


def encode_command(name: bytes, body: bytes = b"") -> bytes:
    """Return the frame of a command."""
    data = bytes((len(name),)) + name + body
    if len(data) < 256:
        return bytes((COMMAND, len(data))) + data
    return bytes((COMMAND | LONG,)) + len(data).to_bytes(8, "big") + data


def ready(socket_type: str, identity: bytes = b"") -> bytes:
    """Return our READY command; ``identity`` is how a ROUTER on the other side names us (up to 255 bytes)."""
    properties: Iterable[tuple[bytes, bytes]] = (
        (b"Socket-Type", socket_type.encode()),
        (b"Identity", identity),
    )
    body = b"".join(bytes((len(k),)) + k + len(v).to_bytes(4, "big") + v for k, v in properties)
    return encode_command(b"READY", body)


class MemoryBudget:
    """What the unfinished messages of many connections may take together.

    Where they would take more than ``limit`` bytes, the one that is unfinished longest is passed over: a message that
    is really sent is whole in a moment, and one that somebody keeps unfinished must not take the others' room. Messages
    below `SMALL_BYTES` are not counted.
    """

    SMALL_BYTES = 1024 * 1024

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: WeakKeyDictionary[Decoder, int] = WeakKeyDictionary()  # in the order of their ages

    def hold(self, decoder: Decoder, size: int) -> None:
        """Note how much of an unfinished message a decoder holds."""
        if size <= self.SMALL_BYTES:
            self._held.pop(decoder, None)
            return
        self._held[decoder] = size
        while sum(self._held.values()) > self._limit:
            oldest = next(iter(self._held))
            del self._held[oldest]
            oldest.pass_over()


class Decoder:
    """Turns the bytes of one connection into commands and messages.

    Invariants: no more than ``max_bytes`` and ``max_frames`` of an unfinished message are held, whatever the peer
    announces; a message is delivered whole or as `Oversized`, in the order sent.

    Parameters
    ----------
    max_bytes: largest message that is delivered, the sum of its frames.
    max_frames: largest number of frames in a message that is delivered.

    Attributes
    ----------
    room: what it shares with others for messages that are unfinished; None for as much as it likes.
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
        """Yield what ``data`` completes: a message as its list of frames, a `ZmtpCommand`, or an `Oversized`.

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
                if self._skip:
                    step = min(self._skip, available)
                    position += step
                    self._skip -= step
                    if self._skip:
                        return
                    if event := self._end_frame(self._skip_flags):
                        yield event
                    continue
                if available < 2:
                    return
                flags = buffer[position]
                if flags > 7:
                    raise ProtocolError(f"reserved flags {flags:#x}")
                head = 9 if flags & LONG else 2
                if available < head:
                    return
                size = int.from_bytes(buffer[position + 1 : position + head], "big")
                if flags & COMMAND:
                    if size > 65536 or flags & MORE or not size:
                        raise ProtocolError("malformed command")
                    if available < head + size:
                        return
                    body = bytes(buffer[position + head : position + head + size])
                    position += head + size
                    yield ZmtpCommand(body[1 : 1 + body[0]], body[1 + body[0] :])
                    continue
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
            del buffer[:position]
            self._feeding = False
            if self.room:
                self.room.hold(self, sum(map(len, self._frames)) + len(buffer))

    def pass_over(self) -> None:
        """Hold no more of the message that is unfinished, which is told as `Oversized` when it ends.

        No-op while what `feed` returned is iterated over: it is just being worked on.
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
        self._frames = [frame if len(frame) <= _KEPT_FRAME_BYTES else b"" for frame in self._frames]
        del self._frames[_KEPT_OF_OVERSIZED:]

    def _greet(self, buffer: bytearray) -> bool:
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
