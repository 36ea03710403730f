"""Uploads and downloads that are large, slow, broken off, or of what changes meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator

import httpx
import psutil
import pytest
from tornado.httpclient import HTTPResponse

from tests.support.box import BOUNDARY, KIND, MB, Box, form, member, new_box, packed
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import PATIENCE_SECONDS, Api
from tests.support.waiting import eventually

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose sandboxes have 500 MiB of files, and that takes no upload above 310 MB."""
    config = "pool: {images: {python: 0}}\ndefaults: {mem_limit_mb: 2000}\nlimits: {max_upload_bytes: 310000000}\n"
    with GatewayProcess(tmp_path_factory.mktemp("large"), config=config) as running:
        yield running


@pytest.fixture
async def large_box(large: GatewayProcess) -> AsyncIterator[Box]:
    async with Api(large.url, large.token) as api:
        made = await new_box(api)
        yield made
        await api.request("DELETE", made.path)


def client_of(box: Box) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers=box.auth, timeout=120)


def pieces(total: int) -> Iterator[bytes]:
    piece = os.urandom(MB)
    for _ in range(total // MB):
        yield piece


async def test_where_there_is_no_space_the_old_file_stays(box: Box) -> None:
    await box.write("f", "old")
    answer = await box.upload(("file", "f", bytes(200 * MB)), status=507)
    assert (answer["error_code"], "no space left" in answer["message"]) == ("NO_SPACE", True)
    archive = packed((member("a"), b"a"), (member("b"), bytes(200 * MB)))
    assert (await box.json("POST", "/unpack", archive, 507))["error_code"] == "NO_SPACE"
    assert await box.run("cat f; ls -A; df --output=used . | tail -1 | tr -d ' '") == "olda\nf\n8\n"


async def test_a_client_that_goes_away_leaves_nothing(box: Box, gateway: GatewayProcess) -> None:
    host, port = box.api.url.removeprefix("http://").split(":")
    body = form(("file", "one", bytes(2 * MB)), ("file", "two", bytes(20 * MB)))
    archive = packed((member("two"), bytes(20 * MB)))

    async def used() -> int:
        return int((await box.run("df --output=used . | tail -1")).strip())

    for door, data in (("upload", body), ("unpack", archive)):
        _reader, writer = await asyncio.open_connection(host, int(port))
        head = [f"POST {box.path}/fs/{door} HTTP/1.1", "Host: x", f"Authorization: Bearer {box.api.token}"]
        head += [f"Content-Type: {KIND['Content-Type']}", f"Content-Length: {len(data)}", "", ""]
        writer.write("\r\n".join(head).encode() + data[: 15 * MB])
        await writer.drain()
        await eventually(used, lambda blocks: blocks >= 5000)
        assert await box.run("ls -A") == ""
        writer.transport.abort()
        await eventually(used, lambda blocks: blocks == 0)
        assert await box.run("ls -A") == ""


async def test_transfers_at_once_are_bounded(box: Box) -> None:
    host, port = box.api.url.removeprefix("http://").split(":")
    head = [f"POST {box.path}/fs/unpack HTTP/1.1", "Host: x", f"Authorization: Bearer {box.api.token}"]
    begun = "\r\n".join([*head, "Content-Length: 9999", "", ""]).encode() + bytes(3)

    async def listing() -> HTTPResponse:
        return await box.api.request("GET", f"{box.path}/fs", None, box.auth)

    # asyncio closes a connection whose StreamReader nobody holds
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(17)]
    for _, writer in connections:
        writer.write(begun)
    # One of 17 is refused: only then the others have every place, and a listing cannot have taken one from them.
    answers = [asyncio.create_task(reader.readline()) for reader, _ in connections]
    async with asyncio.timeout(PATIENCE_SECONDS):
        refused, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result().split()[1] for task in refused] == [b"429"]
    for task in waiting:
        task.cancel()
    response = await listing()
    assert (response.code, response.headers["Retry-After"]) == (429, "1")
    assert "16 uploads and downloads" in json.loads(response.body)["message"]
    for _, writer in connections:
        writer.transport.abort()
    response = await eventually(listing, lambda response: response.code != 429)
    assert response.code == 200


async def test_a_file_that_is_replaced_is_read_on_as_it_was(box: Box) -> None:
    await box.run("head -c 60000000 /dev/zero >f")
    async with client_of(box) as client, client.stream("GET", f"{box.url}/download?path=f") as response:
        chunks = response.aiter_raw()
        found = len(await anext(chunks))
        await box.write("f", "new")
        async for chunk in chunks:
            assert not chunk.strip(b"\0")
            found += len(chunk)
    assert found == 60_000_000
    assert await box.read("f") == b"new"


async def test_a_file_that_shrinks_never_looks_whole(box: Box) -> None:
    await box.run("head -c 100000000 /dev/zero >f")
    async with client_of(box) as client, client.stream("GET", f"{box.url}/download?path=f") as response:
        chunks = response.aiter_raw()
        await anext(chunks)
        await box.run("truncate -s 1000 f")
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in chunks:
                pass


async def test_an_upload_keeps_its_session_alive(box: Box) -> None:
    async def lives(ttl_seconds: int) -> None:
        answer = await box.api.request("POST", f"{box.path}/extend", {"ttl_seconds": ttl_seconds})
        assert answer.code == 200, answer.body

    async def drops() -> AsyncIterator[bytes]:
        *most, last = form(("file", "f", b"slow"))
        await lives(1)
        for byte in most:
            yield bytes([byte])
            await asyncio.sleep(0.02)
        await lives(600)
        yield bytes([last])

    async with client_of(box) as client:
        answer = await client.post(f"{box.url}/upload", content=drops(), headers=KIND)
    assert answer.json() == {"ok": True, "paths": ["/workspace/f"]}
    assert await box.read("f") == b"slow"


async def test_an_upload_into_a_session_that_ends_is_told_so(box: Box) -> None:
    async def halves() -> AsyncIterator[bytes]:
        data = form(("file", "f", bytes(4 * MB)))
        yield data[: 3 * MB]
        await box.api.request("DELETE", box.path)
        yield data[3 * MB :]

    async with client_of(box) as client:
        answer = await client.post(f"{box.url}/upload", content=halves(), headers=KIND)
        assert (answer.status_code, answer.json()["error_code"]) == (410, "SESSION_EXPIRED")
        for door, status in ((box.url, 410), (f"{box.api.url}/v1/sessions/nobody/fs", 404)):
            answer = await client.post(f"{door}/upload", content=form(("file", "f", b"x")), headers=KIND)
            assert answer.status_code == status
            assert (await client.get(f"{door}/read?path=f")).status_code == status
        answer = await client.post(f"{box.url}/upload", content=b"x" * MB, headers={**KIND, "Authorization": "no"})
        assert answer.status_code == 401


@pytest.mark.docker
async def test_three_hundred_megabytes_pass_in_bounded_memory(large_box: Box, large: GatewayProcess) -> None:
    process = psutil.Process(large.process.pid)
    before = process.memory_info().rss
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, process.memory_info().rss)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    boundary, tail = f"--{BOUNDARY}\r\n", f"\r\n--{BOUNDARY}--\r\n".encode()
    head = f'{boundary}Content-Disposition: form-data; name="file"; filename="big"\r\n\r\n'.encode()
    sent, got = hashlib.sha256(), hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        yield head
        for piece in pieces(300 * MB):
            sent.update(piece)
            yield piece
        yield tail

    async with client_of(large_box) as client:
        answer = await client.post(f"{large_box.url}/upload", content=body(), headers=KIND)
        assert answer.json() == {"ok": True, "paths": ["/workspace/big"]}
        async with client.stream("GET", f"{large_box.url}/download?path=big") as response:
            async for chunk in response.aiter_raw():
                got.update(chunk)
        assert sent.digest() == got.digest()
        archive = 0
        async with client.stream("GET", f"{large_box.url}/download") as response:
            async for chunk in response.aiter_raw():
                archive += len(chunk)
        assert archive > 300 * MB
        read = 0
        async with client.stream("GET", f"{large_box.url}/read?path=big") as response:
            async for chunk in response.aiter_raw():
                read += len(chunk)
        assert read > 400 * MB
    watching.cancel()
    assert highest - before < 40 * MB


@pytest.mark.docker
@pytest.mark.parametrize("announced", [True, False])
async def test_more_than_the_limit_is_refused_in_words(large_box: Box, announced: bool) -> None:
    total = 330 * MB
    headers = {**KIND, **({"Content-Length": str(total)} if announced else {})}

    async def body() -> AsyncIterator[bytes]:
        yield form(("file", "f", b"")).rpartition(b"\r\n--")[0].ljust(MB, b"x")
        for piece in pieces(total - MB):
            yield piece

    async with client_of(large_box) as client:
        answer = await client.post(f"{large_box.url}/upload", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (413, "TOO_LARGE")
    assert "limits.max_upload_bytes" in answer.json()["message"]
    assert await large_box.names() == []
