"""Files over ``/v1``: written, read, listed and removed, and never from outside the workspace."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.errors import InvalidRequest
from sandkasten_kernels.workspaces.files import relative
from tests.support.box import Box, member, members, packed

pytestmark = pytest.mark.local


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


@pytest.mark.docker
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
        ({"path": "f", "text": 5}, "must be a string"),
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
