"""Executions that are streamed over ``/v1``: as they come, in pieces that are whole, and in bounded memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.v1_requests import create, run

pytestmark = pytest.mark.local


class Stream:
    """The events of one streamed execution."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def __aiter__(self) -> AsyncIterator[tuple[str, dict[str, Any], float]]:
        kind = ""
        async for line in self._lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: ")), time.monotonic()


@pytest.fixture
async def http(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {gateway.token}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
async def session(api: Api) -> dict[str, Any]:
    return await create(api)


async def streamed(
    http: httpx.AsyncClient, session: dict[str, Any], **body: Any
) -> list[tuple[str, dict[str, Any], float]]:
    async with http.stream("POST", f"/v1/sessions/{session['id']}/exec/stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        return [event async for event in Stream(response)]


def chunks(events: list[tuple[str, dict[str, Any], float]], stream: str = "stdout") -> str:
    return "".join(data["chunk"] for kind, data, _ in events if kind == "chunk" and data["stream"] == stream)


async def test_a_client_that_goes_away_stops_what_it_started(
    api: Api, session: dict[str, Any], http: httpx.AsyncClient
) -> None:
    stubborn = "trap '' INT TERM; for n in 1 2 3; do sleep 1000 & done; echo begun; wait"
    for path in ("exec", "exec/stream"):
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"/v1/sessions/{session['id']}/{path}", json={"cmd": f"({stubborn})"}, timeout=1)
        shown = await run(api, session, cmd="echo next; pgrep -c sleep || true")
        assert shown["output"].startswith("next\n")


GO = "/tmp/go-on"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            {"cmd": f"echo one; until [ -e {GO} ]; do sleep 0.02; done; echo two"},
            {"code": f"open('{GO}', 'w').close()"},
        ),
        (
            {"code": f"import os, time\nprint('one')\nwhile not os.path.exists('{GO}'): time.sleep(.02)\nprint('two')"},
            {"cmd": f"touch {GO}"},
        ),
    ],
    ids=["cmd", "code"],
)
async def test_a_chunk_arrives_before_the_next_is_written(
    api: Api, session: dict[str, Any], http: httpx.AsyncClient, body: dict[str, str], answer: dict[str, str]
) -> None:
    """What runs goes on only when its first word has been read here."""
    events = []
    async with http.stream("POST", f"/v1/sessions/{session['id']}/exec/stream", json=body) as response:
        async for event in Stream(response):
            events.append(event)
            if event[1].get("chunk") == "one\n":
                await run(api, session, **answer)
    assert chunks(events) == "one\ntwo\n"
    assert (events[-1][0], events[-1][1]["exit_code"]) == ("done", 0)
    assert {"exit_code", "cwd", "duration_ms"} <= events[-1][1].keys()


async def test_a_cells_outputs_are_streamed_as_events(session: dict[str, Any], http: httpx.AsyncClient) -> None:
    events = await streamed(http, session, code="print('text')\n1 / 0")
    assert chunks(events) == "text\n"
    assert [kind for kind, _, _ in events if kind != "chunk"] == ["output", "done"]
    assert events[-2][1]["output_type"] == "error"
    assert events[-1][1]["status"] == "error"


async def test_an_error_known_before_the_first_byte_is_an_ordinary_one(
    session: dict[str, Any], http: httpx.AsyncClient
) -> None:
    response = await http.post(f"/v1/sessions/{session['id']}/exec/stream", json={})
    assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_REQUEST")
    response = await http.post("/v1/sessions/none/exec/stream", json={"cmd": "true"})
    assert response.status_code == 404


async def test_any_text_survives_the_stream(session: dict[str, Any], http: httpx.AsyncClient) -> None:
    text = "a\x85b\u2028c\u2029d\ré\U0001f600"
    events = await streamed(http, session, cmd=f"printf '%s' '{text}'")
    assert chunks(events) == text
    split = r"printf '\xf0\x9f'; sleep 0.3; printf '\x98\x80'; sleep 0.3; printf 'x\xff'"
    assert chunks(await streamed(http, session, cmd=split)) == "\U0001f600x\ufffd"


async def test_each_event_is_pure_ascii_and_one_piece(session: dict[str, Any], http: httpx.AsyncClient) -> None:
    path = f"/v1/sessions/{session['id']}/exec/stream"
    async with http.stream("POST", path, json={"cmd": "echo é; sleep 0.2; echo ü"}) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    for piece in pieces:
        assert piece.isascii()
        assert piece.startswith((b"event: ", b": "))
        assert piece.endswith(b"\n\n")


async def test_a_hundred_megabytes_stream_in_bounded_memory(
    gateway: GatewayProcess, session: dict[str, Any], http: httpx.AsyncClient
) -> None:
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    largest = received = 0
    path = f"/v1/sessions/{session['id']}/exec/stream"
    command = "head -c 100000000 /dev/zero | tr '\\0' x"
    async with http.stream("POST", path, json={"cmd": command}) as response:
        async for kind, data, _ in Stream(response):
            if kind == "chunk":
                received += len(data["chunk"])
                largest = max(largest, process.memory_info().rss)
    assert (kind, received) == ("done", 100_000_000)
    assert largest - before < 150 * 2**20


async def test_a_reader_that_stalls_is_cut_off_alone_and_the_command_ended(
    gateway: GatewayProcess, api: Api, session: dict[str, Any]
) -> None:
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    body = json.dumps({"cmd": "yes | head -c 400000000"}).encode()
    head = f"POST /v1/sessions/{session['id']}/exec/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {gateway.token}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(run(api, session, cmd="echo next"), 60)
    assert answer["output"] == "next\n"
    assert process.memory_info().rss - before < 250 * 2**20
    writer.close()
    assert (await run(api, session, code="print('fine')"))["output"] == "fine\n"
    del reader
