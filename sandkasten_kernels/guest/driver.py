"""What bash is told and how it answers: its texts, its pipes and its reports, without any state of the guest's.

No name in a file system is shared with bash, for whatever has a name can be removed or filled by a command. At each
prompt bash makes the pipes of the next command itself, by here-strings, and the guest opens them in ``/proc/PID/fd``.
One of them carries the command to bash. The command runs inside ``PROMPT_COMMAND``: there bash is not ``interactive``,
so ``[1] 123``, ``[1]+ Done`` and the ``exit`` of ``exit`` are not written into the command's output. What bash has to
say for itself, and its reports, go to the pty.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

OUT, ERR, IN, TEXT = 250, 251, 252, 253
#: All that is ever typed on the pty: bash reads what to do from its pipe.
LINE = b"\\builtin source /proc/self/fd/253\n"
CARRIED = 64
MAX_WORDS = 16384
_GO = "go"


class Pipes(NamedTuple):
    """The guest's ends of the four pipes of one command."""

    out: int
    err: int
    stdin: int
    text: int


class Report(NamedTuple):
    """What bash says of the command with a number: that it begins (``code`` None), or how it ended."""

    number: int
    code: int | None


class Reports:
    """Finds bash's reports in what arrives on the pty, where commands may write as well.

    ``words`` is the rest since the last command began: what bash has to say for itself.
    """

    def __init__(self) -> None:
        self.nonce = os.urandom(8).hex()
        self.words = b""
        self._mark = f"\x1e{self.nonce} ".encode()

    def feed(self, data: bytes) -> Iterator[Report]:
        """Yield the reports that are complete with ``data``."""
        self.words += data
        while True:
            before, mark, rest = self.words.partition(self._mark)
            report, end, _ = rest[:CARRIED].partition(b"\x1e")
            if not mark or (not end and len(rest) < CARRIED):
                break
            number, _, code = report.decode("ascii", "replace").partition(" ")
            begins = code == _GO
            self.words = (b"" if begins else before) + rest[len(report) + len(end) :]
            if number.isdecimal() and (begins or code.isdecimal()):
                yield Report(int(number), None if begins else int(code))
        self.words = self.words[-MAX_WORDS:]


def greeting(nonce: str) -> bytes:
    """Return the first line for a new bash: from then on it reports, this first time as number 0."""
    return f"set +o history; unset HISTFILE; PS0= PS2= PROMPT_COMMAND={_hook(nonce, 0, False)}\n".encode()


def script(
    nonce: str, number: int, text: str, status: int, *, stdin: bool, cwd: str | None, env: Mapping[str, str]
) -> bytes:
    """Return what bash reads from its pipe to run a command.

    Parameters
    ----------
    status: what ``$?`` is when it begins.
    stdin: whether it reads its pipe or ``/dev/null``.
    cwd, env: directory and variables for this command alone.
    """
    # with `command` the variables before it are gone after it, also in POSIX mode
    command = f"\\command eval {quoted(text)}"
    scope = "".join(f"{name}={quoted(value)} " for name, value in env.items())
    if cwd:
        path = cwd if cwd.startswith("/") else f"./{cwd}"
        command = f"\\command eval {quoted(f'builtin cd -- {quoted(path)} && {command}')}"
        scope = f"PWD=$PWD OLDPWD=$OLDPWD {scope}"
    steps = ["PS2=", f"\\builtin printf '\\036{nonce} {number} {_GO}\\036' >/dev/tty"]
    if status:
        steps.append(f"\\builtin source /dev/stdin <<<'\\builtin return {status}'")
    source = f"<&{IN}-" if stdin else f"{IN}<&- </dev/null"
    # the outer redirection keeps what `set -x` says of this line out of the command's output
    steps.append(f"{{ {scope}{command} {source} >&{OUT}- 2>&{ERR}-; }} 2>/dev/null")
    # PS1 reports where the command itself took PROMPT_COMMAND away
    variables = {"PS0": "''", "PS1": f"'\\036{nonce} {number} 130\\036'", "PS2": quoted("; ".join(steps))}
    variables["PROMPT_COMMAND"] = _hook(nonce, number, bool(cwd))
    assignments = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"\\exec {TEXT}<&-; {assignments}\n".encode("utf-8", "surrogatepass")


def _hook(nonce: str, number: int, leave: bool) -> str:
    """Return the quoted ``PROMPT_COMMAND`` of a command: run what ``PS2`` holds, make new pipes, report.

    After an interrupt bash runs it again, with nothing in ``PS2``; pipes that were made are kept then.
    """
    report = f'PS1="\\036{nonce} {number} $?\\036"'
    pipes = " ".join(f"{fd}<<<''" for fd in (OUT, ERR, IN, TEXT))
    steps = [
        f'{report}; if [[ $PS2 ]]; then \\builtin eval "$PS2"; {report}; fi',
        'OLDPWD=$OLDPWD PWD=$PWD \\command eval "builtin cd -- \\"\\$PWD\\""' if leave else "",
        f"[[ $PS0 == {number} ]] || {{ \\exec {pipes}",
        f"\\exec {OUT}>/proc/self/fd/{OUT} {ERR}>/proc/self/fd/{ERR}; PS0={number}; }}",
        "\\builtin printf \"$PS1\" >/dev/tty; PS1='$((LINENO=0))'",
    ]
    return quoted("\n".join(step for step in steps if step))


def quoted(text: str) -> str:
    """Return ``text`` as one word of bash's."""
    return "'" + text.replace("'", "'\\''") + "'"


def open_pipes(pid: int) -> Pipes:
    """Return the guest's ends of the pipes that bash has made; raises `OSError` when it has not."""
    fds: list[int] = []
    try:
        for number, mode in ((OUT, os.O_RDONLY), (ERR, os.O_RDONLY), (IN, os.O_RDWR), (TEXT, os.O_RDWR)):
            fds.append(os.open(f"/proc/{pid}/fd/{number}", mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))
            if not stat.S_ISFIFO(os.fstat(fds[-1]).st_mode) or os.read(fds[-1], 1) != b"\n":
                raise OSError("a descriptor of the shell's is not the pipe that it was")
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return Pipes(*fds)
