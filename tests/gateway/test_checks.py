"""Settings that are right each for themselves and impossible together: found before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.config.settings import file_settings
from sandkasten_kernels.config.traits import SECTIONS, Limits
from sandkasten_kernels.errors import ConfigError
from sandkasten_kernels.gateway.checks import Machine, check_settings, within
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs

MACHINE = Machine(cpus=4, memory_mb=8192)


def checked(tmp_path: Path, text: str) -> Kernelspecs:
    (tmp_path / "sandkasten.yaml").write_text(text)
    return check_settings(file_settings(tmp_path / "sandkasten.yaml", SECTIONS), machine=MACHINE)


def refusal(tmp_path: Path, text: str) -> str:
    """Return the line with which the file is refused, without the directory."""
    with pytest.raises(ConfigError) as caught:
        checked(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).replace(f"{tmp_path}/", "")


def add_kernelspec(directory: Path, name: str, **ours: Any) -> None:
    (directory / name).mkdir(parents=True)
    spec = {"argv": ["x"], "display_name": name, "language": "x", "metadata": {"sandkasten": ours}}
    (directory / name / "kernel.json").write_text(json.dumps(spec))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "limits: {max_sandboxes: 1}",
        "pool: {images: {python: 60, base: 4}}",
        "pool: {enabled: false}\nallowed_images: [base]\ndefault_image: base",
        "allowed_images: [base]\ndefault_image: base\npool: {images: {base: 1}}",
        "listen: ':8080'\napi_key: k",
        "defaults: {cpu_limit: 4, mem_limit_mb: 8128}\nlimits: {host_reserve_mb: 64}",
        "env_names: [COLOUR, _X1]",
    ],
)
def test_what_goes_together_is_accepted(tmp_path: Path, text: str) -> None:
    assert list(checked(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "pool: {images: {base: 1}}\nallowed_images: [python]",
            "sandkasten.yaml:1: pool.images.base: the image 'base' is not among allowed_images, python: "
            "set pool.images to match",
        ),
        (
            "pool:\n  images:\n    pyton: 1",
            "sandkasten.yaml:3: pool.images.pyton: no kernelspec runs in the image 'pyton'; did you mean python?",
        ),
        (
            "pool: {enabled: false, images: {r: 1}}",
            "sandkasten.yaml:1: pool.images.r: no kernelspec runs in the image 'r'; images with one: base, python",
        ),
        (
            "allowed_images:\n- python\n- r",
            "sandkasten.yaml:3: allowed_images.1: no kernelspec runs in the image 'r'; images with one: base, python",
        ),
        (
            "allowed_images: [base]",
            "default_image: the image 'python' (the default) is not among allowed_images, base: "
            "set default_image to match",
        ),
        (
            "\ndefault_image: cobol",
            "sandkasten.yaml:2: default_image: no kernelspec runs in the image 'cobol'; images with one: base, python",
        ),
        (
            "allowed_images: [base]\ndefault_image: base",
            "pool.images.python: the image 'python' (the default) is not among allowed_images, base: "
            "set pool.images to match",
        ),
        (
            "pool: {images: {python: 2, base: 2}}\nlimits: {max_sandboxes: 3}",
            "sandkasten.yaml:1: pool.images: 4 warm kernels are more than limits.max_sandboxes, 3",
        ),
        (
            "defaults: {cpu_limit: 5}",
            "sandkasten.yaml:1: defaults.cpu_limit: 5.0 is more than this machine has: 4 CPUs",
        ),
        (
            "defaults: {cpu_limit: 0.001}",
            "sandkasten.yaml:1: defaults.cpu_limit: 0.001 is below the smallest possible value, 0.01",
        ),
        (
            "defaults: {mem_limit_mb: 9000}",
            "sandkasten.yaml:1: defaults.mem_limit_mb: 9000 is more than this machine has: 7168 MiB of memory beside "
            "limits.host_reserve_mb, 1024",
        ),
        (
            "limits: {host_reserve_mb: 8192}",
            "sandkasten.yaml:1: limits.host_reserve_mb: 8192 leaves no memory for sandboxes: "
            "this machine has 8192 MiB of memory",
        ),
        (
            "listen: 0.0.0.0:8080",
            "sandkasten.yaml:1: listen: other machines can reach 0.0.0.0:8080; set api_key, or listen on 127.0.0.1",
        ),
        *(
            (
                f"api_key: {key}",
                "sandkasten.yaml:1: api_key: expected printable ASCII characters without spaces: clients send "
                "this key in a header",
            )
            for key in ("two words", "schlüssel", '"a\\nb"')
        ),
        ("base_url: a b", "sandkasten.yaml:1: base_url: expected a path as in /sandkasten/, got 'a b'"),
        (
            "\nallow_credentials: true",
            "sandkasten.yaml:2: allow_credentials: with allow_origin '' there is no origin; name one origin",
        ),
        ("engine: dokcer", "sandkasten.yaml:1: engine: there is no 'dokcer'; did you mean docker?"),
        ("env_names: [A, B C]", "sandkasten.yaml:1: env_names.1: 'B C' is not a valid name of a variable"),
        ("kernelspec_dirs: [nowhere]", "sandkasten.yaml:1: kernelspec_dirs.0: nowhere: there is no such directory"),
        (
            "kernelspec_dirs:\n- sandkasten.yaml",
            "sandkasten.yaml:2: kernelspec_dirs.0: sandkasten.yaml: not a directory",
        ),
    ],
)
def test_what_cannot_be_is_one_line_with_key_line_and_way_out(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text) == line


def test_a_relative_directory_of_kernelspecs_counts_from_the_file_and_comes_before_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    add_kernelspec(tmp_path / "specs", "Python3", image="science")
    add_kernelspec(tmp_path / "specs", "zeta", image="python")
    specs = checked(tmp_path, "kernelspec_dirs: [specs]\npool: {images: {science: 1}}\n")
    assert {spec.name: spec.image for spec in specs} == {"bash": "base", "python3": "science", "zeta": "python"}
    assert specs.default.name == "zeta"


def test_a_limit_of_a_kernelspec_that_no_machine_meets_names_its_file(tmp_path: Path) -> None:
    add_kernelspec(tmp_path / "specs", "big", image="python", limits={"cpu_limit": 64})
    assert refusal(tmp_path, "kernelspec_dirs: [specs]") == (
        "specs/big/kernel.json: metadata.sandkasten.limits.cpu_limit: 64 is more than this machine has: 4 CPUs"
    )


def test_a_pool_of_an_image_whose_kernelspecs_are_never_warm_is_refused(tmp_path: Path) -> None:
    add_kernelspec(tmp_path / "specs", "cold", image="science", pool=False)
    assert refusal(tmp_path, "kernelspec_dirs: [specs]\npool: {images: {science: 1}}") == (
        "sandkasten.yaml:2: pool.images.science: no kernelspec of this image allows warm kernels: see the metadata in "
        "specs/cold/kernel.json"
    )
    assert checked(tmp_path, "kernelspec_dirs: [specs]\npool: {images: {science: 0}}")


def test_a_caller_may_ask_for_no_more_than_the_machine_has() -> None:
    limits = within(Limits(host_reserve_mb=1024), Machine(cpus=2, memory_mb=3072))
    assert (limits.max_cpu_limit, limits.max_mem_limit_mb) == (2, 2048)
    limits = within(Limits(host_reserve_mb=1024), Machine(cpus=64, memory_mb=2**17))
    assert (limits.max_cpu_limit, limits.max_mem_limit_mb) == (4, 4096)
