"""The SDK without a gateway: what it makes of answers, good and bad, and where it looks for a gateway."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.testing import bind_unused_port

from sandkasten_kernels import (
    GatewayNotFound,
    GatewayUnreachable,
    LimitReached,
    NoCapacity,
    SandboxAPIError,
    SandboxClient,
    StreamError,
)
from sandkasten_kernels.client.address import Address, find_gateway
from sandkasten_kernels.client.archive import unpack
from sandkasten_kernels.client.infos import SessionInfo
from sandkasten_kernels.client.outputs import Output
from sandkasten_kernels.client.results import ExecResult, RunResult
from sandkasten_kernels.client.runtime_file import Running, default_data_dir, read_running, write_running
from sandkasten_kernels.client.sse import EventReader, ServerEvent
from sandkasten_kernels.client_app import one_line

from .sdk import client_of

INFO = {"id": "x", "image": "base", "status": "running", "cwd": "/", "created_at": "", "expires_at": ""}


def answer(status: int, body: Any, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def refusal(status: int, code: str, *headers: str) -> bytes:
    return answer(status, {"error": "words", "error_code": code, "message": "in words", "details": {"a": 1}}, *headers)


def events(*lines: str, whole: bool = True) -> bytes:
    data = "".join(f"{line}\n" for line in lines).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(data):x}\r\n".encode() + data + b"\r\n" + (b"0\r\n\r\n" if whole else b"")


class Script:
    """A server that gives its answers in turn, one for each connection; an empty one ends it without a word."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Script]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if (length := request.lower().partition(b"content-length: ")[2]) and self.answers[0]:
            request += await reader.readexactly(int(length.split()[0]))
        self.requests.append(request)
        writer.write(self.answers.pop(0))
        await writer.drain()
        writer.close()


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
        with pytest.raises(GatewayUnreachable, match="is no gateway"):
            await client.list_sessions()


async def test_a_gateway_that_is_not_there_is_told_after_the_time_for_trying(kind: str) -> None:
    listening, port = bind_unused_port()
    listening.close()
    async with client_of(kind, f"http://127.0.0.1:{port}", "k", retry_for=0.3) as client:
        with pytest.raises(GatewayUnreachable, match=f"127.0.0.1:{port} cannot be reached"):
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
        (events(*CHUNK), "ended before the end"),
        (events(*CHUNK, whole=False), "lost in the midst"),
        (events(*CHUNK, "event: error", 'data: {"error": "cut off"}', ""), "^cut off$"),
        (events(*CHUNK, "event: chunk", "data: {", ""), "no JSON"),
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


def test_where_a_gateway_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SANDKASTEN_URL", raising=False)
    monkeypatch.delenv("SANDKASTEN_API_KEY", raising=False)
    with pytest.raises(GatewayNotFound, match="no gateway of this user runs here"):
        find_gateway(None, None)
    assert find_gateway(None, "k") == Address("http://localhost:8080", "k")
    write_running(tmp_path, Running("http://127.0.0.1:5/", "secret", os.getpid()))
    here = Address("http://127.0.0.1:5", "secret")
    assert find_gateway(None, None) == find_gateway("http://127.0.0.1:5", None) == here
    assert find_gateway(None, "k") == Address("http://127.0.0.1:5", "k")
    assert "secret" not in repr(here)
    with pytest.raises(GatewayNotFound, match="no key for http://elsewhere"):
        find_gateway("http://elsewhere", None)
    monkeypatch.setenv("SANDKASTEN_URL", "https://env/base/?token=t")
    assert find_gateway(None, None) == Address("https://env/base", "t")
    monkeypatch.setenv("SANDKASTEN_API_KEY", "e")
    assert find_gateway(None, None) == Address("https://env/base", "e")
    assert find_gateway("http://[::1]:9", "given") == Address("http://[::1]:9", "given")
    assert find_gateway("http://a", " key\n") == Address("http://a", "key")
    for odd in ("two words\nand lines", "schlüssel"):
        with pytest.raises(GatewayNotFound, match="no key has") as caught:
            find_gateway("http://a", odd)
        assert odd not in str(caught.value)
    for wrong in ("localhost:8080", "ftp://x", "http://", "x?token=secret"):
        with pytest.raises(GatewayNotFound, match="is no URL") as caught:
            find_gateway(wrong, None)
        assert "secret" not in str(caught.value)


def test_a_runtime_file_that_another_could_have_written_is_not_believed(tmp_path: Path) -> None:
    file = write_running(tmp_path, Running("http://x", "t", os.getpid()))
    assert read_running(tmp_path) == Running("http://x", "t", os.getpid())
    file.chmod(0o644)
    assert read_running(tmp_path) is None
    file.rename(tmp_path / "real")
    (tmp_path / "real").chmod(0o600)
    file.symlink_to(tmp_path / "real")
    assert read_running(tmp_path) is None
    file.unlink()
    for text in ("", "[]", "{", '{"url": "http://x"}', "null"):
        file.write_text(text)
        file.chmod(0o600)
        assert read_running(tmp_path) is None
    file.unlink()
    file.mkdir()
    assert read_running(tmp_path) is None


def test_the_key_of_a_gateway_that_was_killed_is_sent_to_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SANDKASTEN_URL", raising=False)
    monkeypatch.delenv("SANDKASTEN_API_KEY", raising=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_running(tmp_path, Running("http://127.0.0.1:5", "secret", process.pid))
        assert find_gateway(None, None).api_key == "secret"
    for url in (None, "http://127.0.0.1:5"):
        with pytest.raises(GatewayNotFound):
            find_gateway(url, None)


def test_of_a_downloaded_archive_only_files_and_directories_are_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "draft", "w") as tar:
        for name, kind, target in (
            ("w/link", tarfile.SYMTYPE, "inside"),
            ("w/hard", tarfile.LNKTYPE, "w/file"),
            ("w/fifo", tarfile.FIFOTYPE, ""),
            ("w/file", tarfile.REGTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    unpack(tmp_path / "draft", tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["file"]


def test_an_error_is_told_to_a_terminal_in_one_line_without_escapes() -> None:
    assert one_line(ValueError("bad \x1b[31m\n  name")) == "bad ?[31m name"
    assert one_line(FileNotFoundError(2, "there is none", "a\x1b")) == "a?: there is none"


def test_a_proxy_of_the_environment_is_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")
    for url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "http://inside"):
        assert Address(url, "k").proxy is None
    assert Address("http://far", "k").proxy == "http://proxy:3128"


def test_results_are_frozen_and_a_newer_gateway_may_say_more() -> None:
    info = SessionInfo.of({**INFO, "brand_new": 1, "workspace_id": None, "labels": None})
    assert (info.workspace_id, info.labels) == (None, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.status = "x"  # type: ignore[misc]


PNG = base64.b64encode(b"\x89PNG").decode()
EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ({"output_type": "stream", "name": "stdout", "text": ["a\n", EVIL]}, "&lt;script&gt;"),
        ({"output_type": "display_data", "data": {"image/png": PNG}}, "data:image/png;base64,iVBORw=="),
        ({"output_type": "display_data", "data": {"image/svg+xml": f"<svg>{EVIL}"}}, "data:image/svg+xml;base64,"),
        ({"output_type": "execute_result", "data": {"text/html": EVIL}}, "<iframe sandbox "),
        ({"output_type": "error", "ename": "E", "evalue": EVIL, "traceback": []}, "E: &lt;script&gt;"),
        ({"output_type": "display_data", "data": {"image/png": "!"}}, ""),
        ({}, ""),
    ],
)
def test_an_output_shows_itself_and_runs_nothing_in_the_page(raw: dict[str, Any], shown: str) -> None:
    html = Output(raw)._repr_html_()
    assert shown in html
    assert "<script" not in html.replace(f'srcdoc="{EVIL}"', "")


def test_results_show_themselves_in_a_notebook() -> None:
    failed = ExecResult(2, "/", "out <b>\n")._repr_html_()
    assert failed.startswith("<pre ")
    assert failed.endswith(">out &lt;b&gt;\n[exit code 2]\n</pre>")
    cell = RunResult.of({"exit_code": 0, "cwd": "/", "output": "", "outputs": [
        {"output_type": "execute_result", "data": {"text/plain": "6", "image/png": PNG}}]})  # fmt: skip
    assert cell._repr_html_().startswith("<img")
    assert (cell.text, len(cell.images)) == ("", 1)
    assert "<td>running</td>" in SessionInfo.of(INFO)._repr_html_()


def test_the_gateway_and_its_clients_mean_the_same_directory() -> None:
    from sandkasten_kernels.app import SandkastenApp

    assert SandkastenApp().data_dir == str(default_data_dir())


async def test_a_client_closes_what_it_opened() -> None:
    closing: Callable[[], Any] = SandboxClient(base_url="http://127.0.0.1:1", api_key="k", retry_for=0).close
    await closing()
    await closing()
