"""The parts of the SDK without a gateway: where it looks for one, archives, and results that show themselves."""

from __future__ import annotations

import base64
import dataclasses
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels import GatewayNotFound
from sandkasten_kernels.cli.output import one_line
from sandkasten_kernels.client.address import Address, find_gateway
from sandkasten_kernels.client.archive import unpack
from sandkasten_kernels.client.infos import SessionInfo
from sandkasten_kernels.client.outputs import Output
from sandkasten_kernels.client.results import ExecResult, RunResult
from sandkasten_kernels.client.runtime_file import Running, default_data_dir, read_running, write_running
from tests.support.scripted_server import INFO


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
        with pytest.raises(GatewayNotFound, match="printable ASCII") as caught:
            find_gateway("http://a", odd)
        assert odd not in str(caught.value)
    for wrong in ("localhost:8080", "ftp://x", "http://", "x?token=secret"):
        with pytest.raises(GatewayNotFound, match="must be a URL") as caught:
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
    from sandkasten_kernels.config.traits import RootSettings

    assert RootSettings().data_dir == str(default_data_dir())
