"""One picture of the gateway each second, and gauges for Prometheus."""

from .feed import StatusFeed
from .gauges import Gauges
from .host import HostMonitor
from .snapshot import StatusSnapshot, gateway_status

__all__ = ["Gauges", "HostMonitor", "StatusFeed", "StatusSnapshot", "gateway_status"]
