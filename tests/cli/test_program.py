"""The whole program as a person starts it: its errors, its token, and the code that it exits with."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from sandkasten_kernels.cli.commands import main
from tests.support.command_shell import Ran
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.local


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """The whole program, with nothing said about a gateway."""
    for name in [name for name in os.environ if name.startswith("SANDKASTEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(tmp_path / "state"))

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        return Ran(ended.value.code, *capfd.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ps"], "no gateway of this user runs here"),
        (["run"], "the following arguments are required: FILE; see sandkasten-kernels run --help"),
        (["exec", "x"], "no gateway"),
        (["cp", "--nonsense", "a", "b"], "unrecognized arguments: --nonsense"),
        (["ps", "--url=nonsense"], "base_url: must be a URL as in http://localhost:8080, got 'nonsense'"),
    ],
)
def test_an_error_is_one_line_and_a_code(program: Callable[..., Ran], arguments: list[str], words: str) -> None:
    ran = program(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err


def test_token_prints_the_token_and_makes_a_new_one(program: Callable[..., Ran], tmp_path: Path) -> None:
    first = program("token").out
    assert len(first) == 49
    assert program("token", f"--data-dir={tmp_path}/state").out == first
    second, told = program("token", "--new")[1:]
    assert (len(second), second != first, told) == (49, True, "the gateway takes this token from its next start on\n")
    file = tmp_path / "state" / "token"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (second, 0o600)
    refused = program("token", "--new", "--api-key=configured-secret")
    assert (refused.code, "configured-secret" in refused.err) == (2, False)
    assert program("token", "--api-key=configured-secret").out == "configured-secret\n"


def test_the_program_exits_as_its_command_does(gateway: GatewayProcess, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sandkasten_kernels",
        "run",
        "--image=base",
        f"--url={gateway.url}/?token={gateway.token}",
    ]
    ran = subprocess.run(
        [*command, "-"], input="echo hi; exit 5", capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "hi\n", "")


@pytest.mark.parametrize("options", [("--debug",), ("--log-level=DEBUG",)])
def test_no_command_logs_the_key(options: tuple[str, ...], tmp_path: Path) -> None:
    env = {**os.environ, "SANDKASTEN_API_KEY": "hunter2-of-mine", "SANDKASTEN_ENGINE": "nowhere"}
    for command in (["stop", "--all"], ["images", "list"], ["doctor"], ["config", "check"], ["serve", "--listen=bad"]):
        line = [sys.executable, "-m", "sandkasten_kernels", *command, f"--data-dir={tmp_path}", *options]
        ran = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert "hunter2" not in ran.stdout + ran.stderr, command


@pytest.mark.parametrize(("level", "shown"), [("INFO", False), ("DEBUG", True)])
def test_serve_logs_at_its_level_from_the_start(level: str, shown: bool, tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, arguments=(f"--log-level={level}",), engine="local") as running:
        with urllib.request.urlopen(f"{running.url}/healthz", timeout=60) as answer:
            assert answer.status == 200
        running.stop()
        assert ("200 GET /healthz" in running.log.read_text()) is shown
