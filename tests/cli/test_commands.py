"""The commands that ask a gateway, as a person runs them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.cli.sessions import MAX_STDIN_BYTES
from sandkasten_kernels.client import SyncSandboxClient, SyncSession
from sandkasten_kernels.handlers.v1.parameters import MAX_TEXT_BYTES
from tests.support.command_shell import CommandShell
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def session(module_gateway: GatewayProcess) -> Iterator[SyncSession]:
    client = SyncSandboxClient(base_url=module_gateway.url, api_key=module_gateway.token)
    with client, client.create_session(image="base", name="named", workspace_id="sdk-shelf") as made:
        yield made
    client = SyncSandboxClient(base_url=module_gateway.url, api_key=module_gateway.token)
    client.delete_workspace("sdk-shelf")


PROGRAM = """
import sys, matplotlib.pyplot as plt
print("printed")
print("told", file=sys.stderr)
for values in [1, 2], [2, 1]:
    plt.plot(values); plt.show()
"""


def test_run_shows_what_a_program_says_saves_its_figures_and_exits_with_its_code(
    shell: CommandShell, tmp_path: Path
) -> None:
    (tmp_path / "figure-1.png").write_text("mine")
    (tmp_path / "p.py").write_text(PROGRAM + "sys.exit(3)")
    ran = shell("run", "p.py")
    assert ran == (3, "printed\n", "told\nsaved figure-2.png\nsaved figure-3.png\n")
    assert (tmp_path / "figure-1.png").read_text() == "mine"
    assert (tmp_path / "figure-3.png").read_bytes().startswith(b"\x89PNG")
    assert shell("ps").out.count("\n") == shell("ps", "--json").out.count('"id"') + 1


DRAWINGS = """
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib_inline.backend_inline import set_matplotlib_formats
svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
display({"image/svg+xml": svg}, raw=True)
display({"image/svg+xml": svg, "image/png": "iVBORw0KGgo="}, raw=True)
set_matplotlib_formats("svg")
plt.imshow([[1, 2]], label="a"); plt.hist([1, 2]); plt.title("$x^2$"); plt.legend(); plt.show()
"""


def test_run_saves_an_svg_as_one_only_when_it_is_a_drawing(
    shell: CommandShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(DRAWINGS))
    ran = shell("run", "-")
    saved = re.findall(r"^saved (\S+)$", ran.err, re.MULTILINE)
    assert saved == ["figure-1.svg.txt", "figure-2.png", "figure-3.svg"], ran
    assert "<script>" in (tmp_path / "figure-1.svg.txt").read_text()
    assert (tmp_path / "figure-2.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert "matplotlib" in (tmp_path / "figure-3.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "program", "code", "out", "err"),
    [
        ([], "print('a'); 6 * 7", 0, "a\n", ""),
        ([], "1 / 0", 1, "", "ZeroDivisionError: division by zero\n"),
        ([], "import sys; sys.exit('in words')", 1, "", "in words\n"),
        ([], "import sys; sys.exit()", 0, "", ""),
        (["--image=base"], "echo a; echo b >&2; exit 4", 4, "a\n", "b\n"),
        ([], "import sys; n = sys.stderr.write('x' * 1_000_000)", 0, "", "xxx"),
        (["--image", "base", "--timeout=0.3"], "sleep 60", 124, "", ""),
        (["--image=cobol"], "", 1, "", "image: 'cobol' is not allowed; choose one of: base, python\n"),
    ],
)
def test_run_of_stdin_exits_with_its_code(
    shell: CommandShell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    program: str,
    code: int,
    out: str,
    err: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(program))
    ran = shell("run", *arguments, "-")
    assert (ran.code, ran.out) == (code, out)
    assert ran.err.endswith(err)
    assert "To exit" not in ran.err


def test_run_that_is_terminated_ends_its_session_and_what_it_runs(gateway: GatewayProcess, tmp_path: Path) -> None:
    with SyncSandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        (tmp_path / "p.sh").write_text("echo begun; sleep 1000")
        before = {info.id for info in client.list_sessions()}
        command = [sys.executable, "-m", "sandkasten_kernels", "run", "--image=base", str(tmp_path / "p.sh")]
        env = {**os.environ, "SANDKASTEN_DATA_DIR": str(gateway.data_dir)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "begun\n"
            (made,) = [info for info in client.list_sessions() if info.id not in before]
            assert (made.status, made.ttl_seconds) == ("running", 60)
            running.terminate()
            assert running.wait(60) == 143
        assert client.list_sessions()[0].status == "destroyed"


def test_run_in_a_workspace_finds_what_was_left_there(
    shell: CommandShell, session: SyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.write("left.txt", "left")
    monkeypatch.setattr(sys, "stdin", io.StringIO("cat left.txt"))
    assert shell("run", "--workspace=sdk-shelf", "--image=base", "-").out == "left"


def test_exec_streams_a_command_of_a_session_that_keeps_its_state(shell: CommandShell, session: SyncSession) -> None:
    assert shell("exec", "named", "--", "cd /tmp; A=5; exit 0 2>/dev/null").code == 0
    session.exec("cd /tmp; A=5")
    assert shell("exec", session.id, "--", 'echo $A "$PWD"') == (0, "5 /tmp\n", "")
    assert shell("exec", session.id[:8], "--", "echo", "$A  b", "-n") == (0, "$A  b -n\n", "")
    assert shell("exec", "named", "--", "echo no >&2; (exit 7)") == (7, "", "no\n")
    assert shell("exec", "--timeout=0.3", "named", "--", "sleep 60").code == 124
    ran = shell("exec", "nobody", "--", "true")
    assert (ran.code, ran.err) == (
        1, "sandkasten-kernels exec: no running session 'nobody': `sandkasten-kernels ps` lists them\n",
    )  # fmt: skip


@contextlib.contextmanager
def stdin_of(descriptor: int) -> Iterator[None]:
    """A descriptor, which is closed, stands for stdin."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_exec_gives_a_command_what_comes_on_stdin_when_it_is_told_to(
    shell: CommandShell, session: SyncSession, tmp_path: Path
) -> None:
    assert MAX_STDIN_BYTES == MAX_TEXT_BYTES
    reader, writer = os.pipe()
    os.write(writer, "three small wörds".encode())
    os.close(writer)
    with stdin_of(reader):
        assert shell("exec", "-i", session.id, "--", "cat; echo ended") == (0, "three small wördsended\n", "")
    file = tmp_path / "input"
    for content, code, out, words in (
        (b"x" * MAX_STDIN_BYTES, 0, f"{MAX_STDIN_BYTES}\n", ""),
        (b"x" * (MAX_STDIN_BYTES + 1), 1, "", "stdin is larger than 1024 KiB, the limit for a command: copy it with"),
        (b"\xff", 1, "", "stdin is not UTF-8 without NUL characters: copy it with `sandkasten-kernels cp` first"),
        (b"a\0b", 1, "", "stdin is not UTF-8 without NUL characters"),
        (b"", 0, "0\n", ""),
    ):
        file.write_bytes(content)
        with stdin_of(os.open(file, os.O_RDONLY)):
            ran = shell("exec", "--stdin", session.id, "--", "wc -c")
        assert (ran.code, ran.out, ran.err.count("\n")) == (code, out, code)
        assert words in ran.err
    reader, writer = os.pipe()  # that nobody ever closes, nor writes to
    with stdin_of(reader):
        assert shell("exec", session.id, "--", "wc -c").out == "0\n"
    os.close(writer)


def test_ps_lists_and_rm_ends(shell: CommandShell, gateway: GatewayProcess) -> None:
    with SyncSandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        one = client.create_session(image="base", name="to go", ttl_seconds=3600)
        row = next(row for row in shell("ps").out.splitlines() if row.startswith(one.id[:8]))
        assert re.split(r"  +", row)[1:4] == ["to go", "base", "running"]
        assert "60 min" in row
        missing = "no running session 'nobody': `sandkasten-kernels ps` lists them"
        assert shell("rm", "to go", "nobody") == (1, f"{one.id}\n", f"sandkasten-kernels rm: {missing}\n")
        assert one.id[:8] not in shell("ps").out
        found = json.loads(shell("ps", "-a", "--json").out)
        assert next(entry for entry in found if entry["id"] == one.id)["status"] == "destroyed"


def test_workspaces_are_listed_and_removed(shell: CommandShell, session: SyncSession, gateway: GatewayProcess) -> None:
    rows = shell("workspaces").out.splitlines()
    assert rows[0].split() == ["WORKSPACE", "MB", "SESSIONS", "CREATED"]
    assert any(row.split()[0] == "sdk-shelf" and row.split()[2] == "1" for row in rows)
    found: list[dict[str, Any]] = json.loads(shell("workspaces", "list", "--json").out)
    assert next(entry for entry in found if entry["id"] == "sdk-shelf")["session_ids"] == [session.id]
    refused = shell("workspaces", "rm", "sdk-shelf")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    with SyncSandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        client.create_session(image="base", workspace_id="sdk-gone").destroy()
    assert shell("workspaces", "rm", "sdk-gone") == (0, "sdk-gone\n", "")
    for wrong in (["rm"], ["export"], ["export", "a", "b"], ["list", "ab"], ["rm", "../../etc"]):
        refused = shell("workspaces", *wrong)
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert "workspace" in refused.err


def test_the_pool_is_shown(shell: CommandShell) -> None:
    assert "python3" in shell("pool").out
    assert json.loads(shell("pool", "--json").out)[0]["kernelspec"]


def test_events_are_shown_in_lines(shell: CommandShell, gateway: GatewayProcess) -> None:
    with SyncSandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        ended = client.create_session(image="base")
        ended.destroy()
        last = client.events()[-1].id
    shown = shell("events").out
    assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  ended  +{ended.id[:8]}  a client destroyed it$", shown, re.M)
    (only,) = map(json.loads, shell("events", "--json", f"--since={last - 1}", "-n1").out.splitlines())
    assert only["id"] == last


def test_events_are_followed_until_ctrl_c(gateway: GatewayProcess) -> None:
    with SyncSandboxClient(base_url=gateway.url, api_key=gateway.token) as client:
        client.create_session(image="base").destroy()
        last = client.events()[-1].id
        command = [sys.executable, "-m", "sandkasten_kernels", "events", "-f", "--json", f"--since={last - 1}"]
        env = {**os.environ, "SANDKASTEN_DATA_DIR": str(gateway.data_dir)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert json.loads(following.stdout.readline())["id"] == last
            session = client.create_session(image="base")
            while json.loads(following.stdout.readline())["session_id"] != session.id:
                pass
            session.destroy()
            following.send_signal(signal.SIGINT)
            assert following.wait(60) == 130
