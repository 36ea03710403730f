"""The bash kernel: one persistent shell, clean output, exit codes, interrupts; the state suite of a shell."""

from __future__ import annotations

from typing import Any

import pytest

from .kernel_client import Api, KernelSocket, Result, execute_content

pytestmark = pytest.mark.docker


class Bash:
    """A shell in a sandbox."""

    def __init__(self, socket: KernelSocket) -> None:
        self.socket = socket

    async def run(self, command: str, **options: Any) -> Result:
        return await self.socket.execute(command, **({"sandkasten": options} if options else {}))

    async def out(self, command: str, **options: Any) -> str:
        return (await self.run(command, **options)).stream()


@pytest.fixture
async def bash(api: Api) -> Bash:
    return Bash(await api.connect(await api.create(name="bash", env={"KERNEL_COLOUR": "it's blue"})))


async def test_state_persists_from_command_to_command(bash: Bash) -> None:
    await bash.run("cd /tmp; export A=5; B=6; f() { echo f$A; }; alias hi='echo hey'")
    result = await bash.run("pwd; f; echo $B")
    assert result.stream() == "/tmp\nf5\n6\n"
    assert (result.reply["cwd"], result.reply["exit_code"]) == ("/tmp", 0)
    assert await bash.out("hi") == "hey\n"
    assert await bash.out("echo $KERNEL_COLOUR") == "it's blue\n"


async def test_streams_are_separate_and_exactly_what_was_written(bash: Bash) -> None:
    result = await bash.run("printf 'a\\tb\\x1b[31m'; printf 'no newline' >&2")
    assert (result.stream(), result.stream("stderr")) == ("a\tb\x1b[31m", "no newline")
    assert await bash.out("printf ''") == ""
    assert (
        await bash.out("echo ':sync-1'; echo '<IDS|MSG>'; echo '[1] 5'; echo exit")
        == ":sync-1\n<IDS|MSG>\n[1] 5\nexit\n"
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("(exit 42)", 42),
        ("nonsense-command", 127),
        ("echo 'unclosed", 2),
        ("kill -9 $BASHPID", 137),
    ],
)
async def test_the_exit_code_is_in_the_reply(bash: Bash, command: str, code: int) -> None:
    reply = (await bash.run(command)).reply
    assert reply["exit_code"] == code
    assert reply["status"] == ("ok" if code == 0 else "error")
    assert await bash.out("echo fine") == "fine\n"


@pytest.mark.parametrize("command", ["exit 3", "set -e; false", "exec echo gone"])
async def test_bash_that_ends_is_started_again_in_the_same_directory_and_said_so(bash: Bash, command: str) -> None:
    await bash.run("cd /usr/lib")
    assert (await bash.run(command)).reply["restarted"]
    result = await bash.run("pwd; echo $KERNEL_COLOUR")
    assert result.stream().startswith("/usr/lib\n")
    assert not result.reply["restarted"]


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60",
        "x=$(sleep 60)",
        "while :; do :; done",
        "while :; do sleep .1; done",
        "cat </dev/tty",
        "sleep 60 | cat",
    ],
)
async def test_a_timeout_ends_the_command_and_the_next_one_works(bash: Bash, command: str) -> None:
    result = await bash.run(f"echo before; A=kept; {command}", timeout=0.5)
    assert result.stream().startswith("before\n")
    assert (result.reply["exit_code"], result.reply["timed_out"], result.reply["restarted"]) == (-1, True, False)
    assert await bash.out("echo after $A") == "after kept\n"


@pytest.mark.parametrize(
    "command", ["trap '' INT; while :; do :; done", "kill -STOP $$", "bash -c 'trap \"\" INT TERM; sleep 60'"]
)
async def test_what_ignores_every_signal_is_killed(bash: Bash, command: str) -> None:
    result = await bash.run(command, timeout=0.3)
    assert result.reply["timed_out"]
    assert await bash.out("echo after") == "after\n"


async def test_an_interrupt_ends_the_command_and_keeps_the_state(api: Api) -> None:
    kernel = await api.create(name="bash")
    bash = Bash(await api.connect(kernel))
    await bash.run("A=kept")
    msg_id = await bash.socket.send("execute_request", execute_content("echo in; sleep 60"))
    await bash.socket.until("stream", text="in\n")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    assert (await bash.socket.result(msg_id)).reply["exit_code"] == 130
    assert await bash.out("echo $? $A") == "130 kept\n"


async def test_a_restart_is_a_new_shell_with_the_environment(api: Api) -> None:
    kernel = await api.create(name="bash", env={"KERNEL_COLOUR": "blue"})
    bash = Bash(await api.connect(kernel))
    await bash.run("cd /tmp; A=gone; touch /workspace/kept")
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    result = await bash.run("echo [$A] $KERNEL_COLOUR; ls /workspace")
    assert result.stream() == "[] blue\nkept\n"
    assert result.reply["execution_count"] == 1


async def test_a_background_job_holds_nobody_up_and_its_late_output_is_its_own(bash: Bash) -> None:
    first = await bash.run("(sleep 0.5; echo late) & exec 3>&1; echo now")
    assert first.stream() == "now\n"
    assert await bash.out("echo next; jobs | wc -l") == "next\n1\n"
    late = await bash.socket.until("stream", text="late\n")
    assert late.parent_id == first.messages[0].parent_id


async def test_standard_input_is_given_and_otherwise_empty(bash: Bash) -> None:
    assert await bash.out("cat; echo .", stdin="hello\n") == "hello\n.\n"
    assert await bash.out("wc -c", stdin="x" * 300_000) == "300000\n"
    assert await bash.out("cat; echo .") == ".\n"
    assert await bash.out("echo unread", stdin="x" * 300_000) == "unread\n"


async def test_large_and_binary_output_arrives_whole(bash: Bash) -> None:
    assert len(await bash.out("head -c 5000000 /dev/zero | tr '\\0' x")) == 5_000_000
    assert await bash.out("printf '\\xff\\x00ä'") == "\ufffd\x00ä"
    assert await bash.out("cat <<X\nhere $((1+1))\nX") == "here 2\n"
    assert await bash.out(f"echo {'y' * 100_000}") == "y" * 100_000 + "\n"


async def test_odd_commands_leave_a_working_shell(bash: Bash) -> None:
    for command in (
        "exec 1>&- 2>&-",
        "break; continue; return",
        "set -u; echo $NOPE",
        "trap 'echo bye' EXIT",
        "unset PATH",
    ):
        await bash.run(command, timeout=5)
        assert await bash.out("echo ok", timeout=5) == "ok\n", command


async def test_jupyter_requests_are_answered(bash: Bash) -> None:
    for request in ("kernel_info", "complete", "inspect", "is_complete", "history", "comm_info"):
        await bash.socket.send(f"{request}_request", {"code": "ec", "cursor_pos": 2})
        reply = await bash.socket.until(f"{request}_reply")
        assert reply.content["status"] in ("ok", "unknown")
