"""Images of one's own in the configuration: what it may say, their kernelspecs, what apt is told, and advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandkasten_kernels.config.custom_images import find_fault
from sandkasten_kernels.config.settings import file_settings
from sandkasten_kernels.config.traits import SECTIONS
from sandkasten_kernels.errors import ConfigError, ImageBuildError
from sandkasten_kernels.gateway.checks import check_settings
from sandkasten_kernels.images.apt import host_apt_config, parse_apt_options
from sandkasten_kernels.images.custom import CustomImage, build_order, custom_images
from sandkasten_kernels.images.progress import BuildProgress
from sandkasten_kernels.kernelspecs.custom import custom_kernelspecs
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs

# -- the setting


def test_the_images_of_a_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("images:\n  science: {from: python, pip: ['polars[numpy] >=1', tabulate], apt: [ffmpeg]}\n")
    setting = file_settings(file, SECTIONS).value("images")
    assert custom_images(setting) == {
        "science": CustomImage("science", "python", ("polars[numpy]>=1", "tabulate"), ("ffmpeg",))
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("science: {from: python, pips: [x]}", "2: images.science.pips: unknown key; did you mean pip?"),
        ("a:\n    from: pyton", "3: images.a.from: expected an image's name, got 'pyton'; did you mean python?"),
        ("science:\n    pip: [x]", "2: images.science: from is missing: the image to build from, one of base, python"),
        ("science:", "2: images.science: expected a mapping with from, pip and apt, got nothing"),
        ("python: {from: base}", "2: images.python: a built-in image has this name"),
        ("Sci ence: {from: base}", "2: images.'Sci ence': an image's name has lower-case letters"),
        ("a: {from: b}\n  b: {from: a}", "2: images.a.from: is built from itself: a from b from a"),
        ("a: {from: a}", "2: images.a.from: is built from itself: a from a"),
        ("a:\n    from: base\n    pip: x", "4: images.a.pip: expected a list of packages"),
        ("a:\n    from: base\n    pip:\n    - x\n    - 3", "6: images.a.pip.1: expected a string, got 3"),
        ("a: {from: base, display_name: [x]}", "2: images.a.display_name: expected a string in one line, got 'x'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_right_name(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text(f"images:\n  {text}\n")
    with pytest.raises(ConfigError) as caught:
        file_settings(file, SECTIONS)
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
    own = {"z": CustomImage("z", "python"), "a": CustomImage("a", "z"), "m": CustomImage("m", "base")}
    assert build_order({"a"}, own) == ["base", "python", "z", "a"]
    assert build_order({"base", "python", *own}, own) == ["base", "python", "z", "a", "m"]
    assert build_order({"m"}, own) == ["base", "m"]


# -- the kernelspecs


def test_an_image_brings_a_kernelspec_like_that_of_the_image_it_stands_on() -> None:
    own = {
        "science": CustomImage("science", "python"),
        "deep": CustomImage("deep", "science", display_name="Deep things"),
        "tools": CustomImage("tools", "base"),
    }
    specs = Kernelspecs(extra=custom_kernelspecs(own, Kernelspecs()), default_image="science")
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
    extra = custom_kernelspecs({"science": CustomImage("science", "python")}, Kernelspecs())
    specs = Kernelspecs(extra=extra, default_image="science", allowed_images=["science"])
    assert [spec.name for spec in specs] == ["science"]


def test_an_image_with_the_name_of_anothers_kernelspec_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"images\.bash: a kernelspec of this name runs in the image base"):
        custom_kernelspecs({"bash": CustomImage("bash", "python")}, Kernelspecs())


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


# -- advice


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
