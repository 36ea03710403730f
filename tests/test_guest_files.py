"""The guest's files: whole, atomic, and never by a link that leads out. No sandbox is needed to show it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandkasten_kernels.guest.files import MAX_HANDLES, Files


class Asked:
    """Asks `Files` as the gateway does."""

    def __init__(self, root: Path) -> None:
        self.files = Files(str(root))

    def __call__(self, request: str, data: bytes = b"", **content: Any) -> tuple[dict[str, Any], bytes]:
        answer = self.files.answer(f"file_{request}", content, data)
        assert answer
        return answer

    def put(self, path: str, data: bytes, **options: Any) -> dict[str, Any]:
        answer, _ = self("create", path=path, **options)
        if answer["status"] == "ok":
            assert self("write", data, handle=answer["handle"])[0]["status"] == "ok"
            answer, _ = self("close", handle=answer["handle"], commit=True)
        return answer

    def take(self, path: str, size: int = 1 << 20) -> bytes:
        answer, _ = self("open", path=path)
        assert answer["status"] == "ok", answer
        found = b""
        while data := self("read", handle=answer["handle"], size=size)[1]:
            found += data
        assert self("close", handle=answer["handle"])[0] == {"status": "ok"}
        return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def ask(root: Path) -> Asked:
    return Asked(root)


@given(data=st.binary(max_size=5000), size=st.integers(1, 3000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_come_back(ask: Asked, data: bytes, size: int) -> None:
    assert ask.put("a/b/c.bin", data) == {"status": "ok"}
    assert ask.take("a/b/c.bin", size) == data


def test_a_file_is_replaced_at_once_or_not_at_all(ask: Asked, root: Path) -> None:
    ask.put("f", b"old", mode=0o750)
    opened, _ = ask("create", path="f")
    ask("write", b"half", handle=opened["handle"])
    assert (root / "f").read_bytes() == b"old"
    ask("close", handle=opened["handle"], commit=False)
    assert [path.name for path in root.iterdir()] == ["f"]
    ask.put("f", b"new")
    assert ((root / "f").read_bytes(), (root / "f").stat().st_mode & 0o777) == (b"new", 0o750)


def test_what_is_there_is_told(ask: Asked, root: Path) -> None:
    ask.put("d/f", b"12345")
    (root / "d" / "l").symlink_to("f")
    os.mkfifo(root / "d" / "p")
    answer, _ = ask("list", path="d")
    assert next((e["name"], e["kind"], e["size"]) for e in answer["entries"]) == ("f", "file", 5)
    assert [e["kind"] for e in answer["entries"]] == ["file", "link", "other"]
    assert ask("stat", path="d")[0]["kind"] == "directory"
    assert ask("stat", path="")[0]["kind"] == "directory"
    assert ask.take("d/l") == b"12345"


@pytest.mark.parametrize(
    "path", ["../outside/secret", "/etc/passwd", "out/secret", "up/../outside/secret", "proc/1/environ"]
)
@pytest.mark.parametrize("request_type", ["open", "stat", "list", "create", "mkdir"])
def test_nothing_is_reached_outside(ask: Asked, root: Path, path: str, request_type: str) -> None:
    (root / "out").symlink_to("../outside")
    (root / "up").symlink_to("..")
    (root / "proc").symlink_to("/proc")
    answer, _ = ask(request_type, path=path, mode=None)
    assert (answer["status"], answer["ename"]) == ("error", "OUTSIDE")
    assert [p.name for p in (root.parent / "outside").iterdir()] == ["secret"]


def test_magic_links_lead_nowhere(ask: Asked, root: Path) -> None:
    (root / "self").symlink_to("/proc/self/fd/0")
    assert ask("open", path="self")[0]["ename"] == "OUTSIDE"


def test_no_fifo_or_device_holds_the_guest_up(ask: Asked, root: Path) -> None:
    os.mkfifo(root / "p")
    assert ask("open", path="p")[0]["ename"] == "NOT_A_FILE"
    assert ask.put("p", b"now a file") == {"status": "ok"}
    assert ask.take("p") == b"now a file"


@pytest.mark.parametrize(
    ("request_type", "path", "name"),
    [
        ("open", "none", "FILE_NOT_FOUND"),
        ("open", "d", "IS_DIRECTORY"),
        ("open", "f/x", "NOT_A_DIRECTORY"),
        ("open", "a\0b", "FILE_NOT_FOUND"),
        ("create", "d", "IS_DIRECTORY"),
        ("create", "", "IS_DIRECTORY"),
        ("create", "d/..", "IS_DIRECTORY"),
        ("create", "f/x/y", "NOT_A_DIRECTORY"),
        ("mkdir", "f", "NOT_A_DIRECTORY"),
        ("list", "f", "NOT_A_DIRECTORY"),
    ],
)
def test_what_cannot_be_done_has_a_name(ask: Asked, request_type: str, path: str, name: str) -> None:
    ask.put("d/x", b"")
    ask.put("f", b"")
    answer, _ = ask(request_type, path=path)
    assert (answer["status"], answer["ename"]) == ("error", name)
    assert answer["evalue"]


def test_open_files_are_bounded_and_no_descriptor_is_left(ask: Asked) -> None:
    ask.put("f", b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    handles = [ask("open", path="f")[0]["handle"] for _ in range(MAX_HANDLES)]
    assert ask("open", path="f")[0]["ename"] == "TOO_MANY"
    assert ask("create", path="g")[0]["ename"] == "TOO_MANY"
    for handle in handles:
        ask("close", handle=handle)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert ask("read", handle=handles[0], size=1)[0]["ename"] == "FAILED"
    assert ask("list", path="")[0]["entries"][0]["name"] == "f"
