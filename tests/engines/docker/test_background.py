"""What an engine does in the background goes on after an error that nobody expected, and the error is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandkasten_kernels import background
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines.docker import rules_keeper
from sandkasten_kernels.engines.docker.connection import EngineConnection
from sandkasten_kernels.engines.docker.containers import Containers
from sandkasten_kernels.engines.docker.host import DockerHost
from sandkasten_kernels.engines.docker.rules_keeper import FirewallKeeper
from sandkasten_kernels.engines.docker.sweeper import Sweeper
from sandkasten_kernels.engines.host.door import Door
from sandkasten_kernels.errors import EngineError

LOG = logging.getLogger("engine")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let restarts and checks of the rules come at once."""
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(rules_keeper, "RULES_SECONDS", 0.01)


class Host:
    """A host that fails once with an error of ours, then loads the rules."""

    has_network = True

    def __init__(self) -> None:
        self.loads = 0
        self.loaded = asyncio.Event()

    def load_rules(self) -> bool:
        """Load, as `DockerHost` does."""
        self.loads += 1
        if self.loads == 1:
            raise RuntimeError("a defect")
        if self.loads == 3:
            self.loaded.set()
        return self.loads == 2


async def run(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


async def test_the_rules_are_loaded_again_after_an_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    host, tasks = Host(), BackgroundTasks(LOG)
    connection = cast(EngineConnection, SimpleNamespace(run=run))
    keeper = FirewallKeeper(connection, cast(DockerHost, host), tasks.group(), LOG)
    keeper.setup()
    async with asyncio.timeout(60):
        await host.loaded.wait()
        await keeper.cleanup()
    assert tasks.failures == {"packet rules": 1}
    assert "'packet rules' failed" in caplog.text
    assert "were missing and are loaded again" in caplog.text
    loads = host.loads
    await asyncio.sleep(0.1)
    assert host.loads == loads


async def test_the_container_of_a_failed_start_is_removed_after_an_unexpected_error(tmp_path: Path) -> None:
    removed: list[str] = []

    async def remove(container: str) -> None:
        removed.append(container)
        if len(removed) == 1:
            raise RuntimeError("a defect")

    tasks = BackgroundTasks(LOG)
    sweeper = Sweeper(cast(Containers, SimpleNamespace(remove=remove)), tmp_path, tasks, LOG)
    created: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    created.set_result("container")
    sweeper.known.add("name")
    sweeper.discard(created, "name", Door(tmp_path / "name"))
    async with asyncio.timeout(60):
        await sweeper.finish()
    assert removed == ["sandkasten-name"] * 2
    assert tasks.failures == {"removal of containers": 1}
    assert sweeper.known == set()
    assert list(tmp_path.iterdir()) == []


def test_the_host_helper_runs_from_a_file_that_goes_with_its_container(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def create(config: dict[str, Any]) -> dict[str, str]:
        (mount,) = config["HostConfig"]["Mounts"]
        assert "def load_rules(" in Path(mount["Source"]).read_text()
        seen.append(config)
        return {"Id": "helper"}

    api = SimpleNamespace(
        info=lambda: {"CgroupDriver": "cgroupfs", "MemTotal": 8 << 30},
        inspect_image=lambda image: {},
        create_container_from_config=create,
        start=lambda container: None,
        wait=lambda container: {"StatusCode": 0},
        logs=lambda container, tail: b"",
        remove_container=lambda container, force: None,
    )
    DockerHost(api, "test", tmp_path, reserve_mb=64, bridge=True, log=LOG).load_rules()
    assert seen[0]["Entrypoint"] == ["/opt/sandkasten/bin/python", "-I", "/run/sandkasten-host-helper"]
    assert list(tmp_path.iterdir()) == []


async def test_a_connection_that_is_closed_says_so_and_is_not_opened_again() -> None:
    connection = EngineConnection()
    connection.close()
    with pytest.raises(EngineError, match="closed"):
        await connection.open()


async def test_a_host_script_that_cannot_be_written_is_an_error_of_the_engine(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    host = DockerHost.__new__(DockerHost)  # its constructor asks an engine
    host._run_dir = no_folder
    with pytest.raises(EngineError, match="cannot be written"):
        host._run(gone=True)
