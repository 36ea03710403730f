"""Gauges: the state of the gateway, read when Prometheus asks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..pool import Pool
from ..sessions import Executions, Sessions
from ..telemetry import Metrics

__all__ = ["Gauges"]


class Gauges(Collector):
    """Reads the state of a gateway's parts, and the counters that they keep themselves.

    Parameters
    ----------
    directory: free space is reported for its disk.
    failures: how often each background task failed, by name.
    """

    def __init__(
        self,
        metrics: Metrics,
        pool: Pool,
        sessions: Sessions,
        executions: Executions,
        directory: Path,
        failures: Mapping[str, int],
    ) -> None:
        self._metrics = metrics
        self._pool = pool
        self._sessions = sessions
        self._executions = executions
        self._directory = directory
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._of_the_pool()
        yield from self._of_sessions()
        executing = self._executions.under_way
        yield GaugeMetricFamily(
            "sandkasten_executions_under_way", "Executions over /v1, waiting ones included.", executing
        )
        disk = os.statvfs(self._directory)
        yield GaugeMetricFamily(
            "sandkasten_disk_free_bytes", "Free space on the disk of data_dir.", disk.f_bavail * disk.f_frsize
        )
        messages = CounterMetricFamily(
            "sandkasten_relayed_messages", "Messages over WebSockets, and events of streams.", labels=["direction"]
        )
        size = CounterMetricFamily("sandkasten_relayed_bytes", "Their size.", labels=["direction"])
        for direction, flow in self._metrics.flows.items():
            messages.add_metric([direction], flow.messages)
            size.add_metric([direction], flow.bytes)
        failures = CounterMetricFamily(
            "sandkasten_background_failures", "Unexpected failures of background tasks.", labels=["task"]
        )
        for name, count in tuple(self._failures.items()):
            failures.add_metric([name], count)
        yield from (messages, size, failures)

    def _of_the_pool(self) -> Iterator[Metric]:
        counts: dict[str, Counter[str]] = {}
        for entry in self._pool.status():
            figures = {name: number for name, number in entry.items() if isinstance(number, int)}
            counts.setdefault(entry["image"], Counter()).update(figures)
        states = GaugeMetricFamily(
            "sandkasten_sandboxes", "Sandboxes: warm, starting, or claimed by a session.", labels=["image", "state"]
        )
        target = GaugeMetricFamily("sandkasten_pool_target", "Warm sandboxes that the pool keeps.", labels=["image"])
        hits = CounterMetricFamily("sandkasten_pool_hits", "Claims that found a warm sandbox.", labels=["image"])
        misses = CounterMetricFamily("sandkasten_pool_misses", "Claims that had to wait for one.", labels=["image"])
        for image, count in counts.items():
            for state in ("warm", "starting", "claimed"):
                states.add_metric([image, state], count[state])
            for family, name in ((target, "target"), (hits, "hits"), (misses, "misses")):
                family.add_metric([image], count[name])
        yield from (states, target, hits, misses)
        totals = self._pool.totals()
        yield GaugeMetricFamily(
            "sandkasten_sandboxes_ending", "Sandboxes that are ending; their container still exists.", totals["ending"]
        )
        yield GaugeMetricFamily(
            "sandkasten_sandboxes_limit", "limits.max_sandboxes: the limit of sandboxes.", totals["max"]
        )

    def _of_sessions(self) -> Iterator[Metric]:
        states = Counter(session.kernel.link.execution_state for session in self._sessions)
        sessions = GaugeMetricFamily("sandkasten_sessions", "Sessions, by the state of their kernel.", labels=["state"])
        for state in ("starting", "idle", "busy", "dead"):
            sessions.add_metric([state], states.pop(state, 0))
        sessions.add_metric(["other"], states.total())
        yield sessions
        connections = sum(session.kernel.link.connections for session in self._sessions)
        yield GaugeMetricFamily("sandkasten_websockets", "Open WebSockets of kernels.", connections)
