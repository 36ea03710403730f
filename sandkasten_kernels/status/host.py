"""HostMonitor: processors, memory and the data directory's disk of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["HostMonitor", "HostUsage"]


@dataclass(frozen=True)
class HostUsage:
    """What the machine uses now.

    Attributes
    ----------
    cpu: share of all processors that was busy since the reading before, from 0 to 1.
    load: the average of the last minute.
    memory_bytes: memory that new programs cannot have.
    disk_bytes: room on the disk that users other than root cannot have.
    """

    cpu: float
    cpus: int
    load: float
    memory_bytes: int
    memory_total: int
    disk_bytes: int
    disk_total: int


class HostMonitor:
    """Reads from the system how busy it is, in a fraction of a millisecond."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)

    def read(self) -> HostUsage:
        """Return what the machine uses now; of processors 0 in the first reading."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(self._directory)
        return HostUsage(
            cpu=round(psutil.cpu_percent() / 100, 3),
            cpus=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 2),
            memory_bytes=memory.total - memory.available,
            memory_total=memory.total,
            disk_bytes=disk.total - disk.free,
            disk_total=disk.total,
        )
