"""What commands do to their shell, and to the guest's directory: the next command finds a whole one."""

from __future__ import annotations

import pytest

from tests.support.bash_session import BashSession
from tests.support.kernel_client import Api

pytestmark = pytest.mark.local


@pytest.fixture
async def bash(api: Api) -> BashSession:
    return BashSession(await api.connect(await api.create(name="bash")))


@pytest.mark.parametrize(
    "command", ["trap '' INT; while :; do :; done", "kill -STOP $$", "bash -c 'trap \"\" INT TERM; sleep 60'"]
)
async def test_what_ignores_every_signal_is_killed(bash: BashSession, command: str) -> None:
    result = await bash.run(command, timeout=0.3)
    assert result.reply["timed_out"]
    assert await bash.out("echo after") == "after\n"


async def test_odd_commands_leave_a_working_shell(bash: BashSession) -> None:
    for command in (
        "exec 1>&- 2>&-",
        "break; continue; return",
        "set -u; echo $NOPE",
        "trap 'echo bye' EXIT",
        "unset PATH",
    ):
        await bash.run(command, timeout=60)
        assert await bash.out("echo ok", timeout=60) == "ok\n", command


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /run/sandkasten/*",
        "rm -rf /run/sandkasten/*; mkdir /run/sandkasten/shell; chmod 0 /run/sandkasten",
        "for i in {1..100}; do : > /run/sandkasten/f$i; done",
        "head -c 2000000 /dev/zero > /run/sandkasten/full",
        "rm -rf /run/sandkasten/*; for i in {1..100}; do ln -s /etc/passwd /run/sandkasten/guest-$i; done",
        "head -c 1G /dev/zero > /tmp/full; head -c 1G /dev/zero > /workspace/full; head -c 1G /dev/zero > ~/full",
    ],
)
async def test_nothing_done_in_the_guests_directory_ends_the_sandbox(api: Api, command: str) -> None:
    kernel = await api.create(name="bash")
    bash = BashSession(await api.connect(kernel))
    await bash.run(f"A=kept; {{ {command}; }} 2>/dev/null", timeout=60)
    assert await bash.out("echo ok $A; head -c 200000 /dev/zero | wc -c; cat", stdin="in") == "ok kept\n200000\nin"
    assert (await bash.run("exit 3")).reply["restarted"]
    assert await bash.out("echo again") == "again\n"
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert await bash.out("echo anew") == "anew\n"


async def test_a_python_kernel_restarts_whatever_a_cell_did_to_the_sockets(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    code = "import os; [os.unlink(e.path) for e in os.scandir('/run/sandkasten')]\n"
    code += "for n in range(100):\n  try: os.symlink('/etc/passwd', f'/run/sandkasten/x{n}')\n  except OSError: break\n"
    code += "os.chmod('/run/sandkasten', 0)"
    assert (await socket.execute(code)).reply["status"] == "ok"
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert (await socket.execute("print(1)")).stream() == "1\n"


@pytest.mark.parametrize(
    ("before", "command", "expected"),
    [
        ("PROMPT_COMMAND='echo noise'; PS1='$ '", "echo ok", "ok\n"),
        ("unset PROMPT_COMMAND PS0 PS1 PS2", "echo ok", "ok\n"),
        ("alias builtin=false source=false exec=false eval=false", "echo ok", "ok\n"),
        ("stty sane </dev/tty", f"echo {'y' * 9000}", "y" * 9000 + "\n"),
        ("yes | head -c 300000 >/dev/tty", "echo ok", "ok\n"),
        ("set -C; set -f; set -u; IFS=0123", "echo ok", "ok\n"),
        ("set -o posix", "echo ok", "ok\n"),
        ("exec 0<&- 1>&- 2>&- 3>&-", "echo ok", "ok\n"),
        ('for i in {3..260}; do eval "exec $i>&-"; done', "true", ""),
        ("ulimit -n 100", "echo ok", "ok\n"),
        ("(exit 7)", "echo $?", "7\n"),
        ("trap 'echo got' USR1", "kill -USR1 $$", "got\n"),
        ("trap 'echo cleanup' EXIT", "exit 4", "cleanup\n"),
        ("set -x", "echo ok", "ok\n"),
        ("set -v", "echo ok", "ok\n"),
        ("f() { local x=in; echo $x; }", "f; declare -f f | head -1", "in\nf () \n"),
        ("exec nonsense-command", "echo still", "still\n"),
        ("coproc cat; echo hi >&${COPROC[1]}", "read -u ${COPROC[0]} line; echo $line; kill %1", "hi\n"),
        ("read -r A", "echo [$A]", "[]\n"),
    ],
)
async def test_what_a_command_does_to_its_shell_leaves_the_next_one_whole(
    bash: BashSession, before: str, command: str, expected: str
) -> None:
    await bash.run(before, timeout=60)
    result = await bash.run(command, timeout=60)
    assert result.stream() == expected
    assert not result.reply["timed_out"]
    assert await bash.out("set +x; echo fine") == "fine\n"


async def test_set_u_and_set_e_are_told_like_bash_tells_them(bash: BashSession) -> None:
    unbound = await bash.run("set -u; echo $NOPE; echo never")
    assert (unbound.stream(), unbound.stream("stderr")) == ("", "bash: NOPE: unbound variable\n")
    assert not unbound.reply["restarted"]
    ended = await bash.run("set +u; set -ex; echo one; false; echo never")
    assert (ended.stream(), ended.stream("stderr").count("echo never")) == ("one\n", 0)
    assert (ended.reply["exit_code"], ended.reply["restarted"]) == (1, True)


ALL_PROCESSES = """
import os, signal
signal.alarm(8)
while True:
    try:
        if not os.fork():
            signal.alarm(8)
            signal.pause()
    except OSError:
        open("/tmp/full", "w").close()
"""


@pytest.mark.docker
async def test_a_shell_that_cannot_start_says_why_and_works_again_later(bash: BashSession) -> None:
    fill = f"/opt/sandkasten/bin/python -c '{ALL_PROCESSES}' & until [ -e /tmp/full ]; do :; done; kill -9 $$"
    assert (await bash.run(fill, timeout=60)).reply["restarted"]
    while not (reply := (await bash.run("kill -9 $$")).reply)["error"]:
        assert reply["restarted"]  # the new bash was faster than those that want its place
    assert (reply["status"], reply["ename"]) == ("error", "ShellFailed")
    assert "bash cannot be started: Resource temporarily unavailable" in reply["evalue"]
    assert "restart the kernel" in reply["evalue"]
    while (await bash.run("true")).reply["error"]:
        pass
    assert await bash.out("echo again") == "again\n"


async def test_what_a_command_starts_is_killed_for_memory_before_the_guest(bash: BashSession) -> None:
    own, guest = (await bash.out("cat /proc/self/oom_score_adj /proc/1/oom_score_adj")).split()
    assert int(own) > int(guest)
