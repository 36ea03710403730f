"""Activity: claims, messages and memory of the last hour, in bounded memory. Pure, without I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Activity", "percentile"]

HOUR = 3600
STEP_SECONDS = 10
MAX_CLAIMS = 5000
"""Limit of each image; older claims of the hour are dropped."""
MAX_LATENCIES = 1000
"""Limit of each step; later claims of a step are not measured."""


@dataclass
class _Step:
    """The figures of one step of the charts; ``number`` counts steps since 1970."""

    number: int
    creates: int = 0
    messages: int = 0
    bytes: int = 0
    memory: int | None = None
    host_memory: int | None = None
    latencies: list[float] = field(default_factory=list)

    def row(self) -> list[float | None]:
        p50, p95 = (_ms(percentile(self.latencies, share)) for share in (0.5, 0.95))
        start = self.number * STEP_SECONDS
        return [start, self.creates, p50, p95, self.messages, self.bytes, self.memory, self.host_memory]


class Activity:
    """Counts events as they happen, and forgets them after an hour.

    Parameters
    ----------
    now: returns the time in seconds since 1970.
    """

    columns = ("time", "creates", "create_p50_ms", "create_p95_ms", "messages", "bytes", "memory_bytes", "host_bytes")
    """The columns of a row of the history; ``time`` is the begin of a step of `STEP_SECONDS`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._steps: deque[_Step] = deque([_Step(int(now()) // STEP_SECONDS)], maxlen=HOUR // STEP_SECONDS)
        self._claims: dict[str, deque[tuple[float, float, bool]]] = {}

    def claimed(self, image: str, seconds: float, *, warm: bool) -> None:
        """Count a new session that took so long; ``warm``: its kernel came from the pool."""
        self._claims.setdefault(image, deque(maxlen=MAX_CLAIMS)).append((self._now(), seconds, warm))
        step = self._step()
        step.creates += 1
        if len(step.latencies) < MAX_LATENCIES:
            step.latencies.append(seconds)

    def relayed(self, size: int) -> None:
        """Count a message between a client and a sandbox."""
        step = self._step()
        step.messages += 1
        step.bytes += size

    def used(self, memory: int, host_memory: int) -> None:
        """Record the memory of all sessions and the memory in use on the machine, in bytes."""
        step = self._step()
        step.memory, step.host_memory = memory, host_memory

    def claims(self, image: str) -> dict[str, Any]:
        """Return ``claims hit_rate claim_p50_ms claim_p95_ms`` of the last hour; without claims, 0 and three None."""
        found = self._claims.get(image)
        since = self._now() - HOUR
        while found and found[0][0] < since:
            found.popleft()
        if not found:
            return {"claims": 0, "hit_rate": None, "claim_p50_ms": None, "claim_p95_ms": None}
        seconds = [taken for _, taken, _ in found]
        return {
            "claims": len(found),
            "hit_rate": round(sum(warm for *_, warm in found) / len(found), 4),
            "claim_p50_ms": _ms(percentile(seconds, 0.5)),
            "claim_p95_ms": _ms(percentile(seconds, 0.95)),
        }

    def history(self, last: int | None = None) -> list[list[float | None]]:
        """Return the rows of the last hour, or the ``last`` ones, oldest first, with the values of `columns`.

        The last row is the step that is not over yet.
        """
        self._step()
        steps = list(self._steps)
        return [step.row() for step in (steps if last is None else steps[-last:])]

    def _step(self) -> _Step:
        """Return the current step, and add empty ones for the time without events. The clock may jump."""
        number = int(self._now()) // STEP_SECONDS
        latest = self._steps[-1].number
        # at most an hour of steps after a jump forward; after a jump back, the latest step counts on
        for missing in range(max(latest + 1, number - HOUR // STEP_SECONDS + 1), number + 1):
            self._steps.append(_Step(missing))
        return self._steps[-1]


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a ``share`` of the values (0 to 1) do not exceed; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
