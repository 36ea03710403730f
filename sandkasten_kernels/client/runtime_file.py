"""The runtime file: where the gateway of this user on this machine can be reached, written by the gateway itself."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["RUNTIME_FILE", "Running", "default_data_dir", "read_running", "remove_running", "write_running"]

RUNTIME_FILE = "gateway.json"


@dataclass(frozen=True)
class Running:
    """A gateway that runs: its URL with the base path, the token it takes, and its process."""

    url: str
    token: str
    pid: int


def default_data_dir() -> Path:
    """Return where a gateway of this user keeps its state: ``/var/lib/sandkasten`` for root, else the XDG directory."""
    if os.getuid() == 0:
        return Path("/var/lib/sandkasten")
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "sandkasten"


def write_running(data_dir: Path, running: Running) -> Path:
    """Write the file, whole and readable by its owner alone; return where it is."""
    fd, draft = tempfile.mkstemp(dir=data_dir, prefix=f".{RUNTIME_FILE}-")
    with open(fd, "w") as writer:
        json.dump(asdict(running), writer)
    return Path(draft).replace(data_dir / RUNTIME_FILE)


def remove_running(data_dir: Path) -> None:
    """Remove the file; no-op when there is none."""
    (data_dir / RUNTIME_FILE).unlink(missing_ok=True)


def read_running(data_dir: Path) -> Running | None:
    """Return what the file says; None where there is none that this user, or root, wrote for himself alone.

    Where its process has ended, or is another user's, there is no gateway: whoever serves at its port now must not get
    the token.
    """
    try:
        with open(os.open(data_dir / RUNTIME_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            state = os.fstat(file.fileno())
            if state.st_uid not in (os.getuid(), 0) or state.st_mode & 0o077:
                return None
            said = json.load(file)
        running = Running(str(said["url"]), str(said["token"]), int(said["pid"]))
        return running if Path(f"/proc/{running.pid}").stat().st_uid == state.st_uid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
