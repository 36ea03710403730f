"""The guest's files: whole, atomic, and never by a link that leads out. No sandbox is needed to show it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandkasten_kernels.guest.files import MAX_READ_BYTES, FileService
from sandkasten_kernels.guest.handles import MAX_HANDLES


class Asked:
    """Asks `FileService` as the gateway does."""

    def __init__(self, root: Path) -> None:
        self.files = FileService(str(root))

    def __call__(self, request: str, data: bytes = b"", **content: Any) -> tuple[dict[str, Any], bytes]:
        answer = self.files.answer(f"file_{request}", content, data)
        assert answer
        return answer

    def put(self, path: str, data: bytes, mode: int | None = None) -> dict[str, Any]:
        """Write a file in two pieces."""
        assert self("create", handle="w")[0]["status"] == "ok"
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            assert self("write", piece, handle="w")[0]["status"] == "ok"
        answer, _ = self("place", handle="w", path=path, mode=mode)
        self("close", handle="w")
        return answer

    def take(self, path: str) -> bytes:
        answer, found = self("open", path=path, handle="r")
        assert answer["status"] == "ok", answer
        assert answer["size"] == len(found) or not answer["ended"]
        if not answer["ended"]:
            while data := self("read", handle="r")[1]:
                found += data
            assert self("close", handle="r")[0] == {"status": "ok"}
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


@given(data=st.binary(max_size=5000), times=st.sampled_from([1, 500]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_bytes_come_back(ask: Asked, data: bytes, times: int) -> None:
    assert ask.put("a/b/c.bin", data * times) == {"status": "ok"}
    assert ask.take("a/b/c.bin") == data * times


@pytest.mark.parametrize("size", [MAX_READ_BYTES - 1, MAX_READ_BYTES, MAX_READ_BYTES + 1])
def test_a_file_of_a_piece_is_read_to_its_end(ask: Asked, size: int) -> None:
    ask.put("f", bytes(size))
    assert ask("open", path="f", handle="h")[0]["ended"] == (size < MAX_READ_BYTES)
    ask("close", handle="h")
    assert ask.take("f") == bytes(size)


@given(data=st.binary(max_size=5000), mode=st.sampled_from([0o600, 0o755, 0o444]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_small_file_is_written_by_one_request(ask: Asked, root: Path, data: bytes, mode: int) -> None:
    assert ask("put", data, path="a/b/small", mode=mode)[0] == {"status": "ok"}
    assert (root / "a/b/small").read_bytes() == data
    assert (root / "a/b/small").stat().st_mode & 0o777 == mode


def test_a_file_is_replaced_at_once_or_not_at_all(ask: Asked, root: Path) -> None:
    ask.put("f", b"old", mode=0o750)
    ask("create", handle="h")
    ask("write", b"half", handle="h")
    assert [path.name for path in root.iterdir()] == ["f"]
    assert (root / "f").read_bytes() == b"old"
    ask("close", handle="h")
    assert [path.name for path in root.iterdir()] == ["f"]
    ask.put("f", b"new")
    assert ((root / "f").read_bytes(), (root / "f").stat().st_mode & 0o777) == (b"new", 0o750)
    assert [path.name for path in root.iterdir()] == ["f"]


def test_a_file_that_cannot_take_its_place_leaves_nothing(ask: Asked, root: Path) -> None:
    (root / "d").mkdir()
    assert ask.put("d", b"x")["ename"] == "IS_DIRECTORY"
    assert ask("put", b"x", path="d", mode=None)[0]["ename"] == "IS_DIRECTORY"
    assert [path.name for path in root.iterdir()] == ["d"]
    assert not list((root / "d").iterdir())


def test_a_large_directory_is_listed_in_pages(ask: Asked, root: Path) -> None:
    names = {f"{number:05}{'x' * 200}" for number in range(1500)}
    for name in names:
        (root / name).touch()
    answer, _ = ask("list", path="", handle="l")
    assert answer["more"]
    found = [entry["name"] for entry in answer["entries"]]
    while answer["more"]:
        answer, _ = ask("more", handle="l")
        found += [entry["name"] for entry in answer["entries"]]
    assert (len(found), set(found)) == (1500, names)
    ask("close", handle="l")


def test_a_path_may_be_as_deep_as_paths_go(ask: Asked, root: Path) -> None:
    deep = "/".join("d" * 1500)
    try:
        assert ask.put(deep, b"deep") == {"status": "ok"}
        assert ask.take(deep) == b"deep"
        assert ask.put("/".join("d" * 4000), b"")["status"] == "error"
    finally:
        subprocess.run(["rm", "-rf", root / "d"], check=True)  # pytest's own way of tidying up is not deep enough


def test_files_links_and_empty_directories_are_removed(ask: Asked, root: Path) -> None:
    ask.put("d/f", b"")
    (root / "d" / "l").symlink_to("../../outside/secret")
    assert ask("remove", path="d")[0]["evalue"] == "the directory is not empty"
    assert (
        ask("remove", path="d/l")[0] == ask("remove", path="d/f")[0] == ask("remove", path="d")[0] == {"status": "ok"}
    )
    assert ask("remove", path="d")[0]["ename"] == "FILE_NOT_FOUND"
    assert ask("remove", path="")[0]["ename"] == "IS_DIRECTORY"
    assert (root.parent / "outside" / "secret").exists()


def test_what_is_there_is_told(ask: Asked, root: Path) -> None:
    ask.put("d/f", b"12345")
    (root / "d" / "l").symlink_to("f")
    os.mkfifo(root / "d" / "p")
    answer, _ = ask("list", path="d", handle="l")
    assert next((e["name"], e["kind"], e["size"]) for e in answer["entries"]) == ("f", "file", 5)
    assert [e["kind"] for e in answer["entries"]] == ["file", "link", "other"]
    assert ask("stat", path="d")[0]["kind"] == "directory"
    assert ask("stat", path="")[0]["kind"] == "directory"
    assert ask.take("d/l") == b"12345"


@pytest.mark.parametrize(
    "path", ["../outside/secret", "/etc/passwd", "out/secret", "up/../outside/secret", "proc/1/environ"]
)
@pytest.mark.parametrize("request_type", ["open", "stat", "list", "put", "mkdir", "remove"])
def test_nothing_is_reached_outside(ask: Asked, root: Path, path: str, request_type: str) -> None:
    (root / "out").symlink_to("../outside")
    (root / "up").symlink_to("..")
    (root / "proc").symlink_to("/proc")
    answer, _ = ask(request_type, path=path, mode=None, handle="h")
    assert (answer["status"], answer["ename"]) == ("error", "OUTSIDE")
    assert [p.name for p in (root.parent / "outside").iterdir()] == ["secret"]


def test_magic_links_lead_nowhere(ask: Asked, root: Path) -> None:
    (root / "self").symlink_to("/proc/self/fd/0")
    assert ask("open", path="self", handle="h")[0]["ename"] == "OUTSIDE"


def test_no_fifo_or_device_holds_the_guest_up(ask: Asked, root: Path) -> None:
    os.mkfifo(root / "p")
    assert ask("open", path="p", handle="h")[0]["ename"] == "NOT_A_FILE"
    assert ask.put("p", b"now a file") == {"status": "ok"}
    assert ask.take("p") == b"now a file"


@pytest.mark.parametrize(
    ("request_type", "path", "name"),
    [
        ("open", "none", "FILE_NOT_FOUND"),
        ("open", "d", "IS_DIRECTORY"),
        ("open", "f/x", "NOT_A_DIRECTORY"),
        ("open", "a\0b", "FILE_NOT_FOUND"),
        ("put", "a\0b", "FILE_NOT_FOUND"),
        ("put", "d/\ud800", "FILE_NOT_FOUND"),
        ("put", "dangling/x", "NOT_A_DIRECTORY"),
        ("open", "socket", "NOT_A_FILE"),
        ("put", "d", "IS_DIRECTORY"),
        ("put", "", "IS_DIRECTORY"),
        ("put", "d/..", "IS_DIRECTORY"),
        ("put", "f/x/y", "NOT_A_DIRECTORY"),
        ("mkdir", "f", "NOT_A_DIRECTORY"),
        ("list", "f", "NOT_A_DIRECTORY"),
    ],
)
def test_what_cannot_be_done_has_a_name(ask: Asked, root: Path, request_type: str, path: str, name: str) -> None:
    ask.put("d/x", b"")
    ask.put("f", b"")
    (root / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{root}/socket")
    answer, _ = ask(request_type, path=path, handle="h")
    assert (answer["status"], answer["ename"]) == ("error", name)
    assert answer["evalue"]


def test_a_file_that_is_open_is_no_listing(ask: Asked) -> None:
    ask("create", handle="w")
    assert ask("more", handle="w")[0]["ename"] == "NOT_A_DIRECTORY"
    ask("close", handle="w")


def test_open_files_are_bounded_and_no_descriptor_is_left(ask: Asked) -> None:
    ask.put("f", bytes(MAX_READ_BYTES))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(MAX_HANDLES):
        assert ask("open", path="f", handle=str(number))[0]["status"] == "ok"
    assert ask("open", path="f", handle="one more")[0]["ename"] == "TOO_MANY"
    assert ask("create", handle="one more")[0]["ename"] == "TOO_MANY"
    for number in range(MAX_HANDLES):
        ask("close", handle=str(number))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert ask("read", handle="0")[0]["ename"] == "FAILED"
    assert ask("list", path="", handle="l")[0]["entries"][0]["name"] == "f"
