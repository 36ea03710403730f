"""Converts Jupyter messages to WebSocket frames and back, in both framings: pure functions.

``v1``: the subprotocol ``v1.kernel.websocket.jupyter.org``, always binary. ``legacy``: a JSON object as text, or, with
buffers, a binary frame. An outgoing message is spliced from its parts and never parsed, except for the header.

Source: https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
"""

from __future__ import annotations

import itertools
import json
import re
import struct
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from .messages import EMPTY, MAX_HEADER_BYTES, Parts, json_object

__all__ = [
    "CHANNELS", "V1", "MalformedFrame", "legacy_decode", "legacy_encode", "split_stream", "v1_decode", "v1_encode",
]  # fmt: skip

V1 = "v1.kernel.websocket.jupyter.org"
CHANNELS = frozenset({"shell", "control", "stdin"})
MAX_BUFFERS = 4096
PROTOCOL_VERSION = "5.3"
MAX_STREAM_BYTES = 512 * 1024
LONGEST_ESCAPE = 6  # bytes of a \uXXXX
_STDERR = re.compile(rb'"name"\s*:\s*"stderr"')
_TEXT = re.compile(rb'"text"\s*:\s*"')
# JSON writes a character above U+FFFF as two \u escapes; a cut between them would break it.
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")


class MalformedFrame(ValueError):
    """A client sent a frame that cannot be read; the message has the reason."""


def v1_encode(channel: str, parts: Parts) -> bytes:
    """Return the binary frame of a message: number of offsets, offsets (u64 little-endian), channel, parts."""
    name = channel.encode()
    count = len(parts) + 2
    offset = 8 * (count + 1)
    offsets = [offset]
    offset += len(name)
    offsets.append(offset)
    for part in parts:
        offset += len(part)
        offsets.append(offset)
    return b"".join((struct.pack(f"<{count + 1}Q", count, *offsets), name, *parts))


def v1_decode(frame: bytes) -> tuple[str, list[bytes]]:
    """Return channel and parts of a binary frame. An empty channel is shell. Raises `MalformedFrame`."""
    if len(frame) < 8:
        raise MalformedFrame("a v1 frame has at least 8 bytes")
    (count,) = struct.unpack_from("<Q", frame)
    # Channel and four parts have six offsets: one more than there are fields.
    if not 6 <= count <= MAX_BUFFERS + 6 or len(frame) < 8 * (count + 1):
        raise MalformedFrame(f"a v1 frame cannot have {count} offsets")
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    # The offsets come from a client: every slice below has to lie within the frame.
    if offsets[0] != 8 * (count + 1) or offsets[-1] != len(frame):
        raise MalformedFrame("the offsets do not span the frame")
    if any(a > b for a, b in itertools.pairwise(offsets)):
        raise MalformedFrame("the offsets do not ascend")
    fields = [frame[a:b] for a, b in itertools.pairwise(offsets)]
    return _channel(fields[0].decode("ascii", "replace")), _bounded(fields[1:])


def legacy_encode(channel: str, parts: Parts) -> str | bytes:
    """Return the text frame of a message; the binary frame if it has buffers."""
    header, parent, metadata, content = (_object(part) for part in parts[:4])
    known = json_object(header)
    text = b"".join(
        (
            b'{"header":', header,
            b',"msg_id":', json.dumps(known.get("msg_id")).encode(),
            b',"msg_type":', json.dumps(known.get("msg_type")).encode(),
            b',"parent_header":', parent,
            b',"metadata":', metadata,
            b',"content":', content,
            b',"buffers":[],"channel":"', channel.encode(), b'"}',
        )
    )  # fmt: skip
    buffers = parts[4:]
    if not buffers:
        return text.decode("utf-8", "replace")  # a sandbox may send any bytes; a text frame must be UTF-8
    fields = [text, *buffers]
    offset = 4 * (len(fields) + 1)
    offsets = []
    for field in fields:
        offsets.append(offset)
        offset += len(field)
    return b"".join((struct.pack(f">{len(fields) + 1}I", len(fields), *offsets), *fields))


def legacy_decode(frame: str | bytes) -> tuple[str, list[bytes]]:
    """Return channel and parts of a client's text or binary frame. Raises `MalformedFrame`.

    Tolerant, because real clients differ: no ``channel`` means shell, ``buffers`` is ignored in the JSON, any of
    ``parent_header``, ``metadata`` and ``content`` may be missing, a header without ``msg_id`` is given one, and one
    without ``version`` the current: a kernel takes it for a message of 2014 else.
    """
    text: str | bytes
    buffers: Sequence[bytes]
    text, buffers = (frame, ()) if isinstance(frame, str) else _split_binary(frame)
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise MalformedFrame("the message is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("header"), dict):
        raise MalformedFrame("the message has no header")
    header = message["header"]
    if not isinstance(header.get("msg_id"), str):
        header["msg_id"] = uuid.uuid4().hex
    if not isinstance(header.get("msg_type"), str):
        raise MalformedFrame("the header has no msg_type")
    header.setdefault("version", PROTOCOL_VERSION)
    fields = [header, *(message.get(name) or {} for name in ("parent_header", "metadata", "content"))]
    return _channel(message.get("channel")), _bounded([*(json.dumps(field).encode() for field in fields), *buffers])


def _bounded(parts: list[bytes]) -> list[bytes]:
    if len(parts[0]) > MAX_HEADER_BYTES or len(parts[1]) > MAX_HEADER_BYTES:
        raise MalformedFrame(f"a header is larger than {MAX_HEADER_BYTES // 1024} KiB")
    return parts


def split_stream(parts: Parts) -> Iterator[Parts]:
    """Yield a ``stream`` message as several of at most `MAX_STREAM_BYTES` of text, and a smaller one as it is.

    A popular client library closes its socket at a frame of 1 MiB. Only the text is read, a piece at a time, so that a
    long one takes no multiple of its size: the content is from a sandbox, and whatever else it has is left behind.
    """
    content = parts[3]
    found = _TEXT.search(content[:64]) if len(content) > MAX_STREAM_BYTES else None
    position = found.end() if found else len(content)
    # Keys have no fixed order: the name stands before the long text or after it.
    name = "stderr" if _STDERR.search(content[:64]) or _STDERR.search(content[-64:]) else "stdout"
    metadata, any_text = parts[2], False
    while position < len(content):
        end = _cut(content, position, position + MAX_STREAM_BYTES)
        window = content[position:end]
        quotes = window.count(b'"')
        # No quote ends the string here, so the bytes go on as they are: JSON takes 6.6 ms per MB.
        if end < len(content) and quotes == window.count(b'\\"') and b'\\\\"' not in window:  # it is text throughout
            yield [*parts[:2], metadata, b'{"name": "%s", "text": "%s"}' % (name.encode(), window)]
            metadata, any_text, position = EMPTY, True, end
            continue
        literal = window.decode("utf-8", "replace")
        try:
            text, read = json.JSONDecoder().raw_decode(f'"{literal}"')
        except ValueError:
            if any_text:
                # Dropped output is never silent.
                words = {"name": "stderr", "text": "What was printed behind this cannot be read as text.\n"}
                yield [*parts[:2], EMPTY, _compact_json(words)]
            break
        for piece in _pieces(text):
            yield [*parts[:2], metadata, _compact_json({"name": name, "text": piece})]
            metadata, any_text = EMPTY, True
        if read < len(literal) + 2:
            break
        position = end
    if not any_text:
        yield parts


def _cut(content: bytes, begin: int, end: int) -> int:
    """Return the last position up to ``end`` at which a JSON string can be cut: not in an escape or a character."""
    if end >= len(content):
        return len(content)
    for _ in range(3):  # a character has at most as many bytes behind its first
        end -= content[end] & 0xC0 == 0x80
    backslash = content.rfind(b"\\", end - LONGEST_ESCAPE + 1, end)
    if backslash >= begin and _is_escape(content[begin : backslash + 1]):
        end = backslash
    before = end - LONGEST_ESCAPE
    if _HIGH_SURROGATE.fullmatch(content, before, end) and _is_escape(content[begin : before + 1]):
        end = before
    return end


def _is_escape(text: bytes) -> bool:
    """Return whether the backslash at the end of a text begins an escape, or is the second one of ``\\\\``."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _pieces(text: str) -> Iterator[str]:
    """Yield the string in pieces of at most `MAX_STREAM_BYTES`."""
    encoded = memoryview(text.encode("utf-8", "surrogatepass"))
    begin = 0
    while begin < len(encoded):
        end = min(begin + MAX_STREAM_BYTES, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
            end -= 1
        yield str(encoded[begin:end], "utf-8", "surrogatepass")
        begin = end


def _compact_json(value: Any) -> bytes:
    """Return JSON in UTF-8, in which an emoji has 4 bytes and not 12; only lone surrogates are escaped."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def _channel(value: Any) -> str:
    if value in (None, ""):
        return "shell"
    if not isinstance(value, str) or value not in CHANNELS:
        raise MalformedFrame(f"unknown channel {str(value)[:40]!r}")
    return str(value)


def _object(part: bytes) -> bytes:
    """Return a part to splice into a JSON object: the JSON of an object, and ``{}`` for anything else."""
    stripped = part.strip()
    return stripped if stripped[:1] == b"{" and stripped[-1:] == b"}" else EMPTY


def _split_binary(frame: bytes) -> tuple[bytes, list[bytes]]:
    if len(frame) < 8:
        raise MalformedFrame("a binary frame has at least 8 bytes")
    (count,) = struct.unpack_from(">I", frame)
    if not 1 <= count <= MAX_BUFFERS or len(frame) < 4 * (count + 1):
        raise MalformedFrame(f"a binary frame cannot have {count} fields")
    offsets = [*struct.unpack_from(f">{count}I", frame, 4), len(frame)]
    if offsets[0] != 4 * (count + 1) or any(a > b for a, b in itertools.pairwise(offsets)):
        raise MalformedFrame("the offsets do not ascend")
    text, *buffers = (frame[a:b] for a, b in itertools.pairwise(offsets))
    return text, buffers
