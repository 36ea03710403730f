"""How a kernel's process ended, in words, and how often it may: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ..engines.base import signal_name

__all__ = ["MAX_DEATHS", "RestartLimiter", "death_in_words"]

MAX_DEATHS, DEATHS_WITHIN_SECONDS = 5, 60.0


class RestartLimiter:
    """Counts the deaths of a kernel: of one that dies again and again no other process is started."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_DEATHS)

    def again(self, now: float) -> bool:
        """Note a death; return whether a process may be started anew, which is not so after `MAX_DEATHS` at once."""
        allowed = len(self._times) < MAX_DEATHS or now - self._times[0] > DEATHS_WITHIN_SECONDS
        self._times.append(now)
        return allowed


def death_in_words(content: Mapping[str, Any]) -> str:
    """Return why a kernel ended from the guest's news, whose fields are only believed as far as their types go."""
    limit, number, code = content.get("memory_limit"), content.get("signal"), content.get("exit_code")
    if content.get("out_of_memory"):
        words = "killed, out of memory"
        return f"{words}, limit {limit // 2**20} MiB" if isinstance(limit, int) else words
    if isinstance(number, int):
        return f"killed by signal {signal_name(number)}"
    return f"it ended with exit code {code}" if isinstance(code, int) else "it ended"
