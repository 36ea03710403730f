"""How a container has ended, in words, from what Docker knows of it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..death import signal_name

__all__ = ["LOOK_BACK_SECONDS", "cause_of_death"]

LOOK_BACK_SECONDS = 60.0
KILLED = 128 + 9


def cause_of_death(details: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> str:
    """Return why a container has ended.

    Parameters
    ----------
    details: what ``inspect`` says of it.
    events: its ``kill`` events: a signal that came over the engine, from whoever may use it.
    """
    state = details["State"]
    signals = [str(event.get("Actor", {}).get("Attributes", {}).get("signal", "")) for event in events]
    if signals:
        names = {name: signal_name(int(name)) if name.isdigit() else name for name in signals}
        return f"its sandbox was ended over the engine, from outside of the gateway ({', '.join(names.values())})"
    code = state.get("ExitCode", 0)
    if state.get("OOMKilled") and code == KILLED:
        limit = details.get("HostConfig", {}).get("Memory", 0) // 2**20
        return "its sandbox was killed, out of memory" + (f", limit {limit} MiB" if limit else "")
    if code > 128:
        return f"the first process of its sandbox was killed by signal {signal_name(code - 128)}"
    return f"the first process of its sandbox ended with exit code {code}"
