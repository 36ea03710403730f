"""What the SDK makes of answers, good and bad, and of none: what it asks again, and what it says."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels import (
    GatewayUnreachable,
    LimitReached,
    NoCapacity,
    SandboxAPIError,
    SandboxClient,
    StreamError,
)
from sandkasten_kernels.client.sse import EventReader, ServerEvent
from tests.support.scripted_server import INFO, Script, answer, events, refusal
from tests.support.sdk_clients import client_of


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_what_was_not_carried_out_is_asked_again_after_the_time_that_was_named(kind: str) -> None:
    script = Script(refusal(503, "NO_CAPACITY", "Retry-After: 0"), refusal(429, "LIMIT_REACHED", "Retry-After: 1"),
                    answer(201, {"id": "made"}))  # fmt: skip
    async with script.serving(), client_of(kind, script.url, "k") as client:
        assert (await client.create_session()).id == "made"
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    ("code", "status", "error"), [("LIMIT_REACHED", 429, LimitReached), ("NO_CAPACITY", 503, NoCapacity)]
)
async def test_what_would_take_too_long_to_ask_again_is_an_error_that_says_when(
    kind: str, code: str, status: int, error: type[SandboxAPIError]
) -> None:
    script = Script(refusal(status, code, "Retry-After: 3600"))
    async with script.serving(), client_of(kind, script.url, "k") as client:
        with pytest.raises(error, match=r"^in words$") as caught:
            await client.create_session()
    assert (caught.value.retry_after, caught.value.status_code, caught.value.details) == (3600, status, {"a": 1})


@pytest.mark.parametrize("bad", [b"", answer(502, b"<html>"), answer(504, b""), answer(503, b"")])
async def test_what_may_be_carried_out_twice_is_asked_again_and_nothing_else(kind: str, bad: bytes) -> None:
    script = Script(bad, answer(200, INFO), bad, bad)
    async with script.serving(), client_of(kind, script.url, "k") as client:
        session = await client.get_session("x")
        with pytest.raises((GatewayUnreachable, SandboxAPIError)) as caught:
            await session.exec("true")
        with pytest.raises((GatewayUnreachable, SandboxAPIError)):
            await client.create_session()
    assert len(script.requests) == 4
    assert script.url in str(caught.value)


async def test_a_defect_of_the_gateway_is_not_repeated(kind: str) -> None:
    script = Script(refusal(500, "INTERNAL_ERROR"))
    async with script.serving(), client_of(kind, script.url, "k") as client:
        with pytest.raises(SandboxAPIError) as caught:
            await client.list_sessions()
    assert (caught.value.code, len(script.requests)) == ("INTERNAL_ERROR", 1)


async def test_an_upload_that_is_sent_again_is_sent_from_where_it_began(kind: str) -> None:
    busy = refusal(503, "NO_CAPACITY", "Retry-After: 0")
    script = Script(busy, answer(200, {"paths": ["/workspace/f"]}))
    source = io.BytesIO(b"skipped|content")
    source.read(8)
    async with script.serving(), client_of(kind, script.url, "k") as client:
        assert await client.workspace("w").upload(source, filename="f") == ["/workspace/f"]
    for request in script.requests:
        assert b"\r\n\r\ncontent\r\n--" in request
        assert b"skipped" not in request


async def test_what_is_no_gateway_is_told_so(kind: str) -> None:
    script = Script(answer(200, b"<html>hello"))
    async with script.serving(), client_of(kind, script.url, "k") as client:
        with pytest.raises(GatewayUnreachable, match="is not a gateway"):
            await client.list_sessions()


async def test_a_gateway_that_is_not_there_is_told_after_the_time_for_trying(kind: str) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody listens there, nor can another program
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        async with client_of(kind, f"http://{address}", "k", retry_for=0.3) as client:
            with pytest.raises(GatewayUnreachable, match=f"{address} cannot be reached"):
                await client.create_session()


async def test_an_answer_that_takes_too_long_is_told_with_its_limit(kind: str) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of(kind, url, "k", timeout=0.2) as client:
            with pytest.raises(GatewayUnreachable, match=r"did not answer within 0\.2 s"):
                await client.list_sessions()


CHUNK = ("event: chunk", 'data: {"chunk": "a", "timestamp": 5, "stream": "stdout"}', "")
DONE = ("event: done", 'data: {"exit_code": 3, "cwd": "/", "duration_ms": 7}', "")


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (events(*CHUNK), "ended without the event done"),
        (events(*CHUNK, whole=False), "lost before the answer"),
        (events(*CHUNK, "event: error", 'data: {"error": "cut off"}', ""), "^cut off$"),
        (events(*CHUNK, "event: chunk", "data: {", ""), "not JSON"),
    ],
)
async def test_a_stream_that_has_no_end_is_an_error(kind: str, stream: bytes, words: str) -> None:
    script = Script(answer(200, INFO), stream)
    said = []
    async with script.serving(), client_of(kind, script.url, "k") as client:
        session = await client.get_session("x")

        async def read() -> None:
            async for chunk in session.exec_stream("true"):
                said.append(chunk.output)

        with pytest.raises(StreamError, match=words):
            await read()
    assert said == ["a"]


async def test_what_comes_after_the_end_of_a_stream_does_not_matter(kind: str) -> None:
    script = Script(answer(200, INFO), events(": a comment", *CHUNK, *DONE, *CHUNK, whole=False))
    async with script.serving(), client_of(kind, script.url, "k") as client:
        chunks = [chunk async for chunk in (await client.get_session("x")).exec_stream("true")]
    assert [(c.output, c.done, c.exit_code) for c in chunks] == [("a", False, 0), ("", True, 3)]


@given(st.lists(st.integers(1, 60)))
def test_events_are_the_same_however_their_bytes_arrive(cuts: list[int]) -> None:
    data = (
        'event: a\r\ndata: {"x": "\u2028é\x85"}\nid: 7\n\n: heart\n\ndata: one\ndata: two\n\nevent: none\n\n'.encode()
    )
    reader, found, rest = EventReader(), [], data
    for cut in cuts:
        found += reader.feed(rest[:cut])
        rest = rest[cut:]
    found += reader.feed(rest)
    assert found == [ServerEvent("a", '{"x": "\u2028é\x85"}', "7"), ServerEvent("message", "one\ntwo", "")]


async def test_a_client_closes_what_it_opened() -> None:
    closing: Callable[[], Any] = SandboxClient(base_url="http://127.0.0.1:1", api_key="k", retry_for=0).close
    await closing()
    await closing()
