"""What ``metadata.sandkasten`` says of a kernelspec's sandboxes, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker

PYTHON = json.loads((Path(__file__).parents[2] / "kernelspecs" / "python3" / "kernel.json").read_text())
CONFIG = "kernelspec_dirs: [specs]\nenv_names: [PYTHONHASHSEED]\npool: {images: {python: 1}}\n"


def add_kernelspec(folder: Path, name: str, **changes: Any) -> None:
    """Write a kernelspec that is ours for Python but for ``changes``."""
    (folder / "specs" / name).mkdir(parents=True)
    (folder / "specs" / name / "kernel.json").write_text(json.dumps({**PYTHON, **changes}))


def metadata(**ours: Any) -> dict[str, Any]:
    """Return the metadata of a kernelspec of the image python."""
    return {"sandkasten": {"image": "python", **ours}}


async def kept_warm(api: Api) -> dict[str, int]:
    """Return the target of each kernelspec, once so many are warm."""
    status = await eventually(
        lambda: api.get("/api/status"),
        lambda status: all(row["warm"] == row["target"] and not row["starting"] for row in status["pool"]),
    )
    return {row["kernelspec"]: row["target"] for row in status["pool"]}


async def test_limits_and_pool_are_those_of_the_kernelspec(tmp_path: Path, engine: docker.DockerClient) -> None:
    limits = {"cpu_limit": 0.5, "mem_limit_mb": 256, "pids_limit": 64}
    add_kernelspec(tmp_path, "apart", metadata=metadata(pool=False, limits=limits))
    with GatewayProcess(tmp_path, CONFIG) as running:
        async with Api(running.url, running.token) as api:
            assert await kept_warm(api) == {"apart": 0, "bash": 0, "python3": 1}
            before = set(running.containers())
            await api.create(name="apart")
            (container,) = set(running.containers()) - before
            host = engine.api.inspect_container(container)["HostConfig"]
            assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (5 * 10**8, 256 * 2**20, 64)
            (other,) = before
            assert engine.api.inspect_container(other)["HostConfig"]["Memory"] == 512 * 2**20


async def test_an_image_that_two_kernelspecs_run_in_is_kept_warm_once(tmp_path: Path) -> None:
    add_kernelspec(tmp_path, "another")
    with GatewayProcess(tmp_path, CONFIG) as running:
        async with Api(running.url, running.token) as api:
            assert await kept_warm(api) == {"another": 1, "bash": 0, "python3": 0}
            assert len(running.containers()) == 1


async def test_code_before_and_after_a_claim_of_a_bash_kernel_prepares_its_one_shell(tmp_path: Path) -> None:
    ours = {
        "image": "base",
        "kernel": "guest",
        "warm_up": "COUNT=1",
        "after_claim": 'cd /tmp; GREETING="hello $KERNEL_NAME"',
    }
    add_kernelspec(tmp_path, "shell", argv=["bash"], language="bash", metadata={"sandkasten": ours})
    with GatewayProcess(tmp_path, CONFIG) as running:
        async with Api(running.url, running.token) as api:
            socket = await api.connect(await api.create(name="shell", env={"KERNEL_NAME": "ada"}))
            result = await socket.execute('echo "$COUNT $GREETING"; pwd')
            assert (result.stream(), result.reply["execution_count"]) == ("1 hello ada\n/tmp\n", 1)


async def test_code_after_a_claim_sees_the_owners_environment_and_leaves_no_trace(tmp_path: Path) -> None:
    code = "assert warm; import os; greeting = 'hello ' + os.environ['KERNEL_NAME']; print('unseen')"
    add_kernelspec(tmp_path, "greeter", metadata=metadata(warm_up="warm = True", after_claim=code))
    with GatewayProcess(tmp_path, CONFIG) as running:
        async with Api(running.url, running.token) as api:
            assert (await kept_warm(api))["greeter"] == 1
            for env in ({"KERNEL_NAME": "ada"}, {"KERNEL_NAME": "ada", "PYTHONHASHSEED": "0"}):
                kernel = await api.create(name="greeter", env=env)
                socket = await api.connect(kernel)
                for _ in range(2):
                    result = await socket.execute("print(greeting)")
                    assert (result.stream(), result.reply["execution_count"]) == ("hello ada\n", 1)
                    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
            refused = await api.request("POST", "/api/kernels", {"name": "greeter"})
            assert refused.code == 503
            assert "its after_claim failed: KeyError: 'KERNEL_NAME'" in json.loads(refused.body)["message"]
