"""The protocol between guest and bash: scripts, pipes and reports. Stateless, except for the parser of reports.

Guest and bash share no name in a file system: a command could remove or fill anything that has a name. At each prompt
bash creates the pipes of the next command by here-strings, and the guest opens them in ``/proc/PID/fd``. One of them
carries the command to bash. The command runs inside ``PROMPT_COMMAND``, where bash is not ``interactive``: so it does
not write ``[1] 123``, ``[1]+ Done`` or the ``exit`` of ``exit`` into the command's output. Its reports and its own
notices go to the pty.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

OUT, ERR, IN, TEXT = 250, 251, 252, 253
#: The one line that the guest types on the pty; bash reads the command from its pipe.
LINE = b"\\builtin source /proc/self/fd/253\n"
CARRIED = 64
MAX_NOTICE_BYTES = 16384
_GO = "go"


class Pipes(NamedTuple):
    """The guest's ends of the four pipes of one command."""

    out: int
    err: int
    stdin: int
    text: int


class Report(NamedTuple):
    """A report of bash on the command with this number: it begins (``code`` is None), or has ended with ``code``."""

    number: int
    code: int | None


class Reports:
    """Finds bash's reports in the data of the pty, to which commands may write as well.

    ``notices``: the other data since the last command began: bash's own messages.
    """

    def __init__(self) -> None:
        self.nonce = os.urandom(8).hex()
        self.notices = b""
        self._mark = f"\x1e{self.nonce} ".encode()

    def feed(self, data: bytes) -> Iterator[Report]:
        """Yield the reports that ``data`` completes."""
        self.notices += data
        while True:
            before, mark, rest = self.notices.partition(self._mark)
            report, end, _ = rest[:CARRIED].partition(b"\x1e")
            if not mark or (not end and len(rest) < CARRIED):
                break
            number, _, code = report.decode("ascii", "replace").partition(" ")
            begins = code == _GO
            self.notices = (b"" if begins else before) + rest[len(report) + len(end) :]
            if number.isdecimal() and (begins or code.isdecimal()):
                yield Report(int(number), None if begins else int(code))
        self.notices = self.notices[-MAX_NOTICE_BYTES:]


def greeting(nonce: str) -> bytes:
    """Return the first line for a new bash, which makes it report. Its first report has number 0."""
    return f"set +o history; unset HISTFILE; PS0= PS2= PROMPT_COMMAND={_hook(nonce, 0, False)}\n".encode()


def script(
    nonce: str, number: int, text: str, status: int, *, stdin: bool, cwd: str | None, env: Mapping[str, str]
) -> bytes:
    """Return the text that bash reads from its pipe to run a command.

    Parameters
    ----------
    text: the command.
    status: the value of ``$?`` when it begins.
    stdin: whether it reads from its pipe; else from ``/dev/null``.
    cwd, env: directory and variables for this command alone.
    """
    # `command` keeps the assignments in front of it temporary, also in POSIX mode
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
    # the outer redirection keeps the trace of this line (`set -x`) out of the command's output
    steps.append(f"{{ {scope}{command} {source} >&{OUT}- 2>&{ERR}-; }} 2>/dev/null")
    # PS1 reports instead when the command itself has changed PROMPT_COMMAND
    variables = {"PS0": "''", "PS1": f"'\\036{nonce} {number} 130\\036'", "PS2": quoted("; ".join(steps))}
    variables["PROMPT_COMMAND"] = _hook(nonce, number, bool(cwd))
    assignments = " ".join(f"{name}={value}" for name, value in variables.items())
    return f"\\exec {TEXT}<&-; {assignments}\n".encode("utf-8", "surrogatepass")


def _hook(nonce: str, number: int, leave: bool) -> str:
    """Return the quoted ``PROMPT_COMMAND`` of a command: run the script in ``PS2``, create new pipes, report.

    After an interrupt bash runs it again, with ``PS2`` empty; it then keeps pipes that exist already. ``leave``: return
    to the shell's own directory afterwards.
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
    """Return ``text`` quoted as one word for bash."""
    return "'" + text.replace("'", "'\\''") + "'"


def open_pipes(pid: int) -> Pipes:
    """Return the guest's ends of the pipes that bash has created. Raises `OSError` when one is missing."""
    fds: list[int] = []
    try:
        for number, mode in ((OUT, os.O_RDONLY), (ERR, os.O_RDONLY), (IN, os.O_RDWR), (TEXT, os.O_RDWR)):
            fds.append(os.open(f"/proc/{pid}/fd/{number}", mode | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY))
            if not stat.S_ISFIFO(os.fstat(fds[-1]).st_mode) or os.read(fds[-1], 1) != b"\n":
                raise OSError("a descriptor of the shell is not the pipe that it created")
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return Pipes(*fds)
