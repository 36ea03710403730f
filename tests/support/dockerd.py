"""A Docker engine of a test's own, which can be restarted: the machine's is everybody's."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import docker

from tests.support.waiting import eventually_blocking

PATIENCE_SECONDS = 60
LIVE_RESTORE = "--live-restore"


class Dockerd:
    """A ``dockerd`` with its data in a directory of its own, without networks.

    ``disk_mb``: the size of the disk that they are on, which is memory.
    """

    def __init__(self, *images: str, disk_mb: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sk-dockerd-", dir="/tmp"))
        self._disk = f"size={disk_mb}m"
        self._images = images
        self._live = False
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._folder}/docker.sock"
        self.log = self._folder / "log"

    def __enter__(self) -> Dockerd:
        subprocess.run(["mount", "-t", "tmpfs", "-o", self._disk, "sk-dockerd", self._folder], check=True)
        self.start()
        with subprocess.Popen(["docker", "save", *self._images], stdout=subprocess.PIPE) as saved:
            load = ["docker", "-H", self.url, "load"]
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True, timeout=240)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        if self._live:
            self.start()  # without live-restore: what still runs ends
            self.stop()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in [mount for mount in mounts if mount.startswith(f"{self._folder}/")]:
            subprocess.run(["umount", "--lazy", mount], check=True)
        subprocess.run(["umount", "--lazy", self._folder], check=True)
        self._folder.rmdir()

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let the disk be full until the end of the block."""
        filling = self._folder / "filling"
        try:
            with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
                while file.write(bytes(2**20)):
                    pass
            yield
        finally:
            filling.unlink()

    def start(self, *options: str) -> None:
        """Return when the engine answers."""
        self._live = LIVE_RESTORE in options
        # in a network namespace of its own: with --bridge=none an engine removes the machine's docker0
        command = [
            "unshare",
            "--net",
            "dockerd",
            f"--data-root={self._folder}/root",
            f"--exec-root={self._folder}/exec",
        ]
        command += [f"--pidfile={self._folder}/pid", f"--host={self.url}", "--bridge=none", "--iptables=false"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log, start_new_session=True)
        eventually_blocking(self._settled)
        assert self._process.poll() is None, f"dockerd did not start:\n{self.log.read_text()[-3000:]}"

    def _settled(self) -> bool:
        """Whether the engine answers, or has ended."""
        try:
            with contextlib.closing(docker.DockerClient(base_url=self.url)) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """Return when the engine has ended."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None
