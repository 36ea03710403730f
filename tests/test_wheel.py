"""The wheel: complete, and usable from anywhere."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support.waiting import eventually_blocking

pytestmark = [pytest.mark.alone, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "sandkasten_kernels"
DATA = ("images", "kernelspecs", "static")


def source_files(directory: Path) -> set[str]:
    """Return the files below `directory` that belong to the project, relative to the repository."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_every_package_is_named_in_the_metadata() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = {name for name in config["options"]["packages"].split() if not name.startswith(f"{PACKAGE}.assets")}
    modules = (path for path in source_files(ROOT / PACKAGE) if path.endswith(".py"))
    assert named == {str(Path(path).parent).replace("/", ".") for path in modules}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, by way of the source distribution."""
    work = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, work / "source", ignore=ignored)
    subprocess.run([sys.executable, "-m", "build", "--outdir", work, work / "source"], check=True)
    (built,) = work.glob("*.whl")
    return built


@pytest.mark.docker
def test_the_wheel_carries_modules_and_data_and_nothing_else(wheel: Path) -> None:
    expected = source_files(ROOT / PACKAGE)
    for name in DATA:
        expected |= {f"{PACKAGE}/assets/{path}" for path in source_files(ROOT / name)}
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.docker
def test_installed_from_the_wheel_it_builds_images_and_serves_from_the_root(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    command = binaries / "sandkasten-kernels"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SANDKASTEN_")}

    subprocess.run([command, "images", "build"], cwd="/", env=environment, check=True, timeout=600)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = [f"--listen=127.0.0.1:{port}", f"--data-dir={tmp_path / 'data'}"]
    log = (tmp_path / "serve.log").open("w+")
    gateway = subprocess.Popen([command, "serve", *arguments], cwd="/", env=environment, stderr=log, stdout=log)
    try:
        assert wait_for_health(port, gateway) == {"status": "ok"}
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(60) == 0
    finally:
        gateway.kill()
        gateway.wait()
        log.seek(0)
        print(log.read())
        log.close()


def wait_for_health(port: int, gateway: subprocess.Popen[bytes], seconds: float = 60) -> object:
    def health() -> object:
        assert gateway.poll() is None, f"the gateway does not answer (exit code {gateway.poll()})"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as reply:
                return json.load(reply)
        except urllib.error.URLError:
            return None

    return eventually_blocking(health, seconds=seconds)
