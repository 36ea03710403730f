"""What this machine has and uses: processors, memory, the disk of the data directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HostMonitor", "HostUsage"]


@dataclass(frozen=True)
class HostUsage:
    """What the machine uses now; ``cpu`` is the share of all processors since the time before, from 0 to 1."""

    cpu: float
    cpus: int
    load: float
    memory_bytes: int
    memory_total: int
    disk_bytes: int
    disk_total: int


class HostMonitor:
    """Asks the system, which takes a fraction of a millisecond."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before = (0, 0)

    def read(self) -> HostUsage:
        """Return what is used now, of the disk what others than root can no longer have."""
        memory = _meminfo()
        total = memory.get("MemTotal", 0)
        disk = os.statvfs(self._directory)
        return HostUsage(
            cpu=self._cpu(),
            cpus=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 2),
            memory_bytes=total - memory.get("MemAvailable", memory.get("MemFree", 0)),
            memory_total=total,
            disk_bytes=(disk.f_blocks - disk.f_bavail) * disk.f_frsize,
            disk_total=disk.f_blocks * disk.f_frsize,
        )

    def _cpu(self) -> float:
        """Return the share of the time since the last call in which processors were busy; the first time, since boot.

        Source: proc_stat(5); of the columns, the fourth and the fifth are idle, and guests are in user already.
        """
        with Path("/proc/stat").open() as stat:
            times = [int(text) for text in stat.readline().split()[1:9]]
        total, idle = sum(times), times[3] + times[4]
        total_before, idle_before = self._before
        self._before = total, idle
        passed = total - total_before
        return round(min(1.0, max(0.0, 1 - (idle - idle_before) / passed)), 3) if passed > 0 else 0.0


def _meminfo() -> dict[str, int]:
    """Return the lines of ``/proc/meminfo`` in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 2}
