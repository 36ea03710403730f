"""CgroupReader: the usage of sandboxes on this host, from two small files of each cgroup, without the engine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from ..spec import Usage
from .sandbox import HostSandbox

__all__ = ["CgroupReader"]

ROOT = Path("/sys/fs/cgroup")
_PID = re.compile(r"^Pid:\s*([0-9]+)$", re.MULTILINE)


@dataclass(frozen=True)
class _Files:
    memory: Path
    memory_limit: int
    cpu: Path
    divisor: int


class CgroupReader:
    """Reads usages. The paths come from ``/proc``, never from a sandbox, and are looked up once for each sandbox."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._files: WeakKeyDictionary[HostSandbox, _Files] = WeakKeyDictionary()

    def read(self, sandboxes: Iterable[HostSandbox]) -> dict[str, Usage]:
        """Return usages by id; sandboxes that have ended, or have no readable files, are left out.

        May be called in a thread, by one caller at a time.
        """
        found = {}
        for sandbox in sandboxes:
            try:
                files = self._files.get(sandbox) or self._find(sandbox)
                usage = Usage(_number(files.memory), files.memory_limit, _number(files.cpu) // files.divisor)
            except (OSError, ValueError):
                continue
            self._files[sandbox] = files
            found[sandbox.id] = usage
        return found

    def _find(self, sandbox: HostSandbox) -> _Files:
        """Return the files of a sandbox. Raises `OSError` or `ValueError` if they cannot be found."""
        # By the pidfd: a stored process id may belong to another process by now. Pid is -1 after the end.
        match = _PID.search(Path(f"/proc/self/fdinfo/{sandbox.arrival.pidfd}").read_text())
        if match is None:
            raise ValueError("the process is in another pid namespace, or gone")
        places = {}
        for line in Path(f"/proc/{int(match[1])}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                places[controller] = path.lstrip("/")
        # cgroup v1 has a line for each controller, v2 a single one without a controller's name.
        if "memory" in places:
            memory = self._root / "memory" / places["memory"]
            limit = _number(memory / "memory.limit_in_bytes")
            cpu = self._root / "cpuacct" / places["cpuacct"] / "cpuacct.usage"
            return _Files(memory / "memory.usage_in_bytes", limit, cpu, 1000)  # nanoseconds
        unified = self._root / places[""]
        return _Files(unified / "memory.current", _number(unified / "memory.max"), unified / "cpu.stat", 1)


def _number(file: Path) -> int:
    """Return the number in the first line of a file, also behind a key (``usage_usec 5``); 0 for ``max``."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        first = os.read(fd, 64).split(b"\n", 1)[0]
    finally:
        os.close(fd)
    return 0 if first == b"max" else int(first.rsplit(b" ", 1)[-1])
