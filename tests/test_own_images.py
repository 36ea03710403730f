"""Images of one's own: what the configuration may say, what is built from it, and a kernel that runs in one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from sandkasten_kernels.app import SECTIONS, SandkastenApp
from sandkasten_kernels.apt_config import host_apt_config, parse_apt_options
from sandkasten_kernels.bootstrap import ImageBuildError
from sandkasten_kernels.build_progress import BuildProgress
from sandkasten_kernels.checks import check_settings
from sandkasten_kernels.engines.host import Host
from sandkasten_kernels.errors import ConfigError, EngineError
from sandkasten_kernels.image import DIGEST_LABEL, PROTOCOL_LABEL, full_name
from sandkasten_kernels.image_build import build_images
from sandkasten_kernels.image_state import Standing, image_states
from sandkasten_kernels.kernelspec import Kernelspecs
from sandkasten_kernels.own_build import build_own
from sandkasten_kernels.own_images import OwnImage, find_fault, own_images, own_kernelspecs, standing_order
from sandkasten_kernels.pip_config import PipConfig, host_pip_config
from sandkasten_kernels.settings import file_settings

from .gateway import Gateway
from .kernel_client import Api

pytestmark = pytest.mark.alone

# -- the setting


def test_the_images_of_a_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("images:\n  science: {from: python, pip: ['polars[numpy] >=1', tabulate], apt: [ffmpeg]}\n")
    setting = file_settings(file, {"": SandkastenApp}).value("images")
    assert own_images(setting) == {
        "science": OwnImage("science", "python", ("polars[numpy]>=1", "tabulate"), ("ffmpeg",))
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("science: {from: python, pips: [x]}", "2: images.science.pips: unknown key; did you mean pip?"),
        ("a:\n    from: pyton", "3: images.a.from: expected an image's name, got 'pyton'; did you mean python?"),
        ("science:\n    pip: [x]", "2: images.science: from is missing: the image it stands on, one of base, python"),
        ("science:", "2: images.science: expected a mapping with from, pip and apt, got nothing"),
        ("python: {from: base}", "2: images.python: an image of ours has this name"),
        ("Sci ence: {from: base}", "2: images.'Sci ence': an image's name has small letters"),
        ("a: {from: b}\n  b: {from: a}", "2: images.a.from: stands on itself: a from b from a"),
        ("a: {from: a}", "2: images.a.from: stands on itself: a from a"),
        ("a:\n    from: base\n    pip: x", "4: images.a.pip: expected a list of packages"),
        ("a:\n    from: base\n    pip:\n    - x\n    - 3", "6: images.a.pip.1: expected text, got 3"),
        ("a: {from: base, display_name: [x]}", "2: images.a.display_name: expected text in one line, got 'x'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_right_name(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text(f"images:\n  {text}\n")
    with pytest.raises(ConfigError) as caught:
        file_settings(file, {"": SandkastenApp})
    assert str(caught.value).startswith(f"{file}:{line}")


@pytest.mark.parametrize(
    "entry",
    [
        "--index-url=https://evil.example",
        "-r /etc/passwd",
        "-e .",
        "./package",
        "/opt/package.whl",
        "git+https://evil.example/x",
        "x @ https://evil.example/x.whl",
        "x @ file:///etc",
        "x; python_version > '3'",
        "x === 1;id",
        "x\n--index-url=https://evil.example",
        "x $(id)",
        "${HOME}",
        "",
    ],
)
def test_what_pip_would_not_take_for_a_name_is_refused(entry: str) -> None:
    assert find_fault({"a": {"from": "base", "pip": ["tabulate", entry]}})


@pytest.mark.parametrize(
    "entry",
    ["-o", "--allow", "foo-", "foo=1.0", "foo/sid", "a*", "^a", "~nfoo", "?true", "x;id", "x id", "./x.deb", ""],
)  # fmt: skip
def test_what_apt_would_not_take_for_a_name_is_refused(entry: str) -> None:
    assert find_fault({"a": {"from": "base", "apt": ["ffmpeg", entry]}})


def test_usual_names_are_taken() -> None:
    pip = ["polars", "numpy>=2,<3", "jax[cpu]~=0.4.1", "ruamel.yaml!=0.18", "x==1.*"]
    assert find_fault({"a": {"from": "base", "pip": pip, "apt": ["ffmpeg", "g++", "libstdc++6", "python3.11"]}}) is None


def test_a_configuration_is_checked_with_the_kernelspecs_of_its_images(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    setting = "images:\n  science: {from: python}\ndefault_image: science\nallowed_images: [science]\n"
    file.write_text(f"{setting}pool: {{images: {{science: 1}}}}\n")
    specs = check_settings(file_settings(file, SECTIONS))
    assert [(spec.name, spec.image) for spec in specs] == [("science", "science")]
    assert specs.default.name == "science"
    file.write_text("images:\n  bash: {from: python}\n")
    with pytest.raises(ConfigError, match=rf"{file}:2: images\.bash: a kernelspec of this name runs in the image base"):
        check_settings(file_settings(file, SECTIONS))


def test_each_image_comes_after_what_it_stands_on() -> None:
    own = {"z": OwnImage("z", "python"), "a": OwnImage("a", "z"), "m": OwnImage("m", "base")}
    assert standing_order({"a"}, own) == ["base", "python", "z", "a"]
    assert standing_order({"base", "python", *own}, own) == ["base", "python", "z", "a", "m"]
    assert standing_order({"m"}, own) == ["base", "m"]


# -- the kernelspecs


def test_an_image_brings_a_kernelspec_like_that_of_the_image_it_stands_on() -> None:
    own = {
        "science": OwnImage("science", "python"),
        "deep": OwnImage("deep", "science", display_name="Deep things"),
        "tools": OwnImage("tools", "base"),
    }
    specs = Kernelspecs(extra=own_kernelspecs(own, Kernelspecs()), default_image="science")
    python = specs.get("python3")
    science = specs.get("science")
    assert specs.default is science
    assert science.spec.display_name == "Python 3 (science)"
    assert science.spec.argv == python.spec.argv
    assert science.warm_up == python.warm_up
    assert specs.models()["kernelspecs"]["science"]["spec"]["metadata"]["sandkasten"]["image"] == "science"
    assert python.spec.metadata["sandkasten"]["image"] == "python"
    assert specs.get("deep").spec.display_name == "Deep things"
    tools = specs.get("tools")
    assert (tools.spec.display_name, tools.in_guest) == ("Bash (tools)", True)
    assert specs.images() == ["base", "deep", "python", "science", "tools"]


def test_an_image_may_be_the_only_one_that_is_allowed() -> None:
    extra = own_kernelspecs({"science": OwnImage("science", "python")}, Kernelspecs())
    specs = Kernelspecs(extra=extra, default_image="science", allowed_images=["science"])
    assert [spec.name for spec in specs] == ["science"]


def test_an_image_with_the_name_of_anothers_kernelspec_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"images\.bash: a kernelspec of this name runs in the image base"):
        own_kernelspecs({"bash": OwnImage("bash", "python")}, Kernelspecs())


# -- apt's configuration


def test_apt_gets_the_hosts_archive_proxy_and_certificates(tmp_path: Path) -> None:
    keyring = tmp_path / "mirror.gpg"
    keyring.write_bytes(b"key")
    targets = (
        f"http://mirror/debian/|bookworm|main|{keyring}\n"
        f"http://mirror/debian/|bookworm-updates|main|{keyring}\n"
        "file:/srv/security/|bookworm-security|main|$(SIGNED_BY)\n"
        "http://ppa/debian/|bookworm|main|$(SIGNED_BY)\n"
    )
    dump = 'Acquire::http::Proxy "http://proxy:3128/";\nAcquire::https::Verify-Peer "false";\nAPT::Install "1";\n'
    config = host_apt_config(b"pem", lambda: ("debian", "bookworm"), lambda: targets, lambda: dump)
    files = config.files()
    assert files["debian-bookworm.list"].decode().splitlines() == [
        "deb [signed-by=/build/apt/keyring-0.gpg] http://mirror/debian/ bookworm main",
        "deb [signed-by=/build/apt/keyring-0.gpg] http://mirror/debian/ bookworm-updates main",
    ]
    assert files["keyring-0.gpg"] == b"key"
    assert files["apt.conf"].decode().splitlines() == [
        'Acquire::http::Proxy "http://proxy:3128/";',
        'Acquire::https::CAInfo "/build/apt/ca.pem";',
    ]
    assert config.left_out == ("file:/srv/security/ bookworm-security",)


def test_a_host_without_apt_leaves_the_images_own_sources() -> None:
    def none_of_apts() -> tuple[str, str]:
        raise ImageBuildError("not Debian")

    files = host_apt_config(None, none_of_apts, lambda: "", lambda: "").files()
    assert files == {"apt.conf": b""}


def test_an_option_of_apts_cannot_bring_another() -> None:
    dump = 'Acquire::http::Proxy "http://a/"; DPkg::Pre-Invoke "id";\nAcquire::Retries "3";\nAcquire::http::Proxy "";\n'
    assert parse_apt_options(dump) == {"Acquire::Retries": "3"}


# -- building


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("write error: No space left on device", "the engine's disk is full"),
        ("E: Unable to locate package ffmpg", "no package of that name"),
        ("Temporary failure resolving 'deb.debian.org'", "apt must reach the package archive"),
        ("ERROR: ResolutionImpossible: for help visit", "the packages do not go together"),
        ("something else", "mend what it says and repeat"),
    ],
)
def test_a_failure_has_advice_of_its_own(output: str, advice: str) -> None:
    progress = BuildProgress("science", "sandbox-runtime:science", print)
    progress.line("Step 1/4 : apt-get install ffmpg")
    progress.line(output)
    assert advice in str(progress.failure("exit code 1")).splitlines()[-1]


@pytest.fixture
def own(engine: docker.DockerClient) -> Iterator[str]:
    """A name for images of the test's own, `NAME` and `NAME-...`; they are removed."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    tags = [tag for image in engine.images.list() for tag in image.tags if tag.startswith(full_name(name))]
    for tag in sorted(tags, key=len, reverse=True):
        engine.images.remove(tag)
    assert not engine.containers.list(all=True, filters={"name": f"sandkasten-build-{name}"})


def build(engine: docker.DockerClient, *images: OwnImage, pip: PipConfig | None = None) -> list[str]:
    """Build `images` on the shared ones, which are left as they are, and return what was reported."""
    lines: list[str] = []
    for image in images:
        build_own(engine, image, pip or host_pip_config(), lines.append)
    return lines


@pytest.mark.docker
async def test_a_kernel_of_an_own_image_has_its_packages(
    engine: docker.DockerClient, own: str, folder: Path
) -> None:  # fmt: skip
    lines = build(engine, OwnImage(own, "python", pip=("tabulate>=0.9",), apt=("tree", "sudo")))
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
    with Gateway(folder, config=yaml.safe_dump(config)) as gateway:
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
    gateway.assert_nothing_left()


NOT_AS_ROOT = "import os; os.getuid() or os._exit(7); os.environ.get('HOME') == '/tmp' or os._exit(8)"
"""For a ``.pth`` file: it is run whenever Python starts, and lets none start as root."""
AS_ROOT = '#!/bin/sh\n[ $(/usr/bin/id -u) != 0 ] || touch /ran-as-root\nexec /usr/bin/${0##*/} "$@"\n'
"""A command in the place of another, as a wheel may bring it into the venv."""


def hostile_wheel(folder: Path, name: str) -> None:
    """Write a wheel that runs wherever it can."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{name}.pth": NOT_AS_ROOT,
        **{f"{name}-1.0.data/scripts/{command}": AS_ROOT for command in ("find", "rm", "chmod", "chown", "id")},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture
def hostile_index(folder: Path) -> Iterator[PipConfig]:
    """A package index on loopback with the wheels ``hostile1`` and ``hostile2``, and pip's settings for it."""
    for name in ("hostile1", "hostile2"):
        (folder / "index" / name).mkdir(parents=True)
        hostile_wheel(folder / "index" / name, name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield PipConfig({"index-url": (f"http://127.0.0.1:{server.server_port}",)})
        server.shutdown()
        thread.join()


@pytest.mark.docker
@pytest.mark.parametrize("below", ["base", "python"])
def test_nothing_of_a_wheel_runs_as_root_while_images_are_built(
    engine: docker.DockerClient, own: str, hostile_index: PipConfig, below: str
) -> None:
    upper = f"{own}-upper"
    images = OwnImage(own, below, pip=("hostile1",)), OwnImage(upper, own, pip=("hostile2",), apt=("tree",))
    lines = build(engine, *images, pip=hostile_index)
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
        host = Host(Engine(*missing), "test", reserve_mb=64, bridge=False, log=logging.getLogger("test"))
        return host.image

    assert image() == "sandbox-runtime:base"
    assert image("base") == "sandbox-runtime:python"
    with pytest.raises(EngineError, match=r"there is no image sandbox-runtime:base.*run 'sandkasten-kernels images"):
        image("base", "python")


@pytest.mark.docker
async def test_an_image_that_stands_on_base_has_its_packages_in_the_shell(
    engine: docker.DockerClient, own: str, folder: Path
) -> None:  # fmt: skip
    build(engine, OwnImage(own, "base", pip=("cowsay",)))
    config = {"images": {own: {"from": "base", "pip": ["cowsay"]}}, "pool": {"enabled": False}}
    with Gateway(folder, config=yaml.safe_dump(config)) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            socket = await api.connect(await api.create(name=own))
            result = await socket.execute("python -c 'import cowsay; print(cowsay.__name__)'")
            assert result.stream() == "cowsay\n"
    gateway.assert_nothing_left()


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
    images = {own: OwnImage(own, "base"), upper: OwnImage(upper, own)}

    def states() -> dict[str, Standing]:
        return {state.name: state.standing for state in image_states(engine, images) if state.name in images}

    assert set(states().values()) == {Standing.MISSING}
    build(engine, *images.values())
    first = [engine.images.get(full_name(name)).id for name in images]
    assert build(engine, *images.values()) == [f"sandbox-runtime:{name} is up to date" for name in images]
    assert [engine.images.get(full_name(name)).id for name in images] == first

    images[own] = OwnImage(own, "base", pip=("cowsay",))
    assert set(states().values()) == {Standing.OUTDATED}
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
        build(engine, OwnImage(own, "base", **packages), pip=pip)
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
            build(engine, OwnImage(own, "base"))
        other.kill()
        other.wait()
        assert build(engine, OwnImage(own, "base"))[-1].startswith(f"sandbox-runtime:{own} is built")
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
    standard = {state.standing for state in image_states(engine, {})}
    if standard != {Standing.CURRENT}:
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
        (["bild"], "unknown argument 'bild'; usage: images build"),
        (["list", "base"], "unknown argument 'base'; usage: images build"),
        ([], "unknown argument ''; usage: images build"),
        (["build", "--bse=x"], "--bse: unknown option"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    done = images_command(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
