"""How a container has ended, in words, from what Docker knows of it: pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from typing import Any

from ..base import signal_name

__all__ = ["LOOK_BACK_SECONDS", "how_it_ended", "how_it_was_killed"]

LOOK_BACK_SECONDS = 10.0
_DEADLY = {str(int(number)): number for number in (signal.SIGKILL, signal.SIGTERM)}
KILLED = 128 + signal.SIGKILL


def how_it_was_killed(events: Iterable[Mapping[str, Any]]) -> str:
    """Return who has ended a container, from its last ``kill`` events, which signals are that came over the engine.

    Empty where nobody has: a guest survives other signals than these.
    """
    signals = [event.get("Actor", {}).get("Attributes", {}).get("signal") for event in events]
    deadly = [_DEADLY[number].name for number in signals if number in _DEADLY]
    return f"its sandbox was ended over the engine, from outside of the gateway ({', '.join(deadly)})" if deadly else ""


def how_it_ended(details: Mapping[str, Any]) -> str:
    """Return why a container has ended by itself, from what ``inspect`` says of it."""
    state = details["State"]
    code = state.get("ExitCode", 0)
    if state.get("OOMKilled") and code == KILLED:
        limit = details.get("HostConfig", {}).get("Memory", 0) // 2**20
        return "its sandbox was killed, out of memory" + (f", limit {limit} MiB" if limit else "")
    if code > 128:
        return f"the first process of its sandbox was killed by signal {signal_name(code - 128)}"
    return f"the first process of its sandbox ended with exit code {code}"
