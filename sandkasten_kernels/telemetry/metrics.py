"""Metrics: the counters and histograms of one gateway, in a registry of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from .. import __version__
from .activity import Activity

__all__ = ["DEATHS", "Direction", "Flow", "Metrics", "death_label"]

Direction = Literal["to_kernel", "to_client"]

DEATHS = ("memory", "signal", "exit", "connection", "sandbox", "start", "other")
"""Labels for the causes of deaths: a fixed set, so that a sandbox cannot make new labels."""

_SIGNS = {
    "out of memory": "memory",
    "sandbox": "sandbox",
    "killed by signal": "signal",
    "exit code": "exit",
    "connection": "connection",
    "started": "start",
}
_START = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
_CLAIM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_HTTP = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def death_label(reason: str) -> str:
    """Return the label of `DEATHS` for the reason that a client reads."""
    return next((label for sign, label in _SIGNS.items() if sign in reason), "other")


@dataclass
class Flow:
    """Messages of one direction, as plain numbers, because every single message is counted."""

    messages: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count a message of ``size`` bytes."""
        self.messages += 1
        self.bytes += size


class Metrics:
    """Counters and histograms. `status.gauges.Gauges` reads states when Prometheus asks.

    Labels are images, routes and fixed words. So callers and sandboxes cannot raise their number.

    Attributes
    ----------
    activity: the same figures for the last hour, for the status page.
    """

    def __init__(self) -> None:
        # otherwise each counter has a second series, with the time of its creation
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.activity = Activity()
        self.flows: dict[Direction, Flow] = {"to_kernel": Flow(), "to_client": Flow()}
        ProcessCollector(registry=self.registry)
        build = Gauge("sandkasten_build_info", "Which version runs.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self.starts = self._histogram(
            "start", "From asking the engine for a sandbox until its kernel is warm.", ["image"], _START
        )
        self.failed_starts = self._counter("start_failures", "Starts of sandboxes that failed.", ["image"])
        self._claims = self._histogram(
            "claim",
            "From asking for a session until it can be used; source: pool, or cold for one that had to be started.",
            ["image", "source"],
            _CLAIM,
        )
        self.first_results = self._histogram(
            "first_result",
            "Time that a client waited for a session and for the result of its first execution, together.",
            ["image"],
            _CLAIM,
        )
        self._refused = self._counter(
            "refused_sessions", "Refused requests for a session, by the error's code.", ["code"]
        )
        self.executions = self._counter(
            "executions",
            "Executions by kind: cell over a WebSocket; code and command over /v1.",
            ["kind"],
            [["cell"], ["code"], ["command"]],
        )
        self._events = self._counter("events", "Events of the event log, by kind.", ["kind"])
        self._deaths = self._counter(
            "deaths", f"Kernels that died: {', '.join(DEATHS)}.", ["reason"], [[word] for word in DEATHS]
        )
        self._requests = self._counter(
            "http_requests", "Finished HTTP requests, by route.", ["route", "method", "status"]
        )
        self._seconds = self._histogram(
            "http_request", "From a request's headers to the end of its answer, by route.", ["route", "method"], _HTTP
        )

    def happened(self, kind: str, reason: str, code: str) -> None:
        """Count an event of the event log; ``code`` is the error's code if the kind is ``refused``."""
        self._events.labels(kind).inc()
        if kind == "died":
            self._deaths.labels(death_label(reason)).inc()
        elif kind == "refused":
            self._refused.labels(code).inc()

    def claimed(self, image: str, source: str, seconds: float) -> None:
        """Count a new session and the time from its request; ``source`` is ``pool`` or ``cold``."""
        self._claims.labels(image, source).observe(seconds)
        self.activity.claimed(image, seconds, warm=source == "pool")

    def relayed(self, direction: Direction, size: int) -> None:
        """Count a message of ``size`` bytes between a client and a sandbox."""
        self.flows[direction].add(size)
        self.activity.relayed(size)

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request and its time; a WebSocket is counted, but not timed."""
        # a client may send any word as its method; each would be a new label
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        # a WebSocket's time is that of its whole connection
        if status != 101:
            self._seconds.labels(route, method).observe(seconds)

    def _counter(self, name: str, help_text: str, labels: list[str], known: list[list[str]] | None = None) -> Counter:
        counter = Counter(f"sandkasten_{name}", help_text, labels, registry=self.registry)
        for values in known or ():
            counter.labels(*values)  # so that the series exists at 0, and the first event is an increase
        return counter

    def _histogram(self, name: str, help_text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"sandkasten_{name}_seconds", help_text, labels, buckets=buckets, registry=self.registry)
