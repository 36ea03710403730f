"""Whatever is sent to the gateway, by whomever: the right status, in words, and the gateway unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import struct
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple, cast
from urllib.parse import quote_from_bytes, urlsplit

import pytest
import websocket
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tornado.testing import bind_unused_port

from sandkasten_kernels.auth import Authenticator
from sandkasten_kernels.handlers.base import Services
from sandkasten_kernels.handlers.server import http_server
from sandkasten_kernels.handlers.streamed import StreamedHandler
from sandkasten_kernels.web import Web

from .gateway import Gateway
from .kernel_client import PATIENCE_SECONDS, V1, Api
from .routes import ALL, Route

pytestmark = pytest.mark.docker


def examples(count: int) -> settings:
    """Return what a property that is tried against a gateway needs: no deadline."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Answer(NamedTuple):
    """What the gateway answered; a status of 0 is a connection that was ended without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    def assert_is_an_error(self, *codes: int) -> None:
        """Assert one of these statuses, and the shape that every error has."""
        assert self.status in codes, self
        found = json.loads(self.body)
        assert found.keys() == {"error", "error_code", "message", "reason", "details"}
        assert found["message"] == found["error"]
        assert found["reason"] == HTTPStatus(self.status).phrase
        assert self.headers["x-request-id"]
        assert b"Traceback" not in self.body
        assert b"/site-packages/" not in self.body


class Wire:
    """Sends bytes as they are to a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.url, self.token = gateway.url, gateway.token
        address = urlsplit(gateway.url)
        self._address = str(address.hostname), int(address.port or 80)
        self.kernel = ""

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=PATIENCE_SECONDS)

    def raw(self, data: bytes, *, ends: bool = False) -> Answer:
        """Return the answer to these bytes; with ``ends`` the gateway is told that there are no more."""
        with self.connect() as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
                if ends:
                    sock.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(sock)
            try:
                response.begin()
                found = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, found, response.read())
            except (http.client.BadStatusLine, ConnectionError):
                return Answer(0, {}, b"")

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str, token: bool = True) -> Answer:
        """Return the answer to a well-formed request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
        if token:
            lines.append(f"Authorization: token {self.token}")
        return self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def channels(self, v1: bool, kernel: str = "") -> websocket.WebSocket:
        """Return a WebSocket of a kernel, by default of the one that the tests share."""
        url = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel or self.kernel}/channels?token={self.token}"
        options: dict[str, Any] = {"subprotocols": [V1]} if v1 else {}
        return websocket.create_connection(url, timeout=PATIENCE_SECONDS, **options)

    def assert_unharmed(self) -> None:
        """Assert that the gateway answers and the kernel runs a cell."""
        assert self.ask("GET", "/healthz").status == 200
        channels = self.channels(v1=False)
        header = {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request", "session": "s", "version": "5.3"}
        content = {"code": "print(6 * 7)", "silent": False}
        channels.send(json.dumps({"header": header, "channel": "shell", "content": content}))
        text = ""
        while True:
            frame = channels.recv()
            message = json.loads(frame) if isinstance(frame, str) else {"parent_header": {}}
            if message["parent_header"].get("msg_id") == header["msg_id"]:
                text += message["content"]["text"] if message["content"].get("name") == "stdout" else ""
                if message["msg_type"] == "execute_reply":
                    break
        channels.close()
        assert text == "42\n"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A gateway of the module's own; at the end it is unharmed, and its log has no traceback."""
    with Gateway(tmp_path_factory.mktemp("fuzz"), "pool: {enabled: false}\nlog_level: INFO\n") as gateway:
        wire = Wire(gateway)
        wire.kernel = str(json.loads(wire.ask("POST", "/api/kernels").body)["id"])
        yield wire
        wire.assert_unharmed()
    gateway.assert_nothing_left()
    log = gateway.log.read_bytes()
    assert b"Traceback" not in log, log.decode(errors="replace")[-10_000:]
    assert not [byte for byte in log if byte < 32 and byte != 10]


@pytest.fixture(autouse=True)
def kernels(wire: Wire) -> Iterator[None]:
    """No request of these tests leaves a kernel behind."""
    yield
    assert [kernel["id"] for kernel in json.loads(wire.ask("GET", "/api/kernels").body)] == [wire.kernel]


def routes_with_methods() -> list[Any]:
    return [pytest.param(route, method, id=f"{method} {route.pattern}") for route in ALL for method in route.methods]


@pytest.mark.parametrize(("route", "method"), routes_with_methods())
def test_a_wrong_or_missing_token_opens_no_route(wire: Wire, route: Route, method: str) -> None:
    wrong = [
        (), ("Authorization: token x",), ("Authorization: Bearer",), ("Authorization: token " + "x" * 5000,),
        (f"Authorization: Basic {wire.token}",), (f"Authorization: token {wire.token}x",), ("X-API-Key: \xff\xfe",),
        ("Cookie: sandkasten-0a=x",), ("Cookie: sandkasten-0a=\xff; =;;=",), (f"X-XSRFToken: {wire.token}",),
    ]  # fmt: skip
    paths = [route.path(wire.kernel), *(f"{route.path()}?token={text}" for text in ("", "x", "%ff", "%00"))]
    for headers, path in [*((headers, paths[0]) for headers in wrong), *(((), path) for path in paths[1:])]:
        answer = wire.ask(method, path, b"{}", *headers, token=False)
        if route.handler.open_to_all:
            assert answer.status in (200, 404), (path, headers)
        else:
            answer.assert_is_an_error(401)
            assert answer.headers["www-authenticate"]


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.pattern)
def test_a_method_that_a_route_has_not_is_told_which_it_has(wire: Wire, route: Route) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "FOO", "TRACE"} - {*route.methods}:
        answer = wire.ask(method, route.path())
        answer.assert_is_an_error(405)
        assert set(answer.headers["allow"].split(", ")) == {*route.methods, "OPTIONS"}


@pytest.mark.parametrize(
    ("route", "method"), [param for param in routes_with_methods() if param.values[0].takes_an_argument]
)
@examples(15)
@given(argument=st.one_of(st.binary(min_size=1, max_size=40), st.text(min_size=1, max_size=20).map(str.encode)))
@example(argument=b"..")
@example(argument=b"../../../etc/passwd")
@example(argument=b"\0")
@example(argument=b"%2e%2e%2f")
@example(argument=b"\xff\xfe")
@example(argument="\u202e\u2028".encode())
@example(argument=b"x" * 10_000)
@example(argument=b"%s%d{0}")
def test_no_argument_of_a_path_is_too_strange(wire: Wire, route: Route, method: str, argument: bytes) -> None:
    path = route.path(quote_from_bytes(argument, safe=""))
    wire.ask(method, path, b"{}").assert_is_an_error(400, 404)


BODIES: dict[str, tuple[bytes, int]] = {
    "half": (b'{"name": ', 400),
    "noise": (bytes(range(256)), 400),
    "deep list": (b"[" * 200_000, 400),
    "deep object": (b'{"name":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "no object": (b"[1, 2]", 400),
    "text": (b'"name"', 400),
    "not a number": (b'{"name": NaN}', 400),
    "infinite": (b'{"name": -Infinity}', 400),
    "huge number": (b'{"name": ' + b"9" * 100_000 + b"}", 400),
    "huge exponent": (b'{"name": 1e999999}', 400),
    "lone surrogate": (b'{"name": "\\ud800", "kernel": {"name": "\\udfff"}, "path": "\\ud800", "type": "x"}', 404),
    "nul": (b'{"name": "a\\u0000b", "kernel": {"name": "\\u0000"}, "path": "\\u0000", "type": "x"}', 404),
    "twice": (b'{"name": 1, "name": "cobol", "kernel": {"name": "cobol"}, "path": "a", "type": "x"}', 404),
    "utf-16": ('{"name": "cobol", "kernel": {"name": "cobol"}, "path": "a", "type": "x"}'.encode("utf-16"), 404),
    "byte order mark": (b'\xef\xbb\xbf{"name": 5}', 400),
    "20 MB": (b'{"name": "' + b"x" * 20_000_000 + b'"}', 413),
}


@pytest.mark.parametrize("path", ["/api/kernels", "/api/sessions"])
@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES.keys())
def test_a_body_that_means_nothing_is_told_so(wire: Wire, path: str, body: bytes, code: int) -> None:
    for kind in ("Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"):
        wire.ask("POST", path, body, kind).assert_is_an_error(code)
    wire.ask("POST", path, body, "Content-Type: multipart/form-data; boundary=x").assert_is_an_error(code, 400)


@pytest.mark.parametrize(
    ("route", "method"), [param for param in routes_with_methods() if param.values[1] in ("POST", "PATCH")]
)
def test_a_body_of_twenty_megabytes_is_refused_in_words_on_every_route(wire: Wire, route: Route, method: str) -> None:
    body = bytes(20_000_000)
    path = route.path("unknown")
    streamed = issubclass(route.handler, StreamedHandler)  # it takes as much, and says what else is wrong
    answer = wire.ask(method, path, body)
    answer.assert_is_an_error(404 if streamed else 413)
    assert (b"there is no" if streamed else b"16 MiB") in answer.body
    wire.ask(method, path, body, token=False).assert_is_an_error(401)
    size = len(body) + 1
    chunked = f"{method} {path}?token={wire.token} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = chunked.encode() + f"{size:x}\r\n".encode() + bytes(size) + b"\r\n0\r\n\r\n"
    wire.raw(data).assert_is_an_error(404 if streamed else 413)


fields = st.sampled_from(["env", "path", "type", "kernel", "id", "notebook", "KERNEL_X"])
bodies = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=8,
)


@examples(60)
@given(body=bodies)
def test_json_of_any_shape_is_an_answer_and_not_an_accident(wire: Wire, body: Any) -> None:
    asks: dict[str, Any] = {"name": "cobol", "kernel": {"name": "cobol"}}
    described = {**body, **asks} if isinstance(body, dict) else body
    data = json.dumps(described).encode()
    for path in ("/api/kernels", "/api/sessions"):
        wire.ask("POST", path, data).assert_is_an_error(400, 404)


POST, GET = (method + b" /api/kernels HTTP/1.1\r\nHost: x\r\n" for method in (b"POST", b"GET"))
REQUESTS: dict[str, bytes] = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "no version": b"GET /api\r\n\r\n",
    "a space in the path": b"GET /api/ker nels HTTP/1.1\r\nHost: x\r\n\r\n",
    "control characters": b"GET /api\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the path": b"GET /api/kernels/\xff\xfe\xc3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /api HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "absolute": b"GET http://evil.example/api HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length that is none": POST + b"Content-Length: x\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "wrong chunks": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "half a body": POST + b"Content-Length: 100\r\n\r\n{}",
    "a huge body": POST + b"Content-Length: 99999999999\r\n\r\n",
    "a large header": GET + b"X-Large: " + b"x" * 100_000 + b"\r\n\r\n",
    "a large path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": GET + b"X: y\r\n" * 20_000 + b"\r\n",
    "folded header": GET + b"X: a\r\n b\r\n\r\n",
    "no colon": GET + b"nonsense\r\n\r\n",
    "an odd query": b"GET /api/me?permissions=%ff&&&=%zz&token=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "many arguments": b"GET /api?" + b"a&" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a compressed body": POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS.keys())
def test_what_is_no_request_of_ours_is_refused_or_cut_off(wire: Wire, data: bytes) -> None:
    answer = wire.raw(data, ends=True)
    assert answer.status in (0, 400, 401, 404, 413, 431), answer
    if answer.body:
        answer.assert_is_an_error(answer.status)
    assert wire.ask("GET", "/healthz").status == 200


HANDSHAKE = [
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
]  # fmt: skip


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
def test_a_handshake_that_cannot_be_is_refused_in_json(wire: Wire, headers: list[str], query: str, code: int) -> None:
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
def test_no_frame_harms_the_gateway_or_its_kernel(wire: Wire, v1: bool, frames: list[str | bytes]) -> None:
    channels = wire.channels(v1)
    for frame in frames:
        opcode = websocket.ABNF.OPCODE_BINARY if isinstance(frame, bytes) else websocket.ABNF.OPCODE_TEXT
        channels.send(frame, opcode)
    channels.ping()
    while channels.recv_frame().opcode != websocket.ABNF.OPCODE_PONG:
        pass
    channels.close()
    wire.assert_unharmed()


def test_nesting_at_the_edge_of_what_can_be_read_is_passed_on_or_told(wire: Wire) -> None:
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
def test_what_is_no_websocket_frame_ends_at_most_its_own_connection(wire: Wire, v1: bool, data: bytes) -> None:
    with wire.connect() as sock:
        path = f"/api/kernels/{wire.kernel}/channels?token={wire.token}"
        protocol = [f"Sec-WebSocket-Protocol: {V1}"] if v1 else []
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *HANDSHAKE, *protocol, "", ""]).encode())
        assert sock.recv(12) == b"HTTP/1.1 101"
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
    assert wire.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_a_message_of_twenty_megabytes_passes_and_one_of_seventy_ends_its_connection(
    wire: Wire, v1: bool
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


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow",
    ],
    ids=["nothing", "headers", "body"],
)
async def test_a_client_that_sends_its_request_drop_by_drop_is_cut_off(begin: bytes) -> None:
    nothing = cast(Any, None)
    services = Services(Authenticator("t"), *[nothing] * 4, Web(), *[nothing] * 6, settings=nothing)
    server = http_server(services, header_seconds=0.2, body_seconds=0.2)
    sock, port = bind_unused_port()
    server.add_socket(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)

    async def drip() -> None:
        while begin:
            writer.write(b"x" if b"Slow" in begin else b"")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    try:
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
    finally:
        dripping.cancel()
        writer.close()
        server.stop()
        await server.close_all_connections()
