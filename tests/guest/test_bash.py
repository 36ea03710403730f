"""The bash kernel: one persistent shell, clean output, exit codes, interrupts; the state suite of a shell."""

from __future__ import annotations

import pytest

from tests.support.bash_session import BashSession
from tests.support.kernel_client import Api, execute_content

pytestmark = pytest.mark.local


@pytest.fixture
async def bash(api: Api) -> BashSession:
    return BashSession(await api.connect(await api.create(name="bash", env={"KERNEL_COLOUR": "it's blue"})))


async def test_state_persists_from_command_to_command(bash: BashSession) -> None:
    await bash.run("cd /tmp; export A=5; B=6; f() { echo f$A; }; alias hi='echo hey'")
    result = await bash.run("pwd; f; echo $B")
    assert result.stream() == "/tmp\nf5\n6\n"
    assert (result.reply["cwd"], result.reply["exit_code"]) == ("/tmp", 0)
    assert await bash.out("hi") == "hey\n"
    assert await bash.out("echo $KERNEL_COLOUR") == "it's blue\n"


async def test_streams_are_separate_and_exactly_what_was_written(bash: BashSession) -> None:
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
async def test_the_exit_code_is_in_the_reply(bash: BashSession, command: str, code: int) -> None:
    reply = (await bash.run(command)).reply
    assert reply["exit_code"] == code
    assert reply["status"] == ("ok" if code == 0 else "error")
    assert await bash.out("echo fine") == "fine\n"


@pytest.mark.parametrize("command", ["exit 3", "set -e; false", "exec echo gone"])
async def test_bash_that_ends_is_started_again_in_the_same_directory_and_said_so(
    bash: BashSession, command: str
) -> None:
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
async def test_a_timeout_ends_the_command_and_the_next_one_works(bash: BashSession, command: str) -> None:
    result = await bash.run(f"echo before; A=kept; {command}", timeout=1)
    assert result.stream().startswith("before\n")
    assert (result.reply["exit_code"], result.reply["timed_out"], result.reply["restarted"]) == (-1, True, False)
    assert await bash.out("echo after $A") == "after kept\n"


async def test_an_interrupt_ends_the_command_and_keeps_the_state(api: Api) -> None:
    kernel = await api.create(name="bash")
    bash = BashSession(await api.connect(kernel))
    await bash.run("A=kept")
    msg_id = await bash.socket.send("execute_request", execute_content("echo in; sleep 60"))
    await bash.socket.said("in\n")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    assert (await bash.socket.result(msg_id)).reply["exit_code"] == 130
    assert await bash.out("echo $? $A") == "130 kept\n"


async def test_a_restart_is_a_new_shell_with_the_environment(api: Api) -> None:
    kernel = await api.create(name="bash", env={"KERNEL_COLOUR": "blue"})
    bash = BashSession(await api.connect(kernel))
    await bash.run("cd /tmp; A=gone; touch /workspace/kept")
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    result = await bash.run("echo [$A] $KERNEL_COLOUR; ls /workspace")
    assert result.stream() == "[] blue\nkept\n"
    assert result.reply["execution_count"] == 1


async def test_a_command_right_after_a_restart_runs_in_the_new_shell(api: Api) -> None:
    # the old shell is dead and not reaped yet when the restart's own warm-up command comes
    kernel = await api.create(name="bash")
    for _ in range(8):
        response = await api.request("POST", f"/api/kernels/{kernel}/restart")
        assert response.code == 200, response.body
    result = await BashSession(await api.connect(kernel)).run("echo $((6 * 7))")
    assert (result.stream(), result.reply["exit_code"], result.reply["restarted"]) == ("42\n", 0, False)


async def test_a_background_job_holds_nobody_up_and_its_late_output_is_its_own(bash: BashSession) -> None:
    first = await bash.run("(until [ -e go ]; do sleep 0.05; done; echo late) & exec 3>&1; echo now")
    assert first.stream() == "now\n"
    assert await bash.out("echo next; jobs -p | wc -l") == "next\n1\n"
    await bash.socket.send("execute_request", execute_content("touch go"))
    late = await bash.socket.until("stream", text="late\n")
    assert late.parent_id == first.messages[0].parent_id


async def test_standard_input_is_given_and_otherwise_empty(bash: BashSession) -> None:
    assert await bash.out("cat; echo .", stdin="hello\n") == "hello\n.\n"
    assert await bash.out("wc -c", stdin="x" * 300_000) == "300000\n"
    assert await bash.out("cat; echo .") == ".\n"
    assert await bash.out("echo unread", stdin="x" * 300_000) == "unread\n"


async def test_large_and_binary_output_arrives_whole(bash: BashSession) -> None:
    assert len(await bash.out("head -c 5000000 /dev/zero | tr '\\0' x")) == 5_000_000
    assert await bash.out("printf '\\xff\\x00ä'") == "\ufffd\x00ä"
    assert await bash.out("cat <<X\nhere $((1+1))\nX") == "here 2\n"
    assert await bash.out(f"echo {'y' * 100_000}") == "y" * 100_000 + "\n"


@pytest.mark.parametrize(
    ("command", "stdout", "stderr"),
    [
        ("exit 3", "", ""),
        ("trap 'echo bye; echo too >&2' EXIT; exit", "bye\n", "too\n"),
        ("sleep 0.05 & echo started; sleep 0.2; echo end", "started\nend\n", ""),
        ("sleep 60 & kill %1; wait", "", ""),
        ("echo -n x; sh -c 'kill -INT $$'", "x", ""),
        ("echo )", "", "bash: eval: line 1: syntax error near unexpected token `)'\nbash: eval: line 1: `echo )'\n"),
        ("echo 1\necho 'unclosed", "1\n", "bash: eval: line 2: unexpected EOF while looking for matching `''\n"),
        ("cd /nowhere", "", "bash: cd: /nowhere: No such file or directory\n"),
    ],
)
async def test_bashs_own_notices_are_not_the_commands_output(
    bash: BashSession, command: str, stdout: str, stderr: str
) -> None:
    await bash.run("true")
    result = await bash.run(command, timeout=60)
    assert (result.stream(), result.stream("stderr")) == (stdout, stderr)
    await bash.run("sleep 0.01 & ")
    quiet = await bash.run("sleep 0.1; jobs; echo fine", timeout=60)
    assert (quiet.stream().splitlines()[-1], quiet.stream("stderr")) == ("fine", "")


async def test_an_interrupted_command_writes_nothing_of_its_own(api: Api) -> None:
    kernel = await api.create(name="bash")
    bash = BashSession(await api.connect(kernel))
    for command in ("sleep 60", "x=$(sleep 60)", "while :; do sleep .3; done", "while :; do :; done", "sleep 60 | cat"):
        msg_id = await bash.socket.send("execute_request", execute_content(f"echo in; {command}"))
        await bash.socket.said("in\n")
        assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
        result = await bash.socket.result(msg_id)
        assert [m for m in result.of("stream") if m["text"] != "in\n"] == [], command
        assert (result.reply["exit_code"], result.reply["restarted"]) == (130, False), command
        assert await bash.out("echo $?") == "130\n"


async def test_an_interrupt_that_comes_before_the_command_runs_ends_it_too(api: Api) -> None:
    kernel = await api.create(name="bash")
    bash = BashSession(await api.connect(kernel))
    for _ in range(10):
        msg_id = await bash.socket.send("execute_request", execute_content(f": {'x' * 300_000}; sleep 60"))
        await bash.socket.until("execute_input")
        assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
        assert (await bash.socket.result(msg_id)).reply["exit_code"] == 130
        assert await bash.out("echo fine") == "fine\n"


async def test_directory_and_variables_can_be_given_for_one_command(bash: BashSession) -> None:
    await bash.run("cd /usr; cd /tmp; A=mine; set -- one two")
    result = await bash.run(
        "pwd; echo $A $B $2; env | grep -c '^[AB]='", cwd="/usr/lib", env={"A": "it's", "B": "2\n3"}
    )
    assert result.stream() == "/usr/lib\nit's 2 3 two\n2\n"
    assert result.reply["cwd"] == "/tmp"
    assert await bash.out("pwd; echo $PWD $OLDPWD $A [$B]") == "/tmp\n/tmp /usr mine []\n"
    await bash.run("cd /etc; A=theirs; C=kept; sleep 60", cwd="/usr", env={"A": "x"}, timeout=1)
    assert await bash.out("pwd; echo $PWD $OLDPWD $A $C") == "/tmp\n/tmp /usr mine kept\n"
    secret = await bash.run("cat /proc/$$/cmdline | tr '\\0' ' '; ps ax 2>/dev/null", env={"SECRET": "hunter3"})
    assert "hunter3" not in secret.stream()
    failed = await bash.run("echo never", cwd="/nowhere")
    assert (failed.stream(), failed.reply["exit_code"]) == ("", 1)
    assert failed.stream("stderr") == "bash: cd: /nowhere: No such file or directory\n"
    for options in ({"env": {"A B": "x"}}, {"env": {"UID": "0"}}, {"cwd": 5}, {"timeout": -1}, {"env": ["x"]}):
        refused = (await bash.run("echo never", **options)).reply
        assert (refused["status"], refused["ename"]) == ("error", "ValueError")
        assert await bash.out("echo fine") == "fine\n"


async def test_late_output_is_bounded_and_ends_with_its_job(bash: BashSession) -> None:
    first = await bash.run("{ until [ -e go ]; do sleep 0.05; done; yes | head -c 20000000; } & :")
    last = await bash.socket.send("execute_request", execute_content("touch go; wait; echo fine"))
    late, others = 0, ""
    while (message := await bash.socket.receive()) and message.msg_type != "execute_reply":
        if message.msg_type == "stream" and message.parent_id == first.messages[0].parent_id:
            late += len(message.content["text"])
        elif message.msg_type == "stream":
            others += message.content["text"]
            assert message.parent_id == last
    assert 0 < late < 4_000_000
    assert others == "fine\n"


async def test_a_signals_name_is_in_the_reply(bash: BashSession) -> None:
    reply = (await bash.run("sh -c 'kill -SEGV $$'")).reply
    assert (reply["exit_code"], reply["evalue"]) == (139, "exit code 139 (Segmentation fault)")


async def test_jupyter_requests_are_answered(bash: BashSession) -> None:
    for request in ("kernel_info", "complete", "inspect", "is_complete", "history", "comm_info"):
        await bash.socket.send(f"{request}_request", {"code": "ec", "cursor_pos": 2})
        reply = await bash.socket.until(f"{request}_reply")
        assert reply.content["status"] in ("ok", "unknown")
