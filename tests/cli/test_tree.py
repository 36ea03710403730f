"""The tree of the commands: what each one imports, its help, its errors, and the completion in a shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandkasten_kernels.cli.commands import COMMANDS, main

SETTINGS_COMMANDS = ["serve", "doctor", "images", "config", "stop", "token"]


def exit_of(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return ended.value.code


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in SETTINGS_COMMANDS])
def test_a_clients_command_imports_nothing_of_the_gateway(command: str) -> None:
    program = (
        "import sys; from sandkasten_kernels.cli.commands import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, command, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    names = set(ran.stderr.split())
    assert not names & {"tornado", "docker", "zmq", "traitlets", "yaml"}
    ours = {name.split(".")[1] for name in names if name.startswith("sandkasten_kernels.")}
    assert ours == {"cli", "client", "errors"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(command, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: sandkasten-kernels {command} ")
    assert "SANDKASTEN_API_KEY" in out
    assert "--Pool.images" not in out


@pytest.mark.parametrize("command", SETTINGS_COMMANDS)
def test_the_long_help_has_an_option_for_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(command, "--help-all") == 0
    out = capsys.readouterr().out
    assert {"--Pool.images", "--SandkastenApp.api_key", "--Limits.max_sandboxes"} <= set(out.split())


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["ps", "--urll=http://host/?token=s3cret"], "--urll"),
        (["config", "--apikey", "s3cret", "check"], "--apikey"),
        (["serve", "--SandkastenApp.apikey=s3cret"], "--SandkastenApp.apikey"),
        (["token", "--api-key=s3cret", "--SandkastenApp.api_key=s3cret"], "--SandkastenApp.api_key"),
    ],
)
def test_an_error_names_an_option_and_never_its_value(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), option in err, "s3cret" in err) == ("", 1, True, False)


def test_options_may_stand_between_names_and_values_in_words_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("images", "build", "--log-level", "ERROR", "nonsense") == 2
    assert "there is no image 'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sandkasten-kernels wo", ["workspaces"]),
        ("sandkasten-kernels run --w", ["--workspace"]),
        ("sandkasten-kernels serve --Pool.im", ["--Pool.images"]),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, expected: list[str]) -> None:
    read, write = os.pipe()
    with open(read) as answers:
        environ = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
        # argcomplete writes the completions to descriptor 8
        command = ["bash", "-c", f'exec 8>&{write} 9>/dev/null; exec "$0" -m sandkasten_kernels', sys.executable]
        subprocess.run(command, env={**os.environ, **environ}, pass_fds=(write,), timeout=60, check=True)
        os.close(write)
        assert answers.read().split() == expected
