"""``sandkasten-kernels ps``, ``rm`` and ``exec``: the sessions there are, and a command in one of them."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import UTC, datetime

from ..client import SandboxError, SessionInfo, SyncSandboxClient
from ..errors import ConfigError
from .base import ClientApp, one_line, print_json, print_table
from .targets import session_of

__all__ = ["ExecApp", "PsApp", "RmApp"]

TIMED_OUT = 124
SHORT_ID = 8
MAX_STDIN_BYTES = 1024 * 1024
"""So much takes `/v1` for one command."""


class PsApp(ClientApp):
    """Lists the sessions that run."""

    name = "sandkasten-kernels ps"
    description = __doc__ or ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("-a", "--all", action="store_true", help="those too that have ended lately")
        parser.add_argument("--json", action="store_true", help="all that is known of them, for a program")

    def run(self, client: SyncSandboxClient) -> int:
        infos = [info for info in client.list_sessions() if self.options.all or info.status == "running"]
        if self.options.json:
            print_json(infos)
        else:
            heads = ("SESSION", "NAME", "IMAGE", "STATUS", "AGE", "ENDS IN", "WORKSPACE")
            print_table(heads, map(_row, infos))
        return 0


class RmApp(ClientApp):
    """Ends sessions; a named workspace stays."""

    name = "sandkasten-kernels rm"
    description = __doc__ or ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("-a", "--all", action="store_true", help="all that run")
        parser.add_argument("sessions", metavar="SESSION", nargs="*", help="an id, the beginning of one, or a name")

    def run(self, client: SyncSandboxClient) -> int:
        if bool(self.options.sessions) == self.options.all:
            raise ConfigError("rm: expected SESSION..., or --all")
        words = self.options.sessions
        if self.options.all:
            words = [info.id for info in client.list_sessions() if info.status == "running"]
        failed = 0
        for word in words:
            try:
                session = session_of(client, word)
                session.destroy()
                print(session.id)
            except SandboxError as error:
                print(f"{self.name}: {one_line(error)}", file=sys.stderr)
                failed = 1
        return failed


class ExecApp(ClientApp):
    """Runs a command in the shell of a session, shows what it says as it says it, and exits with its code.

    Of several words each is one of the command's arguments; a single one is a line for bash. The shell is the session's
    own: directory and variables stay.

    With ``-i`` what comes on stdin is read to its end, at most 1 MiB of text, and given to the command; else stdin is
    left alone, so that a loop can read from there.
    """

    name = "sandkasten-kernels exec"
    description = __doc__ or ""
    examples = """examples:
  sandkasten-kernels exec my-session -- pip list
  sandkasten-kernels exec my-session -- 'cd data && ls | wc -l'
  git diff | sandkasten-kernels exec -i my-session -- git apply"""

    def initialize(self, argv: list[str] | None = None) -> None:
        argv = list(argv or [])
        split = argv.index("--") if "--" in argv else len(argv)
        self._words = argv[split + 1 :]
        super().initialize(argv[:split])

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.usage = "%(prog)s [--url URL] [--timeout S] [-i] SESSION -- CMD..."
        parser.add_argument("--timeout", metavar="S", type=float, default=0, help="seconds it may take")
        parser.add_argument("-i", "--stdin", action="store_true", help="what comes on stdin is the command's")
        parser.add_argument("session", metavar="SESSION", help="an id, the beginning of one, or a name")

    def run(self, client: SyncSandboxClient) -> int:
        if not self._words:
            raise ConfigError("exec: expected SESSION -- CMD...")
        command = self._words[0] if len(self._words) == 1 else shlex.join(self._words)
        session = session_of(client, self.options.session)
        timeout_ms = round(1000 * self.options.timeout)
        stdin = _stdin() if self.options.stdin else None
        for chunk in session.exec_stream(command, timeout_ms=timeout_ms, stdin=stdin):
            if chunk.done:
                return TIMED_OUT if chunk.timed_out else chunk.exit_code & 0xFF
            print(chunk.output, end="", flush=True, file=sys.stderr if chunk.stream == "stderr" else sys.stdout)
        raise SandboxError("the command's end was not told")


def _stdin() -> str:
    """Return what comes on stdin. Raises `ValueError` for more than a command may have, and for what is no text."""
    with open(0, "rb", closefd=False) as stdin:
        content = stdin.read(MAX_STDIN_BYTES + 1)
    other_way = "copy it with `sandkasten-kernels cp` first, and let the command read it from /workspace"
    if len(content) > MAX_STDIN_BYTES:
        raise ValueError(f"stdin is larger than {MAX_STDIN_BYTES // 1024} KiB, which a command may have: {other_way}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"stdin is no text in UTF-8: {other_way}")
    return text


def _row(info: SessionInfo) -> tuple[object, ...]:
    now = datetime.now(UTC)
    age = _words_of((now - datetime.fromisoformat(info.created_at)).total_seconds())
    ends = "-"
    if info.status == "running":
        left = datetime.fromisoformat(info.expires_at) - now
        ends = "never" if left.days > 3650 else _words_of(left.total_seconds())
    status = "unresponsive" if info.unresponsive and info.status == "running" else info.status
    return (info.id[:SHORT_ID], info.name, info.image, status, age, ends, info.workspace_id)


def _words_of(seconds: float) -> str:
    """Return a time as its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
