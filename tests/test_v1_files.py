"""Files over ``/v1``: whole, of any size, and never from outside the workspace."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, unquote

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httpclient import HTTPResponse

from sandkasten_kernels.errors import InvalidRequest
from sandkasten_kernels.files import relative
from sandkasten_kernels.handlers.v1_downloads import disposition

from .gateway import Gateway
from .kernel_client import Api

pytestmark = pytest.mark.docker

MB = 1_000_000
BOUNDARY = "--a-boundary--"
KIND = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Box:
    """The files of one session, asked for over HTTP."""

    def __init__(self, api: Api, session_id: str) -> None:
        self.api = api
        self.path = f"/v1/sessions/{session_id}"
        self.url = f"{api.url}{self.path}/fs"
        self.auth = {"Authorization": f"Bearer {api.token}"}

    async def ask(
        self, method: str, door: str, body: Any = None, status: int = 200, kind: dict[str, str] | None = None
    ) -> HTTPResponse:
        headers = {**self.auth, **(kind or {})}
        response = await self.api.request(method, f"{self.path}/fs{door}", body, headers)
        assert response.code == status, response.body
        return response

    async def json(self, method: str, door: str, body: Any = None, status: int = 200, **kind: Any) -> dict[str, Any]:
        return dict(json.loads((await self.ask(method, door, body, status, **kind)).body))

    async def write(self, path: str, data: bytes | str) -> None:
        content = {"text": data} if isinstance(data, str) else {"content_base64": base64.b64encode(data).decode()}
        await self.json("POST", "/write", {"path": path, **content})

    async def read(self, path: str, query: str = "") -> bytes:
        answer = await self.json("GET", f"/read?path={quote(path)}{query}")
        return base64.b64decode(answer["content_base64"])

    async def names(self, path: str = "") -> list[str]:
        return [entry["name"] for entry in (await self.json("GET", f"?path={quote(path)}"))["entries"]]

    async def upload(self, *parts: tuple[str, str | None, bytes], status: int = 200) -> dict[str, Any]:
        return await self.json("POST", "/upload", form(*parts), status, kind=KIND)

    async def run(self, cmd: str) -> str:
        response = await self.api.request("POST", f"{self.path}/exec", {"cmd": cmd})
        answer = json.loads(response.body)
        assert answer["exit_code"] == 0, answer
        return str(answer["stdout"])


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    data = b""
    for name, filename, content in parts:
        shown = "" if filename is None else f'; filename="{filename}"'
        data += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode()
        data += content + b"\r\n"
    return data + f"--{BOUNDARY}--\r\n".encode()


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def members(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


async def new_box(api: Api) -> Box:
    response = await api.request("POST", "/v1/sessions", {})
    assert response.code == 201, response.body
    return Box(api, json.loads(response.body)["id"])


@pytest.fixture
async def box(api: Api) -> AsyncIterator[Box]:
    made = await new_box(api)
    yield made
    await api.request("DELETE", made.path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose sandboxes have 500 MiB of files, and that takes no upload above 310 MB."""
    config = "pool: {images: {python: 0}}\ndefaults: {mem_limit_mb: 2000}\nlimits: {max_upload_bytes: 310000000}\n"
    with Gateway(tmp_path_factory.mktemp("large"), config=config) as running:
        yield running
    running.assert_nothing_left()


@pytest.fixture
async def large_box(large: Gateway) -> AsyncIterator[Box]:
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


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 9000, "text, ä and \0", ""])
async def test_what_is_written_is_read(box: Box, data: bytes | str) -> None:
    await box.write("deep/er/f", data)
    expected = data.encode() if isinstance(data, str) else data
    assert await box.read("deep/er/f") == await box.read("/workspace/deep/er/f") == expected
    answer = await box.json("GET", "/read?path=deep/er/f&max_bytes=5")
    assert answer["path"] == "/workspace/deep/er/f"
    assert base64.b64decode(answer["content_base64"]) == expected[:5]
    assert answer["truncated"] == (len(expected) > 5)
    assert await box.read("deep/er/f", "&max_bytes=0") == expected
    assert (await box.json("GET", f"/read?path=deep/er/f&max_bytes={len(expected) or 1}"))["truncated"] is False
    response = await box.ask("GET", "/download?path=deep/er/f")
    assert response.body == expected
    assert response.headers["Content-Length"] == str(len(expected))
    assert response.headers["Content-Type"] == "application/octet-stream"


async def test_files_belong_to_the_sandbox_and_keep_their_mode(box: Box) -> None:
    await box.write("d/f", "x")
    await box.run("chmod 751 d/f")
    await box.write("d/f", "y")
    await box.upload(("file", "g", b"z"), ("path", None, b"d"))
    owners = await box.run("stat -c '%n %U %a' d d/f d/g; id -un")
    assert owners == "d sandbox 755\nd/f sandbox 751\nd/g sandbox 644\nsandbox\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": "x"}, "path"),
        ({"path": "", "text": "x"}, "path"),
        ({"path": 5, "text": "x"}, "path"),
        ({"path": "f"}, "one of the two"),
        ({"path": "f", "text": None}, "one of the two"),
        ({"path": "f", "text": "x", "content_base64": ""}, "one of the two"),
        ({"path": "f", "content_base64": "a"}, "content_base64"),
        ({"path": "f", "content_base64": "!!!!"}, "content_base64"),
        ({"path": "f", "content_base64": "ä"}, "content_base64"),
        ({"path": "f", "text": "\ud800"}, "text"),
        ({"path": "f", "text": 5}, "must be a text"),
        ({"path": "\ud800", "text": ""}, "surrogate"),
        ({"path": "a\0b", "text": ""}, "NUL"),
        ({"path": "x" * 5000, "text": ""}, "4095"),
        ({"path": "x" * 300, "text": ""}, "too long"),
        ({"path": ".", "text": ""}, "it is a directory"),
        ({"path": "/workspace", "text": ""}, "it is a directory"),
    ],
)
async def test_what_cannot_be_written_is_said(box: Box, body: dict[str, Any], words: str) -> None:
    answer = await box.json("POST", "/write", body, 400)
    assert answer["error_code"] == "INVALID_REQUEST"
    assert words in answer["message"]
    assert await box.names() == []


async def test_base64_may_have_lines(box: Box) -> None:
    data = bytes(range(200))
    await box.json("POST", "/write", {"path": "f", "content_base64": base64.encodebytes(data).decode()})
    assert await box.read("f") == data


async def test_a_large_write_is_sent_to_upload(box: Box) -> None:
    answer = await box.json("POST", "/write", {"path": "f", "text": "x" * (17 << 20)}, 413)
    assert answer["error_code"] == "TOO_LARGE"
    assert "16 MiB" in answer["message"]
    assert "fs/upload" in answer["message"]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "1e3", "9" * 30])
async def test_max_bytes_is_a_number(box: Box, value: str) -> None:
    assert "max_bytes" in (await box.json("GET", f"/read?path=f&max_bytes={value}", status=400))["message"]


@pytest.mark.parametrize("door", ["/read", "/download", ""])
async def test_what_is_not_there_is_said(box: Box, door: str) -> None:
    answer = await box.json("GET", f"{door}?path=not/there", status=404)
    assert (answer["error_code"], "'/workspace/not/there'" in answer["message"]) == ("FILE_NOT_FOUND", True)


async def test_a_file_is_no_directory_and_a_directory_no_file(box: Box) -> None:
    await box.write("d/f", "x")
    for method, door, body in (
        ("GET", "/read?path=d", None),
        ("POST", "/write", {"path": "d", "text": "x"}),
        ("GET", "?path=d/f", None),
        ("POST", "/write", {"path": "d/f/x", "text": "x"}),
        ("POST", "/mkdir", {"path": "d/f"}),
        ("GET", "/download?path=d/f/x", None),
        ("DELETE", "?path=d", None),
        ("DELETE", "?path=", None),
    ):
        answer = await box.json(method, door, body, 400)
        assert answer["error_code"] == "INVALID_REQUEST"
        assert "directory" in answer["message"]
    assert "directory" in (await box.upload(("file", "d", b"x"), status=400))["message"]
    assert "directory" in (await box.upload(("file", "x", b"x"), ("path", None, b"d/f"), status=400))["message"]
    assert await box.run("find . -type f; cat d/f") == "./d/f\nx"


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "/workspace/../etc/passwd", "/workspacex", "..//"]
)
async def test_no_path_leads_out(box: Box, path: str) -> None:
    for method, door, body in (
        ("GET", f"?path={path}", None),
        ("GET", f"/read?path={path}", None),
        ("GET", f"/download?path={path}", None),
        ("DELETE", f"?path={path}", None),
        ("POST", "/write", {"path": path, "text": "x"}),
        ("POST", "/mkdir", {"path": path}),
        ("POST", f"/unpack?path={path}", packed((member("f"), b"x"))),
    ):
        answer = await box.json(method, door, body, 400)
        assert (answer["error_code"], "outside /workspace" in answer["message"]) == ("INVALID_REQUEST", True)
    answer = await box.upload(("file", "f", b"x"), ("path", None, path.encode()), status=400)
    assert "outside /workspace" in answer["message"]
    assert await box.names() == []


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "/proc/self/environ", "/run/sandkasten", "../../etc/passwd", "/proc/self/fd/0", "/workspace/x"],
)
async def test_no_link_leads_out(box: Box, target: str) -> None:
    await box.run(f"ln -s {target} l; mkdir d; ln -s {target} d/l; ln -s . here")
    for method, door, body in (
        ("GET", "?path=l", None),
        ("GET", "/read?path=l", None),
        ("GET", "/read?path=here/d/l", None),
        ("GET", "/download?path=l", None),
        ("POST", "/write", {"path": "l/x", "text": "x"}),
        ("POST", "/mkdir", {"path": "l/x"}),
        ("DELETE", "?path=l/x", None),
        ("POST", "/unpack?path=l/x", packed((member("f"), b"x"))),
    ):
        answer = await box.json(method, door, body, 400)
        assert "leads out of the workspace" in answer["message"]
    entries = (await box.json("GET", "?path=d"))["entries"]
    assert [(entry["name"], entry["kind"], entry["is_dir"]) for entry in entries] == [("l", "link", False)]
    archive = (await box.ask("GET", "/download?path=d")).body
    assert members(archive) == ["d"]
    await box.write("l", "a file in the link's place")
    await box.upload(("file", "l", b"the same"), ("path", None, b"d"))
    assert await box.run("stat -c %F l d/l") == "regular file\nregular file\n"
    await box.json("DELETE", "?path=l")
    assert await box.names() == ["d", "here"]


async def test_fifos_devices_and_sockets_hold_nothing_up(box: Box) -> None:
    socket = "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'"
    await box.run(f"{socket}; mkfifo p; mkdir d; mkfifo d/p; touch d/f")
    for name in ("p", "s"):
        for door in ("/read", "/download"):
            assert "no regular file" in (await box.json("GET", f"{door}?path={name}", status=400))["message"]
        assert "directory" in (await box.json("GET", f"?path={name}", status=400))["message"]
    archive = (await box.ask("GET", "/download?path=d")).body
    assert members(archive) == ["d", "d/f"]
    for name in ("p", "s"):
        await box.write(name, "a file now")
        assert await box.read(name) == b"a file now"


async def test_a_listing_says_what_is_there(box: Box) -> None:
    assert (await box.json("GET", ""))["entries"] == []
    await box.write("b.txt", "12345")
    await box.json("POST", "/mkdir", {"path": "a/deep"})
    await box.json("POST", "/mkdir", {"path": "/workspace/a/deep"})
    await box.run(r"touch -d 2001-02-03T04:05:06Z b.txt; touch -d @900000000000 a; touch $'z\xff'")
    answer = await box.json("GET", "")
    assert (answer["path"], answer["truncated"]) == ("/workspace", False)
    a, b, z = answer["entries"]
    assert b == {"name": "b.txt", "is_dir": False, "kind": "file", "size": 5, "modified": "2001-02-03T04:05:06.000000Z"}
    assert (a["name"], a["is_dir"], a["modified"][:4]) == ("a", True, "9999")
    assert z["name"] == "z\ufffd"
    assert (await box.ask("GET", "/download?path=z%FF")).body == b""
    await box.json("DELETE", "?path=z%FF")
    await box.json("DELETE", "?path=a/deep")
    assert await box.names("a") == []


async def test_several_files_are_uploaded_and_the_directory_may_come_last(box: Box) -> None:
    big = os.urandom(3 * MB)
    answer = await box.upload(
        ("file", "one", b"1"),
        ("files", "größe 2.txt", big),
        ("other", None, b"?"),
        ("files", "empty", b""),
        ("path", None, b"in/to"),
    )
    paths = ["/workspace/in/to/one", "/workspace/in/to/größe 2.txt", "/workspace/in/to/empty"]
    assert answer == {"ok": True, "paths": paths}
    assert [await box.read(path) for path in paths] == [b"1", big, b""]
    assert (await box.upload(("path", None, b"/workspace"), ("file", "top", b"t")))["paths"] == ["/workspace/top"]
    assert await box.names() == ["in", "top"]


@pytest.mark.parametrize(
    ("filename", "name"),
    [("a/../b", "b"), (r"C:\\x\\y.txt", "y.txt"), ("/etc/passwd", "passwd"), ("../../x", "x"), ("..x", "..x")],
)
async def test_only_the_last_part_of_a_filename_counts(box: Box, filename: str, name: str) -> None:
    assert (await box.upload(("file", filename, b"x")))["paths"] == [f"/workspace/{name}"]
    assert await box.run("find . -type f") == f"./{name}\n"


@pytest.mark.parametrize(
    "parts",
    [
        [("file", "a", b"1"), ("file", "..", b"2")],
        [("file", "a", b"1"), ("file", None, b"2")],
        [("file", "a", b"1"), ("file", "b/", b"2")],
        [("other", "a", b"1")],
        [("path", None, b"x")],
        [("file", "a", b"1"), ("path", None, b"../x")],
        [("file", "a", b"1" * 700_000), ("file", "b" * 300, b"")],
    ],
)
async def test_an_upload_that_is_wrong_leaves_nothing(box: Box, parts: list[Any]) -> None:
    if "b" * 300 in str(parts):
        parts.reverse()
    assert (await box.upload(*parts, status=400))["error_code"] == "INVALID_REQUEST"
    assert await box.names() == []


async def test_a_form_that_is_none_is_refused(box: Box) -> None:
    assert "multipart/form-data" in (await box.json("POST", "/upload", {"a": 1}, 400))["message"]
    for body in (b"", b"noise", form(("file", "f", b"x"))[:-12]):
        answer = await box.json("POST", "/upload", body, 400, kind=KIND)
        assert "form" in answer["message"]
    assert await box.names() == []


async def test_where_there_is_no_space_the_old_file_stays(box: Box) -> None:
    await box.write("f", "old")
    answer = await box.upload(("file", "f", bytes(200 * MB)), status=507)
    assert (answer["error_code"], "no space left" in answer["message"]) == ("NO_SPACE", True)
    archive = packed((member("a"), b"a"), (member("b"), bytes(200 * MB)))
    assert (await box.json("POST", "/unpack", archive, 507))["error_code"] == "NO_SPACE"
    assert await box.run("cat f; ls -A; df --output=used . | tail -1 | tr -d ' '") == "olda\nf\n8\n"


async def test_a_client_that_goes_away_leaves_nothing(box: Box, gateway: Gateway) -> None:
    host, port = box.api.url.removeprefix("http://").split(":")
    body = form(("file", "one", bytes(2 * MB)), ("file", "two", bytes(20 * MB)))
    archive = packed((member("two"), bytes(20 * MB)))
    for door, data in (("upload", body), ("unpack", archive)):
        _, writer = await asyncio.open_connection(host, int(port))
        head = [f"POST {box.path}/fs/{door} HTTP/1.1", "Host: x", f"Authorization: Bearer {box.api.token}"]
        head += [f"Content-Type: {KIND['Content-Type']}", f"Content-Length: {len(data)}", "", ""]
        writer.write("\r\n".join(head).encode() + data[: 15 * MB])
        await writer.drain()
        while int((await box.run("df --output=used . | tail -1")).strip()) < 5000:
            await asyncio.sleep(0.05)
        assert await box.run("ls -A") == ""
        writer.transport.abort()
        while (await box.run("df --output=used . | tail -1")).strip() != "0":
            await asyncio.sleep(0.05)
        assert await box.run("ls -A") == ""


async def test_transfers_at_once_are_bounded(box: Box) -> None:
    host, port = box.api.url.removeprefix("http://").split(":")
    head = [f"POST {box.path}/fs/unpack HTTP/1.1", "Host: x", f"Authorization: Bearer {box.api.token}"]
    begun = "\r\n".join([*head, "Content-Length: 9999", "", ""]).encode() + bytes(3)
    writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(16)]
    for writer in writers:
        writer.write(begun)
    while (response := await box.api.request("GET", f"{box.path}/fs", None, box.auth)).code == 200:
        await asyncio.sleep(0.02)
    assert (response.code, response.headers["Retry-After"]) == (429, "1")
    assert "16 uploads and downloads" in json.loads(response.body)["message"]
    for writer in writers:
        writer.transport.abort()
    while (response := await box.api.request("GET", f"{box.path}/fs", None, box.auth)).code == 429:
        await asyncio.sleep(0.02)
    assert response.code == 200


async def test_a_tree_goes_down_and_up_again(box: Box) -> None:
    long = "/".join(["directory-" + "x" * 90] * 4)
    await box.run(
        f"mkdir -p t/empty t/ümläut {long!r}; mkdir -p t/{long}; echo run >t/tool; chmod 755 t/tool; : >t/none;"
        rf" echo 'a b' >'t/ümläut/q\"uo te'; head -c 1500000 /dev/urandom >t/{long}/big; touch $'t/n\xff';"
        " chmod 600 t/none"
    )
    response = await box.ask("GET", "/download?path=t")
    assert response.headers["Content-Type"] == "application/x-tar"
    assert disposition("t.tar") == response.headers["Content-Disposition"]
    answer = await box.json("POST", "/unpack?path=up", response.body)
    assert answer == {"ok": True, "path": "/workspace/up", "files": 5}
    listed = (
        "cd {}; find . -printf '%P %y %m %s\\n' -type f -exec md5sum {{}} \\; | sed 's/ d 755 .*/ d/' | LC_ALL=C sort"
    )
    assert await box.run(f"({listed.format('t')})") == await box.run(f"({listed.format('up/t')})")


async def test_a_directory_of_thousands_of_files_is_packed_whole(box: Box) -> None:
    await box.run("mkdir many; cd many; seq -f '%06.0f-with-a-longer-name' 4000 | xargs touch; cd ..")
    archive = (await box.ask("GET", "/download?path=many")).body
    assert len(members(archive)) == 4001
    answer = await box.json("GET", "?path=many")
    assert answer["truncated"] is True
    assert 1000 < len(answer["entries"]) < 4000


@pytest.mark.parametrize(
    "bad",
    [
        member("l", tarfile.SYMTYPE, "/etc/passwd"),
        member("l", tarfile.LNKTYPE, "good"),
        member("p", tarfile.FIFOTYPE),
        member("d", tarfile.CHRTYPE),
        member("../x"),
        member("a/../../x"),
        member("/etc/x"),
        member("good/x"),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
async def test_an_archive_has_files_and_directories_below_its_place(box: Box, bad: tarfile.TarInfo) -> None:
    answer = await box.json("POST", "/unpack?path=d", packed((member("good"), b"g"), (bad, b"")), 400)
    assert repr(bad.name).strip("'") in answer["message"]
    assert await box.run("find . -type f; test ! -e /etc/x") == "./d/good\n"


async def test_what_is_no_archive_is_refused(box: Box) -> None:
    whole = packed((member("f"), b"x" * 5000))
    for body in (b"", b"x" * 600, b"\x1f\x8b" + bytes(600), whole[:3000]):
        assert "archive" in (await box.json("POST", "/unpack", body, 400))["message"]
    assert await box.names() == []


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
    response = await box.api.request("POST", "/v1/sessions", {"ttl_seconds": 1})
    short = Box(box.api, json.loads(response.body)["id"])

    async def drops() -> AsyncIterator[bytes]:
        for byte in form(("file", "f", b"slow")):
            yield bytes([byte])
            await asyncio.sleep(0.02)

    async with client_of(box) as client:
        answer = await client.post(f"{short.url}/upload", content=drops(), headers=KIND)
    assert answer.json() == {"ok": True, "paths": ["/workspace/f"]}
    assert await short.read("f") == b"slow"


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


async def test_three_hundred_megabytes_pass_in_bounded_memory(large_box: Box, large: Gateway) -> None:
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


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(name=NAMES)
def test_a_disposition_is_one_safe_line_that_has_the_name(name: str) -> None:
    header = disposition(name)
    found = re.fullmatch(r"""attachment; filename="([ !#-$&-.0-\[\]-~]*)"; filename\*=UTF-8''([\w.~%-]*)""", header)
    assert found
    assert header.isascii()
    assert unquote(found[2]) == name


@given(path=st.text(st.sampled_from("ab./ "), max_size=12))
def test_a_relative_path_is_below_or_refused(path: str) -> None:
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"workspace/{path}").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if parts[:1] == ["workspace"]:
        assert relative(path) == "/".join(parts[1:])
    else:
        with pytest.raises(InvalidRequest):
            relative(path)
