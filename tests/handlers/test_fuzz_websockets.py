"""Whatever is sent over a kernel's WebSocket: at most its own connection ends, and the gateway is unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.kernel_client import V1, Api
from tests.support.raw_http import HANDSHAKE, RawHttp, examples, wired

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawHttp]:
    with wired(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.fixture(autouse=True)
def kernels(wire: RawHttp) -> Iterator[None]:
    """No request of these tests leaves a kernel behind."""
    yield
    wire.assert_one_kernel()


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        (HANDSHAKE[:1], "", 400),
        (["Connection: Upgrade"], "", 400),
        (["Upgrade: h2c", *HANDSHAKE[1:]], "", 400),
        (HANDSHAKE[:3], "", 400),
        ([*HANDSHAKE[:2], "Sec-WebSocket-Version: 7", HANDSHAKE[3]], "", 400),
        ([*HANDSHAKE, "Origin: http://evil.example"], "", 403),
        ([*HANDSHAKE, "Origin: \xff"], "", 403),
        ([*HANDSHAKE, "Sec-Fetch-Site: cross-site"], "", 403),
        (HANDSHAKE, "?session_id=%ff", 400),
        (HANDSHAKE, "?session_id=" + "x" * 300, 400),
        (HANDSHAKE, "?session_id=%00", 101),
        ([*HANDSHAKE, "Sec-WebSocket-Protocol: a, b,, \xff"], "", 101),
        ([*HANDSHAKE, "Sec-WebSocket-Extensions: permessage-deflate; x=\xff;;"], "", 101),
    ],
)
def test_a_handshake_that_cannot_be_is_refused_in_json(
    wire: RawHttp, headers: list[str], query: str, code: int
) -> None:
    answer = wire.ask("GET", f"/api/kernels/{wire.kernel}/channels{query}", b"", *headers)
    if code == 101:
        assert answer.status == 101
    else:
        answer.assert_is_an_error(code)
    if headers == HANDSHAKE:
        wire.ask("GET", f"/api/kernels/unknown/channels{query}", b"", *headers).assert_is_an_error(404, 400)


def v1_frame(parts: list[bytes]) -> bytes:
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


names = st.sampled_from([
    "kernel_info_request", "comm_msg", "comm_open", "complete_request", "input_reply", "is_complete_request",
    "history_request", "comm_info_request", "nonsense", "", "\ud800",
])  # fmt: skip


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800") | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


headers = st.fixed_dictionaries(
    {"msg_type": names | values}, optional={"msg_id": values, "session": values, "version": values, "date": values}
)


channels = st.sampled_from(["shell", "control", "stdin", "iopub", "hb", "", "x" * 100])


messages = st.fixed_dictionaries(
    {"header": headers}, optional={"channel": channels | values, "content": values, "parent_header": values,
                                   "metadata": values, "buffers": values},
)  # fmt: skip


text_frames = st.one_of(messages.map(json.dumps), values.map(json.dumps), st.text(st.characters(codec="utf-8")))


@st.composite
def binary_frames(draw: st.DrawFn) -> bytes:
    """Return noise, or a frame of either framing that is nearly right."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    parts = [draw(values.map(json.dumps).map(str.encode) | st.binary(max_size=20)) for _ in range(4)]
    parts[0] = draw(headers.map(json.dumps).map(str.encode) | st.just(parts[0]))
    parts += draw(st.lists(st.binary(max_size=10), max_size=3))
    if draw(st.booleans()):
        frame = bytearray(v1_frame([draw(channels).encode(), *parts]))
    else:
        fields = [draw(text_frames).encode(), *parts[4:]]
        begin = 4 * (len(fields) + 1)
        offsets = [begin + sum(map(len, fields[:index])) for index in range(len(fields))]
        frame = bytearray(struct.pack(f">{len(fields) + 1}I", len(fields), *offsets) + b"".join(fields))
    if draw(st.booleans()):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(1, len(frame)))] if draw(st.booleans()) else frame)


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
@examples(25)
@given(frames=st.lists(st.one_of(text_frames, binary_frames()), min_size=1, max_size=30))
@example(frames=["[" * 100_000, '{"header":{"msg_type":"x"},"content":' + '{"a":' * 950 + "1" + "}" * 951])
@example(frames=['{"header":{"msg_type":"x"},"content":{"a":' + "9" * 50_000 + "}}"])
@example(frames=['{"header":{"msg_type":"kernel_info_request"},"content":{"a":NaN,"a":-Infinity,"a":"\\ud800"}}'])
def test_no_frame_harms_the_gateway_or_its_kernel(wire: RawHttp, v1: bool, frames: list[str | bytes]) -> None:
    channels = wire.channels(v1)
    for frame in frames:
        opcode = websocket.ABNF.OPCODE_BINARY if isinstance(frame, bytes) else websocket.ABNF.OPCODE_TEXT
        channels.send(frame, opcode)
    channels.ping()
    while channels.recv_frame().opcode != websocket.ABNF.OPCODE_PONG:
        pass
    channels.close()
    wire.assert_unharmed()


def test_nesting_at_the_edge_of_what_can_be_read_is_passed_on_or_told(wire: RawHttp) -> None:
    channels = wire.channels(v1=False)
    for depth in (*range(100, 900, 100), *range(900, 1010)):
        deep = '{"a":' * depth + "1" + "}" * depth
        channels.send(f'{{"header":{{"msg_type":"kernel_info_request"}},"channel":"control","content":{deep}}}')
        while (kind := json.loads(channels.recv())["msg_type"]) not in ("kernel_info_reply", "stream"):
            assert kind == "status"
    channels.close()
    wire.assert_unharmed()


WIRE_FRAMES: dict[str, bytes] = {
    "unmasked": b"\x81\x02{}",
    "reserved bits": b"\xf1\x82\0\0\0\0{}",
    "reserved opcode": b"\x83\x82\0\0\0\0{}",
    "reserved control": b"\x8b\x80\0\0\0\0",
    "not utf-8": b"\x81\x82\0\0\0\0\xff\xfe",
    "a long ping": b"\x89\xfe\x00\x80\0\0\0\0" + bytes(128),
    "a ping in pieces": b"\x09\x80\0\0\0\0",
    "nothing to continue": b"\x80\x82\0\0\0\0{}",
    "two beginnings": b"\x01\x82\0\0\0\0{}\x01\x82\0\0\0\0{}",
    "an endless frame": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "more than 64 MiB": b"\x82\xff\0\0\0\0\x08\0\0\0\0\0\0\0",
    "half a frame": b"\x82\xfe\x10\x00\0\0\0\0half",
    "a close of one byte": b"\x88\x81\0\0\0\0\x03",
    "a close with a wrong code": b"\x88\x82\0\0\0\0\x00\x05",
    "a close with a reason that is no text": b"\x88\x84\0\0\0\0\x03\xe8\xff\xfe",
    "many pings": b"\x89\x84\0\0\0\0ping" * 20_000,
    "many empty pieces": b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 20_000 + b"\x80\x80\0\0\0\0",
    "noise": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
@pytest.mark.parametrize("data", WIRE_FRAMES.values(), ids=WIRE_FRAMES.keys())
def test_what_is_no_websocket_frame_ends_at_most_its_own_connection(wire: RawHttp, v1: bool, data: bytes) -> None:
    with wire.connect() as sock:
        path = f"/api/kernels/{wire.kernel}/channels?token={wire.token}"
        protocol = [f"Sec-WebSocket-Protocol: {V1}"] if v1 else []
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *HANDSHAKE, *protocol, "", ""]).encode())
        assert sock.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 101"
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
    assert wire.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_a_message_of_twenty_megabytes_passes_and_one_of_seventy_ends_its_connection(
    wire: RawHttp, v1: bool
) -> None:
    api = Api(wire.url, wire.token)
    client = await api.connect(wire.kernel, v1)
    result = await client.execute(f"print(len({'x' * 20_000_000!r}))")
    assert result.stream() == "20000000\n"
    with contextlib.suppress(Exception):
        await client.send("execute_request", {"code": "x" * 70_000_000})
    while await client.receive():
        pass
    await asyncio.to_thread(wire.assert_unharmed)
