"""What outlives a process of the gateway: sessions, sandboxes, kernels and events, in SQLite."""

from .record import Record
from .store import Store

__all__ = ["Record", "Store"]
