"""Sessions, sandboxes and kernels in SQLite, so that they outlive the process."""

from .record import Record
from .store import Store

__all__ = ["Record", "Store"]
