"""``GET /metrics``: the metrics of the gateway for Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from .base import Handler

__all__ = ["MetricsHandler"]


class MetricsHandler(Handler):
    """``GET /metrics``, in the text format 0.0.4, which every version of Prometheus reads."""

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(generate_latest(self.services.metrics.registry))
