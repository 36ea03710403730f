"""How what was run has ended, from the reply to it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CWD", "Outcome", "outcome_of"]

CWD = "__import__('os').getcwd()"
"""The expression that a python kernel is asked for with the code, as `cwd`."""

TIMED_OUT = -1
MAX_ERROR = 1000
_ENDS = ("KernelDied", "KernelRestarted", "ShellGone", "ShellFailed", "ReplyLost")
_PATH = re.compile(r"'([^'\\]{1,4096})'")


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``exit_code`` is 0 or 1 for code, and -1 for what exceeded its time or lost its sandbox.

    ``cwd`` is empty where it is not known; ``error`` says how its kernel or shell ended before it did.
    """

    exit_code: int
    cwd: str
    timed_out: bool
    duration_ms: int
    execution_count: int | None = None
    error: str = ""


def outcome_of(reply: Mapping[str, Any], timed_out: bool, in_shell: bool, duration_ms: int) -> Outcome:
    """Return the outcome from a reply, whose fields are only believed as far as their types go."""
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
    """Return how kernel or shell ended before what ran did; empty where they have not."""
    words, code = reply.get("evalue"), reply.get("exit_code")
    if reply.get("status") == "error" and reply.get("ename") in (None, *_ENDS):
        return str(words)[:MAX_ERROR]
    if reply.get("restarted") is True and isinstance(code, int) and code > 128:
        return f"The shell ended, {words}, and was started again; its variables are lost."[:MAX_ERROR]
    return ""


def _cwd_of(reply: Mapping[str, Any]) -> str | None:
    """Return the value of the expression that asked a python kernel for its directory; None for an odd one."""
    try:
        text = reply["user_expressions"]["cwd"]["data"]["text/plain"]
    except (KeyError, TypeError):
        return None
    found = _PATH.fullmatch(text) if isinstance(text, str) else None
    return found[1] if found else None
