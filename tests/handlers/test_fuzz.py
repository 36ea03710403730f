"""Whatever is sent to the gateway, by whomever: the right status, in words, and the gateway unharmed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.testing import bind_unused_port

from sandkasten_kernels.handlers.server import http_server
from sandkasten_kernels.handlers.v1.uploads import StreamedHandler
from tests.support.kernel_client import PATIENCE_SECONDS
from tests.support.raw_http import RawHttp, examples, wired
from tests.support.route_list import ALL, Route
from tests.support.services import some_services

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


def routes_with_methods() -> list[Any]:
    return [pytest.param(route, method, id=f"{method} {route.pattern}") for route in ALL for method in route.methods]


@pytest.mark.parametrize(("route", "method"), routes_with_methods())
def test_a_wrong_or_missing_token_opens_no_route(wire: RawHttp, route: Route, method: str) -> None:
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
def test_a_method_that_a_route_has_not_is_told_which_it_has(wire: RawHttp, route: Route) -> None:
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
def test_no_argument_of_a_path_is_too_strange(wire: RawHttp, route: Route, method: str, argument: bytes) -> None:
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
def test_a_body_that_means_nothing_is_told_so(wire: RawHttp, path: str, body: bytes, code: int) -> None:
    for kind in ("Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"):
        wire.ask("POST", path, body, kind).assert_is_an_error(code)
    wire.ask("POST", path, body, "Content-Type: multipart/form-data; boundary=x").assert_is_an_error(code, 400)


@pytest.mark.parametrize(
    ("route", "method"), [param for param in routes_with_methods() if param.values[1] in ("POST", "PATCH")]
)
def test_a_body_of_twenty_megabytes_is_refused_in_words_on_every_route(
    wire: RawHttp, route: Route, method: str
) -> None:
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
def test_json_of_any_shape_is_an_answer_and_not_an_accident(wire: RawHttp, body: Any) -> None:
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
def test_what_is_no_request_of_ours_is_refused_or_cut_off(wire: RawHttp, data: bytes) -> None:
    answer = wire.raw(data, ends=True)
    assert answer.status in (0, 400, 401, 404, 413, 431), answer
    if answer.body:
        answer.assert_is_an_error(answer.status)
    assert wire.ask("GET", "/healthz").status == 200


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
    server = http_server(some_services(), header_seconds=0.2, body_seconds=0.2)
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
