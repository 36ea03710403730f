"""Images of one's own, built: what runs in one, what is built again, what fails and how; and the command for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from sandkasten_kernels.engines.docker.builder.custom import build_custom
from sandkasten_kernels.engines.docker.builder.images import build_images
from sandkasten_kernels.engines.docker.builder.state import image_states
from sandkasten_kernels.engines.docker.host import DockerHost
from sandkasten_kernels.errors import EngineError, ImageBuildError
from sandkasten_kernels.images.custom import CustomImage
from sandkasten_kernels.images.names import DIGEST_LABEL, PROTOCOL_LABEL, full_name
from sandkasten_kernels.images.pip import PipConfig, host_pip_config
from sandkasten_kernels.images.state import ImageStatus
from tests.support.gateway_process import GatewayProcess
from tests.support.hostile_index import hostile_index
from tests.support.kernel_client import Api

pytestmark = [pytest.mark.alone, pytest.mark.slow]


@pytest.fixture
def own(engine: docker.DockerClient) -> Iterator[str]:
    """A name for images of the test's own, `NAME` and `NAME-...`; they are removed."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    tags = [tag for image in engine.images.list() for tag in image.tags if tag.startswith(full_name(name))]
    for tag in sorted(tags, key=len, reverse=True):
        engine.images.remove(tag)
    assert not engine.containers.list(all=True, filters={"name": f"sandkasten-build-{name}"})


def build(engine: docker.DockerClient, *images: CustomImage, pip: PipConfig | None = None) -> list[str]:
    """Build `images` on the shared ones, which are left as they are, and return what was reported."""
    lines: list[str] = []
    for image in images:
        build_custom(engine, image, pip or host_pip_config(), lines.append)
    return lines


@pytest.mark.docker
async def test_a_kernel_of_an_own_image_has_its_packages(
    engine: docker.DockerClient, own: str, folder: Path
) -> None:  # fmt: skip
    lines = build(engine, CustomImage(own, "python", pip=("tabulate>=0.9",), apt=("tree", "sudo")))
    assert any("4/4 check the guest and the kernel" in line for line in lines)
    assert lines[-1].startswith(f"sandbox-runtime:{own} is built: ")

    record = engine.images.get(full_name(own))
    below = engine.images.get("sandbox-runtime:python")
    for key in ("User", "Entrypoint", "WorkingDir"):
        assert record.attrs["Config"][key] == below.attrs["Config"][key]
    assert record.labels[PROTOCOL_LABEL] == below.labels[PROTOCOL_LABEL]
    assert len(record.attrs["RootFS"]["Layers"]) == len(below.attrs["RootFS"]["Layers"]) + 1
    assert "build" not in json.dumps(record.history()[:1])

    config = {
        "images": {own: {"from": "python", "pip": ["tabulate>=0.9"], "apt": ["tree", "sudo"]}},
        "default_image": own,
        "allowed_images": [own],
        "pool": {"images": {own: 1}},
    }
    with GatewayProcess(folder, config=yaml.safe_dump(config)) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            models = await api.get("/api/kernelspecs")
            assert models["default"] == own
            assert models["kernelspecs"][own]["spec"]["display_name"] == f"Python 3 ({own})"
            socket = await api.connect(await api.create(name=own))
            code = (
                "import subprocess, tabulate\n"
                "print(tabulate.tabulate([[1, 2]], tablefmt='plain'))\n"
                "def sh(text): print(subprocess.run(text, shell=True, capture_output=True, text=True).stdout, end='')\n"
                "sh('tree --version | head -c 4; echo; id -u; find / -xdev -perm /6000 2>/dev/null | wc -l')\n"
                "sh('ls -d /build /usr/sbin/policy-rc.d; find /var/lib/apt/lists /var/cache/apt /tmp -mindepth 1')\n"
            )
            assert (await socket.execute(code)).stream() == "1  2\ntree\n10001\n0\n"


@pytest.mark.docker
@pytest.mark.parametrize("below", ["base", "python"])
def test_nothing_of_a_wheel_runs_as_root_while_images_are_built(
    engine: docker.DockerClient, own: str, folder: Path, below: str
) -> None:
    upper = f"{own}-upper"
    images = CustomImage(own, below, pip=("hostile1",)), CustomImage(upper, own, pip=("hostile2",), apt=("tree",))
    with hostile_index(folder) as pip:
        lines = build(engine, *images, pip=pip)
    assert sum("4/4 check the guest and the kernel" in line for line in lines) == 2

    look = "ls -d /ran-as-root; find / -xdev -user 10001 -path '/opt/*'; /opt/venv/bin/python -c ''; echo $?"
    for name in (own, upper):
        command = {"command": ["-c", look], "entrypoint": "/bin/bash", "network_mode": "none", "remove": True}
        environment = {"PATH": "/usr/bin:/bin"}
        ran = engine.containers.run(full_name(name), user="0:0", environment=environment, **command)
        assert ran == b"7\n"


@pytest.mark.docker
def test_the_host_is_prepared_by_an_image_of_ours_whatever_others_there_are(engine: docker.DockerClient) -> None:
    class Engine:
        """An engine without some of its images."""

        def __init__(self, *missing: str) -> None:
            self._missing = [full_name(name) for name in missing]

        def __getattr__(self, name: str) -> Any:
            return getattr(engine.api, name)

        def inspect_image(self, image: str) -> Any:
            if image in self._missing:
                raise docker.errors.ImageNotFound(image)
            return engine.api.inspect_image(image)

    def image(*missing: str) -> str:
        host = DockerHost(
            Engine(*missing), "test", Path("/nowhere"), reserve_mb=64, bridge=False, log=logging.getLogger("test")
        )
        return host.image

    assert image() == "sandbox-runtime:base"
    assert image("base") == "sandbox-runtime:python"
    with pytest.raises(EngineError, match=r"there is no image sandbox-runtime:base.*run 'sandkasten-kernels images"):
        image("base", "python")


@pytest.mark.docker
async def test_an_image_that_stands_on_base_has_its_packages_in_the_shell(
    engine: docker.DockerClient, own: str, folder: Path
) -> None:  # fmt: skip
    build(engine, CustomImage(own, "base", pip=("cowsay",)))
    config = {"images": {own: {"from": "base", "pip": ["cowsay"]}}, "pool": {"enabled": False}}
    with GatewayProcess(folder, config=yaml.safe_dump(config)) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            socket = await api.connect(await api.create(name=own))
            result = await socket.execute("python -c 'import cowsay; print(cowsay.__name__)'")
            assert result.stream() == "cowsay\n"


@pytest.mark.docker
def test_a_gateway_says_how_an_image_that_is_missing_is_built(own: str, folder: Path) -> None:
    file = folder / "sandkasten.yaml"
    file.write_text(f"images: {{{own}: {{from: base}}}}\n")
    command = [sys.executable, "-m", "sandkasten_kernels", f"--config={file}", "--listen=127.0.0.1:0"]
    done = subprocess.run(
        [*command, f"--data-dir={folder / 'data'}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    told = f"there is no image sandbox-runtime:{own}: run 'sandkasten-kernels images build {own} --config=FILE'"
    assert told in done.stderr


@pytest.mark.docker
def test_an_image_is_rebuilt_when_it_or_what_it_stands_on_has_changed(engine: docker.DockerClient, own: str) -> None:
    upper = f"{own}-upper"
    images = {own: CustomImage(own, "base"), upper: CustomImage(upper, own)}

    def states() -> dict[str, ImageStatus]:
        return {state.name: state.status for state in image_states(engine, images) if state.name in images}

    assert set(states().values()) == {ImageStatus.MISSING}
    build(engine, *images.values())
    first = [engine.images.get(full_name(name)).id for name in images]
    assert build(engine, *images.values()) == [f"sandbox-runtime:{name} is up to date" for name in images]
    assert [engine.images.get(full_name(name)).id for name in images] == first

    images[own] = CustomImage(own, "base", pip=("cowsay",))
    assert set(states().values()) == {ImageStatus.OUTDATED}
    build(engine, *images.values())
    assert not set(first) & {engine.images.get(full_name(name)).id for name in images}
    assert engine.images.get(full_name(upper)).labels[DIGEST_LABEL]
    for identifier in reversed(first):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(identifier)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("packages", "environ", "said"),
    [
        ({"apt": ("no-such-package-here",)}, {}, "step 1/4 apt-get install no-such-package-here.*packages.debian.org"),
        ({"pip": ("no-such-package-here-9",)}, {}, "step 2/4 pip install no-such-package-here-9.*finds no wheel"),
        ({"apt": ("tree",)}, {"http_proxy": "http://127.0.0.1:9"}, "step 1/4 apt-get update.*must reach the package"),
        ({"pip": ("tabulate",)}, {"https_proxy": "http://127.0.0.1:9"}, "step 2/4 pip install.*reach a package index"),
    ],
    ids=["no such apt package", "no such pip package", "apt without a network", "pip without a network"],
)
def test_a_build_that_fails_names_the_step_and_the_way_out_and_tags_nothing(
    engine: docker.DockerClient,
    own: str,
    packages: dict[str, Any],
    environ: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    options = {**host_pip_config().options, "retries": ("1",)}
    pip = PipConfig(options, host_pip_config().ca_bundle)
    with pytest.raises(ImageBuildError, match=f"(?s)building sandbox-runtime:{own} failed at {said}"):
        build(engine, CustomImage(own, "base", **packages), pip=pip)
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(full_name(own))


@pytest.mark.docker
def test_a_build_takes_the_place_of_one_that_was_killed_but_not_of_one_that_runs(
    engine: docker.DockerClient, own: str
) -> None:
    other = engine.containers.create(
        full_name("base"), ["-c", "sleep 600"], entrypoint="bash", name=f"sandkasten-build-{own}", init=True
    )
    try:
        other.start()
        with pytest.raises(ImageBuildError, match=f"wait until its container sandkasten-build-{own} is gone"):
            build(engine, CustomImage(own, "base"))
        other.kill()
        other.wait()
        assert build(engine, CustomImage(own, "base"))[-1].startswith(f"sandbox-runtime:{own} is built")
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            other.remove(force=True)


@pytest.mark.docker
def test_an_unknown_image_is_told_where_own_ones_are_named(engine: docker.DockerClient) -> None:
    with pytest.raises(ImageBuildError, match=r"no image is called science.*name it with --config"):
        build_images(engine, ["science"], base=None, report=print)


# -- the command


def images_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandkasten_kernels", "images", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.docker
def test_the_command_builds_and_lists_the_images_of_the_file(
    engine: docker.DockerClient, own: str, folder: Path
) -> None:
    standard = {state.status for state in image_states(engine, {})}
    if standard != {ImageStatus.CURRENT}:
        assert os.environ.get("CI") != "true", "base and python are not up to date"
        pytest.skip("base and python are not up to date, and are not rebuilt by a test")
    file = folder / "sandkasten.yaml"
    file.write_text(f"images: {{{own}: {{from: base}}}}\n")
    config = f"--config={file}"
    assert f"sandbox-runtime:{own}" in images_command("list", config).stdout
    built = images_command("build", own, config)
    assert (built.returncode, built.stderr) == (0, "")
    assert f"sandbox-runtime:{own} is built" in built.stdout
    again = images_command("build", own, config)
    assert f"sandbox-runtime:{own} is up to date" in again.stdout
    listed = [line.split("  ") for line in images_command("list", config).stdout.splitlines()]
    states = {row[0].strip(): row[-1].strip() for row in listed}
    assert states == {
        "IMAGE": "STATE",
        "sandbox-runtime:base": "up to date",
        "sandbox-runtime:python": "up to date",
        f"sandbox-runtime:{own}": "up to date",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "pyton"], "there is no image 'pyton'; did you mean python?"),
        (["bild"], "invalid choice: 'bild' (choose from"),
        (["list", "base"], "unknown argument 'base': `images list` takes no names"),
        ([], "the following arguments are required: verb; see sandkasten-kernels images --help"),
        (["build", "--bse=x"], "--bse: unknown option"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    done = images_command(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
