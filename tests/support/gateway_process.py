"""A real gateway in a process of its own, for the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import cast

import docker

from tests.support.waiting import eventually_blocking

START_SECONDS = 60
STOP_SECONDS = 60


class GatewayProcess:
    """Starts ``sandkasten-kernels serve`` on a free port, and stops it by SIGTERM at the end of the ``with`` block.

    Parameters
    ----------
    folder: an empty directory; data directory, configuration and log are put there.
    config: text of the YAML file; None for none.
    env: variables besides those of the test run.
    uid: the user that it runs as, who may use the engine; None for this one.
    port: where it serves; 0 for any free one.
    """

    def __init__(
        self,
        folder: Path,
        config: str | None = "",
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        uid: int | None = None,
        port: int = 0,
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "gateway.log"
        self.config = folder / "sandkasten.yaml"
        self._config_option = () if config is None else (f"--config={self.config}",)
        if config is not None:
            self.config.write_text(config)
        self._env = {**os.environ, **(env or {})}
        if uid is not None:
            self._env |= {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder)}
        self._arguments = arguments
        self._uid = uid
        self._port = port
        self.process: subprocess.Popen[bytes]
        self.url = self.token = ""

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Stop the gateway; where a test has left it killed, what it had is removed."""
        if self.stop() != 0 and (self.data_dir / "instance").exists():
            with contextlib.closing(docker.from_env()) as client:
                for container in self.containers():
                    client.api.remove_container(container, force=True)

    def kill(self) -> None:
        """End the gateway as ``kill -9`` does."""
        self.stop(signal.SIGKILL)

    def set_env(self, name: str, value: str) -> None:
        """Set a variable for the next process."""
        self._env[name] = value

    def start_again(self) -> None:
        """Return when a new process of the gateway serves at the same URL; the log begins anew."""
        self._port = int(self.url.rpartition(":")[2])
        self.start()

    def start(self) -> None:
        """Return when the gateway has printed its URL."""
        command = [
            sys.executable if self._uid is None else interpreter(),
            "-m",
            "sandkasten_kernels",
            "serve",
            *self._config_option,
            f"--listen=127.0.0.1:{self._port}",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--data-dir={self.data_dir}", *self._arguments],
                env=self._env,
                stdout=log,
                stderr=log,
                user=self._uid,
                group=self._uid,
                extra_groups=None if self._uid is None else [Path("/var/run/docker.sock").stat().st_gid],
            )
        self.url, self.token = cast(tuple[str, str], eventually_blocking(self._printed, seconds=START_SECONDS))

    def _printed(self) -> tuple[str, str] | None:
        """Return the URL and the token that the gateway has printed, if it has."""
        ended = self.process.poll() is not None
        if match := re.search(r"(http://\S+)/\?token=(\S+)", log := self.log.read_text()):
            return match[1], match[2]
        assert not ended, f"the gateway did not start:\n{log}"
        return None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the gateway and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    @property
    def instance(self) -> str:
        """The id that the gateway's containers carry."""
        return (self.data_dir / "instance").read_text().strip()

    def containers(self) -> list[str]:
        """Return the ids of the gateway's containers, whatever their state."""
        client = docker.from_env()
        try:
            label = f"sandkasten.instance={self.instance}"
            return [c["Id"] for c in client.api.containers(all=True, filters={"label": label})]
        finally:
            client.close()

    def volumes(self) -> list[str]:
        """Return the names of the gateway's volumes, one for each named workspace."""
        with contextlib.closing(docker.from_env()) as client:
            found = client.api.volumes(filters={"label": f"sandkasten.instance={self.instance}"})["Volumes"]
        return [volume["Name"] for volume in found or []]

    def assert_nothing_left(self) -> None:
        """After a stop: no container, no volume, no directory, and a clean exit."""
        assert self.process.returncode == 0
        assert self.containers() == []
        assert self.volumes() == []
        assert list((self.data_dir / "run").iterdir()) == []


def interpreter() -> str:
    """Return a Python that every user may run: this one, or the system's where this one is a user's own."""
    own = Path(sys.executable).resolve()
    open_to_all = all(parent.stat().st_mode & 0o001 for parent in own.parents)
    return sys.executable if open_to_all else f"/usr/bin/python3.{sys.version_info.minor}"
