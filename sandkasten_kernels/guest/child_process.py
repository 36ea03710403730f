"""ChildProcess: starts, signals and ends the process of a kernel. It reads no messages."""

from __future__ import annotations

import json
import os
import signal
import stat
from typing import Any, NamedTuple

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
OOM_SCORE_ADJ = 500
STDERR_KEPT = 4096
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Death(NamedTuple):
    """How a kernel ended: with an exit code or by a signal. ``out_of_memory``: the memory limit was the cause.

    ``stderr``: the last `STDERR_KEPT` bytes of its output.
    """

    pid: int
    exit_code: int | None
    signal: int | None
    out_of_memory: bool
    stderr: str

    def content(self) -> dict[str, Any]:
        """Return the content of a message about it."""
        return {**self._asdict(), "memory_limit": memory_limit()}


class StartFailed(Exception):
    """The kernel's program cannot be started; the message says why."""


class ChildProcess:
    """One kernel process, the leader of its own session and process group.

    Parameters
    ----------
    directory: where its sockets and its connection file are created.
    generation: the number of the kernel in this sandbox; the names of its files begin with it.
    """

    def __init__(self, directory: str, generation: int) -> None:
        self._directory = directory
        self.name = f"k{generation}"
        self._prefix = f"{directory}/{self.name}"
        self.generation = generation
        self.pid = 0
        self.stderr_fd = -1
        self._stderr = b""
        self._oom_kills = 0

    def spawn(self, argv: list[str], env: dict[str, str], cwd: str, key: str) -> None:
        """Start the program; replace ``{connection_file}`` in ``argv``. Raises `StartFailed`, and `OSError`."""
        connection_file = f"{self._prefix}.json"
        ports = {f"{name}_port": number for number, name in enumerate(CHANNELS, 1)}
        connection = {
            "transport": "ipc", "ip": self._prefix, **ports, "key": key, "signature_scheme": "hmac-sha256",
        }  # fmt: skip
        self._write(connection_file, json.dumps(connection))
        argv = [word.replace("{connection_file}", connection_file) for word in argv]
        self._oom_kills = oom_kills()
        self.stderr_fd, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_end, True)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, write_end, number) for number in (1, 2)]
        try:
            os.chdir(cwd)
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                env,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=IGNORED_BY_PYTHON,
            )
        except OSError as error:
            os.close(self.stderr_fd)
            self.stderr_fd = -1
            raise StartFailed(f"{argv[0]}: {error.strerror}") from error
        finally:
            os.close(write_end)
            os.close(null)
            os.chdir("/")
        raise_oom_score(self.pid)

    def sockets(self) -> dict[str, str] | None:
        """Return the names of the kernel's sockets by channel, accessible to the gateway; None while one is missing."""
        names = {channel: f"{self._prefix}-{number}" for number, channel in enumerate(CHANNELS, 1)}
        try:
            for path in names.values():
                if not stat.S_ISSOCK(os.lstat(path).st_mode):
                    return None
            for path in names.values():
                os.chmod(path, 0o777)
        except OSError:
            return None
        raise_oom_score(self.pid)  # just after the start the kernel may have refused it: the program was not exchanged
        return {channel: os.path.basename(path) for channel, path in names.items()}

    def read_stderr(self) -> None:
        """Take what the process wrote to its own stderr, and keep the end of it."""
        try:
            data = os.read(self.stderr_fd, 65536)
        except BlockingIOError:
            return
        if data:
            self._stderr = (self._stderr + data)[-STDERR_KEPT:]
        else:
            os.close(self.stderr_fd)
            self.stderr_fd = -1

    def signal(self, number: int) -> None:
        """Signal the kernel's process group; one that is gone already is fine."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def ended(self, status: int) -> Death:
        """Return how the kernel ended from its wait status, its group killed and its sockets removed."""
        out_of_memory = os.WIFSIGNALED(status) and oom_kills() > self._oom_kills
        self.signal(signal.SIGKILL)
        if self.stderr_fd >= 0:
            self.read_stderr()
        if self.stderr_fd >= 0:
            os.close(self.stderr_fd)
            self.stderr_fd = -1
        for suffix in (".json", *(f"-{number}" for number in range(1, len(CHANNELS) + 1))):
            try:
                os.unlink(self._prefix + suffix)
            except OSError:
                pass
        return Death(
            self.pid,
            os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            out_of_memory,
            self._stderr.decode("utf-8", "replace"),
        )

    @staticmethod
    def _write(path: str, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:
            file.write(text)


def raise_oom_score(pid: int) -> None:
    """Let Linux kill ``pid`` before the guest when memory runs out."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(OOM_SCORE_ADJ))
    except OSError:
        pass


def directory_of(pid: int) -> str:
    """Return the working directory of a process; empty when it cannot be read, and for pid 0."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") if pid else ""
    except OSError:
        return ""


def oom_kills() -> int:
    """Return how many processes of this sandbox the out-of-memory killer has ended (cgroup v1 and v2)."""
    return _counter(("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"), "oom_kill")


def memory_limit() -> int | None:
    """Return the sandbox's memory limit in bytes; None for no limit."""
    for path in ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < 1 << 60 else None
    return None


def _counter(paths: tuple[str, ...], name: str) -> int:
    for path in paths:
        try:
            with open(path) as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == name:
                        return int(value)
        except OSError:
            continue
    return 0
