"""The images: their names, the pip configuration that reaches a build, and what the built ones contain."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandkasten_kernels.engines.docker.builder.images import (
    build_images,
    context_archive,
    context_files,
)
from sandkasten_kernels.errors import ImageBuildError
from sandkasten_kernels.guest import PROTOCOL
from sandkasten_kernels.images.bootstrap import archive_sources, codename
from sandkasten_kernels.images.names import PROTOCOL_LABEL, full_name
from sandkasten_kernels.images.pip import PipConfig, host_pip_config, parse_config_list, translate
from sandkasten_kernels.images.progress import BuildProgress
from sandkasten_kernels.paths import asset_dir

pytestmark = pytest.mark.alone

IMAGES = ("base", "python")


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


def run(engine: docker.DockerClient, image: str, *command: str) -> str:
    """Run one command in a container of `image`, as locked down as a sandbox, and return what it printed."""
    output = engine.containers.run(
        full_name(image),
        list(command[1:]),
        entrypoint=command[0],
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        tmpfs={"/tmp": "", "/home/sandbox": "uid=10001,gid=10001"},
        remove=True,
    )
    return str(output.decode())


# -- names and the build context


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("python", "sandbox-runtime:python"),
        ("base", "sandbox-runtime:base"),
        ("mine", "sandbox-runtime:mine"),
        ("python:3.12", "python:3.12"),
        ("registry.example/team/image", "registry.example/team/image"),
    ],
)
def test_a_short_name_is_a_tag_of_ours(image: str, expected: str) -> None:
    assert full_name(image) == expected


def test_a_context_holds_the_dockerfile_the_guest_and_pip() -> None:
    files = context_files("base", PipConfig(ca_bundle=b"pem"))
    assert {"Dockerfile", "sandkasten_guest/__init__.py", "pip/pip.conf", "pip/ca.pem"} <= files.keys()
    assert not [path for path in files if "__pycache__" in path]
    assert "sandkasten_ipykernel.py" in context_files("python", PipConfig())


def test_a_context_depends_on_names_and_contents_alone() -> None:
    assert context_archive({"a": b"1", "b": b"2"}) == context_archive({"b": b"2", "a": b"1"})
    assert context_archive({"a": b"1"}) != context_archive({"a": b"2"})


def test_assets_are_found_in_this_checkout() -> None:
    assert (asset_dir("images") / "base" / "Dockerfile").is_file()
    with pytest.raises(FileNotFoundError, match="install sandkasten-kernels again"):
        asset_dir("nonsense")


def test_a_failed_step_is_told_with_its_output_and_the_way_out() -> None:
    lines: list[str] = []
    progress = BuildProgress("python", "sandbox-runtime:python", lines.append)
    progress.feed({"stream": "Step 2/9 : RUN pip install numpy\n"})
    progress.feed({"stream": "\x1b[91mERROR: SSL: CERTIFICATE_VERIFY_FAILED\x1b[0m\n"})
    with pytest.raises(ImageBuildError) as caught:
        progress.feed({"error": "The command returned a non-zero code: 1"})
    message = str(caught.value)
    assert "sandbox-runtime:python failed at step 2/9 RUN pip install numpy" in message
    assert "    ERROR: SSL: CERTIFICATE_VERIFY_FAILED\n" in message
    assert "pip config set global.cert" in message
    assert "2/9 RUN pip install numpy" in lines[0]


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "bookworm"}, ("debian", "bookworm")),
        (
            {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_CODENAME": "noble", "UBUNTU_CODENAME": "noble"},
            ("ubuntu", "noble"),
        ),
        ({"ID": "linuxmint", "VERSION_CODENAME": "wilma", "UBUNTU_CODENAME": "noble"}, ("ubuntu", "noble")),
        (
            {
                "ID": "linuxmint",
                "ID_LIKE": "debian",
                "VERSION_CODENAME": "faye",
                "DEBIAN_CODENAME": "bookworm",
            },
            ("debian", "bookworm"),
        ),
    ],
)
def test_the_bootstrapped_release_is_the_hosts(release: dict[str, str], expected: tuple[str, str]) -> None:
    assert codename(release) == expected


def test_another_distribution_is_told_the_way_that_works() -> None:
    with pytest.raises(ImageBuildError, match="--base"):
        codename({"ID": "fedora", "VERSION_CODENAME": ""})


def test_a_bootstrap_uses_the_hosts_archive_and_no_third_partys() -> None:
    targets = (
        "http://mirror/debian/|bookworm|main|/usr/share/keyrings/debian.gpg\n"
        "http://mirror/debian/|bookworm|contrib|/usr/share/keyrings/debian.gpg\n"
        "http://mirror/debian/|bookworm-updates|main|$(SIGNED_BY)\n"
        "http://security/debian-security/|bookworm-security|main|$(SIGNED_BY)\n"
        "http://ppa/debian/|bookworm|main|$(SIGNED_BY)\n"
        "http://other/|nodistro|main|$(SIGNED_BY)\n"
    )
    assert [source.line() for source in archive_sources(targets, "bookworm", ("main",))] == [
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror/debian/ bookworm main",
        "deb http://mirror/debian/ bookworm-updates main",
        "deb http://security/debian-security/ bookworm-security main",
    ]
    assert archive_sources("", "bookworm", ("main",)) == []


# -- pip's configuration


def test_the_environment_wins_over_install_over_global() -> None:
    text = (
        ":env:.index-url='https://env/simple'\n"
        "global.index-url='https://global/simple'\nglobal.timeout='10'\nglobal.retries='1'\n"
        "install.timeout='20'\ninstall.index-url='https://install/simple'\n"
        "freeze.timeout='99'\n"
    )
    assert parse_config_list(text) == {"index-url": "https://env/simple", "timeout": "20", "retries": "1"}


def test_what_points_into_the_host_is_left_out_and_named(tmp_path: Path) -> None:
    config = translate(
        {
            "index-url": "https://user:word@index.example/simple",
            "extra-index-url": "file:///opt/simple\nhttps://extra.example/simple",
            "find-links": "/opt/wheels",
            "client-cert": "/root/client.pem",
            "trusted-host": "a.example b.example",
            "timeout": "180",
            "disable-pip-version-check": "1",
        },
        {},
        bundles=[str(tmp_path / "none")],
    )
    assert config.ca_bundle is None
    assert config.left_out == (
        "client-cert /root/client.pem",
        "extra-index-url file:///opt/simple",
        "find-links /opt/wheels",
    )
    parser = configparser.RawConfigParser()
    parser.read_string(config.files()["pip.conf"].decode())
    options = dict(parser["global"])
    assert options.pop("trusted-host").split() == ["a.example", "b.example"]
    assert options == {
        "index-url": "https://user:word@index.example/simple",
        "extra-index-url": "https://extra.example/simple",
        "timeout": "180",
    }
    assert config.files().keys() == {"pip.conf"}


def test_the_certificates_are_pips_own_then_the_environments_then_the_systems(tmp_path: Path) -> None:
    for name in ("pip", "env", "system"):
        (tmp_path / name).write_text(name)
    options = {"cert": str(tmp_path / "pip")}
    environ = {"SSL_CERT_FILE": str(tmp_path / "env")}
    bundles = [str(tmp_path / "missing"), str(tmp_path / "system")]
    assert translate(options, environ, bundles).ca_bundle == b"pip"
    assert translate({}, environ, bundles).ca_bundle == b"env"
    assert translate({"cert": "/gone"}, {}, bundles).ca_bundle == b"system"
    assert b"cert = /build/pip/ca.pem" in translate(options, {}, ()).files()["pip.conf"]


def test_a_python_without_pip_leaves_the_variables() -> None:
    environ = {"PIP_INDEX_URL": "https://env/simple", "PIP_DEFAULT_TIMEOUT": "7", "PATH": "/bin"}
    config = host_pip_config(environ, list_config=lambda: None)
    assert config.options == {"index-url": ("https://env/simple",), "timeout": ("7",)}


# -- the built images


@pytest.mark.docker
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_sandbox_and_names_its_protocol(engine: docker.DockerClient, image: str) -> None:
    record = engine.images.get(full_name(image))
    assert record.labels[PROTOCOL_LABEL] == str(PROTOCOL)
    assert record.attrs["Config"]["User"] == "10001:10001"
    assert record.attrs["Config"]["Entrypoint"] == [
        "/opt/sandkasten/bin/python",
        "-I",
        "-m",
        "sandkasten_guest",
    ]
    assert run(engine, image, "id").startswith("uid=10001(sandbox) gid=10001(sandbox) groups=10001(sandbox)")


@pytest.mark.docker
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_no_set_uid_file(engine: docker.DockerClient, image: str) -> None:
    assert run(engine, image, "bash", "-c", "find / -xdev -perm /6000 2>/dev/null || true") == ""


@pytest.mark.docker
@pytest.mark.parametrize("image", IMAGES)
def test_nothing_of_the_build_stays_in_an_image(engine: docker.DockerClient, image: str) -> None:
    history = json.dumps(engine.images.get(full_name(image)).history())
    assert "/build/pip" not in history
    assert "ca.pem" not in history
    assert "index-url" not in history
    script = "ls -d /build 2>/dev/null; find / -xdev -name 'pip.conf' -o -xdev -name ca.pem 2>/dev/null; env"
    output = run(engine, image, "bash", "-c", script)
    assert "pip.conf" not in output
    assert "/build" not in output
    assert "PIP_" not in output


@pytest.mark.docker
@pytest.mark.parametrize("image", IMAGES)
def test_the_guest_is_there_and_compiled(engine: docker.DockerClient, image: str) -> None:
    code = "import importlib.util, sandkasten_guest as g; print(g.PROTOCOL, g.__cached__); open(g.__cached__)"
    output = run(engine, image, "/opt/sandkasten/bin/python", "-I", "-c", code)
    assert output.startswith(f"{PROTOCOL} /opt/sandkasten/lib/")


@pytest.mark.docker
def test_the_python_venv_is_complete_and_not_externally_managed(engine: docker.DockerClient) -> None:
    code = (
        "import ipykernel, ipywidgets, matplotlib.font_manager, numpy, pandas, PIL, requests, scipy, sys\n"
        "import sysconfig, tqdm, pathlib, sandkasten_ipykernel\n"
        "stdlib = pathlib.Path(sysconfig.get_path('stdlib', vars={'installed_base': sys.prefix}))\n"
        "print(sys.prefix, sys.prefix != sys.base_prefix, (stdlib / 'EXTERNALLY-MANAGED').exists())"
    )
    assert run(engine, "python", "python", "-c", code).split() == ["/opt/venv", "True", "False"]
    assert "No module named pip" not in run(engine, "python", "python", "-m", "pip", "--version")


@pytest.mark.docker
def test_the_font_cache_is_ready_for_a_new_home(engine: docker.DockerClient) -> None:
    script = "cp -r /etc/skel/. ~ && python -W error -c 'import matplotlib.font_manager' && ls ~/.cache/matplotlib"
    first = run(engine, "python", "ls", "/etc/skel/.cache/matplotlib")
    assert "fontlist" in first
    assert run(engine, "python", "bash", "-c", script) == first


@pytest.mark.docker
def test_a_second_build_with_nothing_changed_does_nothing(engine: docker.DockerClient) -> None:
    before = [engine.images.get(full_name(image)).id for image in IMAGES]
    lines: list[str] = []
    build_images(engine, ["python"], base=None, report=lines.append)
    assert [line for line in lines if line.endswith("is up to date")] == [
        "sandbox-runtime:base is up to date",
        "sandbox-runtime:python is up to date",
    ]
    assert [engine.images.get(full_name(image)).id for image in IMAGES] == before


@pytest.mark.docker
def test_an_unknown_image_or_base_is_refused_in_words(engine: docker.DockerClient) -> None:
    with pytest.raises(ImageBuildError, match="no image is called rust: there are base, python"):
        build_images(engine, ["rust"], base=None, report=print)
    with pytest.raises(ImageBuildError, match="localhost:1/none is not there and cannot be pulled"):
        build_images(engine, ["base"], base="localhost:1/none", report=print)
