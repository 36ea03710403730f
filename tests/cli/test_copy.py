"""The command that copies files both ways, and the bar that it draws."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandkasten_kernels.cli.progress import ProgressBar, line
from sandkasten_kernels.client import SyncSandboxClient, SyncSession
from tests.support.command_shell import CommandShell
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def session(module_gateway: GatewayProcess) -> Iterator[SyncSession]:
    client = SyncSandboxClient(base_url=module_gateway.url, api_key=module_gateway.token)
    with client, client.create_session(image="base", name="named", workspace_id="sdk-copies") as made:
        yield made
    client = SyncSandboxClient(base_url=module_gateway.url, api_key=module_gateway.token)
    client.delete_workspace("sdk-copies")


def test_cp_copies_both_ways_to_sessions_and_workspaces(
    shell: CommandShell, session: SyncSession, tmp_path: Path
) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "f").write_text("deep")
    (tmp_path / "one.txt").write_text("one")
    session.mkdir("in")
    for target in ("named:", "named:in", "named:in/", "named:made/new.txt", "named:/workspace/abs.txt"):
        assert shell("cp", "one.txt", target) == (0, "", "")
    for path in ("one.txt", "in/one.txt", "made/new.txt", "abs.txt"):
        assert session.read(path).text == "one"
    assert shell("cp", "data", "sdk-copies:copy").code == 0
    assert shell("cp", "data", "sdk-copies:in").code == 0
    assert session.read("copy/deep/f").text == session.read("in/data/deep/f").text == "deep"
    assert shell("cp", "sdk-copies:copy", "back").code == 0
    assert (tmp_path / "back/deep/f").read_text() == "deep"
    assert shell("cp", f"{session.id[:6]}:in/one.txt", ".").code == 0
    assert shell("cp", "named:in/one.txt", "two.txt").code == 0
    assert (tmp_path / "two.txt").read_text() == "one"
    assert shell("cp", "named:none", ".").err.count("\n") == 1
    assert shell("cp", "none", "named:x") == (1, "", "sandkasten-kernels cp: there is no file none\n")
    assert shell("cp", "one.txt", "nobody:x").err.endswith("'nobody' is neither a running session nor a workspace\n")
    for wrong in (("one.txt", "two.txt"), ("named:a", "named:b"), ("./a:b", "c")):
        refused = shell("cp", *wrong)
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert "one of FROM and TO" in refused.err


def test_cp_of_a_large_file_draws_how_far_it_is(
    shell: CommandShell, session: SyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").write_bytes(os.urandom(20_000_000))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for operands in (("big", "named:"), ("named:big", "back")):
        ran = shell("cp", *operands)
        assert ran.code == 0
        assert "of 20.0 MB" in ran.err
        assert ran.err.endswith("\r\x1b[K")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


def test_a_bar_says_how_far_it_is_and_small_files_have_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert line(5_000_000, 10_000_000) == "[###############---------------]  50%  5.0 of 10.0 MB"
    assert line(5_000_000, None) == "5.0 MB"
    with ProgressBar("small") as bar:
        bar._shown = True
        bar(100, 1000)
    assert capfd.readouterr().err == ""
