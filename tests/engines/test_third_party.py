"""An engine and a kernelspec of a third party: a package that is installed from a folder, and named in the settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

PACKAGE = Path(__file__).parents[1] / "packages" / "sandkasten-local"
ROOT = Path(__file__).parents[2]
CONFIG = """
engine: local
kernelspec_dirs: ["{}"]
allowed_images: [local]
default_image: local
pool:
  images:
    local: 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package below ``installed``, as pip puts it there."""
    work = tmp_path_factory.mktemp("third-party")
    shutil.copytree(PACKAGE, work / "source")  # setuptools builds where the sources are
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, f"--target={work / 'installed'}", work / "source"], check=True, timeout=120)
    return work


@contextmanager
def serving(folder: Path, installed: Path, kernelspec_dir: str) -> Iterator[GatewayProcess]:
    """Run a gateway that finds the package; nothing of its sandboxes is left after it."""
    with tempfile.TemporaryDirectory(prefix="sk-") as temporary:
        env = {"PYTHONPATH": f"{installed}:{ROOT}", "TMPDIR": temporary}
        with GatewayProcess(folder, CONFIG.format(kernelspec_dir), env) as gateway:
            yield gateway
            children = psutil.Process(gateway.process.pid).children(recursive=True)
        assert gateway.process.returncode == 0
        assert psutil.wait_procs(children, timeout=60)[1] == []
        assert list(Path(temporary).iterdir()) == []
    assert list((gateway.data_dir / "run").iterdir()) == []


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[GatewayProcess]:
    """A gateway whose sandboxes are the third party's."""
    (folder / "local").mkdir()
    with serving(folder / "local", folder / "installed", "../installed/share/jupyter/kernels") as gateway:
        yield gateway


async def test_an_engine_of_ones_own_runs_a_kernel_of_ones_own_end_to_end(local: GatewayProcess) -> None:
    async with Api(local.url, local.token) as api:
        assert list((await api.get("/api/kernelspecs"))["kernelspecs"]) == ["calc"]
        socket = await api.connect(await api.create())
        result = await socket.execute("3 * 4 + 1")
        assert (result.stream(), result.reply["status"]) == ("13\n", "ok")
        assert (await socket.execute("unknown + 1")).reply["ename"] == "ValueError"


async def test_its_code_after_a_claim_has_run_unseen_and_does_so_again_after_a_restart(local: GatewayProcess) -> None:
    async with Api(local.url, local.token) as api:
        kernel = await api.create(env={"KERNEL_COLOUR": "blue"})
        socket = await api.connect(kernel)
        result = await socket.execute("answer")
        assert (result.stream(), result.reply["execution_count"]) == ("42\n", 1)
        assert (await socket.execute("env KERNEL_COLOUR")).stream() == "blue\n"
        await socket.execute("answer = 0")
        assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
        assert (await socket.execute("answer")).stream() == "42\n"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the package is found, with a configuration that names its engine."""
    file = folder / "local.yaml"
    file.write_text(CONFIG.format("installed/share/jupyter/kernels") + "listen: 127.0.0.1:0\n")
    env = {**os.environ, "PYTHONPATH": f"{folder / 'installed'}:{ROOT}", "DOCKER_HOST": f"unix://{folder}/nobody.sock"}
    options = [f"--config={file}", f"--data-dir={folder / 'data'}"]
    whole = [sys.executable, "-m", "sandkasten_kernels", *arguments, *options]
    return subprocess.run(whole, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_doctor_asks_an_engine_that_knows_nothing_of_docker(folder: Path) -> None:
    done = command(folder, "doctor")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "ok       sandbox: one was started, its guest answered, and it is gone again" in done.stdout
    subjects = {line[9:].partition(":")[0] for line in done.stdout.splitlines()}
    assert not subjects & {"engine", "memory", "runc"}
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".sandkasten-")] == []


def test_an_engine_without_images_lists_none_and_says_that_it_builds_none(folder: Path) -> None:
    listed = command(folder, "images", "list")
    assert (listed.returncode, listed.stdout.split(), listed.stderr) == (0, ["IMAGE", "SIZE", "BUILT", "STATE"], "")
    built = command(folder, "images", "build")
    assert (built.returncode, built.stdout) == (1, "")
    assert built.stderr == "sandkasten-kernels images: this engine builds no images\n"


def test_only_engines_know_docker() -> None:
    package = ROOT / "sandkasten_kernels"
    outside = [file for file in package.rglob("*.py") if package / "engines" not in file.parents]
    imports = re.compile(r"^\s*(import|from) (docker|requests|\S*engines\.docker)\b", re.MULTILINE)
    assert [str(file) for file in outside if imports.search(file.read_text())] == []


@pytest.mark.parametrize("name", ["warm_up", "after_claim"])
async def test_own_code_that_fails_fails_the_claim_with_words_and_leaves_no_kernel(
    folder: Path, tmp_path: Path, name: str
) -> None:
    spec = json.loads((PACKAGE / "kernelspecs" / "calc" / "kernel.json").read_text())
    spec["metadata"]["sandkasten"][name] = "1 / 0"
    (tmp_path / "specs" / "calc").mkdir(parents=True)
    (tmp_path / "specs" / "calc" / "kernel.json").write_text(json.dumps(spec))
    with serving(tmp_path, folder / "installed", "specs") as gateway:
        async with Api(gateway.url, gateway.token) as api:
            refused = await api.request("POST", "/api/kernels")
            assert refused.code == 503
            assert "calc" in (words := json.loads(refused.body)["message"])
            assert words.endswith(f"its {name} failed: ZeroDivisionError: division by zero")
            assert await api.kernels() == []
