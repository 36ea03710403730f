"""A container registry of the test's own on loopback: Debian's `docker-registry`, unpacked and not installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from tests.support.waiting import eventually_blocking

START_SECONDS = 30


class RegistryUnavailable(Exception):
    """The program can be had neither from this machine nor from its package archive."""


def registry_program(folder: Path) -> str:
    """Return the path of `docker-registry`; where it is not installed its package is unpacked into `folder`.

    Installing would start a service at a port that is not ours.
    """
    if installed := shutil.which("docker-registry"):
        return installed
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise RegistryUnavailable("no docker-registry, and no apt to get it with")
    if not _download(folder) and not (os.geteuid() == 0 and _run(["apt-get", "update", "-q"]) and _download(folder)):
        raise RegistryUnavailable("apt-get download docker-registry failed; try it after apt-get update")
    (package,) = folder.glob("docker-registry_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "unpacked"], check=True, timeout=60)
    return str(folder / "unpacked" / "usr" / "bin" / "docker-registry")


def _download(folder: Path) -> bool:
    return _run(["apt-get", "download", "-q", "docker-registry"], folder)


def _run(command: list[str], folder: Path | None = None) -> bool:
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False).returncode == 0


class ImageRegistry:
    """Serves a registry at `address` while the ``with`` block runs; all of it is in `folder`."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes]
        self.address = ""

    def __enter__(self) -> ImageRegistry:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"localhost:{probe.getsockname()[1]}"
        config = self._folder / "registry.yml"
        settings = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "storage")}},
            "http": {"addr": self.address.replace("localhost", "127.0.0.1")},
        }
        config.write_text(json.dumps(settings))
        with (self._folder / "registry.log").open("wb") as log:
            self._process = subprocess.Popen([self._program, "serve", config], stdout=log, stderr=log)
        try:
            eventually_blocking(lambda: self._answers() or self._process.poll() is not None, seconds=START_SECONDS)
            assert self._process.poll() is None, (self._folder / "registry.log").read_text()
        except AssertionError:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the registry; a second call does nothing."""
        self._process.terminate()
        self._process.wait(30)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False
