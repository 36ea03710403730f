"""The runtime file, in which a running gateway writes its URL and token for clients of the same user."""

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
    """A running gateway: its URL with the base URL's path, its token, and its process id."""

    url: str
    token: str
    pid: int


def default_data_dir() -> Path:
    """Return the default data directory of a user's gateway: ``/var/lib/sandkasten`` for root, else by XDG."""
    if os.getuid() == 0:
        return Path("/var/lib/sandkasten")
    state = os.environ.get("XDG_STATE_HOME", "")
    # the XDG specification says to ignore a relative path
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "sandkasten"


def write_running(data_dir: Path, running: Running) -> Path:
    """Write the file atomically, readable by its owner alone; return its path."""
    # mkstemp gives it mode 0600 before the token is in it
    fd, draft = tempfile.mkstemp(dir=data_dir, prefix=f".{RUNTIME_FILE}-")
    with open(fd, "w") as writer:
        json.dump(asdict(running), writer)
    return Path(draft).replace(data_dir / RUNTIME_FILE)


def remove_running(data_dir: Path) -> None:
    """Remove the file; no-op if it does not exist."""
    (data_dir / RUNTIME_FILE).unlink(missing_ok=True)


def read_running(data_dir: Path) -> Running | None:
    """Return the running gateway; None for no valid file.

    A valid file belongs to this user or root, and only its owner can read it. Its process must still run as the same
    user: else another program may listen on the port, which must not get the token.
    """
    try:
        # O_NONBLOCK: a FIFO under this name must not block the client
        with open(os.open(data_dir / RUNTIME_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            # of the open file: the name may stand for another one by now
            state = os.fstat(file.fileno())
            if state.st_uid not in (os.getuid(), 0) or state.st_mode & 0o077:
                return None
            content = json.load(file)
        running = Running(str(content["url"]), str(content["token"]), int(content["pid"]))
        return running if Path(f"/proc/{running.pid}").stat().st_uid == state.st_uid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
