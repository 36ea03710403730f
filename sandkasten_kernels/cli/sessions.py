"""``sandkasten-kernels ps``, ``rm`` and ``exec``: list and end sessions, and run a command in one."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import UTC, datetime

from ..client import SandboxError, SessionInfo, SyncSandboxClient
from ..errors import ConfigError
from .base import TIMED_OUT, ClientCommand
from .output import one_line, print_json, print_table
from .targets import SESSION_HELP, session_of

__all__ = ["ExecCommand", "PsCommand", "RmCommand"]

SHORT_ID = 8
MAX_STDIN_BYTES = 1024 * 1024
"""The limit of `/v1` for the stdin of one command."""


class PsCommand(ClientCommand):
    """Lists the running sessions."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("-a", "--all", action="store_true", help="list recently ended sessions as well")
        parser.add_argument("--json", action="store_true", help="print every field as JSON, for programs")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        infos = [info for info in client.list_sessions() if options.all or info.status == "running"]
        if options.json:
            print_json(infos)
        else:
            heads = ("SESSION", "NAME", "IMAGE", "STATUS", "AGE", "ENDS IN", "WORKSPACE")
            print_table(heads, map(_row, infos))
        return 0


class RmCommand(ClientCommand):
    """Ends sessions. Named workspaces stay."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("-a", "--all", action="store_true", help="end every running session")
        parser.add_argument("sessions", metavar="SESSION", nargs="*", default=[], help=SESSION_HELP)

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        if bool(options.sessions) == options.all:
            raise ConfigError("expected SESSION..., or --all")
        targets = options.sessions
        if options.all:
            targets = [info.id for info in client.list_sessions() if info.status == "running"]
        code = 0
        for target in targets:
            try:
                session = session_of(client, target)
                session.destroy()
                print(session.id)
            except SandboxError as error:  # the other sessions are ended all the same
                print(f"sandkasten-kernels rm: {one_line(error)}", file=sys.stderr)
                code = 1
        return code


class ExecCommand(ClientCommand):
    """Runs a command in the shell of a session, shows its output as it comes, and exits with its exit code.

    Several words are the arguments of one command. A single word is a line of bash. Every exec of a session uses the
    same shell, which keeps its directory and variables.

    With -i the command gets the stdin of exec, read to its end: at most 1 MiB of UTF-8. Without -i exec leaves stdin
    alone, so that a shell loop around it can read from there.
    """

    examples = """\
  sandkasten-kernels exec my-session -- pip list
  sandkasten-kernels exec my-session -- 'cd data && ls | wc -l'
  git diff | sandkasten-kernels exec -i my-session -- git apply"""
    usage = "%(prog)s [--url URL] [--timeout S] [-i] SESSION -- CMD..."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--timeout", metavar="S", type=float, default=0, help="timeout of the command in seconds (exit code 124)"
        )
        parser.add_argument("-i", "--stdin", action="store_true", help="pass stdin to the command")
        parser.add_argument("session", metavar="SESSION", help=SESSION_HELP)

    def prepare(self, parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
        """Keep the words after the first ``--`` apart as they are, options among them too."""
        split = argv.index("--") if "--" in argv else len(argv)
        parser.set_defaults(words=argv[split + 1 :])
        return argv[:split]

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        words = options.words
        if not words:
            raise ConfigError("expected SESSION -- CMD...")
        command = words[0] if len(words) == 1 else shlex.join(words)
        session = session_of(client, options.session)
        timeout_ms = round(1000 * options.timeout)
        stdin = _stdin() if options.stdin else None
        for chunk in session.exec_stream(command, timeout_ms=timeout_ms, stdin=stdin):
            if chunk.done:
                return TIMED_OUT if chunk.timed_out else chunk.exit_code & 0xFF
            print(chunk.output, end="", flush=True, file=sys.stderr if chunk.stream == "stderr" else sys.stdout)
        raise SandboxError("the gateway closed the stream before it sent the command's exit code")


def _stdin() -> str:
    """Return stdin, read to its end. Raises `ValueError` above `MAX_STDIN_BYTES`, and for anything but UTF-8."""
    # the bytes: sys.stdin would decode them by the locale
    with open(0, "rb", closefd=False) as stdin:
        content = stdin.read(MAX_STDIN_BYTES + 1)
    way_out = "copy it with `sandkasten-kernels cp` first, and let the command read it from /workspace"
    if len(content) > MAX_STDIN_BYTES:
        raise ValueError(f"stdin is larger than {MAX_STDIN_BYTES // 1024} KiB, the limit for a command: {way_out}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"stdin is not UTF-8 without NUL characters: {way_out}")
    return text


def _row(info: SessionInfo) -> tuple[object, ...]:
    now = datetime.now(UTC)
    age = _duration((now - datetime.fromisoformat(info.created_at)).total_seconds())
    ends = "-"
    if info.status == "running":
        left = datetime.fromisoformat(info.expires_at) - now
        ends = "never" if left.days > 3650 else _duration(left.total_seconds())  # /v1 gives "never" as a far date
    status = "unresponsive" if info.unresponsive and info.status == "running" else info.status
    return (info.id[:SHORT_ID], info.name, info.image, status, age, ends, info.workspace_id)


def _duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two: ``90 s``, ``2 min``, ``3 h``, ``2 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
