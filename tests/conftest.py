"""Fixtures: one real gateway for the whole run, and the proof that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import hypothesis
import pytest

from tests.support.box import Box, new_box
from tests.support.command_shell import CommandShell
from tests.support.gateway_process import GatewayProcess, assert_nothing_left
from tests.support.kernel_client import Api
from tests.support.settings_client import SettingsClient, configured, settings_of

hypothesis.settings.register_profile(  # a busy machine is no failure
    "here", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


def _engine_answers() -> bool:
    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except docker.errors.DockerException:
        return False


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no test is wanted that needs an engine, the modules of such tests alone are not even imported."""
    if config.option.markexpr != "not docker" or collection_path.suffix != ".py":
        return None
    return bool(re.search(r"^pytestmark = \[?pytest\.mark\.docker", collection_path.read_text(), re.MULTILINE)) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here: tests of docker without an engine, and of local without root. On CI they fail."""
    if os.environ.get("CI") == "true":
        return
    reasons = {"docker": "" if _engine_answers() else "no Docker engine answers"} if _any(items, "docker") else {}
    reasons["local"] = "the local engine needs root" if os.geteuid() else ""
    for mark, reason in reasons.items():
        for item in items:
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def _any(items: list[pytest.Item], mark: str) -> bool:
    return any(item.get_closest_marker(mark) for item in items)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_at_all() -> Iterator[None]:
    """At the end every gateway of the run has ended, and nothing is left of it."""
    yield
    assert_nothing_left(all_ended=True)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_by_the_module() -> Iterator[None]:
    """Nothing is left of the gateways that a module has shared and ended."""
    yield
    assert_nothing_left()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Nothing is left of each gateway that a test has started and ended: containers, mounts, processes and the rest."""
    yield
    assert_nothing_left()


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine, to look at what the gateway does there."""
    with contextlib.closing(docker.from_env()) as client:
        yield client


SHARED = "pool: {images: {python: 2}}\n"
SECRET = {"GATEWAY_SECRET": "hunter2"}
"""A variable of the gateway's environment, which tests look for in sandboxes."""


@pytest.fixture(scope="session")
def docker_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The one gateway on the docker engine that all tests share."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), SHARED, SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def local_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The one gateway on the local engine that all tests share."""
    with GatewayProcess(tmp_path_factory.mktemp("local"), SHARED, SECRET, engine="local") as running:
        yield running


def engine_of(node: pytest.Item | pytest.Collector) -> str:
    """Return the engine that a test or a module runs on: docker where it has that mark, else local."""
    return "docker" if node.get_closest_marker("docker") else "local"


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> GatewayProcess:
    """The gateway that all tests on the same engine share: those marked ``docker``, and the others."""
    found: GatewayProcess = request.getfixturevalue(f"{engine_of(request.node)}_gateway")
    return found


@pytest.fixture(scope="module")
def module_gateway(request: pytest.FixtureRequest) -> GatewayProcess:
    """The same for a fixture of a whole module, by the mark of the module."""
    found: GatewayProcess = request.getfixturevalue(f"{engine_of(request.node)}_gateway")
    return found


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    """The gateway's REST API with its token. Kernels that a test forgets are ended."""
    async with Api(gateway.url, gateway.token) as client:
        yield client
        for kernel in await client.kernels():
            await client.request("DELETE", f"/v1/sessions/{kernel['id']}")  # also what was not made over /api


@pytest.fixture
async def box(api: Api) -> AsyncIterator[Box]:
    """The files of a session of the test's own."""
    made = await new_box(api)
    yield made
    await api.request("DELETE", made.path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory of the test's own."""
    return tmp_path


@pytest.fixture
def shell(
    gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CommandShell:
    """Run commands in this process, as the user of the shared gateway."""
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(gateway.data_dir))
    monkeypatch.chdir(tmp_path)
    return CommandShell(capfd)


@pytest.fixture(scope="module")
def own_docker_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway on Docker with a file of settings that the tests of a module change."""
    with configured(tmp_path_factory.mktemp("settings"), "docker") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def own_local_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The same on the local engine."""
    with configured(tmp_path_factory.mktemp("settings"), "local") as gateway:
        yield gateway


@pytest.fixture
def own_gateway(request: pytest.FixtureRequest) -> GatewayProcess:
    """One of these two, by the mark of the test."""
    found: GatewayProcess = request.getfixturevalue(f"own_{engine_of(request.node)}_gateway")
    return found


@pytest.fixture
async def settings(own_gateway: GatewayProcess) -> AsyncIterator[SettingsClient]:
    """The settings of that gateway, which are as before when the test is done."""
    async with settings_of(own_gateway) as found:
        yield found
