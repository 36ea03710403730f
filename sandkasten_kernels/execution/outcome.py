"""Outcome: how a job ended, from the kernel's reply; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CWD", "Outcome", "outcome_of"]

CWD = "__import__('os').getcwd()"
"""The user expression `cwd`, which a Python kernel evaluates after the code."""

TIMED_OUT = -1
MAX_ERROR = 1000
_ENDS = ("KernelDied", "KernelRestarted", "ShellGone", "ShellFailed", "ReplyLost")
_PATH = re.compile(r"'([^'\\]{1,4096})'")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    exit_code: of the command; 0 or 1 for code; -1 after a timeout, or if the kernel or the shell ended first.
    cwd: working directory after the job; empty if unknown.
    duration_ms: how long the job took, in milliseconds, its wait for the kernel counted.
    execution_count: of code, as the kernel counts; None for commands.
    error: why the kernel or the shell ended before the job; empty if neither did.
    """

    exit_code: int
    cwd: str
    timed_out: bool
    duration_ms: int
    execution_count: int | None = None
    error: str = ""


def outcome_of(reply: Mapping[str, Any], timed_out: bool, in_shell: bool, duration_ms: int) -> Outcome:
    """Return the outcome of a job from the reply to it. A field of another type than expected counts as missing."""
    error = _error(reply)
    exit_code = reply.get("exit_code") if in_shell else (0 if reply.get("status") == "ok" else 1)
    if timed_out or not isinstance(exit_code, int) or (error and not in_shell):
        exit_code = TIMED_OUT
    cwd = reply.get("cwd") if in_shell else _cwd_of(reply)
    count = reply.get("execution_count")
    return Outcome(
        exit_code=exit_code,
        cwd=cwd if isinstance(cwd, str) else "",
        timed_out=timed_out,
        duration_ms=duration_ms,
        execution_count=count if isinstance(count, int) and not in_shell else None,
        error=error,
    )


def _error(reply: Mapping[str, Any]) -> str:
    """Return why the kernel or the shell ended before the job; empty if neither did."""
    message, code = reply.get("evalue"), reply.get("exit_code")
    # without ename: the answer of `_Request.end`
    if reply.get("status") == "error" and reply.get("ename") in (None, *_ENDS):
        return str(message)[:MAX_ERROR]
    # above 128 a signal ended bash; up to 128 the command itself did, as `exit 3` does
    if reply.get("restarted") is True and isinstance(code, int) and code > 128:
        return f"The shell ended, {message}, and was started again; its variables are lost."[:MAX_ERROR]
    return ""


def _cwd_of(reply: Mapping[str, Any]) -> str | None:
    """Return the value of the user expression `CWD`; None if the reply has no such path."""
    try:
        text = reply["user_expressions"]["cwd"]["data"]["text/plain"]
    except (KeyError, TypeError):
        return None
    # a repr with an escape does not match: no directory is better than a wrong one
    found = _PATH.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else None
