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

started: list[GatewayProcess] = []
"""The gateways that were started, of which nobody has seen yet that nothing is left of them."""

ROOT = Path(__file__).parents[2]
TEST_ENGINE = ROOT / "tests" / "packages" / "test-engine"
"""A directory by which Python finds the engine ``local``."""
START_SECONDS = 60
STOP_SECONDS = 60
HELPER_SECONDS = 5


class GatewayProcess:
    """Starts ``sandkasten-kernels serve`` on a free port, and stops it by SIGTERM at the end of the ``with`` block.

    Parameters
    ----------
    folder: an empty directory; data directory, configuration and log are put there.
    config: text of the YAML file; None for none.
    env: variables besides those of the test run.
    uid: the user that it runs as, who may use the engine; None for this one.
    port: where it serves; 0 for any free one.
    engine: ``docker``, or ``local`` for that of `tests.support.local_engine`.
    """

    def __init__(
        self,
        folder: Path,
        config: str | None = "",
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        uid: int | None = None,
        port: int = 0,
        engine: str = "docker",
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
        if engine != "docker":
            arguments = (f"--engine={engine}", *arguments)
            search = (str(TEST_ENGINE), str(ROOT), self._env.get("PYTHONPATH", ""))
            self._env["PYTHONPATH"] = os.pathsep.join(filter(None, search))
        self._arguments = arguments
        self._uid = uid
        self._port = port
        self.on_docker = engine == "docker" and not re.search("^engine:", config or "", re.MULTILINE)
        self.process: subprocess.Popen[bytes]
        self.url = self.token = self.instance = ""
        """Where it serves, the token that it takes, and the id that its containers carry; known once it has started."""
        self._directories: list[Path] = []

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Stop the gateway; where a test has left it killed, what it had is removed."""
        if self.stop() != 0 and self.on_docker and self.instance:
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
        self.instance = (self.data_dir / "instance").read_text().strip()
        if self not in started:
            started.append(self)

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
        code = self.process.wait(STOP_SECONDS)
        if (run := self.data_dir / "run").exists():  # the directory of a test may go before the test has ended
            self._directories = sorted(run.iterdir())
        return code

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

    def left(self) -> list[str]:
        """Return what is left of the gateway after its end, in words; nothing is the rule.

        Looked for: a failed exit, containers, volumes, directories of sandboxes, mounts, and processes that have the
        gateway's data directory in their command line or environment. One that a test has killed for good has left
        its directories, and `end` has removed its containers.
        """
        found = []
        if self.process.returncode != -signal.SIGKILL:
            found += [f"exit code {self.process.returncode}"] if self.process.returncode else []
            found += [f"directory {path}" for path in self._directories]
        if self.on_docker:
            found += [f"container {container}" for container in self.containers()]
            found += [f"volume {volume}" for volume in self.volumes()]
        found += [f"mount {line.split()[1]}" for line in mounts() if str(self.data_dir) in line]
        # a helper process sees a moment after the gateway that there is nobody to help
        with contextlib.suppress(AssertionError):
            eventually_blocking(lambda: not processes_of(self.data_dir), seconds=HELPER_SECONDS)
        return found + [f"process {process}" for process in processes_of(self.data_dir)]


def mounts() -> list[str]:
    """Return the lines of this host's table of mounts."""
    return Path("/proc/self/mounts").read_text().splitlines()


def processes_of(folder: Path) -> list[str]:
    """Return the processes that name a directory in their command line or environment, as ``pid command``."""
    name, found = os.fsencode(folder), []
    for process in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if command and int(process.name) != os.getpid() and name in command + (process / "environ").read_bytes():
                found.append(f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def assert_nothing_left(*, all_ended: bool = False) -> None:
    """Assert that nothing is left of each gateway that has ended since the last call; with ``all_ended``, of all."""
    ended = [gateway for gateway in started if all_ended or gateway.process.poll() is not None]
    for gateway in ended:
        started.remove(gateway)
    left = {str(gateway.data_dir): found for gateway in ended if (found := gateway.left())}
    assert not left, f"left behind: {left}"


def interpreter() -> str:
    """Return a Python that every user may run: this one, or the system's where this one is a user's own."""
    own = Path(sys.executable).resolve()
    open_to_all = all(parent.stat().st_mode & 0o001 for parent in own.parents)
    return sys.executable if open_to_all else f"/usr/bin/python3.{sys.version_info.minor}"
