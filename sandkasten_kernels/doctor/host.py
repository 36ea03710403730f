"""The doctor's checks of this machine: permissions, kernel, disk, memory, descriptors, the port."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from ..engines import Finding, ok, problem, warning

__all__ = [
    "check_data_dir",
    "check_descriptors",
    "check_disk",
    "check_memory",
    "check_mounts",
    "check_pidfd",
    "check_port",
    "in_use",
    "nearest_directory",
]

DESCRIPTORS_EACH = 10
DESCRIPTORS_OWN = 200
DATA_ROOM_MB = 256
_SYSCALLS = {"open_tree": 428, "move_mount": 429, "mount_setattr": 442}
"""System calls with the same number on every architecture."""
_CAP_SYS_ADMIN = 21


def nearest_directory(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that exists."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def check_data_dir(path: Path) -> Finding:
    """Return whether the data directory can be created or written, and is private; nothing is left in it."""
    place = nearest_directory(path)
    advice = "name a directory of this user's with --data-dir"
    try:
        if path.exists() and not path.is_dir():
            return problem("data_dir", f"{path} is not a directory", advice)
        with tempfile.TemporaryDirectory(prefix=".sandkasten-", dir=place):
            pass
    except OSError as error:
        what = "cannot be written" if place == path else f"cannot be made in {place}"
        return problem("data_dir", f"{path} {what}: {error.strerror}", advice)
    if place != path:
        return ok("data_dir", f"{path} can be made")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return warning("data_dir", f"{path} is open to others (mode {mode:04o}); tokens are in it", f"chmod 700 {path}")
    return ok("data_dir", f"{path} can be written, mode {mode:04o}")


def in_use(data_dir: Path) -> bool:
    """Return whether a running gateway holds the data directory."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_mounts() -> Finding:
    """Return whether a directory can be mounted into a running sandbox, tested with calls that cannot succeed."""
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = ctypes.c_char_p(b"")
    arguments = {
        "open_tree": (-1, nothing, 0),
        "move_mount": (-1, nothing, -1, nothing, 0),
        "mount_setattr": (-1, nothing, 0, None, 0),
    }
    missing = []
    for name, number in _SYSCALLS.items():
        # Descriptor -1 fails in a kernel that has the call, by another error than ENOSYS.
        libc.syscall(ctypes.c_long(number), *arguments[name])
        if ctypes.get_errno() == errno.ENOSYS:
            missing.append(name)
    if missing:
        return warning(
            "mount injection",
            f"the kernel has no {', '.join(missing)}: nothing can be mounted into a warm sandbox",
            "use Linux 5.12 or newer; without it a sandbox that needs a mount is started cold",
        )
    if not _effective_capabilities() >> _CAP_SYS_ADMIN & 1:
        return warning(
            "mount injection",
            "the kernel can, this process may not (no CAP_SYS_ADMIN)",
            "run the gateway as root where sandboxes that need a mount are not to start cold",
        )
    return ok("mount injection", "open_tree, move_mount and mount_setattr are there, with CAP_SYS_ADMIN")


def _effective_capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def check_pidfd() -> Finding:
    """Return whether the kernel has pidfds, which report the end of a sandbox."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return problem("pidfd", f"pidfd_open: {error.strerror}", "use Linux 5.3 or newer, without a filter on it")
    return ok("pidfd", f"Linux {os.uname().release} reports the end of every sandbox at once")


def check_disk(path: Path) -> Finding:
    """Return the free disk space for the data directory."""
    place = nearest_directory(path)
    free = shutil.disk_usage(place).free >> 20
    saw = f"{place} has {free / 1024:.1f} GiB free"
    if free < DATA_ROOM_MB:
        return problem("disk", f"{saw}, less than {DATA_ROOM_MB} MiB", "make room, or name another --data-dir")
    return ok("disk", saw)


def check_descriptors(max_sandboxes: int) -> Finding:
    """Return whether the limit of open files is high enough for `max_sandboxes`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the gateway raises its soft limit to the hard one
    needed = max_sandboxes * DESCRIPTORS_EACH + DESCRIPTORS_OWN
    saw = f"{hard} open files are allowed, {max_sandboxes} sandboxes take about {needed}"
    if hard != resource.RLIM_INFINITY and hard < needed:
        return problem("descriptors", saw, "raise it (ulimit -Hn, LimitNOFILE=), or lower limits.max_sandboxes")
    return ok("descriptors", saw)


def check_memory(total_mb: int, warm_mb: int, each_mb: int, max_sandboxes: int) -> Finding:
    """Compare the memory limits (MiB) of the warm sandboxes, and of all, with the memory for all sandboxes."""
    full = max_sandboxes * each_mb
    saw = f"{total_mb} MiB for sandboxes; the warm ones may take {warm_mb}, {max_sandboxes} of {each_mb} take {full}"
    if warm_mb > total_mb:
        return problem("memory", saw, "keep fewer warm (pool.images), or lower defaults.mem_limit_mb")
    if full > total_mb:
        return warning(
            "memory",
            f"{saw}: not all can use their limit at once",
            f"to guarantee each its limit, set limits.max_sandboxes to {max(1, total_mb // each_mb)} or less",
        )
    return ok("memory", saw)


def check_port(host: str, port: int, *, running: bool) -> Finding:
    """Return whether the gateway can listen. `running`: whether a gateway runs with this data directory."""
    shown = f"{host or '*'}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As the gateway's own sockets: else connections in TIME_WAIT make the port look taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    # As the gateway's own sockets: else `::` takes the IPv4 port too, which is bound beside it.
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        if running and error.errno == errno.EADDRINUSE:
            return ok("listen", f"{shown} is taken, and a gateway runs with this data_dir")
        saw = f"{shown}: {error.strerror or error}"
        return problem("listen", saw, "end what listens there (ss -ltnp), or choose another --listen")
    return ok("listen", f"{shown} is free")
