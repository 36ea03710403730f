"""``GET /metrics``: the figures of the gateway as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from .base import Handler

__all__ = ["MetricsHandler"]


class MetricsHandler(Handler):
    """``GET /metrics``, in the text format that every Prometheus knows."""

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(generate_latest(self.services.metrics.registry))
