"""Start, stop and crash of the gateway: nothing left behind, every refusal one clear line."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, execute_content

pytestmark = pytest.mark.docker


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Return the one line with which the command refuses to start, having exited with 2."""
    command = [sys.executable, "-m", "sandkasten_kernels", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


async def test_sigterm_in_the_middle_of_everything_leaves_nothing(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {images: {python: 2}}\n") as running:
        async with Api(running.url, running.token) as api:
            kernels = [await api.create() for _ in range(2)]
            socket = await api.connect(kernels[0])
            await socket.send("execute_request", execute_content("while True: pass"))
            starting = asyncio.gather(*(api.create() for _ in range(3)), return_exceptions=True)
            await asyncio.sleep(0.3)
            children = psutil.Process(running.process.pid).children(recursive=True)
            assert await asyncio.to_thread(running.stop) == 0
            await starting
    assert not [child for child in children if child.is_running()]
    assert "Traceback" not in running.log.read_text()


async def test_what_somebody_put_beside_the_doors_of_sandboxes_stays_and_is_told(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        running.stop()
        stray = running.data_dir / "run" / "stray"
        stray.touch()
        running.start()
        assert "run/stray is not a directory of a sandbox and stays" in running.log.read_text()
        stray.unlink()


async def test_the_token_survives_a_restart_and_a_new_one_counts_from_the_next(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        old = running.token
        assert (running.data_dir / "token").stat().st_mode & 0o777 == 0o600
        assert running.data_dir.stat().st_mode & 0o777 == 0o700
        running.stop()
        running.start()
        assert running.token == old

        def said(*options: str) -> tuple[str, str]:
            program = [sys.executable, "-m", "sandkasten_kernels", "token", f"--data-dir={running.data_dir}"]
            ran = subprocess.run([*program, *options], capture_output=True, text=True, check=True, timeout=60)
            return ran.stdout.strip(), ran.stderr

        async def answers(token: str) -> int:
            async with Api(running.url, token) as api:
                return (await api.request("GET", "/api/kernels")).code

        new, told = said("--new")
        assert "takes its previous token until it is restarted" in told
        assert said() == (new, told)
        assert (await answers(old), await answers(new)) == (200, 401)
        running.stop()
        running.start()
        assert running.token == new
        assert (await answers(old), await answers(new)) == (401, 200)


async def test_a_configured_key_is_never_shown(tmp_path: Path) -> None:
    key = "correct-horse-battery"
    with GatewayProcess(tmp_path, f"api_key: {key}\npool: {{enabled: false}}\n") as running:
        assert running.token == "YOUR_API_KEY"
        async with Api(running.url, key) as api:
            assert await api.kernels() == []
    assert key not in running.log.read_text()
    assert not (running.data_dir / "token").exists()


def test_an_empty_token_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert "token is empty" in refused(f"--data-dir={tmp_path}", "--listen=127.0.0.1:0")


def test_two_gateways_never_share_a_data_directory(gateway: GatewayProcess) -> None:
    assert "another running gateway" in refused(f"--data-dir={gateway.data_dir}", "--listen=127.0.0.1:0")


def test_a_port_in_use_is_told(gateway: GatewayProcess, tmp_path: Path) -> None:
    address = gateway.url.removeprefix("http://")
    assert "Address already in use" in refused(f"--data-dir={tmp_path}", f"--listen={address}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool: {imges: {python: 2}}\n", "pool.imges: unknown key; did you mean pool.images?"),
        ("listen: 127.0.0.1:0\ndefaults:\n  cpu_limit: many\n", "sandkasten.yaml:3: defaults.cpu_limit"),
        ("workspace: {enabled: true}\n", "workspace"),
        ("on_stop: stay\n", "on_stop"),
        ("listen: 0.0.0.0:8080\n", "set api_key"),
        ("engine: podman\n", "engine: there is no 'podman'"),
        ("default_image: cobol\n", "default_image"),
        ("pool: {images: {python: -1}}\n", "pool.images"),
        ("pool: {images: {cobol: 1}}\n", "pool.images.cobol: no kernelspec runs in the image 'cobol'"),
        ("data_dir: /proc/nowhere\n", "data_dir"),
    ],
)
def test_a_wrong_configuration_is_one_line_before_anything_starts(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text(text)
    extra = [] if "data_dir" in text else [f"--data-dir={tmp_path / 'data'}"]
    assert words in refused(f"--config={file}", *extra)


def test_a_missing_engine_is_told_with_the_way_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandkasten_kernels", f"--data-dir={tmp_path / 'data'}", "--listen=127.0.0.1:0"]
    env = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert done.returncode == 1
    assert "no Docker engine answers" in done.stderr
    assert "DOCKER_HOST" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_context_of_the_docker_command_is_followed(tmp_path: Path) -> None:
    config = tmp_path / "docker"
    name = "elsewhere"
    env = {**os.environ, "DOCKER_CONFIG": str(config)}
    env.pop("DOCKER_HOST", None)
    create = ["docker", "context", "create", name, "--docker", f"host=unix://{tmp_path}/no.sock"]
    subprocess.run(create, check=True, env=env, capture_output=True)
    subprocess.run(["docker", "context", "use", name], check=True, env=env, capture_output=True)
    command = [sys.executable, "-m", "sandkasten_kernels", f"--data-dir={tmp_path / 'data'}", "--listen=127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert f"unix://{tmp_path}/no.sock" in done.stderr


@pytest.mark.parametrize(("label", "words"), [("999", "guest protocol 999"), (None, "there is no image")])
def test_an_image_that_is_missing_or_of_another_protocol_is_told(
    tmp_path: Path, engine: docker.DockerClient, label: str | None, words: str
) -> None:
    specs = tmp_path / "venv-free"
    shutil.copytree(Path(__file__).parents[2] / "kernelspecs", specs)
    tag = f"sandkasten-test:{'other' if label else 'missing'}"
    if label:
        dockerfile = f"FROM sandbox-runtime:base\nLABEL sandkasten.protocol={label}\n"
        subprocess.run(
            ["docker", "build", "-q", "-t", tag, "-"],
            input=dockerfile.encode(),
            check=True,
            capture_output=True,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
        )
    try:
        program = f"""
import asyncio, sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines import SandboxSpec
from sandkasten_kernels.engines.docker import DockerEngine
from sandkasten_kernels.errors import EngineError
async def main():
    engine = DockerEngine(instance="test-{os.getpid()}", run_dir=Path({str(tmp_path)!r}) / "run")
    engine.run_dir.mkdir()
    try:
        await engine.setup([SandboxSpec({tag!r})])
    except EngineError as error:
        print(error)
    await engine.cleanup()
asyncio.run(main())
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        assert words in done.stdout
        assert "sandkasten-kernels images build" in done.stdout
    finally:
        if label:
            engine.images.remove(tag, force=True)


@pytest.fixture
def member() -> Iterator[str]:
    """A user who may use the engine, and whose uid is not the sandbox's."""
    if os.getuid() != 0:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("only root can make users")
    name = "sandkasten-member"
    subprocess.run(["userdel", "--remove", name], check=False, capture_output=True)
    subprocess.run(["useradd", "--create-home", "--groups", "docker", name], check=True)
    yield name
    subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def test_a_member_of_the_docker_group_uses_it_like_root(member: str) -> None:
    account = pwd.getpwnam(member)
    home = Path(account.pw_dir)
    venv = home / "venv"
    source = home / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests")
    shutil.copytree(Path(__file__).parents[2], source, ignore=ignored)
    subprocess.run(["chown", "-R", member, source], check=True)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    shutil.copytree(site, venv, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chown", "-R", member, venv], check=True)
    script = f"""
import asyncio, sys
sys.path[:0] = [{str(source)!r}, {str(venv)!r}]
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines import SandboxSpec
from sandkasten_kernels.engines.docker import DockerEngine
import logging, os
from sandkasten_kernels.kernels.kernel import Kernel
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs
async def main():
    folder = Path.home() / "run"
    folder.mkdir(exist_ok=True)
    engine = DockerEngine(instance="member-{os.getpid()}", run_dir=folder)
    await engine.setup([SandboxSpec("python")])
    sandbox = await engine.start(SandboxSpec("python"))
    kernel = Kernel(sandbox, Kernelspecs().get(), log := logging.getLogger(), BackgroundTasks(log))
    await kernel.start()
    content = dict(code="import os", silent=True, user_expressions=dict(uid="os.getuid()"))
    reply = await kernel.link.call("shell", "execute_request", content, 10)
    print(os.getuid(), reply.content["user_expressions"]["uid"]["data"]["text/plain"])
    kernel.close("done")
    await engine.destroy(sandbox)
    await engine.cleanup()
    print(list(folder.iterdir()))
asyncio.run(main())
"""
    identity: dict[str, Any] = {"user": member, "group": account.pw_gid, "extra_groups": ["docker"]}
    pythons = [Path(folder, f"python3.{sys.version_info.minor}") for folder in ("/usr/bin", "/usr/local/bin")]
    python = next(
        path
        for path in (Path(sys.executable).resolve(), *pythons)
        if subprocess.run(["test", "-x", path], check=False, **identity).returncode == 0
    )
    command = [python, "-c", script]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
        **identity,
    )
    assert done.stdout == f"{account.pw_uid} 10001\n[]\n", done.stderr
