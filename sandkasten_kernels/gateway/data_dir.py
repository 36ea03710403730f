"""DataDir: the directory of one gateway with its instance id, its token, its lock and its run-time files."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import uuid
from pathlib import Path

from ..client.runtime_file import Running, default_data_dir, remove_running, write_running
from ..errors import ConfigError

__all__ = ["DataDir", "default_data_dir", "new_token", "token_of"]


class DataDir:
    """A data directory, locked for one gateway at a time.

    Raises `ConfigError` when it cannot be created or written, or when another running gateway uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run_dir = self.path / "run"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run_dir.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"data_dir: {self.path}: {error.strerror}; name another with --data-dir") from error
        try:
            # the kernel releases a flock with the process, also a killed one; a pid file would stay
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ConfigError(
                f"data_dir: another running gateway uses {self.path}; stop it, or choose another --data-dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    @staticmethod
    def holder(path: Path) -> int | None:
        """Return the process id of the gateway that uses the directory ``path``; None when none does.

        Raises `ConfigError` when the lock cannot be read.
        """
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"data_dir: {path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 32, 0).strip()
            if not pid.isdigit():
                raise ConfigError(
                    f"data_dir: {path}: the process id of its gateway is unknown: stop it by hand"
                ) from None
            return int(pid)
        else:
            return None
        finally:
            os.close(lock)

    def instance(self) -> str:
        """Return the id of this installation, generated once; its sandboxes have it as a label."""
        return _kept(self.path, "instance", uuid.uuid4().hex)

    def token(self) -> str:
        """Return the token of this installation, generated once; only its owner can read the file."""
        return token_of(self.path)

    def announce(self, url: str, token: str) -> None:
        """Write the runtime file, in which clients of this user find the gateway; `withdraw` removes it."""
        write_running(self.path, Running(url, token, os.getpid()))

    def withdraw(self) -> None:
        """Remove the runtime file."""
        remove_running(self.path)

    def close(self) -> None:
        """Unlock the directory."""
        os.close(self._lock)


def token_of(data_dir: Path) -> str:
    """Return the token of a data directory, generated once. Raises `ConfigError`."""
    return _kept(data_dir, "token", secrets.token_hex(24))


def new_token(data_dir: Path) -> str:
    """Replace the token of a data directory, and return the new one. Raises `ConfigError`."""
    return _kept(data_dir, "token", secrets.token_hex(24), anew=True)


def _kept(directory: Path, name: str, new: str, *, anew: bool = False) -> str:
    """Return the content of the file ``name``, created with ``new`` if absent, as a whole, with mode 0600."""
    file = directory / name
    try:
        if anew or not file.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # renamed when complete: a process that is killed here must not leave an empty file
            fd, draft = tempfile.mkstemp(dir=directory, prefix=f".{name}-")
            with open(fd, "w") as writer:
                writer.write(new + "\n")
                writer.flush()
                os.fsync(fd)
            Path(draft).replace(file)
        value = file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"data_dir: {file}: {error.strerror}") from error
    if not value:
        raise ConfigError(f"data_dir: {file} is empty; remove it, and the gateway creates a new one")
    return value
