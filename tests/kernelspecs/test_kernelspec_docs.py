"""The page on kernelspecs: its schema is the real one, and its worked example works."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandkasten_kernels.config.keys import Keys
from sandkasten_kernels.kernelspecs.metadata import SCHEMA
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kernelspecs.md").read_text()
TAG = "sandkasten-test-calc:1"


def test_the_table_has_every_key_of_the_schema_and_no_other() -> None:
    table = PAGE.partition("## metadata.sandkasten")[2].partition("\n\nAn unknown")[0]
    assert re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE) == [
        "image", "kernel", "limits.cpu_limit", "limits.mem_limit_mb", "limits.pids_limit", "network_mode", "pool",
        "warm_up", "auto_restart", "heartbeat_seconds", "interrupt_seconds", "culling.ttl_seconds",
        "culling.max_lifetime_seconds", "culling.cull_connected", "culling.cull_busy",
        "after_claim",
    ]  # fmt: skip
    assert set(re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)) == {key.name for key in Keys(SCHEMA)}


def example(language: str, number: int = 0) -> str:
    """Return a block of code of the page's, with an image's name that is a test's own."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found[number].replace("calc:1", TAG)


@pytest.fixture
def worked(tmp_path: Path, engine: docker.DockerClient) -> Iterator[Path]:
    """A directory as the page makes it, its image built and in the end removed."""
    context = tmp_path / "context"
    shutil.copytree(
        ROOT / "tests" / "packages" / "sandkasten-local", context, ignore=shutil.ignore_patterns("__pycache__")
    )
    (context / "Dockerfile").write_text(example("dockerfile"))
    (tmp_path / "kernelspecs" / "calc").mkdir(parents=True)
    (tmp_path / "kernelspecs" / "calc" / "kernel.json").write_text(example("json"))
    engine.images.build(path=str(context), tag=TAG, rm=True, network_mode="none")
    yield tmp_path
    engine.images.remove(TAG)


@pytest.mark.docker
async def test_the_worked_example_works(worked: Path) -> None:
    with GatewayProcess(worked, config=example("yaml", 1).replace("python: 2", "python: 0")) as running:
        async with Api(running.url, running.token) as api:
            assert (await api.get("/api/kernelspecs"))["kernelspecs"]["calc"]["spec"]["display_name"] == "Calc"
            socket = await api.connect(await api.create(name="calc", env={"KERNEL_COLOUR": "blue"}))
            result = await socket.execute("answer + 1")
            assert (result.stream(), result.reply["execution_count"]) == ("43\n", 1)
            assert (await socket.execute("env KERNEL_COLOUR")).stream() == "blue\n"
